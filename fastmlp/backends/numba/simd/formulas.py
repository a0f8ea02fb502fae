"""The functions of the package's tables, for registers.

A table's function is plain arithmetic over helpers that it finds in its module. Here each gets a twin, the same code
over other helpers, those of `lanes`; and for float32 over shorter series and constants of its own. A row added to a
table needs nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

from fastmlp import activations, elementary, losses, optimizers
from fastmlp.backends.numba.simd import lanes
from fastmlp.backends.numba.simd.lanes import Lanes, where

_MODULES = (elementary, activations, losses, optimizers)
_HELPERS = {"where": lanes.where, "sqrt": lanes.sqrt, "power_of_two": lanes.power_of_two, "split": lanes.split}


def _expm1_near_0(r: Lanes) -> Lanes:
    """See `fastmlp.elementary._expm1_near_0`; the first coefficient left out, r**9 / 9!, is below 2**-31."""
    p = r * (1 / 40320) + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 1 / 2
    return r + r * r * p


def _expm1_near_0_wide(r: Lanes) -> Lanes:
    """See `fastmlp.elementary._expm1_near_0`: the same terms, even and odd powers side by side: half the chain."""
    t = r * r
    even = t * (1 / 479001600) + 1 / 3628800
    even = even * t + 1 / 40320
    even = even * t + 1 / 720
    even = even * t + 1 / 24
    even = even * t + 1 / 2
    odd = t * (1 / 6227020800) + 1 / 39916800
    odd = odd * t + 1 / 362880
    odd = odd * t + 1 / 5040
    odd = odd * t + 1 / 120
    odd = odd * t + 1 / 6
    return r + t * (odd * r + even)


def _log_series(t: Lanes) -> Lanes:
    """See `fastmlp.elementary._log_series`; the first term left out, 2 t**5 / 11, is below 2**-27 of the sum."""
    p = t * (2 / 9) + 2 / 7
    p = p * t + 2 / 5
    p = p * t + 2 / 3
    return p * t


def _tanh(x: Any, own: dict[str, Any]) -> Any:
    """See `fastmlp.elementary.tanh`: here as 2 h / (1 + h**2) of h = tanh(x / 2), within 3 ulp.

    2 h is x (1 - z S(z) / Q(z)) with z = x**2, a rational function fitted by weighted least squares, reweighted until
    the largest error is least. What h is off by weighs in the result only 1 / cosh(x) as much, so the function may be
    of low degree, and what it loses to cancellation for large x does no harm. (For float64 a weight is 2.2e-8 at least,
    so that the result ends at 1 and not just below.) Two quotients, but no exponential.
    """
    reach = own["_TANH_REACH"]
    x = where(x > reach, reach, x)  # NaN stays
    x = where(x < -reach, -reach, x)
    z = x * x
    twice = x - x * (z * _polynomial(own["_TANH_S"], z) / _polynomial(own["_TANH_Q"], z))
    return twice / (twice * (twice * 0.25) + 1.0)


def _exp(x: Any, own: dict[str, Any]) -> Any:
    """See `fastmlp.elementary.exp`: here NaN goes through as it does through all arithmetic."""
    low, high = own["_LOWEST_EXP"], own["_HIGHEST_EXP"]
    x = where(x < low, low, x)
    k, expm1_r = own["_reduce"](where(x > high, high, x))
    return own["_scale"](1.0 + expm1_r, k)


def _polynomial(coefficients: tuple[float, ...], z: Lanes) -> Lanes:
    """Return a polynomial of degree one or more, whose coefficients are given from the constant up."""
    p = z * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        p = p * z + coefficient
    return p


_FLOAT32 = {
    "_expm1_near_0": _expm1_near_0,
    "_log_series": _log_series,
    # Log 2 in two parts, the first of 15 bits, so that its product with an exponent is exact (K. C. Ng, fdlibm, 1993).
    "_LN2_HIGH": 6.9313812256e-01,
    "_LN2_LOW": 9.0580006145e-06,
    "_TO_INTEGER": 12582912.0,  # 1.5 * 2**23
    "_TANH_REACH": 9.3,  # from there on tanh is 1
    "_TANH_S": (0.08333329668265477, 0.0010915747901778113, 1.2249530389007552e-06),
    "_TANH_Q": (1.0, 0.1130984380798285, 0.001205639234453695, 1.2249530389007552e-06),
    "_ONE_VANISHES": 30.0,
    "_LOWEST_EXP": -104.0,
    "_HIGHEST_EXP": 89.0,
    "_LOWEST_EXPM1": -20.0,
}


_FLOAT64 = {
    "_expm1_near_0": _expm1_near_0_wide,
    "_TANH_REACH": 19.7,
    "_TANH_S": (
        *(0.08333333333333288, 0.0016120294653170102, 8.291067924346417e-06),
        *(1.4295748737989785e-08, 7.327513256460825e-12, 5.095207963950559e-16),
    ),
    "_TANH_Q": (
        *(1.0, 0.1193443535837949, 0.0019148805544289423, 9.140682579877549e-06),
        *(1.509602080221865e-08, 7.50624930506517e-12, 5.095207963950559e-16),
    ),
}


def _owned(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """Return the functions that a module defines."""
    found = {name: thing for name, thing in vars(module).items() if isinstance(thing, FunctionType)}
    return {name: function for name, function in found.items() if function.__module__ == module.__name__}


@cache
def formulas(dtype: str) -> SimpleNamespace:
    """Return the tables' functions for registers of a dtype, as attributes with their own names."""
    names: dict[str, Any] = {"__builtins__": __builtins__}
    for module in _MODULES:
        names |= {name: thing for name, thing in vars(module).items() if not name.startswith("__")}
    for module in _MODULES:
        for name, function in _owned(module).items():
            names[name] = FunctionType(function.__code__, names, name, function.__defaults__)
    names |= _HELPERS | (_FLOAT32 if dtype == "float32" else _FLOAT64)
    names |= {"exp": partial(_exp, own=names), "tanh": partial(_tanh, own=names)}
    return SimpleNamespace(**names)


def twin(function: Callable[..., Any], dtype: str) -> Callable[..., Any]:
    """Return the form for registers of a table's function."""
    found: Callable[..., Any] = getattr(formulas(dtype), function.__name__)
    return found
