"""The activations as calls of ufuncs, each of which writes to a given array and allocates nothing.

The formulas are those of `fastmlp.activations`, in the network's own dtype. Here too NaN goes through.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastmlp.activations import (
    GELU_CUBIC,
    GELU_REACH,
    GELU_SCALE,
    LEAKY_SLOPE,
    MISH_REACH,
    SELU_ALPHA,
    SELU_SCALE,
    SOFTMAX,
)
from fastmlp.backends.numpy.calls import Do
from fastmlp.backends.numpy.workspace import Scratch
from fastmlp.parameters import Array

# ---- activations: write f(Z) to A


def _identity(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    do(np.copyto, A, Z)


def _sigmoid(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    do(np.negative, Z, A)
    do(np.exp, A, A)  # may overflow to infinity, whose reciprocal is the right 0
    do(np.add, A, scratch.one, A)
    do(np.reciprocal, A, A)


def _tanh(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    do(np.tanh, Z, A)


def _relu(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    do(np.maximum, Z, scratch.zero, out=A)  # keeps NaN


def _leaky_relu(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    do(np.multiply, Z, LEAKY_SLOPE, A)
    do(np.maximum, Z, A, out=A)


def _elu(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    do(np.minimum, Z, 0.0, out=A)
    do(np.expm1, A, A)
    do(np.greater, Z, 0.0, scratch.mask)
    do(np.copyto, A, Z, where=scratch.mask)


def _selu(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    do(np.minimum, Z, 0.0, out=A)
    do(np.expm1, A, A)
    do(np.multiply, A, SELU_ALPHA, A)
    do(np.greater, Z, 0.0, scratch.mask)
    do(np.copyto, A, Z, where=scratch.mask)
    do(np.multiply, A, SELU_SCALE, A)


def _softplus(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    do(np.logaddexp, Z, 0.0, A)


def _gelu_argument(do: Do, Z: Array, argument: Array, near: Array) -> None:
    """Write 2u to `argument`, and Z brought within gelu's reach to `near`."""
    do(np.minimum, Z, GELU_REACH, out=near)
    do(np.maximum, near, -GELU_REACH, out=near)
    do(np.multiply, near, near, argument)
    do(np.multiply, argument, GELU_SCALE * GELU_CUBIC, argument)
    do(np.add, argument, GELU_SCALE, argument)
    do(np.multiply, argument, near, argument)


def _gelu(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    _gelu_argument(do, Z, scratch.gate, scratch.values)
    _sigmoid(do, scratch.gate, A, scratch)
    do(np.multiply, A, Z, A)


def _silu(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    _sigmoid(do, Z, A, scratch)
    do(np.multiply, A, Z, A)


def _mish_powers(do: Do, Z: Array, e: Array, n: Array) -> None:
    """Write e**Z to `e` and e (e + 2) to `n`; Z is brought within mish's reach first."""
    do(np.minimum, Z, MISH_REACH, out=e)
    do(np.exp, e, e)
    do(np.add, e, 2.0, n)
    do(np.multiply, n, e, n)


def _mish(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    _mish_powers(do, Z, scratch.gate, scratch.values)
    do(np.add, scratch.values, 2.0, scratch.gate)
    do(np.divide, scratch.values, scratch.gate, scratch.gate)
    do(np.multiply, scratch.gate, Z, A)


def _exp(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    do(np.exp, Z, A)


def _softmax(do: Do, Z: Array, A: Array, scratch: Scratch) -> None:
    """Write softmax to A. The loss wants its logarithm: that is Z, as left here, less the column."""
    column = scratch.column
    do(np.maximum.reduce, Z, 1, None, scratch.row)
    do(np.subtract, Z, column, Z)
    do(np.exp, Z, A)
    do(A.dot, scratch.ones_outputs, scratch.row)
    do(np.divide, A, column, A)
    do(np.log, column, column)


ACTIVATE: dict[str, Callable[[Do, Array, Array, Scratch], None]] = {
    "identity": _identity,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "softplus": _softplus,
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "exp": _exp,
    SOFTMAX: _softmax,
}

# ---- derivatives: multiply delta with f', from Z and A


def _through_identity(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    """Multiply with 1: there is nothing to do."""


def _through_sigmoid(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    do(np.subtract, scratch.one, A, scratch.values)
    do(np.multiply, scratch.values, A, scratch.values)
    do(np.multiply, delta, scratch.values, delta)


def _through_tanh(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    do(np.multiply, A, A, scratch.values)
    do(np.subtract, scratch.one, scratch.values, scratch.values)
    do(np.multiply, delta, scratch.values, delta)


def _through_relu(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    do(np.sign, A, scratch.values)  # 1 where the unit is on, else 0
    do(np.multiply, delta, scratch.values, delta)
    do(np.add, delta, scratch.zero, delta)  # makes -0.0 of a unit that is off +0.0


def _through_leaky_relu(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    do(np.less_equal, A, 0.0, scratch.mask)
    do(np.multiply, delta, LEAKY_SLOPE, delta, where=scratch.mask)


def _through_elu(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    do(np.minimum, A, 0.0, out=scratch.values)
    do(np.add, scratch.values, 1.0, scratch.values)
    do(np.multiply, delta, scratch.values, delta)


def _through_selu(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    do(np.add, A, SELU_SCALE * SELU_ALPHA, scratch.values)
    do(np.greater, A, 0.0, scratch.mask)
    do(np.copyto, scratch.values, SELU_SCALE, where=scratch.mask)
    do(np.multiply, delta, scratch.values, delta)


def _through_softplus(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    do(np.negative, A, scratch.values)
    do(np.expm1, scratch.values, scratch.values)
    do(np.multiply, delta, scratch.values, delta)
    do(np.subtract, 0.0, delta, delta)


def _gated_slope(do: Do, argument: Array, factor: Array, delta: Array, scratch: Scratch) -> None:
    """Multiply delta with s (1 + factor (1 - s)), s the sigmoid of the argument; `argument` is overwritten.

    1 - s is the sigmoid of the negative argument: the difference would cancel where s is near 1.
    """
    gate = scratch.gate
    _sigmoid(do, argument, gate, scratch)
    do(np.negative, argument, argument)
    _sigmoid(do, argument, argument, scratch)
    do(np.multiply, factor, argument, factor)
    do(np.add, factor, 1.0, factor)
    do(np.multiply, gate, factor, gate)
    do(np.multiply, delta, gate, delta)


def _through_gelu(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    near, argument = scratch.values, scratch.slope
    _gelu_argument(do, Z, argument, near)
    factor = scratch.factor
    do(np.multiply, near, near, factor)
    do(np.multiply, factor, 3.0 * GELU_CUBIC * GELU_SCALE, factor)
    do(np.add, factor, GELU_SCALE, factor)
    do(np.multiply, factor, near, factor)
    _gated_slope(do, argument, factor, delta, scratch)


def _through_silu(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    do(np.copyto, scratch.slope, Z)
    do(np.copyto, scratch.factor, Z)
    _gated_slope(do, scratch.slope, scratch.factor, delta, scratch)


def _through_mish(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    """Multiply delta with (n + Z 4 e (e + 1) / d) / d, d = n + 2."""
    e, n, d, slope = scratch.gate, scratch.values, scratch.factor, scratch.slope
    _mish_powers(do, Z, e, n)
    do(np.add, n, 2.0, d)
    do(np.add, e, 1.0, slope)
    do(np.multiply, slope, e, slope)
    do(np.divide, slope, d, slope)
    do(np.minimum, Z, MISH_REACH, out=e)
    do(np.multiply, e, 4.0, e)
    do(np.multiply, slope, e, slope)
    do(np.add, slope, n, slope)
    do(np.divide, slope, d, slope)
    do(np.multiply, delta, slope, delta)


def _through_exp(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    do(np.multiply, delta, A, delta)


def _through_softmax(do: Do, Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    """Multiply each row of delta with softmax's Jacobian, diag(a) - a a.T."""
    do(np.multiply, delta, A, scratch.values)
    do(scratch.values.dot, scratch.ones_outputs, scratch.row)
    do(np.subtract, delta, scratch.column, delta)
    do(np.multiply, delta, A, delta)


THROUGH: dict[str, Callable[[Do, Array, Array, Array, Scratch], None]] = {
    "identity": _through_identity,
    "sigmoid": _through_sigmoid,
    "tanh": _through_tanh,
    "relu": _through_relu,
    "leaky_relu": _through_leaky_relu,
    "elu": _through_elu,
    "selu": _through_selu,
    "softplus": _through_softplus,
    "gelu": _through_gelu,
    "silu": _through_silu,
    "mish": _through_mish,
    "exp": _through_exp,
    SOFTMAX: _through_softmax,
}
