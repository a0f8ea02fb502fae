"""Many threads, and children of fork, compute with one network: no hang, no crash, the same bits."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from fastmlp import MLP, available_backends
from fastmlp.backends.numpy.fast import FastArithmetic
from tests import checkers, processes

THREADS = 16
REFERENCE = available_backends()[0]
GENERATOR = np.random.default_rng(41)


def network(backend: str, **options: Any) -> MLP:
    return MLP((8, 32, 16, 3), "tanh", "softmax", "cross_entropy", backend=backend, seed=4, **options)


def results(net: MLP, X: np.ndarray, labels: np.ndarray) -> str:
    """Hash of everything that only reads the network."""
    loss, gradient = net.loss_and_gradient(X, labels)
    arrays = [net.predict(X), np.array([net.loss(X, labels), loss]), gradient.flat, net.input_gradient(X, labels)]
    return checkers.digest([*arrays, *net.hidden_activations(X)])


def at_once(work: list[Callable[[], Any]]) -> list[Any]:
    """Run each in a thread of its own, all of them started together."""
    barrier = threading.Barrier(len(work))

    def wait_and_work(function: Callable[[], Any]) -> Any:
        barrier.wait()
        return function()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(wait_and_work, work))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_get_the_same_bits(dtype: str, backend: str, *, strict: bool) -> None:
    """Each with as many rows as no other thread has, several times, so that workspaces change hands."""
    net = network(backend, dtype=dtype, strict=strict)
    step, rounds = (1, 1) if backend == REFERENCE else (37, 3)  # it has no workspaces, and takes its time
    sizes = [1 + step * i for i in range(THREADS)]
    data = [(GENERATOR.normal(size=(n, 8)), GENERATOR.integers(0, 3, n)) for n in sizes]
    alone = [results(net, *each) for each in data]
    together = at_once([lambda each=each: [results(net, *each) for _ in range(rounds)] for each in data])
    assert together == [[expected] * rounds for expected in alone]


def test_the_first_call_may_come_from_many_threads(backend: str) -> None:
    """Nothing is there yet, neither a backend's object nor its workspaces."""
    X, labels = GENERATOR.normal(size=(5, 8)), GENERATOR.integers(0, 3, 5)
    for _ in range(5):
        net = network(backend)
        assert len(set(at_once([lambda net=net: results(net, X, labels)] * THREADS))) == 1


def test_networks_train_side_by_side(backend: str) -> None:
    """One network a thread: what they share is code."""
    X, labels = GENERATOR.normal(size=(20, 8)), GENERATOR.integers(0, 3, 20)

    def trained() -> bytes:
        net = network(backend, dropout=0.25)
        net.fit(X, labels, epochs=2, batch_size=8)
        return net.parameters.flat.tobytes()

    assert len(set(at_once([trained] * 8))) == 1


# --- threads within threads ---


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture
def _blas_as_it_was() -> Iterator[None]:
    """Set the threads of this process again, whatever a test left."""
    before = blas_threads()
    yield
    threadpoolctl.threadpool_limits(max(before), user_api="blas")


@pytest.mark.skipif(max(blas_threads(), default=1) == 1, reason="NumPy's BLAS has one thread here")
@pytest.mark.usefixtures("_blas_as_it_was")
def test_overlapping_limits_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call ends while the second is under way; then BLAS has as many threads as before."""
    inside = [threading.Event(), threading.Event()]
    go_on = [threading.Event(), threading.Event()]
    affine, seen = FastArithmetic.affine, []

    def waiting(self: Any, do: Any, A: Any, *rest: Any) -> None:
        call = len(A) - 1  # the first call has one row, the second two
        inside[call].set()
        assert go_on[call].wait(processes.SECONDS)
        seen.append(blas_threads())
        affine(self, do, A, *rest)

    monkeypatch.setattr(FastArithmetic, "affine", waiting)
    before, net = blas_threads(), MLP((8, 3), backend="numpy", threads=1)
    calls = [threading.Thread(target=net.predict, args=(np.zeros((rows, 8)),)) for rows in (1, 2)]
    for call, start in zip(calls, inside, strict=True):
        call.start()
        assert start.wait(processes.SECONDS)
    for call, end in zip(calls, go_on, strict=True):
        end.set()
        call.join()
    assert seen == [[1] * len(before)] * 2
    assert blas_threads() == before


# --- fork ---


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_predicts_after_a_fit(backend: str) -> None:
    """In a process of its own, for this one has threads."""
    assert processes.call(compare_with_a_child, backend) == {"child": 0, "grandchild": 0}


def compare_with_a_child(backend: str) -> dict[str, int]:
    """Fit, fork, and return the exit codes of a child, and of its child, that compute the same and train on."""
    generator = np.random.default_rng(41)
    X, labels = generator.normal(size=(40, 8)), generator.integers(0, 3, 40)
    net = network(backend)
    net.fit(X, labels, epochs=2)
    expected = results(net, X, labels)

    def check() -> int:
        same = results(net, X, labels) == expected
        net.fit(X, labels, epochs=1)
        return 0 if same and results(net, X, labels) != expected else 1

    def check_with_a_child() -> int:
        return 10 * exit_code(check) + check()

    return {"child": exit_code(check), "grandchild": exit_code(check_with_a_child)}


def exit_code(function: Callable[[], int]) -> int:
    """Run a function in a forked child; whatever goes wrong there is a code that is not 0."""
    with warnings.catch_warnings():  # newer versions of Python warn of what is tested here
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 99
        try:
            code = function()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
