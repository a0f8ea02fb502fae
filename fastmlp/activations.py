"""The activations: a table with one row each.

A row holds the function, its derivative, and how exact the function is. Both take and return numbers of
binary64 (`elementary.Real`): a float, an array element by element, or a scalar inside a jitted kernel. The
derivative gets Z and the stored A = f(Z); those that can, use A alone.

To add one, write the two functions, add the row, and give the NumPy and Numba backends its fast form
(CONTRIBUTING.md has the recipe).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastmlp.elementary import Real, exp, expm1, sigmoid, sigmoid_slope, softplus, tanh, where

LEAKY_SLOPE = 0.01
# Klambauer et al., Self-Normalizing Neural Networks, 2017: the fixed point at mean 0 and variance 1.
SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772
# Hendrycks and Gimpel, Gaussian Error Linear Units, 2016: 0.5 z (1 + tanh(u)) = z sigmoid(2 u),
# u = sqrt(2/pi) (z + 0.044715 z**3). The second form does not cancel for negative z.
GELU_SCALE = 1.5957691216057308
GELU_CUBIC = 0.044715
# Beyond |z| = 40 the sigmoid inside gelu is 0 or 1; keeping z there keeps its cube finite.
GELU_REACH = 40.0
# Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2019: z tanh(log(1 + e**z)). Beyond z = 24 the
# tanh is 1 and has no slope; keeping z there keeps the square of e**z finite.
MISH_REACH = 24.0


@dataclass(frozen=True)
class Activation:
    """A row of the table.

    Attributes
    ----------
    forward : callable
        f(z).
    derivative : callable
        f'(z), from z and a = f(z).
    ulp : float
        Bound on the error of `forward`, in units in the last place of binary64.
    hidden : bool
        Whether a hidden layer may have it.
    positive : bool
        Whether every output is above 0.
    rectifier : bool
        Whether it is of the ReLU family, for which He's initialisation is derived.
    """

    forward: Callable[[Any], Any]
    derivative: Callable[[Any, Any], Any]
    ulp: float
    hidden: bool = True
    positive: bool = False
    rectifier: bool = False


def identity(z: Real) -> Real:
    """Return z."""
    return z


def identity_derivative(z: Real, a: Real) -> Real:
    """Return 1."""
    return where(z == z, 1.0, z)


def sigmoid_derivative(z: Real, a: Real) -> Real:
    """Return a (1 - a)."""
    return a * (1.0 - a)


def tanh_derivative(z: Real, a: Real) -> Real:
    """Return 1 - a**2, as a product that does not cancel."""
    return (1.0 - a) * (1.0 + a)


def relu(z: Real) -> Real:
    """Return z where it is positive, else 0; NaN stays."""
    return where(z <= 0.0, 0.0, z)


def relu_derivative(z: Real, a: Real) -> Real:
    """Return 1 where the unit is on; at 0 the derivative is 0."""
    return where(a > 0.0, 1.0, 0.0)


def leaky_relu(z: Real) -> Real:
    """Return z where it is positive, else 0.01 z."""
    return where(z > 0.0, z, LEAKY_SLOPE * z)


def leaky_relu_derivative(z: Real, a: Real) -> Real:
    """Return 1 or the slope; at 0 the slope."""
    return where(a > 0.0, 1.0, LEAKY_SLOPE)


def elu(z: Real) -> Real:
    """Return z where it is positive, else e**z - 1."""
    return where(z > 0.0, z, expm1(where(z > 0.0, 0.0, z)))


def elu_derivative(z: Real, a: Real) -> Real:
    """Return 1, or e**z = a + 1."""
    return where(a > 0.0, 1.0, a + 1.0)


def selu(z: Real) -> Real:
    """Return elu with the two constants that keep mean 0 and variance 1."""
    return SELU_SCALE * where(z > 0.0, z, SELU_ALPHA * expm1(where(z > 0.0, 0.0, z)))


def selu_derivative(z: Real, a: Real) -> Real:
    """Return the scale, or scale alpha e**z = a + scale alpha."""
    return where(a > 0.0, SELU_SCALE, a + SELU_SCALE * SELU_ALPHA)


def softplus_derivative(z: Real, a: Real) -> Real:
    """Return the sigmoid of z, which is 1 - e**-a."""
    return 0.0 - expm1(-a)


def _gelu_argument(z: Real) -> Real:
    return GELU_SCALE * (z + GELU_CUBIC * (z * z * z))


def _within_reach(z: Real) -> Real:
    return where(z > GELU_REACH, GELU_REACH, where(z < -GELU_REACH, -GELU_REACH, z))


def gelu(z: Real) -> Real:
    """Return the tanh form of the Gaussian error linear unit."""
    return z * sigmoid(_gelu_argument(_within_reach(z)))


def gelu_derivative(z: Real, a: Real) -> Real:
    """Return s + z s' d(2u)/dz, with s the sigmoid of 2u and s' its slope."""
    near = _within_reach(z)
    x = _gelu_argument(near)
    return sigmoid(x) + near * sigmoid_slope(x) * (GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * (near * near)))


def silu(z: Real) -> Real:
    """Return z times its sigmoid."""
    return z * sigmoid(z)


def silu_derivative(z: Real, a: Real) -> Real:
    """Return s + z s', with s the sigmoid of z and s' its slope."""
    return sigmoid(z) + z * sigmoid_slope(z)


def _mish_powers(z: Real) -> tuple[Real, Real]:
    """Return e = e**z and n = e (e + 2), for z within reach."""
    e = exp(z)
    return e, e * (e + 2.0)


def mish(z: Real) -> Real:
    """Return z tanh(softplus(z)), the tanh as n / (n + 2), n = e**z (e**z + 2), which does not cancel."""
    _, n = _mish_powers(where(z > MISH_REACH, MISH_REACH, z))
    return z * (n / (n + 2.0))


def mish_derivative(z: Real, a: Real) -> Real:
    """Return t + z t', with t the gate tanh(softplus(z)) and t' = 4 e**z (e**z + 1) / (n + 2)**2 its slope."""
    near = where(z > MISH_REACH, MISH_REACH, z)
    e, n = _mish_powers(near)
    d = n + 2.0
    return n / d + near * (4.0 * (e / d) * ((e + 1.0) / d))


def exp_derivative(z: Real, a: Real) -> Real:
    """Return a."""
    return a


ACTIVATIONS = {
    "identity": Activation(identity, identity_derivative, ulp=0),
    "sigmoid": Activation(sigmoid, sigmoid_derivative, ulp=3, positive=True),
    "tanh": Activation(tanh, tanh_derivative, ulp=3),
    "relu": Activation(relu, relu_derivative, ulp=0, rectifier=True),
    "leaky_relu": Activation(leaky_relu, leaky_relu_derivative, ulp=1, rectifier=True),
    "elu": Activation(elu, elu_derivative, ulp=2, rectifier=True),
    "selu": Activation(selu, selu_derivative, ulp=5),
    "softplus": Activation(softplus, softplus_derivative, ulp=3, positive=True, rectifier=True),
    # The rounding of gelu's inner argument weighs as much as that argument is large, up to 745; of z it is 5 ulp.
    "gelu": Activation(gelu, gelu_derivative, ulp=2500, rectifier=True),
    "silu": Activation(silu, silu_derivative, ulp=4, rectifier=True),
    "mish": Activation(mish, mish_derivative, ulp=4, rectifier=True),
    "exp": Activation(exp, exp_derivative, ulp=1, hidden=False, positive=True),
}

SOFTMAX = "softmax"  # the one that mixes the outputs of a row: a backend computes it row by row
HIDDEN_ACTIVATIONS = tuple(name for name, row in ACTIVATIONS.items() if row.hidden)
OUTPUT_ACTIVATIONS = (*ACTIVATIONS, SOFTMAX)
POSITIVE_OUTPUTS = (*(name for name, row in ACTIVATIONS.items() if row.positive), SOFTMAX)
