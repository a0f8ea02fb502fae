"""Products with samples most of whose features are zero: of what is not zero alone, in the order of `panel_product`.

A row's sums begin as there and go along its entries: where their features ascend, the bits are those of dense rows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from numba.core import cgutils

from fastmlp.backends.numba.simd.lanes import Choice, Lanes
from fastmlp.backends.numba.simd.leaf import INT, Code, leaf
from fastmlp.backends.numba.simd.tiles import fused

_ROW_BLOCKS = (8, 4, 2, 1)  # registers of sums at a time: so that W's rows are read in long pieces


def _sums(
    code: Code, vectors: int, init: Any, c: Any, entries: tuple[Any, Any], product: Any, there: Choice | None = None
) -> None:
    """Write a row of C: from that of `init`, entry by entry, each a number times a row (`product`).

    Of the one register that is not whole, only the lanes that are there are read.
    """
    lanes = code.kind.lanes

    def load(pointer: Any, j: int) -> Lanes:
        return code.load(pointer, j * lanes) if there is None else code.load_some(pointer, j * lanes, there)

    sums = [cgutils.alloca_once(code.builder, code.kind.vector) for _ in range(vectors)]
    for j, own in enumerate(sums):
        code.store(load(init, j), own)
    first, stop = entries
    with code.loop(stop, 1, first) as entry:
        factor, row = product(entry)
        for j, own in enumerate(sums):
            code.store(fused(factor, load(row, j), code.load(own).value), own)
    for j, own in enumerate(sums):
        code.store(code.load(own), c, j * lanes)


def _entry(code: Code, numbers: Any, places: Any, b: Any, b_row: Any, entry: Any) -> tuple[Any, Any]:
    """Return an entry's number, and the row of B that it is multiplied with: that of its column, or of its row."""
    place = code.scalar(places, entry)
    place = place if place.type == INT else code.builder.sext(place, INT)
    return code.splat(code.scalar(numbers, entry)), code.at(b, code.mul(place, b_row))


@leaf("v h q q v i v v i ii")
def sparse_product(code: Code, numbers: Any, columns: Any, starts: Any, order: Any, *arguments: Any) -> None:
    """Write C = init + X W for one panel of W and some samples, in an order.

    Parameters
    ----------
    numbers, columns, starts, order
        Of all samples, see `fastmlp.backends.base.CompressedRows`, and which of them the rows are.
    b, b_row
        The panel, and how far apart its rows are.
    init
        The row that all rows of C begin with.
    c, c_row
        C.
    m, vectors
        Rows of C, and registers of each.
    """
    *operands, m, vectors = arguments

    def rows(n: int, inner: Code, m: Any, *own: Any) -> None:
        numbers, columns, starts, order, b, b_row, init, c, c_row = own
        with inner.loop(m) as i:
            sample = inner.scalar(order, i)
            entries = inner.scalar(starts, sample), inner.scalar(starts, inner.add(sample, 1))
            product = partial(_entry, inner, numbers, columns, b, b_row)
            _sums(inner, n, init, inner.at(c, inner.mul(i, c_row)), entries, product)

    def case(n: int) -> None:
        code.call(f"entries_of_{n}", partial(rows, n), m, numbers, columns, starts, order, *operands)

    code.switch(vectors, {n: partial(case, n) for n in code.tile.rows})


@leaf("v h q q v i v v i i")
def sparse_products_in_place(code: Code, numbers: Any, columns: Any, starts: Any, order: Any, *arguments: Any) -> None:
    """Do the same for a W as the user has it, in C order, beyond whose end nothing is read.

    Arguments are those of `sparse_product` without `vectors`; `b_row` is the true size of a row, which C pads.
    """
    w, size, init, c, c_row, m = arguments
    lanes = code.kind.lanes
    with code.loop(m) as i:
        sample, out = code.scalar(order, i), code.at(c, code.mul(i, c_row))
        entries = code.scalar(starts, sample), code.scalar(starts, code.add(sample, 1))
        done: Any = code.whole(0)
        for vectors in _ROW_BLOCKS:
            stop = code.add(
                done, code.mul(code.builder.sdiv(code.sub(size, done), code.whole(vectors * lanes)), vectors * lanes)
            )
            with code.loop(stop, vectors * lanes, done) as first:
                product = partial(_entry, code, numbers, columns, code.at(w, first), size)
                _sums(code, vectors, code.at(init, first), code.at(out, first), entries, product)
            done = stop
        with code.builder.if_then(code.builder.icmp_signed("<", done, size)):
            there = code.below(code.sub(size, done))
            product = partial(_entry, code, numbers, columns, code.at(w, done), size)
            _sums(code, 1, code.at(init, done), code.at(out, done), entries, product, there)


@leaf("v q q v i v i v i ii")
def sparse_gradient(code: Code, numbers: Any, rows: Any, starts: Any, *arguments: Any) -> None:
    """Write C = init + X.T delta for one panel of delta and some features.

    Parameters
    ----------
    numbers, rows, starts
        The entries of each feature, the first of which are from ``starts[0]`` up to ``starts[1]``.
    b, b_row
        The panel of delta, and how far apart its rows are.
    init, init_row
        What C begins with: a row for each of C, or one for all where `init_row` is 0.
    c, c_row
        C.
    m, vectors
        Rows of C, a feature each, and registers of each.
    """
    *operands, m, vectors = arguments

    def features(n: int, inner: Code, m: Any, *own: Any) -> None:
        numbers, rows, starts, b, b_row, init, init_row, c, c_row = own
        with inner.loop(m) as i:
            entries = inner.scalar(starts, i), inner.scalar(starts, inner.add(i, 1))
            product = partial(_entry, inner, numbers, rows, b, b_row)
            start = inner.at(init, inner.mul(i, init_row))
            _sums(inner, n, start, inner.at(c, inner.mul(i, c_row)), entries, product)

    def case(n: int) -> None:
        code.call(f"entries_of_{n}", partial(features, n), m, numbers, rows, starts, *operands)

    code.switch(vectors, {n: partial(case, n) for n in code.tile.rows})
