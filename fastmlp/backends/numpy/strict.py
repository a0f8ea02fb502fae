"""NumPy arithmetic that gives the same bits everywhere (`fastmlp.backends.base`): binary64, one order, no BLAS."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastmlp.activations import ACTIVATIONS, SOFTMAX
from fastmlp.backends.base import Floats, Run, sum_in_order, sum_of_squares
from fastmlp.backends.numpy.calls import Do, one_call
from fastmlp.backends.numpy.workspace import Kind, Scratch, Views
from fastmlp.elementary import exp, log
from fastmlp.losses import LOSSES
from fastmlp.optimizers import N_COEFFICIENTS, RULES, Coefficients
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec


def _product(A: Array, B: Array) -> Floats:
    """Return A @ B, each sum in ascending index: a loop over it, over whole matrices.

    Matmul, einsum and reductions add in an order that depends on shape, memory order, processor and threads.
    """
    left, right = A.astype(np.float64), B.astype(np.float64)
    total, term = np.zeros((len(left), right.shape[1])), np.empty((len(left), right.shape[1]))
    for k in range(left.shape[1]):
        np.multiply(left[:, k, None], right[k], out=term)
        np.add(total, term, out=total)
    return total


def _row_sums(M: Floats) -> Floats:
    """Return the sum of each row as a column, added in ascending index from +0.0."""
    return 0.0 + np.add.accumulate(M, axis=1)[:, -1:]


class StrictUpdate:
    """A rule bound to the arrays of a training."""

    def __init__(self, run: Run, gradient: Array) -> None:
        self._rule, self._states = RULES[run.rule], run.states
        self._flat, self._gradient = run.parameters.flat, gradient
        self._parts = run.groups.slices(run.parameters)

    def begin(self, coefficients: Coefficients) -> None:
        """Take the rows of a run."""
        self._rows = coefficients.tolist()

    def __call__(self, step: int) -> None:
        """Do a step."""
        for part, group in self._parts:
            first = N_COEFFICIENTS * group
            self._apply_rule(part, self._rows[step][first : first + N_COEFFICIENTS])

    def _apply_rule(self, part: slice, c: list[float]) -> None:
        states, flat = [state[part] for state in self._states], self._flat[part]
        g = self._gradient[part].astype(np.float64)
        s, t = (state.astype(np.float64) for state in states)
        for state, values in zip(states, self._rule.states(g, s, t, c), strict=True):
            state[...] = values
        s, t = (state.astype(np.float64) for state in states)
        flat[...] = self._rule.parameter(flat.astype(np.float64), g, s, t, c)


class StrictArithmetic:
    """The primitives of a batch, on arrays of the spec's dtype, computed in binary64 and rounded on the way out."""

    updater = StrictUpdate

    def __init__(self, spec: NetworkSpec) -> None:
        self._loss = LOSSES[spec.loss]
        self._activations, self._output = spec.all_activations, spec.output_activation
        self._is_linked, self._numbers = spec.is_linked, np.array(spec.loss_numbers)

    @one_call
    def affine(self, A: Array, W: Array, b: Array, out: Array) -> None:
        """Write A @ W + b."""
        out[...] = _product(A, W) + b

    @one_call
    def weight_gradient(self, A: Array, delta: Array, out: Array) -> None:
        """Write A.T @ delta."""
        out[...] = _product(A.T, delta)

    @one_call
    def bias_gradient(self, delta: Array, scratch: Scratch, out: Array) -> None:
        """Write the sum of delta's rows."""
        out[...] = 0.0 + np.add.accumulate(delta, axis=0, dtype=np.float64)[-1]

    @one_call
    def scale_gradient(self, X: Array, slopes: Array, scratch: Scratch, out: Array) -> None:
        """Write the sum of the rows of X * slopes."""
        out[...] = 0.0 + np.add.accumulate(X.astype(np.float64) * slopes, axis=0)[-1]

    @one_call
    def back(self, delta: Array, W: Array, out: Array) -> None:
        """Write delta @ W.T."""
        out[...] = _product(delta, W.T)

    @one_call
    def multiply(self, A: Array, factors: Array, out: Array) -> None:
        """Write A * factors."""
        out[...] = A.astype(np.float64) * factors

    @one_call
    def add_scaled(self, factor: float, W: Array, out: Array) -> None:
        """Add factor * W to `out`."""
        out[...] = out + factor * W.astype(np.float64)

    @one_call
    def activate(self, layer: int, Z: Array, out: Array, scratch: Scratch) -> None:
        """Write a layer's activation of Z."""
        name, z = self._activations[layer], Z.astype(np.float64)
        if name == SOFTMAX:
            powers = exp(z - np.max(z, axis=1, keepdims=True))
            out[...] = powers / _row_sums(powers)
        else:
            out[...] = ACTIVATIONS[name].forward(z)

    @one_call
    def multiply_derivative(self, layer: int, views: Views, delta: Array) -> None:
        """Multiply delta with the derivative of a layer's activation."""
        z, a = (M[layer].astype(np.float64) for M in (views.Z, views.A))
        delta[...] = delta * ACTIVATIONS[self._activations[layer]].derivative(z, a) + 0.0

    def sample_losses(self, views: Views) -> Floats:
        """Return the loss of each sample."""
        z, a, y = (M.astype(np.float64) for M in (views.Z[-1], views.A[-1], views.Y))
        if self._output == SOFTMAX:
            shifted = z - np.max(z, axis=1, keepdims=True)
            z = shifted - log(_row_sums(exp(shifted)))
        losses = _row_sums(self._loss.value_with(self._output)(z, a, y, self._numbers))[:, 0]
        return losses / y.shape[1] if self._loss.averaged else losses

    def total_loss(self, do: Do, views: Views, kind: Kind) -> Callable[[], float]:
        """Return what gives the weighted sum of the samples' losses."""
        return partial(self._total_loss, views, kind)

    def _total_loss(self, views: Views, kind: Kind) -> float:
        losses = self.sample_losses(views)
        return sum_in_order(losses * views.weights if kind.weighted else losses)

    @one_call
    def output_delta(self, views: Views, kind: Kind) -> None:
        """Write d loss / d Z of the last layer."""
        z, a, y = (M.astype(np.float64) for M in (views.Z[-1], views.A[-1], views.Y))
        shares: Any = (views.weights / views.total)[:, None] if kind.weighted else 1.0 / len(y)
        if self._loss.averaged:
            shares = shares / y.shape[1]
        views.delta[-1][...] = shares * (self._linked_slopes(a, y) if self._is_linked else self._slopes(z, a, y))

    def _linked_slopes(self, a: Floats, y: Floats) -> Floats:
        return a * _row_sums(y) - y if self._output == SOFTMAX else a - y

    def _slopes(self, z: Floats, a: Floats, y: Floats) -> Floats:
        slopes: Floats = self._loss.slope(a, y, self._numbers)
        if self._output == SOFTMAX:
            return a * (slopes - _row_sums(a * slopes))
        derivatives: Floats = ACTIVATIONS[self._output].derivative(z, a)
        return slopes * derivatives

    def sum_of_squares(self, parameters: Parameters) -> float:
        """Return the sum of all squared weights, in ascending order."""
        return sum_of_squares(parameters)
