"""NumPy arithmetic for speed: BLAS products, ufuncs in the network's own dtype, every result in a given array.

The formulas are those of `fastmlp.losses` and `fastmlp.optimizers`, unrolled into ufuncs with ``out=``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastmlp.activations import SOFTMAX
from fastmlp.backends.base import Batch, Floats, Run
from fastmlp.backends.numpy.activations import ACTIVATE, THROUGH
from fastmlp.backends.numpy.workspace import Scratch
from fastmlp.losses import HUBER_DELTA, LOSSES
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

# ---- losses: write each output's share of the loss


def _squared_error(Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    _mse(Z, A, Y, out, scratch)
    np.multiply(out, 0.5, out=out)


def _mse(Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    np.subtract(A, Y, out=out)
    np.multiply(out, out, out=out)


def _mae(Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    np.subtract(A, Y, out=out)
    np.absolute(out, out=out)


def _huber(Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    """With d the distance and q = min(d, delta), both branches are q (d - q/2)."""
    inner = scratch.gate
    _mae(Z, A, Y, out, scratch)
    np.minimum(out, HUBER_DELTA, out=inner)
    np.multiply(inner, 0.5, out=scratch.slope)
    np.subtract(out, scratch.slope, out=out)
    np.multiply(out, inner, out=out)


def _cross_entropy(Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    np.subtract(scratch.column, Z, out=out)
    np.multiply(out, Y, out=out)


def _binary_cross_entropy(Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    np.logaddexp(Z, 0.0, out=out)
    np.multiply(Z, Y, out=scratch.gate)
    np.subtract(out, scratch.gate, out=out)


def _poisson(Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    out.fill(0.0)
    np.log(A, out=out, where=np.greater(Y, 0.0, out=scratch.mask))
    np.multiply(out, Y, out=out)
    np.subtract(A, out, out=out)


def _poisson_link(Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    np.multiply(Z, Y, out=out)
    np.subtract(A, out, out=out)


Value = Callable[[Array, Array, Array, Array, Scratch], None]
_VALUES: dict[str, Value] = {
    "mse": _mse,
    "squared_error": _squared_error,
    "mae": _mae,
    "huber": _huber,
    "poisson": _poisson,
}
_LINK_VALUES: dict[str, Value] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
    "poisson": _poisson_link,
}

# ---- slopes: write the derivative of that share with respect to A


def _squared_error_slope(A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    np.subtract(A, Y, out=out)


def _mse_slope(A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    np.subtract(A, Y, out=out)
    np.multiply(out, 2.0, out=out)


def _mae_slope(A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    np.subtract(A, Y, out=out)
    np.sign(out, out=out)


def _huber_slope(A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    np.subtract(A, Y, out=out)
    np.minimum(out, HUBER_DELTA, out=out)
    np.maximum(out, -HUBER_DELTA, out=out)


def _poisson_slope(A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    out.fill(0.0)
    np.divide(Y, A, out=out, where=np.greater(Y, 0.0, out=scratch.mask))
    np.subtract(1.0, out, out=out)


_SLOPES: dict[str, Callable[[Array, Array, Array, Scratch], None]] = {
    "mse": _mse_slope,
    "squared_error": _squared_error_slope,
    "mae": _mae_slope,
    "huber": _huber_slope,
    "poisson": _poisson_slope,
}

# ---- rules: one step for all parameters; coefficients are arrays without dimensions

Constants = tuple[Array, ...]


def _momentum(w: Array, g: Array, states: tuple[Array, Array], c: Constants, work: Array) -> None:
    rate, momentum, velocity, ahead, *_ = c
    s = states[0]
    np.multiply(g, rate, out=work)
    np.multiply(s, momentum, out=s)
    np.subtract(s, work, out=s)
    if ahead == 0.0 and velocity == 1.0:  # all but Nesterov's
        np.add(w, s, out=w)
        return
    np.multiply(work, ahead, out=work)
    np.subtract(w, work, out=w)
    np.multiply(s, velocity, out=work)
    np.add(w, work, out=w)


def _adam(w: Array, g: Array, states: tuple[Array, Array], c: Constants, work: Array) -> None:
    a, e, keep1, take1, keep2, take2 = c
    s, t = states
    np.multiply(s, keep1, out=s)
    np.multiply(g, take1, out=work)
    np.add(s, work, out=s)
    np.multiply(t, keep2, out=t)
    np.multiply(g, g, out=work)
    np.multiply(work, take2, out=work)
    np.add(t, work, out=t)
    np.sqrt(t, out=work)
    np.add(work, e, out=work)
    np.divide(s, work, out=work)
    np.multiply(work, a, out=work)
    np.subtract(w, work, out=w)


_RULES = {"momentum": _momentum, "adam": _adam}


class FastUpdate:
    """A run's rule, bound to its parameters and to memory for a row of coefficients."""

    def __init__(self, run: Run) -> None:
        self._rule = _RULES[run.rule]
        self._rows = run.coefficients.astype(run.parameters.flat.dtype)
        self._row = np.empty_like(self._rows, shape=self._rows.shape[1])
        constants = tuple(self._row[i : i + 1].reshape(()) for i in range(self._row.size))
        work = np.empty_like(run.parameters.flat)
        self._operands = (run.parameters.flat, run.gradient.flat, run.states, constants, work)

    def __call__(self, step: int) -> None:
        """Do a step."""
        self._row[...] = self._rows[step]
        self._rule(*self._operands)


class FastArithmetic:
    """The primitives of a batch, on arrays of the spec's dtype.

    Products are the method `dot`, which spends a microsecond less than the function `matmul` on finding out
    what it was given.
    """

    updater = FastUpdate

    def __init__(self, spec: NetworkSpec) -> None:
        row = LOSSES[spec.loss]
        self._divisor = spec.n_outputs if row.averaged else 1
        self._is_linked = row.link == spec.output_activation
        self._value = (_LINK_VALUES if self._is_linked else _VALUES)[spec.loss]
        self._slope = None if self._is_linked else _SLOPES[spec.loss]
        self._output = spec.output_activation
        self.activate = [ACTIVATE[name] for name in spec.all_activations]
        self.multiply_derivative = [THROUGH[name] for name in spec.all_activations]

    def affine(self, A: Array, W: Array, b: Array, out: Array) -> None:
        """Write A @ W + b."""
        A.dot(W, out=out)
        np.add(out, b, out=out)

    def weight_gradient(self, A: Array, delta: Array, out: Array) -> None:
        """Write A.T @ delta."""
        A.T.dot(delta, out=out)

    def bias_gradient(self, delta: Array, scratch: Scratch, out: Array) -> None:
        """Write the sum of delta's rows: as a product, whose blocked sums drift less than row after row."""
        scratch.ones_rows.dot(delta, out=out)

    def back(self, delta: Array, W: Array, out: Array) -> None:
        """Write delta @ W.T."""
        delta.dot(W.T, out=out)

    def multiply(self, A: Array, factors: Array, out: Array) -> None:
        """Write A * factors."""
        np.multiply(A, factors, out=out)

    def add_scaled(self, factor: float, W: Array, out: Array) -> None:
        """Add factor * W to `out`."""
        np.add(out, W * factor, out=out)

    def sample_losses(self, Z: Array, A: Array, Y: Array, scratch: Scratch) -> Floats:
        """Return the loss of each sample."""
        self._value(Z, A, Y, scratch.values, scratch)
        losses: Floats = np.add.reduce(scratch.values, axis=1, dtype=np.float64)
        return losses / self._divisor

    def total_loss(
        self, Z: Array, A: Array, Y: Array, weights: Floats | None, scratch: Scratch, *, one_hot: bool
    ) -> float:
        """Return the weighted sum of the samples' losses."""
        if one_hot and weights is None:  # the cross-entropy of classes, in two inner products
            return float(scratch.row.dot(scratch.ones_rows)) - float(np.vdot(Z, Y))
        self._value(Z, A, Y, scratch.values, scratch)
        scratch.values.dot(scratch.ones_outputs, out=scratch.row)
        total = scratch.row.dot(scratch.ones_rows if weights is None else weights)
        return float(total) / self._divisor

    def output_delta(
        self, Z: Array, A: Array, Y: Array, batch: Batch, out: Array, scratch: Scratch, *, one_hot: bool
    ) -> None:
        """Write d loss / d Z of the last layer; `one_hot` says that the rows of Y are known to sum to one."""
        if self._slope is not None:
            self._slope(A, Y, out, scratch)
            THROUGH[self._output](Z, A, out, scratch)
        elif self._output == SOFTMAX and not one_hot:
            Y.dot(scratch.ones_outputs, out=scratch.row)
            np.multiply(A, scratch.column, out=out)
            np.subtract(out, Y, out=out)
        else:
            np.subtract(A, Y, out=out)
        scale = batch.total * self._divisor
        if batch.weights is None:
            scratch.share[...] = 1.0 / scale
            np.multiply(out, scratch.share, out=out)
        else:
            np.multiply(out, (batch.weights / scale)[:, None], out=out)

    def sum_of_squares(self, parameters: Parameters) -> float:
        """Return the sum of all squared weights."""
        return sum(float(np.vdot(W, W)) for W in parameters.weights)
