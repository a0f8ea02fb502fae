"""A plan of one's own: the order of samples, an l2 that batches share, and how an epoch's loss is told.

The loops to compare with are written out over `MLP.loss_and_gradient`; in strict binary64 they give the same bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastmlp import MLP, SGD, training
from fastmlp.backends import make_backend
from fastmlp.backends.base import Batch, Run
from fastmlp.training import Plan
from tests import bounds

GENERATOR = np.random.default_rng(3)
N = 7
X, Y = GENERATOR.normal(size=(N, 3)), GENERATOR.normal(size=(N, 2))
WEIGHTS = np.array([1.0, 0.5, 2.0, 0.25, 1.5, 3.0, 1.0])
LR, SHARED = 0.125, 0.75
PLAN = Plan(SGD(LR), 2, 3, shuffle=False, validation=None, metrics=(), early_stopping=None, callbacks=(), verbose=False)


def network(backend: str, l2: float = 0.0) -> MLP:
    return MLP((3, 4, 2), "tanh", backend=backend, dtype="float64", strict=True, seed=2, l2=l2)


def fit(net: MLP, plan: Plan, weights: np.ndarray | None = None) -> list[float]:
    backend = make_backend(net.backend, net.spec, strict=True, threads=None)
    total = float(N if weights is None else weights.sum())
    return training.fit(net, backend, Batch(X, Y, weights, total, net.spec.l2), plan).loss


def by_hand(backend: str, orders: list[list[int]], l2: float, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the parameters after plain descent over batches of three, each with its own share of the l2."""
    flat = network(backend).parameters.flat
    for order in orders:
        for start in range(0, N, 3):
            rows = order[start : start + 3]
            own = None if weights is None else weights[rows]
            total = len(rows) if own is None else np.add.accumulate(own)[-1]
            net = network(backend, l2 + SHARED / total)
            net.parameters.flat[...] = flat
            flat = flat - LR * net.loss_and_gradient(X[rows], Y[rows], own)[1].flat
    return flat


@pytest.mark.parametrize("l2", [0.0, 0.25])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_batches_share_an_l2_by_their_weight(backend: str, l2: float, weights: np.ndarray | None) -> None:
    net = network(backend, l2)
    fit(net, replace(PLAN, shared_l2=SHARED), weights)
    expected = by_hand(backend, [list(range(N))] * 2, l2, weights)
    np.testing.assert_array_equal(net.parameters.flat, expected)


def test_orders_may_come_from_outside(backend: str) -> None:
    orders = [[6, 5, 4, 3, 2, 1, 0], [0, 2, 4, 6, 1, 3, 5]]
    coming = iter(orders)
    net = network(backend)
    before = net.generator.bit_generator.state
    fit(net, replace(PLAN, shared_l2=SHARED, order=lambda: np.array(next(coming))))
    np.testing.assert_array_equal(net.parameters.flat, by_hand(backend, orders, 0.0))
    assert net.generator.bit_generator.state == before


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_several_passes_may_be_one_epoch(backend: str, weights: np.ndarray | None) -> None:
    orders = [[6, 5, 4, 3, 2, 1, 0], [0, 2, 4, 6, 1, 3, 5], [3, 0, 1, 2, 5, 6, 4]]
    coming = iter([orders[:2], orders[2:]])
    net = network(backend)
    losses = fit(net, replace(PLAN, shared_l2=SHARED, order=lambda: np.concatenate(next(coming))), weights)
    np.testing.assert_array_equal(net.parameters.flat, by_hand(backend, orders, 0.0, weights))
    single = iter(orders)
    plan = replace(PLAN, epochs=3, shared_l2=SHARED, order=lambda: np.array(next(single)))
    one_by_one = fit(network(backend), plan, weights)
    expected = [(one_by_one[0] + one_by_one[1]) / 2, one_by_one[2]]
    np.testing.assert_allclose(losses, expected, rtol=bounds.gamma(16, "float64"))


def test_an_epochs_loss_may_be_told_otherwise(backend: str) -> None:
    seen = []

    def by_count(run: Run, first: int, stop: int) -> float:
        assert (first, stop) == (0, 3)
        seen.append((run.losses.copy(), run.totals.copy()))
        return float(np.average(run.losses, weights=run.stops - run.starts))

    net, same = network(backend), network(backend)
    told, usual = fit(net, replace(PLAN, mean_loss=by_count), WEIGHTS), fit(same, PLAN, WEIGHTS)
    np.testing.assert_array_equal(net.parameters.flat, same.parameters.flat)
    assert told == [float(np.average(losses, weights=[3, 3, 1])) for losses, _ in seen]
    np.testing.assert_allclose(
        usual, [np.average(losses, weights=totals) for losses, totals in seen], rtol=bounds.gamma(8, "float64")
    )
    assert told != usual


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.25])
def test_penalties_are_told_apart_from_losses(backend: str, l2: float, *, strict: bool) -> None:
    """Each is that of the weights before its step, by the l2 of that step."""
    runs: list[Run] = []

    def keep(run: Run, first: int, stop: int) -> float:  # noqa: ARG001  there is one epoch
        runs.append(run)
        return 0.0

    net = MLP((3, 4, 2), "tanh", backend=backend, dtype="float64", strict=strict, seed=2, l2=l2)
    plan = replace(PLAN, epochs=1, shared_l2=SHARED, mean_loss=keep)
    training.fit(net, make_backend(backend, net.spec, strict=strict, threads=None), Batch(X, Y, None, N, l2), plan)
    (run,) = runs
    twin = MLP((3, 4, 2), "tanh", backend=backend, dtype="float64", strict=True, seed=2)
    for step, rows in enumerate(map(run.rows, range(3))):
        penalty = 0.5 * run.l2[step] * sum(float(np.sum(W * W)) for W in twin.weights)
        assert abs(run.penalties[step] - penalty) <= bounds.gamma(64, "float64") * penalty
        error, gradient = twin.loss_and_gradient(X[rows], Y[rows])
        assert abs(run.losses[step] - penalty - error) <= bounds.gamma(64, "float64") * run.losses[step]
        for W, own in zip(twin.weights, gradient.weights, strict=True):
            W[...] -= LR * (own + run.l2[step] * W)
        for b, own in zip(twin.biases, gradient.biases, strict=True):
            b[...] -= LR * own
