"""Forward and backward through a network in binary64, with a say in how each primitive's result is rounded.

For measuring rounding alone (`fastmlp.gradcheck.rounding`): it need not be fast, and is separate from the backends,
whose bounds are derived with it. Slopes are complex steps of the activations and losses of
`fastmlp.gradcheck.complex_functions`: no derivative of theirs is written down here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.activations import SOFTMAX
from fastmlp.backends.base import Batch, Floats, dense_rows
from fastmlp.gradcheck.complex_functions import ACTIVATIONS, AVERAGED, SHARES, activate, sample_losses
from fastmlp.gradcheck.complex_step import derivative
from fastmlp.parameters import Parameters
from fastmlp.spec import NetworkSpec

Mask = NDArray[np.bool_]
# Takes a primitive's result and the size that its error is relative to; returns it as it might be rounded.
Rounding = Callable[[Floats, Floats], Floats]
# A relative change so small that a function is straight over it, and so large that rounding does not show.
_NUDGE = 2.0**-20
_DRIFT = 0.25  # of `_sum`
# Either side of 0, so near that derivatives there differ by rounding alone unless there is a jump.
_BOTH_SIDES = np.array([1e-30, -1e-30])


def exact(value: Floats, size: Floats) -> Floats:  # noqa: ARG001  a `Rounding` that does nothing
    """Return the value."""
    return value


@dataclass(frozen=True)
class Trace:
    """A forward pass.

    Attributes
    ----------
    Z : list of ndarray of shape (n, fan_out)
        Of every layer.
    A : list of ndarray
        X times the input scale, if any, then the activations of every layer.
    at_Z, at_A : list of ndarray, ndarray
        Where the slopes of the activations, and that of the loss, are taken: Z, and the last A.
    """

    Z: list[Floats]
    A: list[Floats]
    at_Z: list[Floats]  # noqa: N815  Z is the word of the mathematics
    at_A: Floats  # noqa: N815


@dataclass(frozen=True)
class Return:
    """A backward pass.

    Attributes
    ----------
    trace : Trace
        The forward pass before it.
    dA, slopes, deltas : list of ndarray of shape (n, fan_out)
        d loss / d A, f'(Z) and d loss / d Z of every layer; the first two are zeros where the last is made
        without them.
    gradient : Parameters
    """

    trace: Trace
    dA: list[Floats]  # noqa: N815
    slopes: list[Floats]
    deltas: list[Floats]
    gradient: Parameters


class Passes:
    """The passes of one network over one batch.

    Parameters
    ----------
    spec : NetworkSpec
    parameters : Parameters
    batch : Batch
    dtype : str
        Of the arithmetic whose rounding is measured.

    Attributes
    ----------
    jump_sizes : list of float
        By how much the derivative of each layer's activation jumps at 0, then that of the loss.
    """

    def __init__(self, spec: NetworkSpec, parameters: Parameters, batch: Batch, dtype: str) -> None:
        self.spec = spec
        self.dtype = dtype
        self.parameters = Parameters(spec.layer_sizes, parameters.flat.astype(np.float64))
        self.X = batch.X.astype(np.float64)
        self.Y = dense_rows(batch.Y, slice(None), np.empty((len(self.X), spec.n_outputs)))
        self.l2 = batch.l2
        weights = np.ones(len(self.X)) if batch.weights is None else batch.weights
        self._sample_shares = (weights / batch.total)[:, np.newaxis]
        self._output_shares = self._sample_shares / (spec.n_outputs if spec.loss in AVERAGED else 1)
        self.jump_sizes = [_activation_jump(name) for name in spec.all_activations]
        self.jump_sizes.append(0.0 if spec.is_linked else _jump(lambda a: SHARES[spec.loss](a, np.zeros(2))))

    def points(self, trace: Trace) -> list[Floats]:
        """Return what is 0 where a derivative may jump: Z of every layer, then a - y."""
        return [*trace.Z, trace.A[-1] - self.Y]

    def held(self, trace: Trace, base: Trace) -> Trace:
        """Return a pass with the slopes of points that changed sides taken where the base takes them."""
        changed = [
            (jump > 0.0) & (np.sign(noisy) != np.sign(point))
            for noisy, point, jump in zip(self.points(trace), self.points(base), self.jump_sizes, strict=True)
        ]
        *units, outputs = changed
        at_Z = [np.where(mask, theirs, own) for mask, theirs, own in zip(units, base.Z, trace.Z, strict=True)]
        return replace(trace, at_Z=at_Z, at_A=np.where(outputs, base.at_A, trace.at_A))

    # ---- forward

    def forward(self, rounded: Rounding) -> Trace:
        """Return the forward pass."""
        parameters = self.parameters
        Z, A = [], [self._inputs(rounded)]
        for W, b, name in zip(parameters.weights, parameters.biases, self.spec.all_activations, strict=True):
            Z.append(_sum(A[-1] @ W + b, np.abs(A[-1]) @ np.abs(W) + np.abs(b), len(W), rounded))
            value = activate(name, Z[-1].astype(np.complex128)).real
            size = np.abs(value) + (0.0 if name == SOFTMAX else np.abs(Z[-1] * _slope(name, Z[-1])))
            A.append(rounded(value, size))
        return Trace(Z, A, Z, A[-1])

    def _inputs(self, rounded: Rounding) -> Floats:
        """Return what enters the first layer."""
        if self.parameters.input_scale is None:
            return self.X
        inputs = self.X * self.parameters.input_scale
        return rounded(inputs, np.abs(inputs))

    def loss(self, trace: Trace, rounded: Rounding) -> float:
        """Return the loss."""
        losses = sample_losses(self.spec, trace.Z[-1].astype(np.complex128), self.Y).real
        terms = losses * self._sample_shares[:, 0]
        penalty = 0.5 * self.l2 * sum(float(np.vdot(W, W)) for W in self.parameters.weights)
        return float(_sum(terms.sum() + penalty, np.abs(terms).sum() + penalty, terms.size, rounded))

    # ---- backward

    def backward(self, trace: Trace, rounded: Rounding, without_slope: int | None = None) -> Return:
        """Return the backward pass; with `without_slope`, the wrong one that leaves a layer's f'(Z) out."""
        gradient = Parameters(self.spec.layer_sizes, np.empty(self.spec.n_params))
        dA, slope, delta = self._output_delta(trace, rounded, without_slope)
        found = [(dA, slope, delta)]
        self._fill(gradient, self.spec.n_layers - 1, trace, delta, rounded)
        for layer in range(self.spec.n_layers - 2, -1, -1):
            W = self.parameters.weights[layer + 1]
            dA = _sum(delta @ W.T, np.abs(delta) @ np.abs(W.T), W.shape[1], rounded)
            slope = self._rounded_slope(trace, layer, rounded, without_slope)
            delta = rounded(dA * slope, np.abs(dA * slope))
            found.append((dA, slope, delta))
            self._fill(gradient, layer, trace, delta, rounded)
        if gradient.input_scale is not None:
            self._fill_scale(gradient.input_scale, delta, rounded)
        dAs, slopes, deltas = (list(values) for values in zip(*reversed(found), strict=True))
        return Return(trace, dAs, slopes, deltas, gradient)

    def _output_delta(
        self, trace: Trace, rounded: Rounding, without_slope: int | None
    ) -> tuple[Floats, Floats, Floats]:
        """Return d loss / d A, f'(Z) and delta of the last layer."""
        A, none = trace.A[-1], np.zeros_like(trace.A[-1])
        if self.spec.is_linked:
            mass = self.Y.sum(axis=1, keepdims=True) if self.spec.output_activation == SOFTMAX else 1.0
            delta = (A * mass - self.Y) * self._sample_shares
            return none, none, rounded(delta, np.abs(delta))
        dA = derivative(lambda a: SHARES[self.spec.loss](a, self.Y), trace.at_A) * self._output_shares
        dA = rounded(dA, np.abs(dA))
        if self.spec.output_activation == SOFTMAX:
            mean, size = (A * dA).sum(axis=1, keepdims=True), np.abs(A * dA).sum(axis=1, keepdims=True)
            return dA, none, rounded(A * (dA - mean), A * (np.abs(dA) + size))
        slope = self._rounded_slope(trace, self.spec.n_layers - 1, rounded, without_slope)
        return dA, slope, rounded(dA * slope, np.abs(dA * slope))

    def _rounded_slope(self, trace: Trace, layer: int, rounded: Rounding, without_slope: int | None) -> Floats:
        """Return f'(Z). A backend that takes it from A knows it no better than A's absolute error."""
        if layer == without_slope:
            return np.ones_like(trace.Z[layer])
        name, Z, A = self.spec.all_activations[layer], trace.at_Z[layer], trace.A[layer + 1]
        slope = _slope(name, Z)
        bend = (_slope(name, Z * (1.0 + _NUDGE)) - slope) / _NUDGE
        return rounded(slope, np.abs(slope) + np.minimum(np.abs(A), 1.0) + np.abs(bend))

    def _fill(self, gradient: Parameters, layer: int, trace: Trace, delta: Floats, rounded: Rounding) -> None:
        """Write the gradient of a layer's parameters."""
        A, penalty = trace.A[layer], self.l2 * self.parameters.weights[layer]
        size = np.abs(A.T) @ np.abs(delta) + np.abs(penalty)
        gradient.weights[layer][...] = _sum(A.T @ delta + penalty, size, len(delta), rounded)
        total = delta.sum(axis=0)
        size = np.abs(delta).sum(axis=0) + self._lost_in_running_sum(delta, total)
        gradient.biases[layer][...] = _sum(total, size, len(delta), rounded)

    def _fill_scale(self, gradient: Floats, delta: Floats, rounded: Rounding) -> None:
        """Write the gradient of the input scale, from delta of the first layer."""
        W = self.parameters.weights[0]
        terms = self.X * _sum(delta @ W.T, np.abs(delta) @ np.abs(W.T), W.shape[1], rounded)
        total = terms.sum(axis=0)
        size = np.abs(terms).sum(axis=0) + self._lost_in_running_sum(terms, total)
        gradient[...] = _sum(total, size, len(terms), rounded)

    def _lost_in_running_sum(self, delta: Floats, total: Floats) -> Floats:
        """Return the error, in units of roundoff, of ``delta.sum(axis=0)``, which adds row by row.

        Where all addends are alike, as mae's are, it errs the same way at every step.
        """
        running = np.add.accumulate(delta.astype(self.dtype), axis=0)[-1]
        lost: Floats = np.abs(running - total)
        return lost / (float(np.finfo(self.dtype).eps) / 2)

    # ---- jumps

    def jumps(self, back: Return, undecided: list[Mask]) -> Floats:
        """Return the most that each parameter's gradient changes when undecided points change sides.

        Parameters
        ----------
        back : Return
        undecided : list of ndarray of bool
            In the order of `points`.

        Returns
        -------
        ndarray of shape (n_params,)

        Notes
        -----
        `width` is the half-width of an interval, around d loss / d A and then around delta, that holds for
        any combination of sides.
        """
        result = Parameters(self.spec.layer_sizes, np.zeros(self.spec.n_params))
        if not any(mask.any() for mask in undecided):
            return result.flat
        width = undecided[-1] * self._output_shares * self.jump_sizes[-1]
        for layer in range(self.spec.n_layers - 1, -1, -1):
            if self.spec.all_activations[layer] == SOFTMAX:
                A = back.trace.A[-1]
                width = A * (width + (A * width).sum(axis=1, keepdims=True))
            else:
                jump = undecided[layer] * self.jump_sizes[layer]
                width = width * (np.abs(back.slopes[layer]) + jump) + np.abs(back.dA[layer]) * jump
            result.weights[layer][...] = np.abs(back.trace.A[layer].T) @ width
            result.biases[layer][...] = width.sum(axis=0)
            width = width @ np.abs(self.parameters.weights[layer].T)
        if result.input_scale is not None:
            result.input_scale[...] = (np.abs(self.X) * width).sum(axis=0)
        return result.flat


def _sum(total: Floats, terms: Floats, n_terms: int, rounded: Rounding) -> Floats:
    """Return a sum whose terms have absolute values that add up to `terms`.

    A running sum that grows steadily to S is rounded n times, while it is S / sqrt(3) large and by some 0.4 u
    of that (both root mean squares): so the error of a sum whose terms do not cancel grows with sqrt(n).
    """
    return rounded(total, terms + _DRIFT * math.sqrt(n_terms) * np.abs(total))


def _slope(name: str, Z: Floats) -> Floats:
    return derivative(ACTIVATIONS[name], Z)


def _activation_jump(name: str) -> float:
    return 0.0 if name == SOFTMAX else _jump(ACTIVATIONS[name])


def _jump(function: Callable[[Any], Any]) -> float:
    """Return by how much a function's derivative jumps at 0."""
    right, left = derivative(function, _BOTH_SIDES)
    jump = abs(float(right - left))
    return jump if jump > np.finfo(np.float64).eps else 0.0
