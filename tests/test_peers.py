"""Other libraries beside fastmlp: nobody is timed who computes something else."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks import machine, verify
from benchmarks.cases import CASES, DIGITS, Case
from benchmarks.peers import agreement, numpy_peer, sklearn_peer
from benchmarks.peers.base import PEERS, MissingError, Peer, Problem, UnsuitedError
from benchmarks.peers.workloads import THREADED, WORKLOADS, in_float64
from fastmlp import SGD, Adam
from tests import bounds
from tests.our_peer import Ours

SMALL = (
    replace(CASES["xor"], n_batches=4),
    replace(CASES["rl"], n_batches=3),
    in_float64(replace(CASES["rl"], n_batches=3)),
    replace(CASES["tab"], n_batches=2),
    DIGITS,
    CASES["digits64"],
    Case("line", (3, 2), "tanh", batch_size=5, n_batches=2),
    Case("odd", (13, 37, 5), "sigmoid", batch_size=19, n_batches=2, classes=True),
    Case("deep", (4, 3, 1, 6, 3), "tanh", batch_size=7, n_batches=2, dtype="float64"),
)
every_small_case = pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)


# ---- workloads

SHAPES = {
    "xor": ((2, 3, 1), "tanh", "mse", 1, 4000),
    "rl": ((8, 64, 64, 2), "tanh", "mse", 64, 16384),
    "tab": ((16, 64, 64, 1), "relu", "mse", 32, 16384),
    "tab256": ((16, 64, 64, 1), "relu", "mse", 256, 65536),
    "mnist": ((784, 128, 10), "relu", "cross_entropy", 128, 59904),
    "chains": ((4, 32, 16, 4), "tanh", "mse", 10000, 10000),
    "wide": ((256, 1024, 1024, 10), "relu", "cross_entropy", 256, 10240),
    "odd": ((13, 37, 5), "relu", "mse", 19, 9728),
    "deep": ((16, 64, 64, 64, 64, 64, 1), "relu", "mse", 32, 16384),
    "thin": ((16, 1, 1, 1), "relu", "mse", 32, 16384),
    "row": ((4, 64, 64, 2), "tanh", "mse", 1, 1),
    "image": ((784, 128, 10), "relu", "cross_entropy", 1, 1),
    "images": ((784, 128, 10), "relu", "cross_entropy", 1024, 1024),
}
BARS = {
    "xor": (10, 20, None),
    "rl": (3, 4, None),
    "tab": (2.2, 3, None),
    "tab256": (2.4, 2.8, None),
    "mnist": (1.3, 1.5, None),
    "chains": (5, 6, None),
    "wide": (1.15, 1.25, None),
    "odd": (2.2, 3, None),
    "deep": (2.2, 3, None),
    "thin": (2.2, 3, None),
    "row": (4, 8, "onnxruntime"),
    "image": (2, 3, "onnxruntime"),
    "images": (1.0, 1.08, "onnxruntime"),
}


def shape_of(case: Case) -> tuple[Any, ...]:
    return case.layer_sizes, case.activation, case.loss, case.batch_size, case.n_samples


def test_the_workloads_have_the_shapes_and_bars_that_were_set() -> None:
    assert {name: shape_of(workload.case) for name, workload in WORKLOADS.items()} == SHAPES
    bars = {name: workload.bar for name, workload in WORKLOADS.items()}
    assert {name: bar and (bar.must, bar.aim, bar.peer) for name, bar in bars.items()} == BARS
    assert {name for name, workload in WORKLOADS.items() if workload.predicts} == {"row", "image", "images"}
    assert {workload.case.dtype for workload in WORKLOADS.values()} == {"float32"}


def test_two_threads_are_timed_where_they_must_pay() -> None:
    assert [shape_of(case) for case in THREADED] == [
        ((784, 128, 10), "relu", "cross_entropy", 512, 59904),
        SHAPES["wide"],
    ]


def test_a_prediction_counts_the_forward_products() -> None:
    assert WORKLOADS["image"].flops == 2 * (784 * 128 + 128 * 10)
    assert WORKLOADS["xor"].flops == 2 * (2 * 2 * 3 + 3 * 3 * 1)


# ---- agreement


@every_small_case
def test_what_computes_the_same_is_let_in(case: Case) -> None:
    agreement.check_trainer(Ours(), case, "ours")
    agreement.check_predictor(Ours(), case, "ours")


BATCH = DIGITS.batch_size
PLANTS = {
    "twice the rate": ("training of it", Ours(Adam(lr=2e-3))),
    "a thousandth more of a rate": ("training of it", Ours(Adam(lr=1.001e-3))),
    "another mean of squares": ("training of it", Ours(Adam(beta2=0.99))),
    "another rule": ("training of it", Ours(SGD(lr=1e-3))),
    "a sum over the batch": ("loss of it", Ours(loss_factor=BATCH, gradient_factor=BATCH)),
    "a gradient without 1 / batch, which Adam hides": ("gradient of it", Ours(gradient_factor=BATCH)),
    "half the loss": ("loss of it", Ours(loss_factor=0.5)),
    "batches in another order": ("training of it", Ours(order=slice(None, None, -1))),
    "an optimizer that is not begun anew": ("training of it", Ours(begins_anew=False)),
    "half the batches": ("training of it", Ours(order=slice(BATCH))),
}


@pytest.mark.parametrize(("what", "module"), PLANTS.values(), ids=list(PLANTS))
def test_a_wrong_step_is_refused(what: str, module: Ours) -> None:
    with pytest.raises(verify.WrongResultError, match=f"^{what}: .* but rounding explains"):
        agreement.check_trainer(module, DIGITS, "it")


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda A: np.roll(A, 1, axis=1), "but rounding explains"),
        (np.log, "but rounding explains"),
        (lambda A: A[:, 0], r"shape \(32,\), expected \(32, 10\)"),
    ],
    ids=["other classes", "no softmax", "one class"],
)
def test_wrong_outputs_are_refused(outputs: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(verify.WrongResultError, match=f"^predictions of it: .*{message}"):
        agreement.check_predictor(Ours(outputs=outputs), DIGITS, "it")


def test_the_loss_that_is_told_may_keep_probabilities_from_0_and_1() -> None:
    """With 1/2 for the least of them it is that of one bit, whatever the network says."""
    losses, _ = verify._reference_losses(DIGITS, verify.Definition(least_probability=0.5))
    assert np.abs(losses - math.log(2.0)).max() <= bounds.gamma(3 * BATCH, "float64")


# ---- the peers


@pytest.fixture(params=[peer for peer in PEERS.values() if peer.trains], ids=lambda peer: peer.name)
def training_peer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return each installed peer's module in turn, of those that train."""
    return loaded(request.param, monkeypatch)


@pytest.fixture(params=list(PEERS.values()), ids=lambda peer: peer.name)
def peer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return each installed peer's module in turn."""
    return loaded(request.param, monkeypatch)


def loaded(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in peer.environment.items():
        monkeypatch.setenv(name, value)  # so that it goes when the test is over
    try:
        return peer.load()
    except MissingError as error:
        pytest.skip(str(error))


as_they_warn = pytest.mark.filterwarnings("default")  # other libraries' warnings are theirs


@as_they_warn
@every_small_case
def test_the_peers_train_the_same(case: Case, training_peer: Any) -> None:
    agreement.check_trainer(training_peer, case, "it")


@as_they_warn
@every_small_case
def test_the_peers_predict_the_same(case: Case, peer: Any) -> None:
    agreement.check_predictor(peer, case, "it")


@as_they_warn
def test_the_peers_shuffle_rows_with_their_targets(training_peer: Any) -> None:
    """In a single batch the order of the rows makes no difference."""
    case = replace(DIGITS, batch_size=2 * BATCH, n_batches=1)
    trainer = training_peer.trainer(Problem.of(case, case.data()))
    verify.check_losses(case, trainer.train(verify.EPOCHS, shuffle=True), "it", trainer.definition)


@as_they_warn
def test_the_peers_draw_a_new_order_for_every_epoch(training_peer: Any) -> None:
    trainer = training_peer.trainer(Problem.of(DIGITS, DIGITS.data()))
    firsts = set()
    for _ in range(3):
        trainer.reset()
        firsts |= set(trainer.train(1, shuffle=True))
    assert len(firsts) == 3


@as_they_warn
def test_the_peers_begin_anew_when_told(training_peer: Any) -> None:
    problem = Problem.of(DIGITS, verify.training_data(DIGITS))
    before = problem.start.copy()
    trainer = training_peer.trainer(problem)
    first = trainer.train(2, shuffle=False)
    trainer.reset()
    assert trainer.train(2, shuffle=False) == first
    assert (problem.start == before).all()


def wrong_rate(patch: pytest.MonkeyPatch, module: Any) -> None:
    patch.setattr(module, "ADAM", Adam(lr=2e-3))


@as_they_warn
@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_peer_with_another_rate_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = loaded(PEERS[name], monkeypatch)
    wrong_rate(monkeypatch, module)
    with pytest.raises(verify.WrongResultError, match="training of it"):
        agreement.check_trainer(module, DIGITS, "it")


def test_scikit_learn_with_another_rate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sklearn_peer._adam
    monkeypatch.setattr(sklearn_peer, "_adam", lambda adam: right(replace(adam, lr=2e-3)))
    with pytest.raises(verify.WrongResultError, match="training of it"):
        agreement.check_trainer(sklearn_peer, DIGITS, "it")


@pytest.mark.parametrize("name", ["digits64", "rl"])
def test_scikit_learns_epsilon_is_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against our Adam it would be refused: the check sees an epsilon of 1e-8 in the wrong place."""
    monkeypatch.setattr(sklearn_peer, "UncorrectedAdam", Adam)
    with pytest.raises(verify.WrongResultError, match="training of it"):
        agreement.check_trainer(sklearn_peer, in_float64(replace(CASES[name], n_batches=2)), "it")


def test_scikit_learns_losses_differ_by_known_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sklearn_peer.Trainer.__init__

    def without_factors(self: Any, problem: Problem) -> None:
        right(self, problem)
        self.loss_factor = self.gradient_factor = 1.0

    monkeypatch.setattr(sklearn_peer.Trainer, "__init__", without_factors)
    with pytest.raises(verify.WrongResultError, match="loss of it"):
        agreement.check_trainer(sklearn_peer, SMALL[1], "it")


def test_scikit_learn_does_not_take_two_classes() -> None:
    case = Case("two", (3, 4, 2), "relu", batch_size=4, n_batches=2, classes=True)
    with pytest.raises(UnsuitedError, match="two classes one output"):
        agreement.check_trainer(sklearn_peer, case, "it")


def test_numpy_by_hand_with_another_activation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(numpy_peer._ACTIVATIONS, "tanh", numpy_peer._relu)
    with pytest.raises(verify.WrongResultError, match="predictions of it"):
        agreement.check_predictor(numpy_peer, WORKLOADS["row"].case, "it")


# ---- cores


@pytest.mark.skipif(not machine.Cores().can_hold, reason="this system does not hold a process to cores")
def test_all_threads_are_held_and_let_go() -> None:
    cores, before = machine.Cores(), os.sched_getaffinity(0)
    stop, started = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        stop.wait()

    other = threading.Thread(target=wait)
    other.start()
    started.wait()
    task = cast("int", other.native_id)
    try:
        with cores.held(1):
            assert [len(os.sched_getaffinity(each)) for each in (0, task)] == [1, 1]
            with cores.held(2):
                assert len(os.sched_getaffinity(task)) == min(2, cores.n)
            assert len(os.sched_getaffinity(task)) == 1
        assert os.sched_getaffinity(task) == os.sched_getaffinity(0) == before
    finally:
        stop.set()
        other.join()


def test_where_a_process_cannot_be_held_it_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_TASKS", Path("nowhere"))
    cores = machine.Cores()
    with cores.held(1):
        assert not cores.can_hold
        assert cores.n >= 1
