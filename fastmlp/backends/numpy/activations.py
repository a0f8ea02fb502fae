"""The activations as ufuncs with ``out=``: each function writes to a given array and allocates nothing.

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
    SELU_ALPHA,
    SELU_SCALE,
    SOFTMAX,
)
from fastmlp.backends.numpy.workspace import Scratch
from fastmlp.parameters import Array

# ---- activations: write f(Z) to A


def _identity(Z: Array, A: Array, scratch: Scratch) -> None:
    np.copyto(A, Z)


def _sigmoid(Z: Array, A: Array, scratch: Scratch) -> None:
    np.negative(Z, out=A)
    np.exp(A, out=A)  # may overflow to infinity, whose reciprocal is the right 0
    np.add(A, scratch.one, out=A)
    np.reciprocal(A, out=A)


def _tanh(Z: Array, A: Array, scratch: Scratch) -> None:
    np.tanh(Z, out=A)


def _relu(Z: Array, A: Array, scratch: Scratch) -> None:
    np.maximum(Z, scratch.zero, out=A)  # keeps NaN


def _leaky_relu(Z: Array, A: Array, scratch: Scratch) -> None:
    np.multiply(Z, LEAKY_SLOPE, out=A)
    np.maximum(Z, A, out=A)


def _elu(Z: Array, A: Array, scratch: Scratch) -> None:
    np.minimum(Z, 0.0, out=A)
    np.expm1(A, out=A)
    np.copyto(A, Z, where=np.greater(Z, 0.0, out=scratch.mask))


def _selu(Z: Array, A: Array, scratch: Scratch) -> None:
    np.minimum(Z, 0.0, out=A)
    np.expm1(A, out=A)
    np.multiply(A, SELU_ALPHA, out=A)
    np.copyto(A, Z, where=np.greater(Z, 0.0, out=scratch.mask))
    np.multiply(A, SELU_SCALE, out=A)


def _softplus(Z: Array, A: Array, scratch: Scratch) -> None:
    np.logaddexp(Z, 0.0, out=A)


def _gelu_argument(Z: Array, argument: Array, near: Array) -> None:
    """Write 2u to `argument`, and Z brought within gelu's reach to `near`."""
    np.minimum(Z, GELU_REACH, out=near)
    np.maximum(near, -GELU_REACH, out=near)
    np.multiply(near, near, out=argument)
    np.multiply(argument, GELU_SCALE * GELU_CUBIC, out=argument)
    np.add(argument, GELU_SCALE, out=argument)
    np.multiply(argument, near, out=argument)


def _gelu(Z: Array, A: Array, scratch: Scratch) -> None:
    _gelu_argument(Z, scratch.gate, scratch.values)
    _sigmoid(scratch.gate, A, scratch)
    np.multiply(A, Z, out=A)


def _silu(Z: Array, A: Array, scratch: Scratch) -> None:
    _sigmoid(Z, A, scratch)
    np.multiply(A, Z, out=A)


def _exp(Z: Array, A: Array, scratch: Scratch) -> None:
    np.exp(Z, out=A)


def _softmax(Z: Array, A: Array, scratch: Scratch) -> None:
    """Write softmax to A. The loss wants its logarithm: that is Z, as left here, less the column."""
    column = scratch.column
    np.maximum.reduce(Z, axis=1, keepdims=True, out=column)
    np.subtract(Z, column, out=Z)
    np.exp(Z, out=A)
    A.dot(scratch.ones_outputs, out=scratch.row)
    np.divide(A, column, out=A)
    np.log(column, out=column)


ACTIVATE: dict[str, Callable[[Array, Array, Scratch], None]] = {
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
    "exp": _exp,
    SOFTMAX: _softmax,
}

# ---- derivatives: multiply delta with f', from Z and A


def _through_identity(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    """Multiply with 1: there is nothing to do."""


def _through_sigmoid(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    np.subtract(scratch.one, A, out=scratch.values)
    np.multiply(scratch.values, A, out=scratch.values)
    np.multiply(delta, scratch.values, out=delta)


def _through_tanh(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    np.multiply(A, A, out=scratch.values)
    np.subtract(scratch.one, scratch.values, out=scratch.values)
    np.multiply(delta, scratch.values, out=delta)


def _through_relu(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    np.sign(A, out=scratch.values)  # 1 where the unit is on, else 0
    np.multiply(delta, scratch.values, out=delta)
    np.add(delta, scratch.zero, out=delta)  # makes -0.0 of a unit that is off +0.0


def _through_leaky_relu(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    np.multiply(delta, LEAKY_SLOPE, out=delta, where=np.less_equal(A, 0.0, out=scratch.mask))


def _through_elu(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    np.minimum(A, 0.0, out=scratch.values)
    np.add(scratch.values, 1.0, out=scratch.values)
    np.multiply(delta, scratch.values, out=delta)


def _through_selu(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    np.add(A, SELU_SCALE * SELU_ALPHA, out=scratch.values)
    np.copyto(scratch.values, SELU_SCALE, where=np.greater(A, 0.0, out=scratch.mask))
    np.multiply(delta, scratch.values, out=delta)


def _through_softplus(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    np.negative(A, out=scratch.values)
    np.expm1(scratch.values, out=scratch.values)
    np.multiply(delta, scratch.values, out=delta)
    np.subtract(0.0, delta, out=delta)


def _gated_slope(argument: Array, factor: Array, delta: Array, scratch: Scratch) -> None:
    """Multiply delta with s (1 + factor (1 - s)), s the sigmoid of the argument; `argument` is overwritten.

    1 - s is the sigmoid of the negative argument: the difference would cancel where s is near 1.
    """
    gate = scratch.gate
    _sigmoid(argument, gate, scratch)
    np.negative(argument, out=argument)
    _sigmoid(argument, argument, scratch)
    np.multiply(factor, argument, out=factor)
    np.add(factor, 1.0, out=factor)
    np.multiply(gate, factor, out=gate)
    np.multiply(delta, gate, out=delta)


def _through_gelu(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    near, argument = scratch.values, scratch.slope
    _gelu_argument(Z, argument, near)
    factor = scratch.factor
    np.multiply(near, near, out=factor)
    np.multiply(factor, 3.0 * GELU_CUBIC * GELU_SCALE, out=factor)
    np.add(factor, GELU_SCALE, out=factor)
    np.multiply(factor, near, out=factor)
    _gated_slope(argument, factor, delta, scratch)


def _through_silu(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    np.copyto(scratch.slope, Z)
    np.copyto(scratch.factor, Z)
    _gated_slope(scratch.slope, scratch.factor, delta, scratch)


def _through_exp(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    np.multiply(delta, A, out=delta)


def _through_softmax(Z: Array, A: Array, delta: Array, scratch: Scratch) -> None:
    """Multiply each row of delta with softmax's Jacobian, diag(a) - a a.T."""
    np.multiply(delta, A, out=scratch.values)
    scratch.values.dot(scratch.ones_outputs, out=scratch.row)
    np.subtract(delta, scratch.column, out=delta)
    np.multiply(delta, A, out=delta)


THROUGH: dict[str, Callable[[Array, Array, Array, Scratch], None]] = {
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
    "exp": _through_exp,
    SOFTMAX: _through_softmax,
}
