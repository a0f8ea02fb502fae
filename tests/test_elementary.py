"""Our own exp, log and their kin: exact within what they promise, over all of binary64, and the same bits everywhere.

The reference is mpmath with 300 bits, and knows nothing of the reductions that are used.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
import pytest

from fastmlp import elementary
from fastmlp.backends.numba import overloads  # noqa: F401  teaches Numba the functions
from fastmlp.backends.numba.jit import exact
from tests import bounds

PRECISION = 300  # bits; exp(-40) next to 1 takes 58 of them

REFERENCES: dict[str, Callable[[Any], Any]] = {
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "sigmoid_slope": lambda x: 1 / (mpmath.exp(x) + 2 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
}
BELOW = {"log": 0.0, "log1p": -1.0}
"""Where a function is not defined any more."""

TINY, SMALLEST, LARGEST = sys.float_info.min, math.ulp(0.0), sys.float_info.max
SPECIAL = np.array([0.0, -0.0, math.inf, -math.inf, math.nan])
EDGES = [
    *(SMALLEST, TINY, TINY - SMALLEST, TINY + SMALLEST, LARGEST),  # of binary64
    *(2.0**-54, 2.0**-53, 2.0**-52, 2.0**-27, 2.0**-26),  # where one more term begins to count
    *(math.log(2.0) / 2, math.log(2.0), 1.5 * math.log(2.0), math.sqrt(0.5), math.sqrt(2.0), 1.0, 2.0),  # of reductions
    *(36.7, 37.0, 40.0, 60.0 * math.log(2.0)),  # where the smaller one of two terms vanishes
    *(708.3, 709.78, 709.79, 710.0, 744.4, 745.13, 745.14, 746.0),  # of overflow, underflow, and gradual underflow
]


@lru_cache
def arguments(name: str) -> np.ndarray:
    """Draw arguments of every exponent and sign, many where the function lives, and neighbours of every edge."""
    generator = np.random.default_rng(11)
    mantissas = 1.0 + generator.random(2000)
    everywhere = np.ldexp(mantissas, generator.integers(-1074, 1024, mantissas.size))
    edges = np.array(EDGES)
    near = np.concatenate([edges, np.nextafter(edges, 0.0), np.nextafter(edges, LARGEST)])
    positive = np.concatenate(
        [everywhere, generator.uniform(0.0, 40.0, 1000), generator.uniform(0.0, 750.0, 1000), near]
    )
    x = np.concatenate([positive, -positive, np.float64(1.0) + generator.uniform(-1e-3, 1e-3, 500)])
    x = x[x > BELOW.get(name, -math.inf)]
    return x[np.isfinite(x)]


def truth(name: str, x: float) -> Any:
    with mpmath.workprec(PRECISION):
        return REFERENCES[name](mpmath.mpf(x))


def error_in_ulps(name: str, x: float, result: float) -> float:
    """Return how far a result is from the truth, in units in the last place of the truth.

    What rounds to infinity has to be infinity; just below that, either is within an ulp.
    """
    with mpmath.workprec(PRECISION):
        expected = REFERENCES[name](mpmath.mpf(x))
        ulp = mpmath.mpf(float(bounds.ulp(np.float64(min(abs(expected), LARGEST)), "float64")))
        limit = mpmath.mpf(LARGEST) + ulp
        if math.isinf(result):
            return 0.0 if expected * result > 0 and abs(expected) >= LARGEST else math.inf
        return float(abs(mpmath.mpf(result) - min(expected, limit)) / ulp)


@pytest.mark.parametrize("name", REFERENCES)
def test_error_is_within_the_promise(name: str) -> None:
    x = arguments(name)
    results = by_array(name, x)
    errors = np.array([error_in_ulps(name, *pair) for pair in zip(x.tolist(), results.tolist(), strict=True)])
    worst = np.argmax(errors)
    assert errors[worst] <= bounds.ELEMENTARY_ULPS[name], f"{name}({x[worst]!r}) is {results[worst]!r}"


@pytest.mark.parametrize("name", REFERENCES)
def test_the_promise_is_in_the_docstring(name: str) -> None:
    promise = f"within {bounds.ELEMENTARY_ULPS[name]:g} ulp"
    assert promise in (getattr(elementary, name).__doc__ or "")


@pytest.mark.parametrize("name", REFERENCES)
def test_wrong_last_bits_are_seen(name: str) -> None:
    """The measure refuses a result that is off by a few units more than is promised."""
    x = 0.75
    wrong = by_float(name, np.array([x]))[0]
    for _ in range(int(2 * bounds.ELEMENTARY_ULPS[name]) + 1):
        wrong = np.nextafter(wrong, math.inf)
    assert error_in_ulps(name, x, wrong) > bounds.ELEMENTARY_ULPS[name]


def test_cos_is_within_its_promise() -> None:
    generator = np.random.default_rng(12)
    edges = [0.0, math.pi / 4, math.pi / 2, 3 * math.pi / 4, math.pi]
    near = [math.nextafter(edge, toward) for edge in edges[1:-1] for toward in (0.0, math.pi)]
    for x in [*edges, *near, *generator.uniform(0.0, math.pi, 2000).tolist()]:
        with mpmath.workprec(PRECISION):
            assert abs(mpmath.cos(mpmath.mpf(x)) - mpmath.mpf(elementary.cos(x))) <= bounds.COSINE_ERROR
    assert (elementary.cos(0.0), elementary.cos(math.pi)) == (1.0, -1.0)


# --- one definition, three ways to run it ---


def by_array(name: str, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return getattr(elementary, name)(x)


def by_float(name: str, x: np.ndarray) -> np.ndarray:
    function = getattr(elementary, name)
    return np.array([function(value) for value in x.tolist()])


@lru_cache
def kernel(name: str) -> Any:
    function = getattr(elementary, name)

    @exact
    def loop(x: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = function(x[i])

    return loop


def by_kernel(name: str, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    kernel(name)(x, out)
    return out


def bits(values: np.ndarray) -> np.ndarray:
    """Return the bits of numbers, those of all NaN as one."""
    return np.where(np.isnan(values), math.nan, values).view(np.int64)


@pytest.mark.parametrize("name", REFERENCES)
def test_floats_arrays_and_kernels_give_the_same_bits(name: str) -> None:
    generator = np.random.default_rng(13)
    patterns = generator.integers(-(2**63), 2**63, 20_000).view(np.float64)  # every kind of number, NaN among them
    x = np.concatenate([SPECIAL, arguments(name), patterns, -np.abs(arguments(name))])
    expected = bits(by_float(name, x))
    np.testing.assert_array_equal(bits(by_array(name, x)), expected)
    np.testing.assert_array_equal(bits(by_kernel(name, x)), expected)


@pytest.mark.parametrize("name", REFERENCES)
def test_one_argument_gives_a_float_and_an_array_its_shape(name: str) -> None:
    function = getattr(elementary, name)
    assert type(function(0.5)) is float
    result = function(np.full((2, 3), 0.5))
    assert (result.shape, result.dtype) == ((2, 3), np.float64)
    np.testing.assert_array_equal(result, function(0.5))


# --- special arguments: 0, -0, infinity, -infinity, NaN ---

INF, NAN = math.inf, math.nan
AT_SPECIAL = {
    "exp": (1.0, 1.0, INF, 0.0, NAN),
    "expm1": (0.0, 0.0, INF, -1.0, NAN),
    "log": (-INF, -INF, INF, NAN, NAN),
    "log1p": (0.0, 0.0, INF, NAN, NAN),
    "tanh": (0.0, 0.0, 1.0, -1.0, NAN),
    "sigmoid": (0.5, 0.5, 1.0, 0.0, NAN),
    "sigmoid_slope": (0.25, 0.25, 0.0, 0.0, NAN),
    "softplus": (math.log(2.0), math.log(2.0), INF, 0.0, NAN),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_special_arguments(name: str) -> None:
    results = by_float(name, SPECIAL)
    np.testing.assert_array_equal(results, AT_SPECIAL[name])
    assert not (results[0] == 0.0 and np.signbit(results[0]))  # no negative zero from a positive one


@pytest.mark.parametrize("name", BELOW)
def test_a_logarithm_of_less_than_nothing_is_nan(name: str) -> None:
    edge = BELOW[name]
    below = np.array([-SMALLEST, -1.0, -LARGEST]) if edge == 0.0 else np.array([np.nextafter(edge, -INF), -LARGEST])
    assert np.isnan(by_float(name, below)).all()
    assert by_float(name, np.array([edge]))[0] == -INF


def test_underflow_is_gradual() -> None:
    """Results below the smallest normal number keep the digits that are left."""
    assert elementary.exp(-745.0) == SMALLEST
    assert 0.0 < elementary.exp(-720.0) < TINY
    assert elementary.expm1(SMALLEST) == elementary.log1p(SMALLEST) == elementary.tanh(SMALLEST) == SMALLEST


@pytest.mark.parametrize("name", ["exp", "expm1", "tanh", "sigmoid", "softplus", "log", "log1p"])
def test_no_step_down_where_pieces_meet(name: str) -> None:
    """Monotone over neighbouring arguments up to the error promised, also where a reduction changes."""
    x = np.sort(arguments(name))
    y = by_array(name, x)
    finite = np.isfinite(y)
    drop = np.maximum.accumulate(y[finite]) - y[finite]
    assert (drop <= 2.0 * bounds.ELEMENTARY_ULPS[name] * bounds.ulp(y[finite], "float64")).all()
