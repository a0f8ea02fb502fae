"""Checkers of single primitives: inner products against exact sums, activations against 60 digits.

Small networks isolate a primitive so that its inputs are known exactly: a network without hidden layer and with
identity output is one inner product; with zero weights, its delta is -Y/n whatever the rounding, and its gradient
one more inner product. Each computed value must be within its own bound of the exact one, so any two of them are
within twice that bound of each other: |C1 - C2| <= 2 gamma_(k+1) (|A||B| + |b|).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np

from tests import analytic, bounds, oracle, textbook

Make = Callable[[oracle.Network, np.ndarray, str], Any]
"""Makes a network from what the oracle needs to know, flat parameters and a dtype."""

SHAPES = tuple((n, k, m) for n in (1, 7, 16) for k in (1, 8, 9, 31) for m in (1, 7, 17))
"""Rows, length of the inner product, columns: both sides of lanes and tiles."""


# --- inner products ---------------------------------------------------------------------------------------------

SHIFT = 160
"""Numbers are scaled by this power of two to become integers, whose sums are exact."""


def integer(value: float, shift: int) -> int:
    """Return value * 2**shift."""
    numerator, denominator = float(value).as_integer_ratio()
    result, rest = divmod(numerator << shift, denominator)
    if rest:
        message = f"{value!r} is no multiple of 2**-{shift}"
        raise ValueError(message)
    return result


def integers(array: np.ndarray | float, shift: int) -> np.ndarray:
    """Apply `integer` to every entry."""
    return np.vectorize(lambda value: integer(value, shift), otypes=[object])(array)


def floats(array: np.ndarray, shift: int) -> np.ndarray:
    """Return array / 2**shift, rounded."""
    return np.vectorize(lambda value: float(Fraction(int(value), 1 << shift)), otypes=[np.float64])(array)


def excess(
    computed: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    b: np.ndarray | float,
    allowed: float,
    divisor: int = 1,
) -> float:
    """Return by how much |computed - (A B + b)/divisor| exceeds `allowed` (|A||B| + |b|)/divisor; sums are exact."""
    A, B, b = integers(A, SHIFT), integers(B, SHIFT), integers(b, 2 * SHIFT)
    error = floats(abs(integers(computed, 2 * SHIFT) * divisor - (A @ B + b)), 2 * SHIFT)
    terms = floats(abs(A) @ abs(B) + abs(b), 2 * SHIFT)
    return float(np.max(error - allowed * terms) / divisor)


def complaint(what: str, shape: tuple[int, ...], dtype: str, over: float) -> list[str]:
    """Return a line if a bound was exceeded."""
    return [] if over <= 0.0 else [f"{what} of {shape} in {dtype} exceeds its bound by {over:.3g}"]


def network(n_in: int, n_out: int) -> oracle.Network:
    """One layer, one inner product."""
    return oracle.Network((n_in, n_out), (), "identity", "squared_error")


def normal(generator: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    """Numbers of both signs and very different sizes."""
    return (generator.normal(size=shape) * 10.0 ** generator.uniform(-3, 3, shape)).astype(dtype)


def products_of_forward(make: Make, shape: tuple[int, int, int], dtype: str) -> list[str]:
    """Z = X W + b."""
    (n, k, m), generator = shape, np.random.default_rng(shape)
    X, W, b = (normal(generator, dtype, *size) for size in ((n, k), (k, m), (m,)))
    net = make(network(k, m), np.concatenate([W.ravel(), b]), dtype)
    return complaint("Z", shape, dtype, excess(net.predict(X), X, W, b, bounds.gamma(k + 1, dtype)))


def products_of_weights(make: Make, shape: tuple[int, int, int], dtype: str) -> list[str]:
    """dW = X^T delta and db = 1^T delta with delta = -Y/n: parameters are zero, so Z = 0 exactly."""
    (k, n, m), generator = shape, np.random.default_rng(shape)
    X, Y = normal(generator, dtype, n, k), normal(generator, dtype, n, m)
    gradient = make(network(k, m), np.zeros((k + 1) * m, dtype), dtype).loss_and_gradient(X, Y)[1].flat
    dW, db = gradient[: k * m].reshape(k, m), gradient[k * m :].reshape(1, m)
    allowed = bounds.gamma(n + bounds.ROUNDINGS_OF_DELTA, dtype)
    found = complaint("dW", shape, dtype, excess(dW, X.T, -Y, 0.0, allowed, divisor=n))
    return found + complaint("db", shape, dtype, excess(db, np.ones((1, n)), -Y, 0.0, allowed, divisor=n))


def products_of_inputs(make: Make, shape: tuple[int, int, int], dtype: str) -> list[str]:
    """dX = delta W^T with delta = -Y/n: inputs and biases are zero, so Z = 0 exactly."""
    (n, k, m), generator = shape, np.random.default_rng(shape)
    W, Y = normal(generator, dtype, m, k), normal(generator, dtype, n, k)
    net = make(network(m, k), np.concatenate([W.ravel(), np.zeros(k, dtype)]), dtype)
    computed = net.input_gradient(np.zeros((n, m), dtype), Y)
    allowed = bounds.gamma(k + bounds.ROUNDINGS_OF_DELTA, dtype)
    return complaint("dX", shape, dtype, excess(computed, -Y, W.T, 0.0, allowed, divisor=n))


PRODUCTS = (products_of_forward, products_of_weights, products_of_inputs)


def inner_products(make: Make, dtype: str) -> list[str]:
    """Apply all checkers of inner products to all shapes."""
    return [line for shape in SHAPES for check in PRODUCTS for line in check(make, shape, dtype)]


# --- activations ------------------------------------------------------------------------------------------------


@lru_cache
def points(dtype: str) -> np.ndarray:
    """Arguments over the whole range of both signs, a power of two of them.

    Dense between 2**-30 and the exponent at which exp underflows, where functions bend and saturate; then beyond it,
    where what overflows inside must not show; and every power of two down to the smallest number.
    """
    limit = -np.log(float(np.finfo(dtype).smallest_normal)) - 0.5
    dense = np.geomspace(2.0**-30, limit, 700)
    beyond = np.geomspace(limit, 1e4, 40)
    powers = 2.0 ** np.arange(np.log2(float(np.finfo(dtype).smallest_subnormal)), 6)
    ticks = np.log(2.0) * np.arange(0.5, 40.0, 0.5)  # where the reduction of an exponential changes its multiple
    positive = np.concatenate([dense, beyond, powers, ticks, ticks + 2.0**-20]).astype(dtype)
    both = np.concatenate([-positive, [0.0], positive])
    return np.resize(both, 2 ** int(np.ceil(np.log2(len(both))))).astype(dtype)


HIGH_PRECISION = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "tanh": mpmath.tanh,
    "relu": lambda z: max(z, 0),
    "leaky_relu": lambda z: z if z > 0 else z / 100,
    "elu": lambda z: z if z > 0 else mpmath.expm1(z),
    "selu": lambda z: (
        mpmath.mpf("1.05070098735548049341933498529460")
        * (z if z > 0 else mpmath.mpf("1.67326324235437728481704299167171") * mpmath.expm1(z))
    ),
    "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    "gelu": lambda z: z / (1 + mpmath.exp(-2 * mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf("0.044715") * z**3))),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "mish": lambda z: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z))),
    "exp": mpmath.exp,
}


@lru_cache
def exact_values(name: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return f of all points to twice the digits of binary64: as a sum of two numbers."""
    with mpmath.workdps(60):
        values = [HIGH_PRECISION[name](mpmath.mpf(float(z))) for z in points(dtype)]
        high = np.array([float(value) for value in values])
        low = np.array([float(value - float(value)) for value in values])
    return high, low


def elementwise(name: str, make: Make, dtype: str) -> np.ndarray:
    """Return f of all points: the output of a network with weight 1 and bias 0, so that Z is the point itself."""
    single = oracle.Network((1, 1), (), name, "squared_error")
    with np.errstate(over="ignore"):  # of exp, whose result is then infinite
        return make(single, np.array([1.0, 0.0], dtype), dtype).predict(points(dtype)[:, None])[:, 0]


def sensitivity(name: str, z: np.ndarray) -> np.ndarray:
    """|z f'(z) / f(z)|: how many ulp of f one ulp of z is."""
    f = analytic.OUTPUTS[name](z)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.abs(z * textbook.SLOPES[name](z, f) / f), posinf=0.0)


def activation_ulps(name: str, make: Make, dtype: str) -> np.ndarray:
    """Return the error of each computed value, in ulp of the dtype, beyond what underflow explains."""
    z = points(dtype).astype(np.float64)
    (high, low), computed = exact_values(name, dtype), elementwise(name, make, dtype).astype(np.float64)
    lost = bounds.SMALLEST_NORMAL[dtype] * np.maximum(1.0, np.abs(z))
    with np.errstate(over="ignore", invalid="ignore"):  # wrong and infinite values
        error = np.abs((computed - high) - low)
        error = np.where(high > np.finfo(dtype).max, np.where(computed == np.inf, 0.0, np.inf), error)
        unit = bounds.ulp(high, dtype)
        if name in bounds.MIXED_ERROR:
            unit = unit * (1.0 + sensitivity(name, z))
        return np.maximum(error - lost, 0.0) / unit


def activation(name: str, make: Make, dtype: str) -> list[str]:
    """Hold an activation to its number of ulp."""
    ulps = activation_ulps(name, make, dtype)
    worst = int(np.argmax(np.where(np.isnan(ulps), np.inf, ulps)))
    if ulps[worst] <= bounds.ACTIVATION_ULPS[name]:
        return []
    return [f"{name}({points(dtype)[worst]!r}) in {dtype} is off by {ulps[worst]:.3g} ulp"]


def slopes(name: str, make: Make, dtype: str) -> np.ndarray:
    """Return f' of all points from the input gradient of a network that does nothing but f.

    With mae and targets far below, delta of the output is 1/n exactly, n being a power of two.
    """
    single = oracle.Network((1, 1, 1), (name,), "identity", "mae")
    net = make(single, np.array([1.0, 0.0, 1.0, 0.0], dtype), dtype)
    far = np.full((len(points(dtype)), 1), -(2.0**14), dtype)
    return net.input_gradient(points(dtype)[:, None], far)[:, 0] * len(far)


def slope(name: str, make: Make, dtype: str) -> list[str]:
    """Hold the derivative of an activation to a number of u of its largest value."""
    z = points(dtype)
    exact = analytic.OUTPUTS[name](z.astype(np.float64) + 1j * bounds.COMPLEX_STEP).imag / bounds.COMPLEX_STEP
    error = np.abs(slopes(name, make, dtype) - exact)
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    if error[worst] <= bounds.SLOPE_ROUNDINGS * bounds.UNIT_ROUNDOFF[dtype]:
        return []
    return [f"{name}'({z[worst]!r}) in {dtype} is off by {error[worst]:.3g}"]


def softmax(make: Make, dtype: str) -> list[str]:
    """Hold softmax of rows of seven to its number of ulp; a difference of logits counts as its own rounding does."""
    generator = np.random.default_rng(7)
    Z = (generator.normal(size=(64, 7)) * generator.uniform(0.1, 20.0, (64, 1))).astype(dtype)
    single = oracle.Network((7, 7), (), "softmax", "squared_error")
    computed = make(single, np.concatenate([np.eye(7).ravel(), np.zeros(7)]).astype(dtype), dtype).predict(Z)
    with mpmath.workdps(60):
        exponentials = [[mpmath.exp(mpmath.mpf(float(z))) for z in row] for row in Z]
        exact = np.array([[float(e / mpmath.fsum(row)) for e in row] for row in exponentials])
    unit = bounds.ulp(exact, dtype) * (1.0 + np.abs(Z - Z.max(axis=1, keepdims=True)))
    worst = float(np.max(np.abs(computed - exact) / unit))
    return [] if worst <= bounds.SOFTMAX_ULPS else [f"softmax in {dtype} is off by {worst:.3g} ulp"]
