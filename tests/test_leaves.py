"""The leaves that move and multiply numbers, one by one: exact at every edge of lanes, registers and tiles.

Numbers are small integers, so nothing rounds and one result is right. What a leaf must not write is NaN before and
after; what it must not read would carry NaN into the result.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from fastmlp import dropout
from fastmlp.activations import ACTIVATIONS
from fastmlp.backends.numba import calls
from fastmlp.backends.numba.simd import dots, tiles
from fastmlp.backends.numba.simd.registers import host
from tests import bounds, leaf_calls

TILE = host().tile
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(autouse=True)
def _leaves(dtype: str) -> None:
    leaf_calls.load(dtype)


def lanes_of(dtype: str) -> int:
    return host().kind(dtype).lanes


def whole(generator: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    """Small whole numbers of both signs."""
    return generator.integers(-4, 5, shape).astype(dtype)


def spread(rows: np.ndarray, row: int) -> np.ndarray:
    """Return the rows `row` numbers apart, with NaN in between and after the last."""
    flat = np.full(len(rows) * row, np.nan, rows.dtype)
    flat.reshape(len(rows), row)[:, : rows.shape[1]] = rows
    return flat


# ---- the product of a panel


def product_errors(dtype: str, vectors: int, m: int, k: int) -> list[str]:
    """Name the ways of laying out A and init in which a product is wrong or writes elsewhere."""
    generator, width = np.random.default_rng((vectors, m, k)), vectors * lanes_of(dtype)
    A, B = whole(generator, dtype, m, k), whole(generator, dtype, k, width)
    found = []
    ways = itertools.product((False, True), ("one row", "rows", "in place"))
    for way in ways:
        transposed, beginning = way
        b_row, c_row = width + 3, width + 5
        init = whole(generator, dtype, 1 if beginning == "one row" else m, width)
        expected = init + A @ B
        if transposed:  # A.T lies in rows of m + 2
            flat_A, places = spread(A.T, m + 2), (0, 1, m + 2)
        else:
            flat_A, places = spread(A, k + 1), (0, k + 1, 1)
        C = np.full(m * c_row + 4, np.nan, dtype)
        start, init_row = spread(init, width + 7), 0 if beginning == "one row" else width + 7
        if beginning == "in place":
            C[: m * c_row].reshape(m, c_row)[:, :width] = init
            start, init_row = C, c_row
        leaf_calls.panel_product(flat_A, places, spread(B, b_row), start, C, (b_row, init_row, c_row, k, m, vectors))
        if not np.array_equal(C, np.append(spread(expected, c_row), np.full(4, np.nan, dtype)), equal_nan=True):
            found.append(f"{vectors} vectors, m = {m}, k = {k}, A transposed: {transposed}, beginning: {beginning}")
    return found


@both_dtypes
@pytest.mark.parametrize("vectors", TILE.rows)
def test_panel_products_are_exact(dtype: str, vectors: int) -> None:
    heights = range(1, 2 * max(TILE.rows[vectors]) + 4)
    found = [line for m in heights for k in (1, 2, 3, 7) for line in product_errors(dtype, vectors, m, k)]
    assert not found


@both_dtypes
@pytest.mark.parametrize("vectors", TILE.rows)
@pytest.mark.parametrize("name", calls.WITH_PRODUCTS)
def test_products_end_in_activations_and_their_derivatives(dtype: str, vectors: int, name: str) -> None:
    """NaN stays, and a masked delta is zero; the gate lies as C does, and what is between its rows does not count."""
    width, number, row = vectors * lanes_of(dtype), calls.ACTIVATION_CODES[name], ACTIVATIONS[name]
    for m, k in itertools.product(range(1, 2 * max(TILE.rows[vectors]) + 4), (1, 3)):
        generator, c_row = np.random.default_rng((m, k)), width + 3
        A, B, init, gate = (whole(generator, dtype, *shape) for shape in ((m, k), (k, width), (m, width), (m, width)))
        A[0, 0] = np.nan
        Z = (init + A @ B).astype(np.float64)
        products, sizes = (spread(A, k), (0, k, 1), spread(B, width), spread(init, width)), (width, width, c_row)
        slope = row.derivative(gate.astype(np.float64), gate.astype(np.float64))
        for ending, expected in ((0, Z), (number, row.forward(Z)), (-number, Z * slope + 0.0)):
            C = np.full(m * c_row, np.nan, dtype)
            leaf_calls.ended_product(*products, C, (*sizes, k, m, vectors), ending, spread(gate, c_row))
            assert np.array_equal(C, spread(expected.astype(dtype), c_row), equal_nan=True), (m, k, ending)


@both_dtypes
@pytest.mark.parametrize("vectors", TILE.rows)
def test_products_of_packed_numbers_are_exact(dtype: str, vectors: int) -> None:
    """For every way of sharing rows out among tiles; the numbers are packed from within longer rows, and no others."""
    width = vectors * lanes_of(dtype)
    for m, k in itertools.product(range(1, 4 * TILE.rows[TILE.vectors][0]), (1, 2, 5)):
        generator = np.random.default_rng((m, k))
        A, B, init = (whole(generator, dtype, *shape) for shape in ((m, k), (k, width), (m, width)))
        packed, C = np.full(m * k + 1, np.nan, dtype), np.full(m * (width + 3), np.nan, dtype)
        sizes = (m + 2, width + 1, width + 7, width + 3, k, m, vectors)
        rows = spread(A.T, m + 2)
        leaf_calls.product_of_packed(rows, packed, spread(B, width + 1), spread(init, width + 7), C, sizes)
        assert np.array_equal(C, spread(init + A @ B, width + 3), equal_nan=True), (m, k)
        assert sorted(packed[:-1]) == sorted(A.ravel())
        assert np.isnan(packed[-1])


@both_dtypes
def test_rows_from_anywhere_are_packed_as_others_are(dtype: str) -> None:
    A, order = whole(np.random.default_rng(0), dtype, 4, 37), np.array([3, 1, 1, 0, 2], np.int64)
    for m in range(1, 38):
        found, expected = (np.full(5 * m + 1, np.nan, dtype) for _ in range(2))
        leaf_calls.pack_rows(A, order * 37, found, m)
        leaf_calls.pack_tiles(A[order], 37, expected, m, 5)
        assert np.array_equal(found, expected, equal_nan=True)
        assert not np.isnan(found[:-1]).any()


@both_dtypes
@pytest.mark.parametrize("wrong", ["stride of A", "k", "stride of init"])
def test_a_wrong_product_is_seen(dtype: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = leaf_calls.panel_product

    def mistaken(A: Any, places: Any, B: Any, init: Any, C: Any, sizes: Any) -> None:
        b_row, init_row, c_row, k, m, vectors = sizes
        if wrong == "stride of A":
            places = (places[0], places[2], places[1])
        if wrong == "k":
            k = max(1, k - 1)
        if wrong == "stride of init":
            init_row = 0
        genuine(A, places, B, init, C, (b_row, init_row, c_row, k, m, vectors))

    monkeypatch.setattr(leaf_calls, "panel_product", mistaken)
    assert product_errors(dtype, 1, 3, 3)


# ---- the product of a row


@both_dtypes
@pytest.mark.parametrize("k", [1, 2, 7])
def test_row_products_are_exact(dtype: str, k: int) -> None:
    """Sizes around every edge of the blocks of registers; z has room for whole registers and no more."""
    lanes = lanes_of(dtype)
    edges = [blocks * lanes for blocks in range(sum(tiles._ROW_BLOCKS) + 1)]
    sizes = sorted({size + off for size in edges for off in (-1, 0, 1, 3)} - {-1, 0})
    for size in sizes:
        generator = np.random.default_rng((size, k))
        a, W, b = (whole(generator, dtype, *shape) for shape in ((k,), (k, size), (size,)))
        z = np.full(-(-size // lanes) * lanes + 1, np.nan, dtype)
        leaf_calls.row_product(a, W.ravel(), b, z, k, size)
        assert np.array_equal(z[:size], b + a @ W), size
        assert not z[size:-1].any(), size  # padding: what is not there counts as zero
        assert np.isnan(z[-1]), size


# ---- the product of a narrow matrix


def narrow_cases(dtype: str) -> list[tuple[int, int, int]]:
    """Return (columns, registers along k, rows): every number of columns, and rows around every block of them."""
    columns = range(1, dots.columns_at_most(lanes_of(dtype)) + 1)
    return list(itertools.product(columns, (1, 2, 5), range(1, 2 * dots._MOST_ROWS + 2)))


@both_dtypes
def test_narrow_products_are_exact(dtype: str) -> None:
    lanes = lanes_of(dtype)
    for case in narrow_cases(dtype):
        columns, registers, m = case
        k, generator = registers * lanes, np.random.default_rng(case)
        A, W, init = (whole(generator, dtype, *shape) for shape in ((m, k), (columns, k), (lanes,)))
        C = np.full(m * (lanes + 3) + 1, np.nan, dtype)
        sizes = (k + 5, k + 2, lanes + 3, k, m, columns)
        leaf_calls.dots(spread(A, k + 5), spread(W, k + 2), init, C, sizes)
        expected = np.tile(init, (m, 1))
        expected[:, :columns] += A @ W.T
        assert np.array_equal(C[:-1], spread(expected, lanes + 3), equal_nan=True), case
        assert np.isnan(C[-1]), case
        in_columns = np.full((columns, m + 1), np.nan, dtype)
        places = (k + 5, k + 2, m + 1, k, m, columns)
        leaf_calls.dots_to_columns(spread(A, k + 5), spread(W, k + 2), init[:columns].copy(), in_columns, places)
        assert np.array_equal(in_columns[:, :-1], expected[:, :columns].T), case
        assert np.isnan(in_columns[:, -1]).all(), case


@both_dtypes
def test_products_with_few_rows_are_those_of_tiles(dtype: str) -> None:
    """To the bit, signs of zeros too, of an A that lies in rows or in columns; nothing else is touched."""
    lanes = lanes_of(dtype)
    for columns, registers, m in itertools.product(range(1, dots.columns_at_most(lanes) + 1), (1, 2, 5), (1, 2, 7)):
        generator, size = np.random.default_rng((columns, registers, m)), registers * lanes
        A, W = (generator.standard_normal(shape).astype(dtype) for shape in ((m, columns), (columns, size)))
        A[0, 0], W[0, 0] = 0.0, -1.0
        expected, zeros = np.full((m, size), np.nan, dtype), np.zeros(size, dtype)
        for start in range(0, size, lanes):
            panel = np.full(m * lanes, np.nan, dtype)
            own = np.ascontiguousarray(W[:, start : start + lanes])
            sizes = (lanes, 0, lanes, columns, m, 1)
            leaf_calls.panel_product(A.ravel(), (0, columns, 1), own.ravel(), zeros, panel, sizes)
            expected[:, start : start + lanes] = panel.reshape(m, lanes)
        for flat, a_row, a_column in ((spread(A, columns + 3), columns + 3, 1), (spread(A.T, m + 2), 1, m + 2)):
            C = np.full(m * (size + 5), np.nan, dtype)
            places = (a_row, a_column, size + 2, size + 5)
            leaf_calls.spread(flat, spread(W, size + 2), C, places, (size, m, columns), 0, zeros)
            assert C.tobytes() == spread(expected, size + 5).tobytes(), (columns, registers, m)


@both_dtypes
@pytest.mark.parametrize("name", calls.WITH_PRODUCTS)
def test_products_with_few_rows_end_in_activations_and_their_derivatives(dtype: str, name: str) -> None:
    lanes, number, row = lanes_of(dtype), calls.ACTIVATION_CODES[name], ACTIVATIONS[name]
    for columns, registers, m in itertools.product(range(1, dots.columns_at_most(lanes) + 1), (1, 2, 5), (1, 2, 7)):
        generator, size = np.random.default_rng((columns, registers, m)), registers * lanes
        A, W, gate = (whole(generator, dtype, *shape) for shape in ((m, columns), (columns, size), (m, size)))
        A[0, 0] = np.nan
        sums, a = (A @ W).astype(np.float64), gate.astype(np.float64)
        places = (columns + 3, 1, size + 2, size + 5)
        operands = spread(A, columns + 3), spread(W, size + 2)
        for ending, expected in ((number, row.forward(sums)), (-number, sums * row.derivative(a, a) + 0.0)):
            C = np.full(m * (size + 5), np.nan, dtype)
            leaf_calls.spread(*operands, C, places, (size, m, columns), ending, spread(gate, size + 5))
            assert C.tobytes() == spread(expected.astype(dtype), size + 5).tobytes(), (columns, registers, m, ending)


@both_dtypes
def test_a_row_of_a_narrow_product_has_the_same_bits_everywhere(dtype: str) -> None:
    """In every row of a block, in none, and read from W as it lies, whose last register along k is incomplete."""
    lanes = lanes_of(dtype)
    for columns, registers, m in narrow_cases(dtype):
        generator = np.random.default_rng((columns, registers, m))
        size = registers * lanes - 1
        row = np.zeros(registers * lanes, dtype)
        row[:size] = generator.standard_normal(size)
        W = generator.standard_normal((size, columns)).astype(dtype)
        start, padded = np.zeros(lanes, dtype), np.zeros((columns, registers * lanes), dtype)
        start[:columns] = generator.standard_normal(columns)
        padded[:, :size] = W.T
        C, z = np.full((m, lanes), np.nan, dtype), np.full(lanes + 1, np.nan, dtype)
        places = (row.size, row.size, lanes, row.size, m, columns)
        leaf_calls.dots(np.tile(row, m), padded.ravel(), start, C, places)
        leaf_calls.row_dots(row, W.ravel().copy(), start[:columns].copy(), z, size, columns)
        assert np.array_equal(C, np.tile(z[:-1], (m, 1))), (columns, registers, m)
        in_columns = np.full((columns, m), np.nan, dtype)
        leaf_calls.dots_to_columns(np.tile(row, m), padded.ravel(), start, in_columns, (*places[:2], m, *places[3:]))
        assert np.array_equal(in_columns.T, C[:, :columns]), (columns, registers, m)
        error = np.abs(z[:columns] - (row[:size].astype(np.float64) @ W + start[:columns]))
        size_of_sum = np.abs(row[:size]).astype(np.float64) @ np.abs(W) + np.abs(start[:columns])
        assert (error <= bounds.gamma(row.size + 1, dtype) * size_of_sum).all()
        assert np.isnan(z[-1])


# ---- moving


@both_dtypes
def test_transposes_are_exact(dtype: str) -> None:
    lanes = lanes_of(dtype)
    for m, vectors in itertools.product(range(1, lanes + 1), range(1, 5)):
        w = np.arange(1.0, m * vectors * lanes + 1).astype(dtype).reshape(m, vectors * lanes)
        w_row, t_row = vectors * lanes + 2, lanes + 3
        t = np.full(vectors * lanes * t_row + 1, np.nan, dtype)
        leaf_calls.transpose(spread(w, w_row), w_row, m, vectors, t, t_row)
        padded = np.zeros((vectors * lanes, lanes), dtype)
        padded[:, :m] = w.T
        assert np.array_equal(t, np.append(spread(padded, t_row), np.array(np.nan, dtype)), equal_nan=True), (
            m,
            vectors,
        )


@both_dtypes
def test_copies_are_exact(dtype: str) -> None:
    """Of any number, from and to any place."""
    lanes = lanes_of(dtype)
    for n, start, out_start in itertools.product(range(3 * lanes + 1), (0, 1), (0, 3)):
        x, out = np.arange(1.0, 4 * lanes + 2).astype(dtype), np.full(4 * lanes + 4, np.nan, dtype)
        leaf_calls.copy(x, start, out, out_start, n)
        expected = np.full_like(out, np.nan)
        expected[out_start : out_start + n] = x[start : start + n]
        assert np.array_equal(out, expected, equal_nan=True), (n, start, out_start)


@both_dtypes
def test_copies_of_rows_are_exact(dtype: str) -> None:
    lanes = lanes_of(dtype)
    for rows, n in itertools.product((1, 2, 5), range(1, 3 * lanes + 2)):
        x, out = whole(np.random.default_rng(n), dtype, rows, n), np.full(rows * (n + 1) + 1, np.nan, dtype)
        leaf_calls.copy_rows(spread(x, n + 2), n + 2, out, n + 1, rows, n)
        assert np.array_equal(out[:-1], spread(x, n + 1), equal_nan=True), (rows, n)
        assert np.isnan(out[-1])


@both_dtypes
def test_gathered_rows_are_exact(dtype: str) -> None:
    order = np.array([3, 0, 3, 1], np.int64)
    for size in range(1, 3 * lanes_of(dtype) + 2):
        x, out = whole(np.random.default_rng(size), dtype, 4, size), np.full(4 * (size + 2) + 1, np.nan, dtype)
        leaf_calls.gather_rows(x, order, size, out, size + 2)
        assert np.array_equal(out[:-1], spread(x[order], size + 2), equal_nan=True), size
        assert np.isnan(out[-1])


@both_dtypes
def test_sums_of_rows_are_exact(dtype: str) -> None:
    """Of as many rows as are added at once, some more, and fewer; added to what there is, or to zeros."""
    lanes = lanes_of(dtype)
    for vectors, rows in itertools.product((1, 2, 3), range(1, 10)):
        generator, width = np.random.default_rng(rows), vectors * lanes
        x, init = whole(generator, dtype, rows, width), whole(generator, dtype, width)
        out = np.full(width + 1, np.nan, dtype)
        leaf_calls.sums_of_rows(spread(x, width + 3), width + 3, init, out, rows, vectors)
        assert np.array_equal(out, np.append(init + x.sum(axis=0), np.array(np.nan, dtype)), equal_nan=True)
        leaf_calls.sums_of_rows(spread(x, width + 3), width + 3, out, out, rows, vectors)  # in place
        assert np.array_equal(out[:-1], init + 2 * x.sum(axis=0))


# ---- dropout


@both_dtypes
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.999])
def test_factors_are_those_of_the_hash(dtype: str, rate: float) -> None:
    """Of the largest numbers that there are, too: they are 32 bits in 64, and lanes may hold 32."""
    lanes, below, kept = lanes_of(dtype), dropout.threshold(rate), float(np.array(1.0 / (1.0 - rate), dtype))
    for seed, step, layer, first in ((0, 0, 0, 0), (1, 2, 1, 5), (2**32 - 1, 2**32 - 1, 3, 10**6), (2**31, 7, 0, 37)):
        key = leaf_calls.dropout_key(seed, step, layer)
        assert key == dropout.layer_key(seed, step, layer)
        for size in (1, lanes - 1, lanes, lanes + 1, 3 * lanes + 1):
            width = -(-size // lanes) * lanes
            factors = np.full((5, width), np.nan, dtype)
            leaf_calls.drop(factors, (5, size, width), (key, first), below, kept)
            for i, j in itertools.product(range(5), range(width)):
                stays = j < size and dropout.unit_hash(key, first + i, j) >= below
                assert factors[i, j] == (kept if stays else 0.0), (seed, size, i, j)


@both_dtypes
def test_a_single_number_that_is_not_finite_is_found(dtype: str) -> None:
    for n in range(1, 2 * lanes_of(dtype) + 3):
        x = np.full(n, np.finfo(dtype).max, dtype)
        x[::2] *= -1.0
        assert leaf_calls.is_finite(x) == 1
        for place, value in itertools.product(range(n), (np.nan, np.inf, -np.inf)):
            changed = x.copy()
            changed[place] = value
            assert leaf_calls.is_finite(changed) == 0, (n, place, value)


@both_dtypes
def test_a_number_that_is_not_finite_is_found_in_rows_but_not_behind_them(dtype: str) -> None:
    lanes = lanes_of(dtype)
    x = np.full((3, 3 * lanes), np.nan, dtype)
    x[:, : 2 * lanes] = np.finfo(dtype).max
    assert leaf_calls.rows_are_finite(x, 2 * lanes) == 1
    for row, place, value in itertools.product(range(3), range(2 * lanes), (np.nan, np.inf, -np.inf)):
        changed = x.copy()
        changed[row, place] = value
        assert leaf_calls.rows_are_finite(changed, 2 * lanes) == 0, (row, place, value)
