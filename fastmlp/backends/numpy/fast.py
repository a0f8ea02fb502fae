"""NumPy arithmetic for speed: BLAS products, ufuncs in the network's own dtype, every result in a given array.

The formulas are those of `fastmlp.losses` and `fastmlp.optimizers`, unrolled into calls of ufuncs with an `out`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from fastmlp.activations import SOFTMAX
from fastmlp.backends.base import Floats, Run
from fastmlp.backends.numpy.activations import ACTIVATE, THROUGH
from fastmlp.backends.numpy.calls import Do, Recording, now, one_call
from fastmlp.backends.numpy.workspace import Kind, Scratch, Views
from fastmlp.losses import HUBER_DELTA, LOSSES
from fastmlp.optimizers import N_COEFFICIENTS, Coefficients
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

# ---- losses: write each output's share of the loss


def _squared_error(do: Do, Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    _mse(do, Z, A, Y, out, scratch)
    do(np.multiply, out, 0.5, out)


def _mse(do: Do, Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(np.subtract, A, Y, out)
    do(np.multiply, out, out, out)


def _mae(do: Do, Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(np.subtract, A, Y, out)
    do(np.absolute, out, out)


def _huber(do: Do, Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    """With d the distance and q = min(d, delta), both branches are q (d - q/2)."""
    inner = scratch.gate
    _mae(do, Z, A, Y, out, scratch)
    do(np.minimum, out, HUBER_DELTA, out=inner)
    do(np.multiply, inner, 0.5, scratch.slope)
    do(np.subtract, out, scratch.slope, out)
    do(np.multiply, out, inner, out)


def _quantile(do: Do, Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(np.subtract, A, Y, out)
    do(np.greater, out, 0.0, scratch.mask)
    do(np.subtract, scratch.mask, scratch.numbers, scratch.slope)
    do(np.multiply, out, scratch.slope, out)


def _cross_entropy(do: Do, Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(np.subtract, scratch.column, Z, out)
    do(np.multiply, out, Y, out)


def _binary_cross_entropy(do: Do, Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(np.logaddexp, Z, 0.0, out)
    do(np.multiply, Z, Y, scratch.gate)
    do(np.subtract, out, scratch.gate, out)


def _poisson(do: Do, Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(out.fill, 0.0)
    do(np.greater, Y, 0.0, scratch.mask)
    do(np.log, A, out, where=scratch.mask)
    do(np.multiply, out, Y, out)
    do(np.subtract, A, out, out)


def _poisson_link(do: Do, Z: Array, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(np.multiply, Z, Y, out)
    do(np.subtract, A, out, out)


Value = Callable[[Do, Array, Array, Array, Array, Scratch], None]
_VALUES: dict[str, Value] = {
    "mse": _mse,
    "squared_error": _squared_error,
    "mae": _mae,
    "huber": _huber,
    "quantile": _quantile,
    "poisson": _poisson,
}
_LINK_VALUES: dict[str, Value] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
    "poisson": _poisson_link,
}

# ---- slopes: write the derivative of that share with respect to A


def _squared_error_slope(do: Do, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(np.subtract, A, Y, out)


def _mse_slope(do: Do, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(np.subtract, A, Y, out)
    do(np.multiply, out, 2.0, out)


def _mae_slope(do: Do, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(np.subtract, A, Y, out)
    do(np.sign, out, out)


def _huber_slope(do: Do, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(np.subtract, A, Y, out)
    do(np.minimum, out, HUBER_DELTA, out=out)
    do(np.maximum, out, -HUBER_DELTA, out=out)


def _quantile_slope(do: Do, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    """With e the error: ((e > 0) - q) times abs(sign(e)), which is 0 where the target is met, and NaN for NaN."""
    _mae_slope(do, A, Y, out, scratch)
    do(np.greater, out, 0.0, scratch.mask)
    do(np.subtract, scratch.mask, scratch.numbers, scratch.slope)
    do(np.absolute, out, out)
    do(np.multiply, out, scratch.slope, out)


def _poisson_slope(do: Do, A: Array, Y: Array, out: Array, scratch: Scratch) -> None:
    do(out.fill, 0.0)
    do(np.greater, Y, 0.0, scratch.mask)
    do(np.divide, Y, A, out, where=scratch.mask)
    do(np.subtract, 1.0, out, out)


_SLOPES: dict[str, Callable[[Do, Array, Array, Array, Scratch], None]] = {
    "mse": _mse_slope,
    "squared_error": _squared_error_slope,
    "mae": _mae_slope,
    "huber": _huber_slope,
    "quantile": _quantile_slope,
    "poisson": _poisson_slope,
}

# ---- rules: one step for all parameters; coefficients are arrays without dimensions

Constants = tuple[Array, ...]


def _momentum(do: Do, w: Array, g: Array, states: tuple[Array, Array], c: Constants, work: Array) -> None:
    rate, momentum, *_ = c
    s = states[0]
    do(np.multiply, g, rate, work)
    do(np.multiply, s, momentum, s)
    do(np.subtract, s, work, s)
    do(np.add, w, s, w)


def _momentum_ahead(do: Do, w: Array, g: Array, states: tuple[Array, Array], c: Constants, work: Array) -> None:
    rate, momentum, velocity, ahead, *_ = c
    s = states[0]
    do(np.multiply, g, rate, work)
    do(np.multiply, s, momentum, s)
    do(np.subtract, s, work, s)
    do(np.multiply, work, ahead, work)
    do(np.subtract, w, work, w)
    do(np.multiply, s, velocity, work)
    do(np.add, w, work, w)


def _adam(do: Do, w: Array, g: Array, states: tuple[Array, Array], c: Constants, work: Array) -> None:
    a, e, keep1, take1, keep2, take2 = c
    s, t = states
    do(np.multiply, s, keep1, s)
    do(np.multiply, g, take1, work)
    do(np.add, s, work, s)
    do(np.multiply, t, keep2, t)
    do(np.multiply, g, g, work)
    do(np.multiply, work, take2, work)
    do(np.add, t, work, t)
    do(np.sqrt, t, work)
    do(np.add, work, e, work)
    do(np.divide, s, work, work)
    do(np.multiply, work, a, work)
    do(np.subtract, w, work, w)


_Form = Callable[[Do, Array, Array, tuple[Array, Array], Constants, Array], None]


def _momentum_form(rows: Array) -> _Form:
    """Return the short form, unless a step is Nesterov's."""
    return _momentum if (rows[:, 2] == 1.0).all() and (rows[:, 3] == 0.0).all() else _momentum_ahead


def _adam_form(rows: Array) -> _Form:
    return _adam


_FORMS: dict[str, Callable[[Array], _Form]] = {"momentum": _momentum_form, "adam": _adam_form}


class FastUpdate:
    """A rule bound to the arrays of a training, recorded, with memory for the coefficients of a step."""

    def __init__(self, run: Run, gradient: Array) -> None:
        flat, (s, t) = run.parameters.flat, run.states
        self._choose = _FORMS[run.rule]
        self._row = np.empty(N_COEFFICIENTS * len(run.groups.factors), flat.dtype)
        constants = tuple(self._row[i : i + 1].reshape(()) for i in range(self._row.size))
        work = np.empty_like(flat)
        self._operands = [
            (flat[part], gradient[part], (s[part], t[part]), constants[N_COEFFICIENTS * group :], work[part])
            for part, group in run.groups.slices(run.parameters)
        ]
        self._recorded: dict[_Form, Recording] = {}

    def begin(self, coefficients: Coefficients) -> None:
        """Take the rows of a run."""
        self._rows = coefficients.astype(self._row.dtype)
        form = self._choose(self._rows.reshape(-1, N_COEFFICIENTS))
        if form not in self._recorded:
            self._recorded[form] = Recording()
            for flat, gradient, states, constants, work in self._operands:
                form(self._recorded[form], flat, gradient, states, constants[:N_COEFFICIENTS], work)
        self._play = self._recorded[form].play

    def __call__(self, step: int) -> None:
        """Do a step."""
        self._row[...] = self._rows[step]
        self._play()


class FastArithmetic:
    """The primitives of a batch, on arrays of the spec's dtype, each a few calls.

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
        self._activations = spec.all_activations

    def affine(self, do: Do, A: Array, W: Array, b: Array, out: Array) -> None:
        """Write A @ W + b."""
        do(A.dot, W, out)
        do(np.add, out, b, out)

    def activate(self, do: Do, layer: int, Z: Array, A: Array, scratch: Scratch) -> None:
        """Write a layer's activation of Z."""
        ACTIVATE[self._activations[layer]](do, Z, A, scratch)

    def multiply_derivative(self, do: Do, layer: int, views: Views, delta: Array) -> None:
        """Multiply delta with the derivative of a layer's activation."""
        THROUGH[self._activations[layer]](do, views.Z[layer], views.A[layer], delta, views.scratch[layer])

    def weight_gradient(self, do: Do, A: Array, delta: Array, out: Array) -> None:
        """Write A.T @ delta."""
        do(A.T.dot, delta, out)

    def bias_gradient(self, do: Do, delta: Array, scratch: Scratch, out: Array) -> None:
        """Write the sum of delta's rows: as a product, whose blocked sums drift less than row after row."""
        do(scratch.ones_rows.dot, delta, out)

    def scale_gradient(self, do: Do, X: Array, slopes: Array, scratch: Scratch, out: Array) -> None:
        """Write the sum of the rows of X * slopes; the slopes are overwritten."""
        do(np.multiply, slopes, X, slopes)
        do(scratch.ones_rows.dot, slopes, out)

    def back(self, do: Do, delta: Array, W: Array, out: Array) -> None:
        """Write delta @ W.T."""
        do(delta.dot, W.T, out)

    def multiply(self, do: Do, A: Array, factors: Array, out: Array) -> None:
        """Write A * factors."""
        do(np.multiply, A, factors, out)

    @one_call
    def add_scaled(self, factor: float, W: Array, out: Array) -> None:
        """Add factor * W to `out`."""
        np.add(out, W * factor, out=out)

    def sample_losses(self, views: Views) -> Floats:
        """Return the loss of each sample."""
        scratch = views.scratch[-1]
        self._value(now, views.Z[-1], views.A[-1], views.Y, scratch.values, scratch)
        losses: Floats = np.add.reduce(scratch.values, axis=1, dtype=np.float64)
        return losses / self._divisor

    def total_loss(self, do: Do, views: Views, kind: Kind) -> Callable[[], float]:
        """Return what gives the weighted sum of the samples' losses."""
        Z, A, Y, scratch = views.Z[-1], views.A[-1], views.Y, views.scratch[-1]
        if kind.one_hot and not kind.weighted:  # the cross-entropy of classes, in two inner products
            logarithms, chosen = partial(scratch.row.dot, scratch.ones_rows), partial(np.vdot, Z, Y)
            return lambda: float(logarithms()) - float(chosen())
        self._value(do, Z, A, Y, scratch.values, scratch)
        do(scratch.values.dot, scratch.ones_outputs, scratch.row)
        total = partial(scratch.row.dot, views.weights if kind.weighted else scratch.ones_rows)
        return lambda: float(total()) / self._divisor

    def output_delta(self, do: Do, views: Views, kind: Kind) -> None:
        """Write d loss / d Z of the last layer."""
        A, Y, out, scratch = views.A[-1], views.Y, views.delta[-1], views.scratch[-1]
        if self._slope is not None:
            self._slope(do, A, Y, out, scratch)
            self.multiply_derivative(do, len(views.Z) - 1, views, out)
        elif self._activations[-1] == SOFTMAX and not kind.one_hot:  # else the rows of Y are known to sum to one
            do(Y.dot, scratch.ones_outputs, scratch.row)
            do(np.multiply, A, scratch.column, out)
            do(np.subtract, out, Y, out)
        else:
            do(np.subtract, A, Y, out)
        if kind.weighted:
            do(np.multiply, views.total, self._divisor, views.scale)
            do(np.divide, views.weights, views.scale, views.shares[:, 0])
            do(np.multiply, out, views.shares, out)
        else:
            views.share[...] = 1.0 / (len(out) * self._divisor)
            do(np.multiply, out, views.share, out)

    def sum_of_squares(self, parameters: Parameters) -> float:
        """Return the sum of all squared weights."""
        return sum(float(np.vdot(W, W)) for W in parameters.weights)
