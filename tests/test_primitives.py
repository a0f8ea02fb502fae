"""Every primitive of every backend is within its own rigorous bound, strict and fast, in both dtypes.

Inner products are held to |computed - exact| <= gamma_(k+1) (|A||B| + |b|) with exact rational sums, from which
|C1 - C2| <= 2 gamma_(k+1) (|A||B| + |b|) follows for any two backends; activations and their derivatives to a stated
number of ulp, against 60 digits, over the whole range of their arguments.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests import bounds, networks, primitives
from tests.test_conformance import report

both_modes = pytest.mark.parametrize("strict", [False, True])
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@both_modes
@both_dtypes
def test_inner_products_are_within_gamma(backend: str, dtype: str, *, strict: bool) -> None:
    found = primitives.inner_products(networks.library(backend, strict=strict), dtype)
    assert not found, report(found)


@both_modes
@both_dtypes
def test_activations_are_within_their_ulp(backend: str, dtype: str, *, strict: bool) -> None:
    make = networks.library(backend, strict=strict)
    found = [line for name in bounds.ACTIVATION_ULPS for line in primitives.activation(name, make, dtype)]
    assert not found, report(found)


@both_modes
@both_dtypes
def test_softmax_is_within_its_ulp(backend: str, dtype: str, *, strict: bool) -> None:
    found = primitives.softmax(networks.library(backend, strict=strict), dtype)
    assert not found, report(found)


@both_modes
@both_dtypes
def test_derivatives_are_within_their_roundings(backend: str, dtype: str, *, strict: bool) -> None:
    make = networks.library(backend, strict=strict)
    found = [line for name in networks.HIDDEN for line in primitives.slope(name, make, dtype)]
    assert not found, report(found)


@both_dtypes
def test_points_cover_the_range(dtype: str) -> None:
    points = primitives.points(dtype)
    assert points.size & (points.size - 1) == 0
    assert np.isin(0.0, points)
    assert np.min(np.abs(points[points != 0])) == np.finfo(dtype).smallest_subnormal
    assert np.log(np.finfo(dtype).max) < np.max(points) == -np.min(points)


def test_ulp_is_the_distance_between_neighbours() -> None:
    for dtype in bounds.UNIT_ROUNDOFF:
        values = np.array([1.0, 1.5, 2.0, 3.9, 1e-3, 7e20], dtype)
        assert np.array_equal(bounds.ulp(values.astype(np.float64), dtype), np.spacing(values).astype(np.float64))
