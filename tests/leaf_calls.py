"""Leaves called from Python: each by a jitted function of its own, over whole arrays."""

from __future__ import annotations

from typing import Any

from fastmlp.backends.numba.entry import leaves_for
from fastmlp.backends.numba.fast import moving
from fastmlp.backends.numba.jit import exact
from fastmlp.backends.numba.simd import dots as narrow
from fastmlp.backends.numba.simd import library, outputs, passes, sparse, tiles
from fastmlp.backends.numba.simd import softmax_loss as one_pass
from fastmlp.backends.numba.simd.leaf import ahead, pointer


def load(dtype: str) -> None:
    """Make the leaves known; before one of these functions is called with arrays of a dtype."""
    library.load(dtype, leaves_for(dtype))


@exact
def panel_product(A: Any, places: Any, B: Any, init: Any, C: Any, sizes: Any) -> None:
    """Write C = init + A B; `places` are A's first place and strides, `sizes` the others', then k, m and vectors."""
    first, a_row, a_column = places
    b_row, init_row, c_row, k, m, vectors = sizes
    a, b, c = ahead(pointer(A), first), pointer(B), pointer(C)
    tiles.panel_product(a, a_row, a_column, b, b_row, pointer(init), init_row, c, c_row, k, m, vectors, 0, c)


@exact
def ended_product(A: Any, places: Any, B: Any, init: Any, C: Any, sizes: Any, ending: int, gate: Any) -> None:
    """Write the same, with an ending, and a gate where C is."""
    first, a_row, a_column = places
    b_row, init_row, c_row, k, m, vectors = sizes
    a, b, start, c = ahead(pointer(A), first), pointer(B), pointer(init), pointer(C)
    own_gate = pointer(gate)
    tiles.panel_product(a, a_row, a_column, b, b_row, start, init_row, c, c_row, k, m, vectors, ending, own_gate)


@exact
def product_of_packed(A: Any, packed: Any, B: Any, init: Any, C: Any, sizes: Any) -> None:
    """Write the same for the transpose of an A in rows of so many numbers, which is packed first."""
    a_row, b_row, init_row, c_row, k, m, vectors = sizes
    tiles.pack_tiles(pointer(A), a_row, pointer(packed), m, k)
    a, b, start, c = pointer(packed), pointer(B), pointer(init), pointer(C)
    tiles.product_of_packed(a, b, b_row, start, init_row, c, c_row, k, m, vectors)


@exact
def pack_rows(A: Any, places: Any, packed: Any, m: int) -> None:
    """Pack m numbers of rows from anywhere."""
    tiles.pack_rows(pointer(A), pointer(places), pointer(packed), m, places.size)


@exact
def pack_tiles(A: Any, a_row: int, packed: Any, m: int, k: int) -> None:
    """Pack m numbers of k rows."""
    tiles.pack_tiles(pointer(A), a_row, pointer(packed), m, k)


@exact
def row_product(a: Any, W: Any, b: Any, z: Any, k: int, size: int) -> None:
    """Write z = b + a W."""
    tiles.row_product(pointer(a), pointer(W), pointer(b), pointer(z), k, size)


@exact
def dots(A: Any, W: Any, init: Any, C: Any, sizes: Any) -> None:
    """Write C = init + A W.T; `sizes` are the rows' distances in A, W and C, then k, m and columns."""
    a_row, w_row, c_row, k, m, columns = sizes
    narrow.dots(pointer(A), a_row, pointer(W), w_row, pointer(init), pointer(C), c_row, k, m, columns)


@exact
def dots_to_columns(A: Any, W: Any, init: Any, C: Any, sizes: Any) -> None:
    """Write the same to columns; the third distance is that from one column to the next."""
    a_row, w_row, column, k, m, columns = sizes
    narrow.dots_to_columns(pointer(A), a_row, pointer(W), w_row, pointer(init), pointer(C), column, k, m, columns)


@exact
def spread(A: Any, W: Any, C: Any, places: Any, sizes: Any, ending: Any, gate: Any) -> None:
    """Write C = A W; `places` are the strides of A and the rows' distances in W and C, `sizes` W's, m and columns."""
    a_row, a_column, w_row, c_row = places
    size, m, columns = sizes
    narrow.spread(
        pointer(A), a_row, a_column, pointer(W), w_row, pointer(C), c_row, size, m, columns, ending, pointer(gate)
    )


@exact
def row_dots(a: Any, W: Any, b: Any, z: Any, k: int, columns: int) -> None:
    """Write z = b + a W."""
    narrow.row_dots(pointer(a), pointer(W), pointer(b), pointer(z), k, columns)


@exact
def sparse_product(numbers: Any, columns: Any, starts: Any, order: Any, W: Any, init: Any, C: Any, sizes: Any) -> None:
    """Write C = init + X W for samples in an order; `sizes` are the rows' distances in W and C, rows, and vectors."""
    w_row, c_row, m, vectors = sizes
    x, j, i, chosen = pointer(numbers), pointer(columns), pointer(starts), pointer(order)
    sparse.sparse_product(x, j, i, chosen, pointer(W), w_row, pointer(init), pointer(C), c_row, m, vectors)


@exact
def sparse_products_in_place(
    numbers: Any, columns: Any, starts: Any, order: Any, W: Any, b: Any, C: Any, sizes: Any
) -> None:
    """Write C = b + X W for samples in an order and a W of rows as long as b; `sizes` are C's rows' distance, rows."""
    c_row, m = sizes
    x, j, i, chosen = pointer(numbers), pointer(columns), pointer(starts), pointer(order)
    sparse.sparse_products_in_place(x, j, i, chosen, pointer(W), b.size, pointer(b), pointer(C), c_row, m)


@exact
def sparse_gradient(memory: Any, first: int, delta: Any, init: Any, C: Any, sizes: Any) -> None:
    """Write C = init + X.T delta for features from one on; `sizes` are rows' distances, their number, and vectors."""
    row, init_row, c_row, m, vectors = sizes
    x, rows, ends = pointer(memory.numbers), pointer(memory.rows), ahead(pointer(memory.ends), first)
    start, c = pointer(init), pointer(C)
    sparse.sparse_gradient(x, rows, ends, pointer(delta), row, start, init_row, c, c_row, m, vectors)


@exact
def turn(samples: Any, order: Any, n_columns: int, memory: Any) -> None:
    """Write the entries of each feature of some samples."""
    moving.turn(samples, pointer(order), order.size, n_columns, memory)


@exact
def transpose(w: Any, w_row: int, m: int, vectors: int, t: Any, t_row: int) -> None:
    """Write the transpose of m rows of so many registers."""
    tiles.transpose(pointer(w), w_row, m, vectors, pointer(t), t_row)


@exact
def copy(x: Any, start: int, out: Any, out_start: int, n: int) -> None:
    """Copy n numbers from a place to a place."""
    passes.copy(ahead(pointer(x), start), ahead(pointer(out), out_start), n)


@exact
def copy_rows(x: Any, x_row: int, out: Any, out_row: int, rows: int, n: int) -> None:
    """Copy rows of n numbers."""
    passes.copy_rows(pointer(x), x_row, pointer(out), out_row, rows, n)


@exact
def gather_rows(x: Any, order: Any, size: int, out: Any, out_row: int) -> None:
    """Copy rows of so many numbers in an order."""
    passes.gather_rows(pointer(x), pointer(order), size, pointer(out), out_row, order.size)


@exact
def sums_of_rows(x: Any, x_row: int, init: Any, out: Any, rows: int, vectors: int) -> None:
    """Write sums of columns."""
    passes.sums_of_rows(pointer(x), x_row, pointer(init), pointer(out), rows, vectors)


@exact
def drop(factors: Any, sizes: Any, key: Any, below: int, kept: float) -> None:
    """Write dropout factors; `sizes` are rows, size and width, `key` the layer's and the first row's number."""
    rows, size, width = sizes
    passes.drop(pointer(factors), rows, size, width, key[0], key[1], below, kept)


@exact
def dropout_key(seed: int, step: int, layer: int) -> int:
    """Return a layer's key."""
    return passes.dropout_key(seed, step, layer)


@exact
def activate(z: Any, a: Any, code: int) -> None:
    """Write the activation of z."""
    passes.activate(pointer(z), pointer(a), z.size, code)


@exact
def multiply_derivative(z: Any, a: Any, delta: Any, code: int) -> None:
    """Multiply delta with the activation's derivative."""
    passes.multiply_derivative(pointer(z), pointer(a), pointer(delta), z.size, code)


@exact
def softmax(z: Any, a: Any, size: int) -> None:
    """Write softmax of rows of which the first `size` numbers count."""
    outputs.softmax(pointer(z), pointer(a), z.shape[0], size, z.shape[1], 1)


@exact
def measure(z: Any, a: Any, y: Any, delta: Any, p: Any, shares: Any, size: int, case: int) -> float:
    """Return the loss of rows of which the first `size` numbers count, and write its slopes."""
    (rows, width), own = z.shape, pointer(shares)
    return outputs.measure(pointer(z), pointer(a), pointer(y), pointer(delta), pointer(p), own, rows, size, width, case)


@exact
def softmax_loss(z: Any, a: Any, y: Any, delta: Any, p: Any, shares: Any, sizes: Any, case: int) -> float:
    """Return the loss of softmax of rows, and write its deltas; `sizes` are rows, what of each counts, and width."""
    (rows, size, width), own = sizes, pointer(shares)
    arrays = pointer(z), pointer(a), pointer(y), pointer(delta), pointer(p)
    return one_pass.softmax_loss(*arrays, own, rows, size, width, case)


@exact
def measure_columns(z: Any, a: Any, y: Any, delta: Any, p: Any, shares: Any, rows: int, case: int) -> float:
    """Return the loss of columns of which the first `rows` numbers count, and write its slopes."""
    (size, column), own = z.shape, pointer(shares)
    return outputs.measure_columns(
        pointer(z), pointer(a), pointer(y), pointer(delta), pointer(p), own, rows, size, column, case
    )


@exact
def scale_columns(delta: Any, shares: Any, rows: int) -> None:
    """Multiply rows with their shares."""
    outputs.scale_columns(pointer(delta), pointer(shares), rows, delta.shape[0], delta.shape[1])


@exact
def softmax_columns(z: Any, a: Any, rows: int, logarithm: int) -> None:
    """Write softmax, over columns."""
    outputs.softmax_columns(pointer(z), pointer(a), rows, z.shape[0], z.shape[1], logarithm)


@exact
def softmax_delta_columns(a: Any, y: Any, delta: Any, rows: int, linked: int) -> None:
    """Write softmax's delta, over columns."""
    outputs.softmax_delta_columns(pointer(a), pointer(y), pointer(delta), rows, a.shape[0], a.shape[1], linked)


@exact
def sums_of_columns(x: Any, rows: int, init: Any, sums: Any, out: Any) -> None:
    """Write the sums of columns, from those of `init`, whose rows are one or as many as there are columns."""
    size, column = x.shape
    init_row = init.shape[1] if init.shape[0] == size else 0
    outputs.sums_of_columns(pointer(x), rows, size, column, pointer(init), init_row, pointer(sums), pointer(out))


@exact
def is_finite(x: Any) -> int:
    """Return 1 if all numbers are finite, else 0."""
    return passes.is_finite(pointer(x), x.size)


@exact
def rows_are_finite(x: Any, size: int) -> int:
    """Return 1 if the first `size` numbers of all rows are finite, else 0."""
    return passes.rows_are_finite(pointer(x), x.shape[0], size, x.shape[1])
