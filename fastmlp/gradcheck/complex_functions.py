"""Activations and losses in complex arithmetic, for the complex step.

They are separate from those that the backends compute with, so that a mistake there does not repeat itself
here. Functions with pieces branch on the real part. Each is written so that neither part overflows or loses
its digits, for logits of any size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastmlp.activations import SOFTMAX
from fastmlp.backends.base import Floats
from fastmlp.spec import NetworkSpec

Complexes = NDArray[np.complex128]


def _expm1(z: Complexes) -> Complexes:
    """Return e**z - 1: e**x cos y - 1 = expm1(x) cos y - 2 sin(y/2)**2 does not cancel."""
    x, y = z.real, z.imag
    return np.expm1(x) * np.cos(y) - 2.0 * np.sin(0.5 * y) ** 2 + 1j * (np.exp(x) * np.sin(y))


def _log1p(z: Complexes) -> Complexes:
    """Return log(1 + z): |1 + z|**2 = 1 + x (2 + x) + y**2, whose 1 stays apart."""
    x, y = z.real, z.imag
    return 0.5 * np.log1p(x * (2.0 + x) + y * y) + 1j * np.arctan2(y, 1.0 + x)


def _by_sign(z: Complexes, positive: Complexes, other: Complexes) -> Complexes:
    return np.where(z.real > 0, positive, other)


def _negated_size(z: Complexes) -> Complexes:
    """Return -z or z, whichever has no positive real part, so that its exponential is at most 1."""
    return _by_sign(z, -z, z)


def _identity(z: Complexes) -> Complexes:
    return z


def _sigmoid(z: Complexes) -> Complexes:
    small = np.exp(_negated_size(z))
    return _by_sign(z, np.ones_like(z), small) / (1.0 + small)


def _tanh(z: Complexes) -> Complexes:
    below = _expm1(2.0 * _negated_size(z))
    return _by_sign(z, -below, below) / (2.0 + below)


def _relu(z: Complexes) -> Complexes:
    return _by_sign(z, z, 0.0 * z)


def _leaky_relu(z: Complexes) -> Complexes:
    return _by_sign(z, z, 0.01 * z)


def _elu(z: Complexes) -> Complexes:
    return _by_sign(z, z, _expm1(_negated_size(z)))


def _selu(z: Complexes) -> Complexes:
    return 1.0507009873554805 * _by_sign(z, z, 1.6732632423543772 * _expm1(_negated_size(z)))


def _softplus(z: Complexes) -> Complexes:
    return _relu(z) + _log1p(np.exp(_negated_size(z)))


def _gelu(z: Complexes) -> Complexes:
    """Return the tanh form: (1 + tanh u) / 2 is the sigmoid of 2u, which does not cancel."""
    return z * _sigmoid(math.sqrt(8.0 / math.pi) * (z + 0.044715 * (z * z * z)))


def _silu(z: Complexes) -> Complexes:
    return z * _sigmoid(z)


def _mish(z: Complexes) -> Complexes:
    return z * _tanh(_softplus(z))


ACTIVATIONS: dict[str, Callable[[Complexes], Complexes]] = {
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
    "exp": np.exp,
}


def log_softmax(z: Complexes) -> Complexes:
    """Return log softmax along the last axis.

    The 1 of the largest logit stays out of the sum of the others, so that the logarithm of a probability
    near 1 and its derivative keep their digits.
    """
    top = np.argmax(z.real, axis=-1, keepdims=True)
    below = z - np.take_along_axis(z, top, axis=-1)
    others = np.exp(below)
    np.put_along_axis(others, top, 0.0, axis=-1)
    return below - _log1p(others.sum(axis=-1, keepdims=True))


def _log_softplus(z: Complexes) -> Complexes:
    """Return log log(1 + e**z), which is z to the last digit where e**z < e**-40."""
    low = z.real < -40.0  # noqa: PLR2004
    return np.where(low, z, np.log(_softplus(np.where(low, 0.0, z))))


# Of the outputs that are above 0.
LOGARITHMS: dict[str, Callable[[Complexes], Complexes]] = {
    "sigmoid": lambda z: -_softplus(-z),
    "softplus": _log_softplus,
    "exp": _identity,
    SOFTMAX: log_softmax,
}


def activate(name: str, z: Complexes) -> Complexes:
    """Return the activation of that name, softmax among them."""
    return np.exp(log_softmax(z)) if name == SOFTMAX else ACTIVATIONS[name](z)


# ---- losses: each output's share of a sample's loss


def _squared_error(a: Complexes, y: Floats, q: Floats) -> Complexes:
    return 0.5 * (a - y) ** 2


def _mse(a: Complexes, y: Floats, q: Floats) -> Complexes:
    return (a - y) ** 2


def _mae(a: Complexes, y: Floats, q: Floats) -> Complexes:
    """Return |a - y|, with slope 0 where the real parts agree."""
    return np.sign((a - y).real) * (a - y)


def _huber(a: Complexes, y: Floats, q: Floats) -> Complexes:
    return np.where(np.abs((a - y).real) <= 1.0, _squared_error(a, y, q), _mae(a, y, q) - 0.5)


def _quantile(a: Complexes, y: Floats, q: Floats) -> Complexes:
    """Return half of |a - y| and the tilt, with slope 0 where the real parts agree: there, the tilt is left out."""
    error = a - y
    side = np.sign(error.real)
    return 0.5 * side * error + (0.5 - q) * np.abs(side) * error


def _poisson(a: Complexes, y: Floats, q: Floats) -> Complexes:
    return a - y * np.log(np.where(y == 0.0, 1.0, a))


# From a, y, and the number that the loss has for each output.
SHARES: dict[str, Callable[[Complexes, Floats, Floats], Complexes]] = {
    "squared_error": _squared_error,
    "mse": _mse,
    "mae": _mae,
    "huber": _huber,
    "quantile": _quantile,
    "poisson": _poisson,
}
AVERAGED = ("mse", "mae", "huber", "quantile")  # the mean over the outputs; the others are sums


def _cross_entropy_of_logits(output: str, z: Complexes, y: Floats) -> Complexes:
    return -(y * LOGARITHMS[output](z))


def _binary_cross_entropy_of_logits(output: str, z: Complexes, y: Floats) -> Complexes:
    """Return -y log a - (1 - y) log(1 - a) for a = sigmoid(z)."""
    return y * _softplus(-z) + (1.0 - y) * _softplus(z)


def _poisson_of_logits(output: str, z: Complexes, y: Floats) -> Complexes:
    return activate(output, z) - y * LOGARITHMS[output](z)


# The losses with a logarithm, from Z: log a where a itself may be 0.
SHARES_OF_LOGITS: dict[str, Callable[[str, Complexes, Floats], Complexes]] = {
    "cross_entropy": _cross_entropy_of_logits,
    "binary_cross_entropy": _binary_cross_entropy_of_logits,
    "poisson": _poisson_of_logits,
}


def sample_losses(spec: NetworkSpec, logits: Complexes, targets: Floats) -> Complexes:
    """Return the loss of every sample, (..., n), from Z of the last layer, (..., n, n_out), without l2."""
    output = spec.output_activation
    if spec.loss in SHARES_OF_LOGITS:
        shares = SHARES_OF_LOGITS[spec.loss](output, logits, targets)
    else:
        shares = SHARES[spec.loss](activate(output, logits), targets, np.array(spec.loss_numbers))
    losses: Complexes = shares.sum(axis=-1)
    return losses / spec.n_outputs if spec.loss in AVERAGED else losses
