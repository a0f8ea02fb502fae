"""Verify, then time: no figure counts whose result has not passed here.

A result is held against a computation in binary64 that shares nothing with the backends
(`fastmlp.gradcheck.passes`), and may differ from it by 16 sigma, where sigma is what rounding errors do to that
result: measured, as in `fastmlp.gradcheck.rounding`, by rerunning it with noise of their size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from benchmarks.cases import Array, Case
from fastmlp import Adam
from fastmlp.backends import REFERENCE
from fastmlp.backends.base import Floats, empty_states
from fastmlp.data import make_batch
from fastmlp.gradcheck.passes import Passes, Rounding, exact
from fastmlp.gradcheck.rounding import RERUNS, SIGMAS, gradient_noise
from fastmlp.network import MLP
from fastmlp.optimizers import RULES
from fastmlp.parameters import Parameters

OPTIMIZER = Adam(lr=1e-3)
EPOCHS = 3
MOST_BATCHES = 2  # of an epoch that is verified


class WrongResultError(Exception):
    """A result differs by more than rounding explains."""


def check_predictions(net: MLP, X: Array, Y: Array) -> None:
    """Hold ``net.predict(X)`` against the outputs in binary64.

    Raises
    ------
    WrongResultError
        If an output is further off than 16 sigma.
    """
    passes = Passes(net.spec, net.parameters, make_batch(net.spec, X, Y), net.spec.dtype)
    outputs = passes.forward(exact).A[-1]
    reruns = [passes.forward(rounded).A[-1] for rounded in _noises(net.spec.dtype)]
    sigma = _root_mean_square(np.array(reruns) - outputs).max()
    _compare(f"predictions of {net}", net.predict(X), outputs, np.full(outputs.shape, sigma * SIGMAS))


def check_gradient(net: MLP, X: Array, Y: Array) -> None:
    """Hold ``net.loss_and_gradient(X, Y)`` against loss and gradient in binary64.

    Raises
    ------
    WrongResultError
        If the loss, or a parameter's gradient, is further off than its bound.
    """
    noise = gradient_noise(net, X, Y)
    loss, gradient = net.loss_and_gradient(X, Y)
    _compare(f"loss of {net}", np.array(loss), np.array(noise.loss), np.array(noise.loss_sigma * SIGMAS))
    _compare(f"gradient of {net}", gradient.flat, noise.gradient.flat, noise.bound)


def check_training(case: Case, net: MLP) -> None:
    """Train a network as a benchmark does, on the first batches; hold its losses against those in binary64.

    Its parameters go back to where they were.

    Raises
    ------
    WrongResultError
        If the loss of an epoch is further off than 16 sigma.
    """
    X, Y = training_data(case)
    start = net.parameters.flat.copy()
    history = net.fit(X, Y, optimizer=OPTIMIZER, epochs=EPOCHS, batch_size=case.batch_size, shuffle=False)
    net.parameters.flat[...] = start
    check_losses(case, history.loss, f"training of {net}")


def check_losses(case: Case, losses: Sequence[float], what: str) -> None:
    """Hold the losses of `EPOCHS` epochs of the unshuffled `training_data` against those in binary64.

    Raises
    ------
    WrongResultError
        If one is further off than 16 sigma.
    """
    expected, sigma = _reference_losses(case)
    _compare(what, np.array(losses), expected, sigma * SIGMAS)


def training_data(case: Case) -> tuple[Array, Array]:
    """Return the rows on which training is verified: the first batches."""
    X, Y = case.data()
    n_rows = min(MOST_BATCHES, case.n_batches) * case.batch_size
    return X[:n_rows], Y[:n_rows]


# ---- the reference


@lru_cache(maxsize=2)
def _reference_losses(case: Case) -> tuple[Array, Array]:
    """Return the mean loss of each epoch, and its sigma."""
    losses = _train(case, exact)
    reruns = [_train(case, rounded) for rounded in _noises(case.dtype)]
    return losses, _root_mean_square(np.array(reruns) - losses)


def _train(case: Case, rounded: Rounding) -> Array:
    """Return the mean loss of each epoch of a training by definition: passes, and the optimizer's rule."""
    net = case.network(REFERENCE)
    rule, flat = RULES[OPTIMIZER.rule], net.parameters.flat.astype(np.float64)
    s, t = (state.astype(np.float64) for state in empty_states(net.spec, OPTIMIZER.rule))
    X, Y = training_data(case)
    starts = np.tile(np.arange(0, len(X), case.batch_size), EPOCHS)
    rows, _ = OPTIMIZER.coefficients(OPTIMIZER.rates(0, starts.size), (1.0, 1.0))
    losses = np.empty(starts.size)
    for step, (start, c) in enumerate(zip(starts, rows, strict=True)):
        batch = make_batch(net.spec, X[start : start + case.batch_size], Y[start : start + case.batch_size])
        passes = Passes(net.spec, Parameters(case.layer_sizes, flat), batch, case.dtype)
        trace = passes.forward(rounded)
        losses[step] = passes.loss(trace, rounded)
        g = passes.backward(trace, rounded).gradient.flat
        s, t = (rounded(state, np.abs(state)) for state in rule.states(g, s, t, c))
        flat = rule.parameter(flat, g, s, t, c)
        flat = rounded(flat, np.abs(flat))
    means: Array = losses.reshape(EPOCHS, -1).mean(axis=1)
    return means


def _noises(dtype: str) -> Iterator[Rounding]:
    """Yield a `Rounding` for each rerun."""
    for seed in range(RERUNS):
        yield _noise(float(np.finfo(dtype).eps) / 2, np.random.default_rng(seed))


def _noise(unit: float, generator: np.random.Generator) -> Rounding:
    """Return a `Rounding` that adds Gaussian noise of the size of rounding errors."""

    def rounded(value: Floats, size: Floats) -> Floats:
        return value + unit * size * generator.standard_normal(np.shape(value))

    return rounded


def _root_mean_square(changes: Array) -> Array:
    """Return the root mean square over the reruns, the first axis."""
    result: Array = np.sqrt(np.mean(np.square(changes), axis=0))
    return result


def _compare(what: str, value: Array, expected: Array, bound: Array) -> None:
    """Raise unless every value is within its bound; NaN is not."""
    differences = np.abs(value - expected)
    wrong = ~(differences <= bound)
    if wrong.any():
        i = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        msg = (
            f"{what}: entry {tuple(map(int, i))} is {value[i]:.9g}, expected {expected[i]:.9g}; "
            f"they differ by {differences[i]:.2g}, but rounding explains {bound[i]:.2g}"
        )
        raise WrongResultError(msg)
