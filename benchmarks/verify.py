"""Verify, then time: no figure counts whose result has not passed here.

A result is held against a computation in binary64 that shares nothing with the backends
(`fastmlp.gradcheck.passes`), and may differ from it by 16 sigma, where sigma is what rounding errors do to that
result: measured, as in `fastmlp.gradcheck.rounding`, by rerunning it with noise of their size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from benchmarks.cases import Array, Case
from fastmlp import Adam
from fastmlp.backends import REFERENCE
from fastmlp.backends.base import Floats, empty_states
from fastmlp.data import make_batch
from fastmlp.gradcheck.passes import Passes, Rounding, Trace, exact
from fastmlp.gradcheck.rounding import RERUNS, SIGMAS, GradientNoise, gradient_noise
from fastmlp.network import MLP
from fastmlp.optimizers import RULES, Optimizer
from fastmlp.parameters import Parameters

OPTIMIZER = Adam(lr=1e-3)
EPOCHS = 3
MOST_BATCHES = 2  # of an epoch that is verified
# A sum in binary64 would lose noise of binary64's own size. The answer is linear in noise this small.
_LEAST_NOISE = 2.0**-40


@dataclass(frozen=True)
class Definition:
    """What a training does, in those points in which one may differ from ours and be right.

    Attributes
    ----------
    optimizer : Optimizer
    least_probability : float
        Of a class, in the loss that is told, and 1 less that is the most; the gradient knows of neither.
    """

    optimizer: Optimizer = OPTIMIZER
    least_probability: float = 0.0


OURS = Definition()


class WrongResultError(Exception):
    """A result differs by more than rounding explains."""


def check_predictions(net: MLP, X: Array, Y: Array) -> None:
    """Hold ``net.predict(X)`` against the outputs in binary64.

    Raises
    ------
    WrongResultError
        If an output is further off than 16 sigma.
    """
    check_outputs(net, X, Y, net.predict(X), f"predictions of {net}")


def check_outputs(net: MLP, X: Array, Y: Array, outputs: Array, what: str) -> None:
    """Hold anybody's outputs of a network against those in binary64.

    Raises
    ------
    WrongResultError
        If one is further off than 16 sigma.
    """
    passes = Passes(net.spec, net.parameters, make_batch(net.spec, X, Y), net.spec.dtype)
    expected = passes.forward(exact).A[-1]
    reruns = [passes.forward(rounded).A[-1] for rounded in _noises(net.spec.dtype)]
    sigma = _sigma(reruns, expected, net.spec.dtype).max()
    _compare(what, outputs, expected, np.full(expected.shape, sigma * SIGMAS))


def check_gradient(net: MLP, X: Array, Y: Array) -> None:
    """Hold ``net.loss_and_gradient(X, Y)`` against loss and gradient in binary64.

    Raises
    ------
    WrongResultError
        If the loss, or a parameter's gradient, is further off than its bound.
    """
    loss, gradient = net.loss_and_gradient(X, Y)
    check_loss_and_gradient(gradient_noise(net, X, Y), loss, gradient.flat, str(net))


def check_loss_and_gradient(noise: GradientNoise, loss: float, gradient: Array, of: str) -> None:
    """Hold anybody's loss and gradient against those in binary64.

    Parameters
    ----------
    noise : GradientNoise
        Of the network and the batch.
    loss : float
    gradient : ndarray of shape (n_params,)
        In the order of `fastmlp.parameters.Parameters`.
    of : str
        Whose they are.

    Raises
    ------
    WrongResultError
        If the loss, or a parameter's gradient, is further off than its bound.
    """
    _compare(f"loss of {of}", np.array(loss), np.array(noise.loss), np.array(noise.loss_sigma * SIGMAS))
    _compare(f"gradient of {of}", gradient, noise.gradient.flat, noise.bound)


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


def check_losses(case: Case, losses: Sequence[float], what: str, definition: Definition = OURS) -> None:
    """Hold the losses of `EPOCHS` epochs of the unshuffled `training_data` against those in binary64.

    Raises
    ------
    WrongResultError
        If one is further off than 16 sigma.
    """
    expected, sigma = _reference_losses(case, definition)
    _compare(what, np.array(losses), expected, sigma * SIGMAS)


def training_data(case: Case) -> tuple[Array, Array]:
    """Return the rows on which training is verified: the first batches."""
    X, Y = case.data()
    n_rows = min(MOST_BATCHES, case.n_batches) * case.batch_size
    return X[:n_rows], Y[:n_rows]


# ---- the reference


@lru_cache(maxsize=2)
def _reference_losses(case: Case, definition: Definition) -> tuple[Array, Array]:
    """Return the mean loss of each epoch, and its sigma."""
    losses = _train(case, definition, exact)
    reruns = [_train(case, definition, rounded) for rounded in _noises(case.dtype)]
    return losses, _sigma(reruns, losses, case.dtype)


def _train(case: Case, definition: Definition, rounded: Rounding) -> Array:
    """Return the mean loss of each epoch of a training by definition: passes, and the optimizer's rule."""
    net, optimizer = case.network(REFERENCE), definition.optimizer
    rule, flat = RULES[optimizer.rule], net.parameters.flat.astype(np.float64)
    s, t = (state.astype(np.float64) for state in empty_states(net.spec, optimizer.rule))
    X, Y = training_data(case)
    starts = np.tile(np.arange(0, len(X), case.batch_size), EPOCHS)
    rows, _ = optimizer.coefficients(optimizer.rates(0, starts.size), (1.0, 1.0))
    losses = np.empty(starts.size)
    for step, (start, c) in enumerate(zip(starts, rows, strict=True)):
        batch = make_batch(net.spec, X[start : start + case.batch_size], Y[start : start + case.batch_size])
        passes = Passes(net.spec, Parameters(case.layer_sizes, flat), batch, case.dtype)
        trace = passes.forward(rounded)
        losses[step] = _told_loss(passes, trace, rounded, definition.least_probability)
        g = passes.backward(trace, rounded).gradient.flat
        s, t = (rounded(state, np.abs(state)) for state in rule.states(g, s, t, c))
        flat = rule.parameter(flat, g, s, t, c)
        flat = rounded(flat, np.abs(flat))
    means: Array = losses.reshape(EPOCHS, -1).mean(axis=1)
    return means


def _told_loss(passes: Passes, trace: Trace, rounded: Rounding, least_probability: float) -> float:
    """Return the loss of a pass, or what comes out of it with probabilities kept away from 0 and 1."""
    if not least_probability:
        return passes.loss(trace, rounded)
    logs = np.log(np.clip(trace.A[-1], least_probability, 1.0 - least_probability))
    return float(-(passes.Y * logs).sum(axis=1).mean())


def _noises(dtype: str) -> Iterator[Rounding]:
    """Yield a `Rounding` for each rerun."""
    for seed in range(RERUNS):
        yield _noise(max(float(np.finfo(dtype).eps) / 2, _LEAST_NOISE), np.random.default_rng(seed))


def _noise(unit: float, generator: np.random.Generator) -> Rounding:
    """Return a `Rounding` that adds Gaussian noise of the size of rounding errors."""

    def rounded(value: Floats, size: Floats) -> Floats:
        return value + unit * size * generator.standard_normal(np.shape(value))

    return rounded


def _sigma(reruns: Sequence[Array], expected: Array, dtype: str) -> Array:
    """Return the root mean square, over the reruns, of the changes that rounding in `dtype` makes."""
    unit = float(np.finfo(dtype).eps) / 2
    result: Array = np.sqrt(np.mean(np.square(np.array(reruns) - expected), axis=0))
    return result * (unit / max(unit, _LEAST_NOISE))


def _compare(what: str, value: Array, expected: Array, bound: Array) -> None:
    """Raise unless every value is within its bound; NaN is not."""
    if value.shape != expected.shape:
        msg = f"{what}: shape {value.shape}, expected {expected.shape}"
        raise WrongResultError(msg)
    differences = np.abs(value - expected)
    wrong = ~(differences <= bound)
    if wrong.any():
        i = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        msg = (
            f"{what}: entry {tuple(map(int, i))} is {value[i]:.9g}, expected {expected[i]:.9g}; "
            f"they differ by {differences[i]:.2g}, but rounding explains {bound[i]:.2g}"
        )
        raise WrongResultError(msg)
