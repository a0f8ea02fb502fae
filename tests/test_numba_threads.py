"""The fast Numba backend on several threads: not a bit depends on how many there are, and they end when they should.

What is split among threads is small here, so that networks that take no time have work for all of them, and barriers
to meet at: several blocks a batch, several stripes a block.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from dataclasses import replace
from typing import Any

import pytest

import fastmlp
from fastmlp.backends.numba import crew, fast
from tests import checkers, processes, threaded
from tests.test_concurrency import at_once
from tests.threaded import CASE

CASES = (
    CASE,
    replace(CASE, dtype="float32", l2=0.0),
    replace(CASE, sizes=(1, 1), activations=(), output="identity", loss="mse", targets="rows"),
    replace(CASE, sizes=(3, 130, 2), activations=("relu",), output="sigmoid", loss="mae", targets="rows", seed=3),
    replace(
        CASE, sizes=(37, 5, 2), activations=("tanh",), output="identity", loss="mse", targets="rows", input_scale=True
    ),
)
COUNTS = (1, 2, 3, 4)


@pytest.fixture(params=[(5, 23), (8, 64)], ids=["several blocks", "one block"])
def crews(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have threads used for everything; the list of how many each call had."""
    return threaded.use_threads_for_everything(monkeypatch, request.param)


def gradients(case: Any, threads: int) -> str:
    net, (_, X, Y, w) = case.build("numba", threads=threads), case.data
    loss, gradient = net.loss_and_gradient(X, Y, w)
    return f"{loss!r} {checkers.digest([gradient.flat, net.input_gradient(X, Y, w)])}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.sizes)) + case.dtype)
def test_gradients_are_the_same_bits(case: Any, crews: list[int]) -> None:
    found = {str(threads): gradients(case, threads) for threads in COUNTS}
    assert not checkers.same_bits(found)
    assert set(crews) == set(COUNTS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.sizes)) + case.dtype)
def test_trainings_are_the_same_bits(case: Any, crews: list[int]) -> None:
    """Parameters, states and losses after several steps of Adam, with dropout, weights, l2 and a smaller last batch."""
    _, X, Y, w = case.data
    found = {}
    for threads in COUNTS:
        net = case.build("numba", threads=threads, dropout=0.25, seed=7)
        history = net.fit(X, Y, sample_weight=w, optimizer=fastmlp.Adam(0.01), epochs=3, batch_size=49)
        found[str(threads)] = checkers.digest([net.parameters.flat, *net.history.state.states]) + str(history.loss)
    assert not checkers.same_bits(found)
    assert set(crews) == set(COUNTS)


def test_a_run_may_have_more_threads_for_one_piece_than_for_another(
    crews: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where other processes come and go, what it is made of changes with them."""
    _, X, Y, _ = CASE.data
    options = {"optimizer": fastmlp.Adam(0.01), "epochs": 12, "batch_size": 49, "validation_data": (X, Y)}
    found = {}
    for name in ("one", "as many as come"):
        left = itertools.cycle([1] if name == "one" else [2, 1, 3])
        monkeypatch.setattr(crew.Pace, "limit", lambda _self, _n_threads, left=left: next(left))
        net = CASE.build("numba", threads=4, seed=7)
        net.fit(X, Y, **options)
        found[name] = checkers.digest([net.parameters.flat])
    assert not checkers.same_bits(found)
    assert set(crews) == {1, 2, 3}


def test_too_few_rows_are_no_work_for_many(crews: list[int]) -> None:
    """A thread without a stripe would only wait."""
    net, (_, X, Y, w) = CASE.build("numba", threads=4), CASE.data
    net.loss_and_gradient(X[:3], Y[:3], w[:3])
    assert crews == [1]


@pytest.mark.parametrize("bar", ["_STEP_WORTH_THREADS", "_RUN_WORTH_THREADS"])
def test_small_work_gets_one_thread(bar: str, crews: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, bar, 10**9)
    threaded.fit(4)
    assert set(crews) == {1}


def test_networks_train_side_by_side_on_threads_of_their_own(crews: list[int]) -> None:
    """Different networks, more threads than processors, all meeting at the same time."""

    def trained(seed: int, threads: int) -> bytes:
        case = replace(CASE, seed=seed % 3, sizes=(9, 16 + seed, 3), activations=("tanh",))
        net, (_, X, Y, w) = case.build("numba", threads=threads, dropout=0.25, seed=seed), case.data
        net.fit(X, Y, sample_weight=w, epochs=3, batch_size=49)
        return net.parameters.flat.tobytes()

    alone = [trained(seed, 1) for seed in range(6)]
    together = at_once([lambda seed=seed: trained(seed, 2) for seed in range(6)])
    assert together == alone
    assert set(crews) == {1, 2}


def test_one_network_answers_many_threads_with_threads_of_its_own(crews: list[int]) -> None:
    """Each call has a meeting of its own."""
    net = CASE.build("numba", threads=2)
    _, X, Y, w = CASE.data

    def gradient() -> str:
        return checkers.digest([net.loss_and_gradient(X, Y, w)[1].flat])

    assert set(at_once([gradient] * 8)) == {gradient()}
    assert set(crews) == {2}


def test_a_diverging_training_ends_on_every_thread(crews: list[int]) -> None:
    """All of them see the loss that is not finite, and none goes on to wait for the others."""
    case = replace(CASES[3], dtype="float32", output="identity", loss="squared_error")
    _, X, Y, w = case.data
    found = {}
    for threads in COUNTS:
        net = case.build("numba", threads=threads, seed=7)
        with pytest.raises(fastmlp.DivergedError) as error:
            net.fit(X, Y, sample_weight=w, optimizer=fastmlp.SGD(1e6), epochs=30, batch_size=49)
        found[str(threads)] = f"{error.value} {checkers.digest([net.parameters.flat])}"
    assert not checkers.same_bits(found)
    assert set(crews) == set(COUNTS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_fits_with_threads() -> None:
    assert processes.call(threaded.compare_with_children) == [0, 0, 2]


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to a single process there")
def test_ctrl_c_ends_a_fit_on_two_threads() -> None:
    child = subprocess.Popen(
        processes.command(threaded.train_until_told), cwd=processes.ROOT, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        answer = json.loads(child.stdout.readline())
        assert child.wait(processes.SECONDS) == 0
    assert answer == {"stopped": "interrupted", "finite": True, "same": True, "threads": 2}
