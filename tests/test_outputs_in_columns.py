"""Outputs kept in columns: what is done to them is what is done to rows, and nothing beyond their end counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from fastmlp.backends.numba.calls import LOSS_CODES
from fastmlp.backends.numba.simd.outputs import loss_case
from fastmlp.backends.numba.simd.registers import lanes
from fastmlp.losses import LOSSES
from tests import bounds, leaf_calls

Array = np.ndarray

pytestmark = pytest.mark.skipif(lanes("float64") == 1, reason="without registers nothing is kept in columns")
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(autouse=True)
def _leaves() -> None:
    for dtype in ("float32", "float64"):
        leaf_calls.load(dtype)


def cases(dtype: str) -> Iterator[tuple[int, int, np.random.Generator]]:
    """Yield (columns, rows, generator): rows around one and two registers."""
    n = lanes(dtype)
    for size, rows in itertools.product((1, 2, 3, 4), (1, 2, n - 1, n, n + 1, 2 * n + 3)):
        yield size, rows, np.random.default_rng((size, rows))


def as_columns(values: Array, beyond: float = np.nan) -> Array:
    """Return rows as columns, each a whole number of registers, and one register that must not be touched."""
    rows, size = values.shape
    n = lanes(values.dtype.name)
    columns = np.full((size, -(-rows // n) * n + n), beyond, values.dtype)
    columns[:, :rows] = values.T
    return columns


def as_rows(values: Array) -> Array:
    """Return rows padded to a register."""
    rows, size = values.shape
    padded = np.zeros((rows, lanes(values.dtype.name)), values.dtype)
    padded[:, :size] = values
    return padded


def untouched(columns: Array) -> bool:
    """Return whether what lies a register beyond the last row is as it was."""
    return bool(np.isnan(columns[:, -lanes(columns.dtype.name) :]).all())


def shares_of(generator: np.random.Generator, rows: int) -> Array:
    """Return a share for each row, and what a register may read beyond them."""
    return np.concatenate([generator.uniform(0.1, 2.0, rows), np.full(16, 7.0)])


@both_dtypes
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_slopes_are_those_of_rows(loss: str, dtype: str, *, linked: bool) -> None:
    if LOSSES[loss].link is None if linked else LOSSES[loss].outputs == (LOSSES[loss].link,):
        pytest.skip("there is no such loss")
    case = loss_case(LOSS_CODES[loss], int(linked))
    for size, rows, generator in cases(dtype):
        z, a, y = (generator.uniform(0.1, 0.9, (rows, size)).astype(dtype) for _ in range(3))
        shares, in_rows = shares_of(generator, rows), [as_rows(each) for each in (z, a, y, np.zeros_like(z))]
        in_columns = [as_columns(each) for each in (z, a, y, np.zeros_like(z))]
        p = generator.uniform(0.1, 0.9, 16).astype(dtype)
        expected = leaf_calls.measure(*in_rows, p, shares, size, case)
        found = leaf_calls.measure_columns(*in_columns, p, shares, rows, case)
        terms = size * rows  # none of which is above 6, a share being at most 2
        assert abs(found - expected) <= bounds.gamma(2 * terms, "float64") * 6 * terms  # in whatever order
        assert np.array_equal(in_columns[3][:, :rows], in_rows[3][:, :size].T)
        assert untouched(in_columns[3])


@both_dtypes
def test_rows_are_scaled_and_zero_beyond_the_last(dtype: str) -> None:
    for size, rows, generator in cases(dtype):
        delta = generator.standard_normal((rows, size)).astype(dtype)
        columns, shares = as_columns(delta), shares_of(generator, rows)
        leaf_calls.scale_columns(columns, shares, rows)
        assert np.array_equal(columns[:, :rows], (delta * shares[:rows, None].astype(dtype)).T)
        assert not columns[:, rows : -lanes(dtype)].any()
        assert untouched(columns)


@both_dtypes
def test_softmax_is_within_its_ulp(dtype: str) -> None:
    """For logits near and far, and however large; the logarithm too, if it is wanted."""
    for size, rows, generator in cases(dtype):
        z = (generator.standard_normal((rows, size)) * generator.choice([1.0, 30.0, 1e4], (rows, 1))).astype(dtype)
        columns, a = as_columns(z), as_columns(np.zeros_like(z))
        leaf_calls.softmax_columns(columns, a, rows, 1)
        below_top = (z - z.max(axis=1, keepdims=True)).astype(np.float64)  # its rounding is softmax's to make
        powers = np.exp(below_top)
        expected = powers / powers.sum(axis=1, keepdims=True)
        ulp = np.spacing(np.maximum(expected, np.finfo(dtype).tiny).astype(dtype))
        assert (np.abs(a[:, :rows].T - expected) <= bounds.SOFTMAX_ULPS * ulp).all()
        logarithm = below_top - np.log(powers.sum(axis=1, keepdims=True))
        error = np.abs(columns[:, :rows].T - logarithm)
        assert (error <= bounds.SOFTMAX_ULPS * np.finfo(dtype).eps * (1 + np.abs(logarithm))).all()
        assert untouched(columns)
        assert untouched(a)
        again, same = as_columns(z), as_columns(np.zeros_like(z))
        leaf_calls.softmax_columns(again, same, rows, 0)
        assert np.array_equal(same, a, equal_nan=True)
        assert np.array_equal(again[:, :rows].T, z - z.max(axis=1, keepdims=True))


@both_dtypes
def test_softmax_of_what_is_not_a_number_is_none(dtype: str) -> None:
    z = np.array([[np.nan, 0.0, 1.0], [0.0, np.nan, 1.0], [0.0, 1.0, np.nan], [0.0, np.inf, 1.0], [1, 2, 3]], dtype)
    columns, a = as_columns(z), as_columns(np.zeros_like(z))
    leaf_calls.softmax_columns(columns, a, len(z), 1)
    assert np.isnan(a[:, :4]).any(axis=0).all()
    assert np.isfinite(a[:, 4]).all()


@both_dtypes
@pytest.mark.parametrize("linked", [False, True])
def test_softmax_deltas_are_exact_on_integers(dtype: str, *, linked: bool) -> None:
    for size, rows, generator in cases(dtype):
        a, y, slopes = (generator.integers(-4, 5, (rows, size)).astype(dtype) for _ in range(3))
        columns = as_columns(slopes)
        leaf_calls.softmax_delta_columns(as_columns(a), as_columns(y), columns, rows, int(linked))
        total = (y if linked else a * slopes).sum(axis=1, keepdims=True)
        expected = a * total - y if linked else a * (slopes - total)
        assert np.array_equal(columns[:, :rows], expected.T)
        assert untouched(columns)


@both_dtypes
def test_sums_are_exact_on_integers(dtype: str) -> None:
    """From zeros on, and from what was summed up before."""
    n = lanes(dtype)
    for size, rows, generator in cases(dtype):
        x = generator.integers(-9, 10, (rows, size)).astype(dtype)
        sums, out = np.full((size, n), np.nan, dtype), np.full(n + 1, np.nan, dtype)
        expected = np.zeros(n, dtype)
        for times, init in enumerate((np.zeros((size, n), dtype), sums), start=1):
            leaf_calls.sums_of_columns(as_columns(x, 0.0), rows, init, sums, out)
            expected[:size] = times * x.sum(axis=0)
            assert np.array_equal(out[:-1], expected)
            assert np.isnan(out[-1])


@both_dtypes
def test_sums_in_several_calls_are_those_in_one(dtype: str) -> None:
    n = lanes(dtype)
    x = np.random.default_rng(0).standard_normal((5 * n - 1, 3)).astype(dtype)
    found = []
    for split in (5 * n, n, 3 * n):
        sums, out = np.zeros((3, n), dtype), np.zeros(n, dtype)
        for part in (x[:split], x[split:]):
            leaf_calls.sums_of_columns(as_columns(part, 0.0), len(part), sums, sums, out)
        found.append(out.tobytes())
    assert len(set(found)) == 1
