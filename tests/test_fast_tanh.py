"""The hyperbolic tangent of the fast Numba backend, which has a formula of its own, at a great many points."""

from __future__ import annotations

import numpy as np
import pytest

from fastmlp.backends.numba.calls import ACTIVATION_CODES
from fastmlp.backends.numba.simd import formulas
from tests import bounds, leaf_calls

N = 2**18
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def tanh(x: np.ndarray) -> np.ndarray:
    leaf_calls.load(str(x.dtype))
    a = np.empty_like(x)
    leaf_calls.activate(x, a, ACTIVATION_CODES["tanh"])
    return a


def largest_error(dtype: str) -> float:
    """Return the largest error in ulp of the result, over random arguments of all magnitudes."""
    generator = np.random.default_rng(0)
    uniform, logarithmic = generator.uniform(0.0, 20.0, N), np.exp(generator.uniform(-30.0, 0.0, N))
    x = np.concatenate([uniform, logarithmic]).astype(dtype)
    exact = np.tanh(x.astype(np.longdouble))
    unit = bounds.ulp(exact.astype(dtype), dtype).astype(np.longdouble)
    return float((np.abs(tanh(x).astype(np.longdouble) - exact) / unit).max())


def is_exact_enough(dtype: str) -> bool:
    """Tell whether this machine has numbers of so many digits more that their tanh may stand for the exact one."""
    return bool(np.finfo(np.longdouble).eps < np.finfo(dtype).eps / 1000)


@both_dtypes
def test_errors_are_within_3_ulp(dtype: str) -> None:
    if not is_exact_enough(dtype):
        pytest.skip("no type on this machine has enough digits")
    assert largest_error(dtype) <= bounds.ACTIVATION_ULPS["tanh"]


@both_dtypes
def test_it_ends_at_1_and_never_goes_beyond(dtype: str) -> None:
    names = formulas.formulas(dtype)
    x = np.linspace(0.0, 2 * names._TANH_REACH, N).astype(dtype)
    a = tanh(x)
    assert a.max() == 1.0
    assert np.all(a[x >= names._TANH_REACH] == 1.0)
    assert np.array_equal(tanh(-x), -a)


@both_dtypes
def test_what_is_no_number_stays_and_infinities_are_1(dtype: str) -> None:
    x = np.zeros(32, dtype)
    x[:4] = np.nan, np.inf, -np.inf, np.finfo(dtype).smallest_subnormal
    expected = np.zeros(32, dtype)
    expected[:4] = np.nan, 1.0, -1.0, x[3]
    assert np.array_equal(tanh(x), expected, equal_nan=True)


@pytest.mark.parametrize("coefficient", range(3))
def test_a_coefficient_that_is_off_is_seen(coefficient: int) -> None:
    """The less it weighs, the more it has to be off."""
    S = list(formulas._FLOAT32["_TANH_S"])
    S[coefficient] *= (1.00001, 1.001, 1.1)[coefficient]
    x = np.linspace(0.0, 9.0, N)
    z = x * x

    def error(S: list[float]) -> float:
        twice = x - x * (z * np.polyval(S[::-1], z) / np.polyval(formulas._FLOAT32["_TANH_Q"][::-1], z))
        return float(np.max(np.abs(twice / (1 + twice * twice / 4) - np.tanh(x)) / np.spacing(np.tanh(x[1:2]))))

    assert error(S) > 4 * error(list(formulas._FLOAT32["_TANH_S"]))
