"""exp, log, tanh and their kin from + - * / and powers of two: one definition for all backends.

``math.exp``, ``np.exp`` and a compiler's exp agree on one processor and differ on the next, so no result
that has to be the same everywhere may rest on them. The functions here use only operations that IEEE 754
rounds in one way. Each is written once, without branches, over four helpers (`where`, `power_of_two`,
`split`, `sqrt`), and so runs on a float, on an array of float64 (element by element) and, with those helpers
replaced, inside jitted kernels.

Errors are given in ulp of binary64; the tests hold them against references of many more digits. NaN goes
through, overflow gives infinity, underflow is gradual.

References
----------
The reduction by multiples of log 2 in two parts: W. J. Cody and W. Waite, *Software Manual for the
Elementary Functions*, 1980. The form of log(1 + f) that loses nothing for small f: K. C. Ng, *fdlibm*, 1993.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", float, NDArray[np.float64])

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01  # 33 bits, so that its product with an exponent is exact
_LN2_LOW = 1.90821492927058770002e-10
_SQRT_HALF = 0.7071067811865476
_PI = 3.141592653589793
_ONE_VANISHES = 60.0  # a scale, as a power of two, on which 1 is nothing
_LOWEST_EXP, _HIGHEST_EXP = -746.0, 710.0  # beyond them e**x is 0 or infinite
_LOWEST_EXPM1 = -40.0  # below it e**x - 1 is -1
_INFINITY = math.inf
_NAN = math.nan
_TO_INTEGER = 6755399441055744.0  # 1.5 * 2**52: adding it and taking it away rounds to the nearest integer


def where(condition: Any, yes: Any, no: Any) -> Any:
    """Choose `yes` where `condition` holds and `no` elsewhere."""
    if isinstance(condition, np.ndarray):
        return np.where(condition, yes, no)
    return yes if condition else no


def power_of_two(k: Any) -> Any:
    """Return 2**k for an integral k between -1022 and 1023, exactly."""
    if isinstance(k, np.ndarray):
        return np.ldexp(1.0, k.astype(np.int32))
    return math.ldexp(1.0, int(k))


def split(x: Any) -> Any:
    """Return m and e with x = m * 2**e and 0.5 <= m < 1, for a positive finite x."""
    if isinstance(x, np.ndarray):
        mantissas, exponents = np.frexp(x)
        return mantissas, exponents.astype(np.float64)
    mantissa, exponent = math.frexp(x)
    return mantissa, float(exponent)


def sqrt(x: Any) -> Any:
    """Return the square root, which IEEE 754 rounds correctly."""
    return np.sqrt(x) if isinstance(x, np.ndarray) else math.sqrt(x)


def exp(x: Real) -> Real:
    """Return e**x, within 1 ulp."""
    k, expm1_r = _reduce(_clip(x, _LOWEST_EXP, _HIGHEST_EXP))
    return where(x == x, _scale(1.0 + expm1_r, k), x)


def expm1(x: Real) -> Real:
    """Return e**x - 1 without cancellation for small x, within 2 ulp."""
    k, expm1_r = _reduce(_clip(x, _LOWEST_EXPM1, _HIGHEST_EXP))
    one = power_of_two(-where(k < _ONE_VANISHES, k, _ONE_VANISHES))  # 1, on the scale of the reduced result
    return where(x == x, _scale(expm1_r + (1.0 - one), k), x)


def log(x: Real) -> Real:
    """Return the natural logarithm, within 1 ulp; -inf at 0 and NaN below it."""
    inside = (x > 0.0) & (x < _INFINITY)
    m, e = split(where(inside, x, 1.0))
    below = m < _SQRT_HALF
    f = where(below, m + m, m) - 1.0
    e = where(below, e - 1.0, e)
    s = f / (2.0 + f)
    half = 0.5 * f * f
    result = e * _LN2_HIGH - ((half - (s * (half + _log_series(s * s)) + e * _LN2_LOW)) - f)
    outside = where(x == 0.0, -_INFINITY, where(x > 0.0, x, _NAN))
    return where(inside, result, outside)


def log1p(x: Real) -> Real:
    """Return log(1 + x) without cancellation for small x, within 2 ulp."""
    u = 1.0 + x
    inside = (u > 0.0) & (u < _INFINITY)
    lost = where(inside, x - (u - 1.0), 0.0)  # what rounding 1 + x dropped
    return log(u) + lost / where(inside, u, 1.0)


def tanh(x: Real) -> Real:
    """Return the hyperbolic tangent, within 3 ulp."""
    m = expm1(-2.0 * _abs(x))
    t = (0.0 - m) / (2.0 + m)  # not -m, which would make tanh(0) a negative zero
    return where(x < 0.0, -t, t)


def sigmoid(x: Real) -> Real:
    """Return 1 / (1 + e**-x) with full relative accuracy on both sides, within 3 ulp."""
    e = exp(-_abs(x))
    return where(x < 0.0, e, 1.0 + 0.0 * e) / (1.0 + e)


def sigmoid_slope(x: Real) -> Real:
    """Return the derivative of the sigmoid, s (1 - s), without the cancellation of 1 - s, within 4 ulp."""
    e = exp(-_abs(x))
    return e / ((1.0 + e) * (1.0 + e))


def softplus(x: Real) -> Real:
    """Return log(1 + e**x) without overflow, within 3 ulp."""
    return where(x < 0.0, 0.0, x) + log1p(exp(-_abs(x)))


def cos(x: float) -> float:
    """Return the cosine for x between 0 and pi, within 4e-16 absolute."""
    if x > _PI / 2:
        return -cos(_PI - x)
    if x > _PI / 4:
        return _sin(_PI / 2 - x)
    total, term = 1.0, 1.0
    for n in range(1, 10):
        term *= -x * x / ((2 * n - 1) * (2 * n))
        total += term
    return total


def _sin(x: float) -> float:
    total, term = x, x
    for n in range(1, 10):
        term *= -x * x / ((2 * n) * (2 * n + 1))
        total += term
    return total


def _abs(x: Real) -> Real:
    return where(x < 0.0, -x, x)


def _clip(x: Real, low: float, high: float) -> Real:
    """Bring `x` into [low, high], NaN to `low`, so that it has an integer part."""
    return where(x > low, where(x < high, x, high), low)


def _reduce(x: Real) -> tuple[Real, Real]:
    """Return k and e**r - 1 with x = k * log 2 + r and |r| <= log(2) / 2."""
    k = (x * _LOG2_E + _TO_INTEGER) - _TO_INTEGER
    return k, _expm1_near_0((x - k * _LN2_HIGH) - k * _LN2_LOW)


def _expm1_near_0(r: Real) -> Real:
    """Return e**r - 1 for |r| up to log(2) / 2."""
    # Taylor's coefficients 1/n!; the first one left out, r**14 / 14!, is below 2**-57.
    p = r * (1 / 6227020800) + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 1 / 2
    return r + r * r * p


def _scale(x: Real, k: Real) -> Real:
    """Return x * 2**k for an integral k, in two steps: both factors stay normal, and only the last step rounds."""
    half = (0.5 * k + _TO_INTEGER) - _TO_INTEGER
    return x * power_of_two(half) * power_of_two(k - half)


def _log_series(t: Real) -> Real:
    """Return 2 * (t/3 + t**2/5 + t**3/7 + ...), for t up to 0.0295; the first term left out is below 2**-57."""
    p = t * (2 / 23) + 2 / 21
    p = p * t + 2 / 19
    p = p * t + 2 / 17
    p = p * t + 2 / 15
    p = p * t + 2 / 13
    p = p * t + 2 / 11
    p = p * t + 2 / 9
    p = p * t + 2 / 7
    p = p * t + 2 / 5
    p = p * t + 2 / 3
    return p * t
