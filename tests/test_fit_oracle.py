"""A fit does what its definition says: the oracle's gradients, put through the optimizers' formulas, step by step.

The reference is written here from the definitions: order of the samples, batches with a remainder, weights of a
batch's own samples, dropout masks, update rules. It shares with the library only the random generator and the hash
that says which units are dropped.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

import fastmlp
from fastmlp import dropout as masks
from tests import bounds, oracle
from tests.networks import Case

BATCH, EPOCHS = 4, 3

both_modes = pytest.mark.parametrize("strict", [False, True])


# --- update rules: each makes a function of (parameters, gradient) that returns new parameters --------------------

Update = Callable[[np.ndarray, np.ndarray], np.ndarray]
Rate = float | np.ndarray


def sgd(lr: Rate, momentum: float = 0.0, *, nesterov: bool = False) -> Update:
    """Return v = mu v - lr g; w += v, or w += mu v - lr g."""
    v = np.zeros(1)

    def update(w: np.ndarray, g: np.ndarray) -> np.ndarray:
        nonlocal v
        v = momentum * v - lr * g
        return w + (momentum * v - lr * g if nesterov else v)

    return update


def adam(lr: Rate, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Update:
    """Return the algorithm of Kingma and Ba with its corrected moments."""
    m, v, t = np.zeros(1), np.zeros(1), 0

    def update(w: np.ndarray, g: np.ndarray) -> np.ndarray:
        nonlocal m, v, t
        t += 1
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)

    return update


def adamw(lr: Rate, weight_decay: float, is_weight: np.ndarray, eps: float = 1e-8) -> Update:
    """Return Adam after weights, not biases, have shrunk by lr times the decay."""
    inner = adam(lr, eps=eps)
    return lambda w, g: inner(w - lr * weight_decay * w * is_weight, g)


def rmsprop(lr: Rate, rho: float = 0.99, eps: float = 1e-8) -> Update:
    """Return v = rho v + (1 - rho) g^2; w -= lr g / (sqrt(v) + eps)."""
    v = np.zeros(1)

    def update(w: np.ndarray, g: np.ndarray) -> np.ndarray:
        nonlocal v
        v = rho * v + (1 - rho) * g**2
        return w - lr * g / (np.sqrt(v) + eps)

    return update


def weights_of(sizes: tuple[int, ...]) -> np.ndarray:
    """Return 1 for each entry of a flat vector that is a weight, 0 for biases."""
    flat = np.zeros(oracle.Network(sizes, (), "", "").n_params)
    for W, _ in oracle.layers(sizes, flat):
        W[...] = 1.0
    return flat


def trained_through(inner: Update, multipliers: np.ndarray) -> Update:
    """Return the rule for parameters that are multiples of those that are trained."""
    return lambda w, g: multipliers * inner(w / multipliers, multipliers * g)


def by_layer(sizes: tuple[int, ...], weights: tuple[float, ...], biases: tuple[float, ...]) -> np.ndarray:
    """Return a number for each entry of a flat vector: one for each layer's weights and one for its biases."""
    flat = np.zeros(oracle.Network(sizes, (), "", "").n_params)
    for (W, b), of_weights, of_biases in zip(oracle.layers(sizes, flat), weights, biases, strict=True):
        W[...], b[...] = of_weights, of_biases
    return flat


# --- the reference of a fit ---------------------------------------------------------------------------------------


class Fitted(NamedTuple):
    """Parameters after a fit, how far they may be off, and the loss of each epoch."""

    flat: np.ndarray
    allowed: np.ndarray
    losses: list[float]


def epochs_of_batches(n: int, generator: np.random.Generator, w: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield for each epoch its batches: a fresh permutation cut into fours, all-zero batches left out."""
    for _ in range(EPOCHS):
        order = generator.permutation(n)
        cut = [order[start : start + BATCH] for start in range(0, n, BATCH)]
        yield [rows for rows in cut if w[rows].sum() > 0]


def dropout_masks(case: Case, rate: float, seed: int, step: int, n_rows: int) -> list[np.ndarray] | None:
    """Return 0 for a dropped unit, 1/(1 - rate) for one that stays; a row is a position in the batch."""
    if not rate:
        return None
    found = []
    for layer, size in enumerate(case.sizes[1:-1]):
        key = masks.layer_key(seed, step, layer)
        kept = masks.unit_hash(key, np.arange(n_rows)[:, None], np.arange(size)) >= masks.threshold(rate)
        found.append(kept / (1.0 - rate))
    return found


class Plan(NamedTuple):
    """How a network is trained: the rule, how far it lets one gradient reach, dropout, and the sample weights."""

    update: Update
    reach: float
    rate: float
    w: np.ndarray


def fitted(case: Case, plan: Plan, generator: np.random.Generator) -> Fitted:
    """Train by the definitions.

    The reach is how far one gradient moves a parameter, in units of the gradient or, in the adaptive rules, at all.
    So far the parameter may be off, times the error of the gradient: `bounds.GRADIENT` of the largest entry, which
    in the adaptive rules counts in proportion to the parameter's own.
    """
    flat, X, Y, _ = case.data
    update, reach, rate, w = plan
    seed = int(generator.integers(1 << 32)) if rate else 0
    allowed, losses, step = np.zeros(flat.size), [], 0
    for epoch in epochs_of_batches(len(X), generator, w):
        batch_losses, totals = [], []
        for rows in epoch:
            arguments = (X[rows], Y[rows], w[rows], dropout_masks(case, rate, seed, step, len(rows)))
            gradient = oracle.gradient(case.network, flat, *arguments)
            batch_losses.append(float(oracle.loss(case.network, flat, *arguments)))
            totals.append(w[rows].sum())
            flat = update(flat, gradient)
            sizes = np.abs(gradient)
            relative = np.divide(sizes.max(), sizes, where=sizes > 0, out=np.zeros(flat.size))
            allowed = allowed + reach * bounds.GRADIENT * np.maximum(sizes.max(), relative)
            step += 1
        losses.append(float(np.average(batch_losses, weights=totals)))
    return Fitted(flat, allowed, losses)


CASE = Case(
    (4, 6, 9, 3), ("tanh", "gelu"), "softmax", "cross_entropy", l2=0.125, weighted=True, targets="vector", n_samples=11
)

ONES, FACTORS_OF_WEIGHTS, FACTORS_OF_BIASES = (1.0, 1.0, 1.0), (1.0, 2.0, 0.5), (0.1, 1.0, 3.0)
FACTORS = by_layer(CASE.sizes, FACTORS_OF_WEIGHTS, FACTORS_OF_BIASES)
NTK = by_layer(CASE.sizes, tuple(1.0 / np.sqrt(fan_in) for fan_in in CASE.sizes[:-1]), ONES)

RULES = {
    "sgd": (fastmlp.SGD(0.1), lambda: sgd(0.1), 0.1),
    "momentum": (fastmlp.SGD(0.05, momentum=0.9), lambda: sgd(0.05, 0.9), 0.5),
    "nesterov": (fastmlp.SGD(0.05, momentum=0.9, nesterov=True), lambda: sgd(0.05, 0.9, nesterov=True), 0.5),
    "adam": (fastmlp.Adam(0.01), lambda: adam(0.01), 0.01),
    "adamw": (fastmlp.AdamW(0.01, weight_decay=0.1), lambda: adamw(0.01, 0.1, weights_of(CASE.sizes)), 0.01),
    "rmsprop": (fastmlp.RMSprop(0.01), lambda: rmsprop(0.01), 0.1),
    "momentum by layers": (
        fastmlp.PerLayer(fastmlp.SGD(0.05, momentum=0.9), FACTORS_OF_WEIGHTS, FACTORS_OF_BIASES, "ntk"),
        lambda: trained_through(sgd(0.05 * FACTORS, 0.9), NTK),
        1.5,
    ),
    "adamw by layers": (
        fastmlp.PerLayer(fastmlp.AdamW(0.01, weight_decay=0.1, eps=0.01), FACTORS_OF_WEIGHTS, FACTORS_OF_BIASES, "ntk"),
        lambda: trained_through(adamw(0.01 * FACTORS, 0.1, weights_of(CASE.sizes), eps=0.01), NTK),
        0.03,
    ),
    "rmsprop by layers": (
        fastmlp.PerLayer(fastmlp.RMSprop(0.01), 1.0, 0.5, (4.0, 0.25, 1.0)),
        lambda: trained_through(
            rmsprop(0.01 * by_layer(CASE.sizes, (1.0,) * 3, (0.5,) * 3)), by_layer(CASE.sizes, (4.0, 0.25, 1.0), ONES)
        ),
        0.4,
    ),
}
"""The library's optimizer, its definition, and its reach: momentum lets a gradient act 1/(1 - mu) times, and the first
steps of rmsprop are 1/sqrt(1 - rho) rates long."""


SCALED = replace(CASE, input_scale=True)


def with_scale(flat: np.ndarray, value: float) -> np.ndarray:
    """Return the numbers of a flat vector, and a number for each factor of the input scale behind them."""
    return np.append(flat, np.full(CASE.sizes[0], value))


RULES_WITH_SCALE = {
    "momentum": (fastmlp.SGD(0.05, momentum=0.9), lambda: sgd(0.05, 0.9), 0.5),
    "adamw": (
        fastmlp.AdamW(0.01, weight_decay=0.1),
        lambda: adamw(0.01, 0.1, with_scale(weights_of(CASE.sizes), 0.0)),
        0.01,
    ),
    "adamw by layers": (
        fastmlp.PerLayer(
            *(fastmlp.AdamW(0.01, weight_decay=0.1, eps=0.01), FACTORS_OF_WEIGHTS, FACTORS_OF_BIASES, "ntk"),
            input_scale=6.0,
        ),
        lambda: trained_through(
            adamw(0.01 * with_scale(FACTORS, 6.0), 0.1, with_scale(weights_of(CASE.sizes), 0.0), eps=0.01),
            with_scale(NTK, 1.0),
        ),
        0.06,
    ),
}
"""The same for a network with an input scale, which has no decay."""


def complaints(backend: str, optimizer: fastmlp.Optimizer, plan: Plan, *, strict: bool, case: Case = CASE) -> list[str]:
    """Return what differs between a fit of a case and its definition."""
    net = case.build(backend, strict=strict, dropout=plan.rate, seed=1)
    expected = fitted(case, plan, copy.deepcopy(net.generator))
    _, X, Y, _ = case.data
    history = net.fit(X, Y, optimizer=optimizer, epochs=EPOCHS, batch_size=BATCH, sample_weight=plan.w)
    found = []
    if not np.all(np.abs(net.parameters.flat - expected.flat) <= expected.allowed):
        found.append(f"parameters are off by up to {np.max(np.abs(net.parameters.flat - expected.flat)):.3g}")
    if not np.all(np.abs(np.subtract(history.loss, expected.losses)) <= bounds.GRADIENT * np.abs(expected.losses)):
        found.append(f"losses are {history.loss}, expected {expected.losses}")
    return found


@both_modes
@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("name", RULES)
def test_a_fit_follows_its_definition(backend: str, name: str, dropout: float, *, strict: bool) -> None:
    optimizer, rule, reach = RULES[name]
    assert not complaints(backend, optimizer, Plan(rule(), reach, dropout, CASE.data.w), strict=strict)


@both_modes
@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("name", RULES_WITH_SCALE)
def test_a_fit_with_an_input_scale_follows_its_definition(
    backend: str, name: str, dropout: float, *, strict: bool
) -> None:
    optimizer, rule, reach = RULES_WITH_SCALE[name]
    plan = Plan(rule(), reach, dropout, SCALED.data.w)
    assert not complaints(backend, optimizer, plan, strict=strict, case=SCALED)


def test_decay_of_an_input_scale_would_be_seen() -> None:
    optimizer, _, reach = RULES_WITH_SCALE["adamw"]
    decayed = adamw(0.01, 0.1, with_scale(weights_of(CASE.sizes), 1.0))
    assert complaints("numpy", optimizer, Plan(decayed, reach, 0.0, SCALED.data.w), strict=False, case=SCALED)


@both_modes
@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_batch_without_weight_is_no_step(backend: str, name: str, *, strict: bool) -> None:
    """Two samples of eleven have weight, so one of three batches at least has none: no decay of states, no count."""
    optimizer, rule, reach = RULES[name]
    w = np.where(np.isin(np.arange(CASE.n_samples), [3, 8]), 1.5, 0.0)
    assert not complaints(backend, optimizer, Plan(rule(), reach, 0.25, w), strict=strict)


@pytest.mark.parametrize("name", RULES)
def test_another_rule_is_refused(name: str) -> None:
    """The comparison tells each rule from the next one, and from itself with a rate off by 1e-6."""
    _, rule, reach = RULES[name]
    names = list(RULES)
    other = RULES[names[names.index(name) - 1]][0]
    plan = Plan(rule(), reach, 0.0, CASE.data.w)
    assert complaints("numpy", other, plan, strict=False)
    own = faster(RULES[name][0], 1.0 + 1e-6)
    assert complaints("numpy", own, plan._replace(update=rule()), strict=False)


def faster(optimizer: fastmlp.Optimizer, factor: float) -> fastmlp.Optimizer:
    """Return an optimizer with another rate."""
    if isinstance(optimizer, fastmlp.PerLayer):
        return replace(optimizer, optimizer=faster(optimizer.optimizer, factor))
    return replace(optimizer, lr=optimizer.lr * factor)
