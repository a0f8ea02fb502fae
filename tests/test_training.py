"""A fit: which samples make which step, and what the history says of it.

The loops to compare with are written out here over `MLP.loss_and_gradient`; in strict binary64 they give the same
bits as a fit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp import MLP, SGD, Adam, EarlyStopping, EpochInfo, metrics, schedules
from tests import bounds, checkers, processes

GENERATOR = np.random.default_rng(8)
N = 10
X, Y = GENERATOR.normal(size=(N, 3)), GENERATOR.normal(size=(N, 2))
WEIGHTS = np.array([1.0, 0.5, 2.0, 0.25, 0.0, 0.0, 0.0, 0.0, 3.0, 1.0])  # the second batch of four has none
LR = 0.125


def network(backend: str = "numpy", **options: Any) -> MLP:
    options = {"dtype": "float64", "strict": True, "seed": 2, "l2": 0.25} | options
    return MLP((3, 4, 2), "tanh", backend=backend, **options)


def batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def train_by_hand(net: MLP, parts: list[np.ndarray], weights: np.ndarray | None = None) -> list[float]:
    """Do plain gradient descent over batches; return the loss of each before its update."""
    losses = []
    for rows in parts:
        loss, gradient = net.loss_and_gradient(X[rows], Y[rows], None if weights is None else weights[rows])
        net.parameters.flat[...] -= LR * gradient.flat
        losses.append(loss)
    return losses


def twin_of(generator: np.random.Generator) -> np.random.Generator:
    """Return a generator that goes on as this one would."""
    twin = np.random.default_rng()
    twin.bit_generator.state = generator.bit_generator.state
    return twin


def is_weighted_mean(value: float, losses: list[float], totals: list[float]) -> bool:
    """Tell whether a loss is that mean: of positive numbers, with two roundings a term, so relatively exact."""
    mean = sum(loss * total for loss, total in zip(losses, totals, strict=True)) / sum(totals)
    return abs(value - mean) <= bounds.gamma(4 * len(losses) + 4, "float64") * mean


# --- which samples make which step ---


@pytest.mark.parametrize("size", [1, 3, 4, 5, 9, 10, 11, 1000])
def test_every_sample_is_used_in_batches_the_last_may_be_smaller(size: int, backend: str) -> None:
    net, by_hand = network(backend), network(backend)
    history = net.fit(X, Y, optimizer=SGD(LR), epochs=1, batch_size=size, shuffle=False)
    parts = batches(np.arange(N), size)
    losses = train_by_hand(by_hand, parts)
    np.testing.assert_array_equal(net.parameters.flat, by_hand.parameters.flat)
    assert is_weighted_mean(history.loss[0], losses, [len(rows) for rows in parts])


def test_each_epoch_draws_an_order_from_the_networks_generator(backend: str) -> None:
    net, by_hand = network(backend), network(backend)
    twin = twin_of(net.generator)
    net.fit(X, Y, optimizer=SGD(LR), epochs=3, batch_size=4)
    for _ in range(3):
        train_by_hand(by_hand, batches(twin.permutation(N), 4))
    np.testing.assert_array_equal(net.parameters.flat, by_hand.parameters.flat)


def test_a_seed_decides_the_order_on_every_backend() -> None:
    ends = {checkers.digest([trained(seed=4, backend=name)]) for name in fastmlp.available_backends()}
    assert len(ends) == 1
    assert checkers.digest([trained(seed=5)]) not in ends


def trained(**options: Any) -> np.ndarray:
    net = network(**options)
    net.parameters.flat[...] = network().parameters.flat
    net.fit(X, Y, optimizer=SGD(LR), epochs=2, batch_size=4)
    return net.parameters.flat


def test_a_second_fit_goes_on_from_parameters_and_generator_with_fresh_optimizer_state() -> None:
    net, other = network(), network()
    for _ in range(2):
        net.fit(X, Y, optimizer=Adam(LR), epochs=1, batch_size=4)
    other.fit(X, Y, optimizer=Adam(LR), epochs=1, batch_size=4)
    fresh = network()
    fresh.parameters.flat[...] = other.parameters.flat
    fresh.generator.bit_generator.state = other.generator.bit_generator.state
    fresh.fit(X, Y, optimizer=Adam(LR), epochs=1, batch_size=4)
    np.testing.assert_array_equal(net.parameters.flat, fresh.parameters.flat)


def test_a_batch_is_divided_by_its_own_weights(backend: str) -> None:
    """The batch that has none is skipped: no update, no step, no share of the loss."""
    net, by_hand = network(backend), network(backend)
    history = net.fit(X, Y, optimizer=SGD(LR), epochs=1, batch_size=4, shuffle=False, sample_weight=WEIGHTS)
    parts = [np.arange(4), np.arange(8, 10)]
    losses = train_by_hand(by_hand, parts, WEIGHTS)
    np.testing.assert_array_equal(net.parameters.flat, by_hand.parameters.flat)
    assert is_weighted_mean(history.loss[0], losses, [WEIGHTS[rows].sum() for rows in parts])


def test_a_skipped_batch_is_no_step(backend: str) -> None:
    """Adam's corrections and the schedule count the others alone, as without those samples."""
    kept = np.r_[:4, 8:10]
    optimizer = Adam(schedules.Step(LR, every=1, factor=0.5))
    net, without = network(backend), network(backend)
    options: dict[str, Any] = {"optimizer": optimizer, "epochs": 3, "batch_size": 4, "shuffle": False}
    net.fit(X, Y, sample_weight=WEIGHTS, **options)
    without.fit(X[kept], Y[kept], sample_weight=WEIGHTS[kept], **options)
    np.testing.assert_array_equal(net.parameters.flat, without.parameters.flat)
    assert net.history.learning_rate == without.history.learning_rate == [LR / 2, LR / 8, LR / 32]


def test_a_weight_of_two_is_the_sample_twice_with_full_batches(backend: str) -> None:
    """Small integers and a total of four: nothing rounds, so the order of sums does not show."""
    A, b, weights = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 4.0]]), np.array([3.0, 1.0, -2.0]), [1.0, 2.0, 1.0]
    ends = []
    for rows, sample_weight in (([0, 1, 2], weights), ([0, 1, 1, 2], None)):
        net = MLP((2, 1), loss="squared_error", backend=backend, dtype="float64", seed=0)
        net.parameters.flat[...] = [1.0, -2.0, 3.0]
        history = net.fit(A[rows], b[rows], optimizer=SGD(0.5), epochs=2, batch_size=4, sample_weight=sample_weight)
        ends.append((net.parameters.flat.tolist(), history.loss))
    assert ends[0] == ends[1]


# --- what the history says ---


def observed(net: MLP, **options: Any) -> tuple[list[EpochInfo], list[np.ndarray]]:
    """Fit; return what a callback was told of each epoch, and the parameters that it saw."""
    infos: list[EpochInfo] = []
    seen: list[np.ndarray] = []

    def look(given: MLP, info: EpochInfo) -> None:
        assert given is net
        infos.append(info)
        seen.append(net.parameters.flat.copy())

    net.fit(X, Y, optimizer=SGD(LR), batch_size=4, callbacks=[look], **options)
    return infos, seen


def replay(net: MLP, seen: list[np.ndarray]) -> Iterator[MLP]:
    """Yield the network as it was after each epoch."""
    for flat in seen:
        net.parameters.flat[...] = flat
        yield net


def test_validation_loss_is_the_networks_own_after_the_epoch(backend: str) -> None:
    net = network(backend, dropout=0.25)
    _, seen = observed(net, epochs=3, validation_data=(X[:5], Y[:5], WEIGHTS[:5]))
    history = net.history
    assert history.validation_loss == [net.loss(X[:5], Y[:5], WEIGHTS[:5]) for net in replay(net, seen)]


def test_metrics_are_of_the_network_after_the_epoch(backend: str) -> None:
    net = network(backend)
    held_out = X[:5] + 1.0, Y[:5]
    _, seen = observed(net, epochs=2, metrics=("rmse", "mae"), validation_data=held_out, sample_weight=WEIGHTS)
    for name in ("rmse", "mae"):
        expected = [metrics.compute(name, net.predict(X), Y, WEIGHTS) for net in replay(net, seen)]
        assert net.history.metrics[name] == expected
        expected = [metrics.compute(name, net.predict(held_out[0]), Y[:5], None) for net in replay(net, seen)]
        assert net.history.validation_metrics[name] == expected


def test_callbacks_are_told_what_the_history_keeps(backend: str) -> None:
    net = network(backend)
    infos, _ = observed(net, epochs=3, metrics=["r2"], validation_data=(X, Y))
    history = net.history
    assert [info.epoch for info in infos] == [0, 1, 2]
    assert {info.n_epochs for info in infos} == {3}
    assert [info.loss for info in infos] == history.loss
    assert [info.validation_loss for info in infos] == history.validation_loss
    assert [info.metrics["r2"] for info in infos] == history.metrics["r2"]
    assert [info.validation_metrics["r2"] for info in infos] == history.validation_metrics["r2"]
    assert [info.seconds for info in infos] == history.seconds
    assert [info.learning_rate for info in infos] == history.learning_rate == [LR] * 3
    assert (history.backend, history.stopped, history.best_epoch) == (backend, "epochs", None)


def test_the_history_is_the_networks_and_is_returned() -> None:
    net = network()
    assert net.history is None
    assert net.fit(X, Y, epochs=1) is net.history


def test_auto_tells_which_backend_it_took() -> None:
    assert network("auto").fit(X, Y, epochs=1).backend in fastmlp.available_backends()


def test_no_epochs_do_nothing(backend: str) -> None:
    net = network(backend, dropout=0.5)
    before = net.parameters.flat.copy()
    history = net.fit(X, Y, epochs=0, validation_data=(X, Y), early_stopping=EarlyStopping())
    np.testing.assert_array_equal(net.parameters.flat, before)
    assert (history.n_epochs, history.validation_loss, history.stopped) == (0, [], "epochs")
    assert history.state is not None


def test_progress_changes_no_bit(backend: str, capfd: pytest.CaptureFixture[str]) -> None:
    quiet, loud = network(backend), network(backend)
    quiet.fit(X, Y, epochs=3, verbose=False)
    assert capfd.readouterr() == ("", "")
    loud.fit(X, Y, epochs=3, verbose=True)
    assert "loss" in "".join(capfd.readouterr())
    np.testing.assert_array_equal(quiet.parameters.flat, loud.parameters.flat)


def test_a_quiet_fit_does_not_import_rich() -> None:
    assert processes.call(modules_after_a_quiet_fit) == []


def modules_after_a_quiet_fit() -> list[str]:
    network().fit(X, Y, epochs=1)
    return [name for name in sys.modules if name.partition(".")[0] in {"rich", "matplotlib"}]


# --- arguments ---

BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"epochs": -1}, ValueError, "epochs is -1; expected at least 0"),
    ({"epochs": 1.0}, TypeError, "epochs is 1.0; expected a whole number"),
    ({"epochs": True}, TypeError, "epochs is True; expected a whole number"),
    ({"batch_size": 0}, ValueError, "batch_size is 0; expected at least 1"),
    ({"batch_size": None}, TypeError, "batch_size is None; expected a whole number"),
    ({"metrics": ("speed",)}, ValueError, ".*'speed'.*rmse"),
    ({"early_stopping": True}, TypeError, r"early_stopping is True; expected fastmlp.EarlyStopping\(...\) or None"),
    ({"callbacks": ["print"]}, TypeError, "callbacks holds 'print'; expected functions that take"),
    ({"validation_data": X}, ValueError, r"validation_data has type ndarray; expected \(X, Y\)"),
    ({"state": {"epoch": 3}}, TypeError, "state is .*; expected the TrainingState of an earlier fit"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD)
def test_bad_arguments_are_refused_before_anything_happens(
    arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    net = network(dropout=0.25)
    history = net.fit(X, Y, epochs=1)
    before = net.parameters.flat.copy(), net.generator.bit_generator.state
    with pytest.raises(kind, match=f"^{message}"):
        net.fit(X, Y, **arguments)
    np.testing.assert_array_equal(net.parameters.flat, before[0])
    assert net.generator.bit_generator.state == before[1]
    assert net.history is history
