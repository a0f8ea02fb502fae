"""The matrix product: micro-kernels whose sums stay in registers, and the loops over tiles around them.

One product serves all three of a layer. C = init + A B with A of any strides, so that A.T is A read the other way; B
and C lie in panels (`panel_product` does one); the rows of `init` have a stride too: 0 repeats one row, a bias or
zeros, and that of C adds to what is there. The sum over k runs upwards in every tile, so a row's result is the same
whichever rows are computed beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastmlp.activations import ACTIVATIONS
from fastmlp.backends.numba.calls import ACTIVATION_CODES, WITH_PRODUCTS
from fastmlp.backends.numba.simd.formulas import twin
from fastmlp.backends.numba.simd.lanes import Choice, Lanes, intrinsic_call
from fastmlp.backends.numba.simd.leaf import INT, Cases, Code, leaf

Finish = Callable[[Lanes, Any], Lanes]


@dataclass(frozen=True)
class _Matrix:
    """A, as tiles read it: where the rows of a tile begin, and how far along k the next number is.

    `head` gives the pointer to a row's first number; from there, the number at k is k times `step` ahead, or as far as
    stands in a table.
    """

    head: Callable[[Code, Any], Any]
    step: Any
    table: Any = None

    def below(self, rows: int) -> _Matrix:
        """Return what lies so many rows further down."""
        return replace(self, head=lambda inner, row: self.head(inner, inner.add(row, rows))) if rows else self

    def of_tile(self, code: Code, first: Any, height: int) -> _Matrix:  # noqa: ARG002
        """Return what a tile reads: rows from one on, so many."""
        return replace(self, head=lambda inner, row: self.head(inner, code.add(first, row)))


@dataclass(frozen=True)
class _Packed:
    """A, an m x k matrix, as `pack_tiles` lays it out: tile by tile, each with what it reads at once side by side."""

    start: Any
    k: Any

    def of_tile(self, code: Code, first: Any, height: int) -> _Matrix:
        """Return what a tile reads."""
        tile = code.at(self.start, code.mul(first, self.k))
        return _Matrix(lambda inner, row: inner.at(tile, row), code.whole(height))


@dataclass(frozen=True)
class Ending:
    """What becomes of sums on their way to C: `ending` and `gate` of `panel_product`."""

    number: Any
    gate: Any = None

    def below(self, code: Code, numbers: Any) -> Ending:
        """Return the same for a tile so many numbers further on."""
        return self if self.gate is None else replace(self, gate=code.at(self.gate, numbers))

    def cases(self, code: Code, write: Callable[[Finish], None]) -> Cases:
        """Return a case for each number; `write` is called with what makes numbers of C of sums and their place."""
        cases: Cases = {0: partial(write, _as_they_are)}
        for name in WITH_PRODUCTS:
            number, row, dtype = ACTIVATION_CODES[name], ACTIVATIONS[name], code.kind.dtype
            cases[number] = partial(write, partial(_activated, twin(row.forward, dtype)))
            if self.gate is not None:
                gated = partial(_gated, code, self.gate, twin(row.derivative, dtype))
                cases[-number] = partial(write, gated)
        return cases


def _as_they_are(sums: Lanes, place: Any) -> Lanes:  # noqa: ARG001
    return sums


def _activated(forward: Callable[[Lanes], Lanes], sums: Lanes, place: Any) -> Lanes:  # noqa: ARG001
    return forward(sums)


def _gated(code: Code, gate: Any, derivative: Callable[[Lanes, Lanes], Lanes], sums: Lanes, place: Any) -> Lanes:
    a = code.load(gate, place)
    return sums * derivative(a, a) + 0.0  # a masked delta is +0.0


def _tile(
    code: Code, rows: int, vectors: int, A: _Matrix, operands: tuple[Any, ...], ending: Ending | None = None
) -> None:
    """Write a micro-kernel: 2 rows vectors lanes k operations; `operands` are b to k of `panel_product`."""
    b, b_row, init, init_row, c, c_row, k_stop = operands
    builder, lanes = code.builder, code.kind.lanes
    starts = [
        [code.load(init, code.add(code.mul(init_row, i), j * lanes)) for j in range(vectors)] for i in range(rows)
    ]
    heads = [A.head(code, code.whole(i)) for i in range(rows)]
    before, loop = builder.block, builder.function.append_basic_block("k")
    builder.branch(loop)
    builder.position_at_end(loop)
    k, row_of_b, moving = builder.phi(INT), builder.phi(b.type), builder.phi(INT)
    sums = [[builder.phi(code.kind.vector) for _ in row] for row in starts]
    place = moving if A.table is None else code.scalar(A.table, k)
    vectors_of_b = [code.load(row_of_b, j * lanes) for j in range(vectors)]
    added = []
    for head, own in zip(heads, sums, strict=True):
        factor = code.splat(code.scalar(head, place))
        added.append([fused(factor, vector, so_far) for vector, so_far in zip(vectors_of_b, own, strict=True)])
    following = code.add(k, 1)
    for phi, start, then in (
        (k, code.whole(0), following),
        (row_of_b, b, code.at(row_of_b, b_row)),
        (moving, code.whole(0), code.add(moving, A.step)),
    ):
        phi.add_incoming(start, before)
        phi.add_incoming(then, loop)
    for phis, first, then in zip(sums, starts, added, strict=True):
        for phi, start, value in zip(phis, first, then, strict=True):
            phi.add_incoming(start.value, before)
            phi.add_incoming(value.value, loop)
    end = builder.function.append_basic_block("end")
    code.keep_rolled(builder.cbranch(builder.icmp_signed("<", following, k_stop), loop, end))
    builder.position_at_end(end)

    def write(finish: Finish) -> None:
        for i, values in enumerate(added):
            for j, value in enumerate(values):
                place = code.add(code.mul(c_row, i), j * lanes)
                code.store(finish(value, place), c, place)

    if ending is None:
        write(_as_they_are)
    else:
        code.switch(ending.number, ending.cases(code, write))


def fused(a: Lanes, b: Lanes, c: Any) -> Lanes:
    """Return a b + c, rounded once where the processor can: never a call of a library."""
    return Lanes(a.builder, a.kind, intrinsic_call(a.builder, f"fmuladd.{a.kind.suffix}", a.value, b.value, c))


def _rows(
    code: Code, vectors: int, m: Any, A: _Matrix | _Packed, operands: tuple[Any, ...], ending: Ending | None
) -> None:
    """Write the loops over the rows of a panel: tiles of full height, then of the smaller ones."""
    b, b_row, init, init_row, c, c_row, k = operands
    for height, start, stop in _heights(code, code.tile.vectors if isinstance(A, _Packed) else vectors, m):
        with code.loop(stop, height, start) as i:
            own = A.of_tile(code, i, height)
            for first, rows in _parts(height, code.tile.rows[vectors][0]):
                place = code.add(i, first)
                down = code.mul(place, c_row)
                starts = code.at(init, code.mul(place, init_row)), init_row, code.at(c, down), c_row
                own_ending = None if ending is None else ending.below(code, down)
                _tile(code, rows, vectors, own.below(first), (b, b_row, *starts, k), own_ending)


def _parts(height: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield the first row, and how many there are, of each part of a tile that is packed higher than sums have room."""
    n_parts = -(-height // most)
    first = 0
    for i in range(n_parts):
        rows = -(-(height - first) // (n_parts - i))
        yield first, rows
        first += rows


def _heights(code: Code, vectors: int, m: Any) -> Iterator[tuple[int, Any, Any]]:
    """Yield each height of tiles, the first of m rows that they take, and the one behind the last."""
    done: Any = code.whole(0)
    heights = code.tile.rows[vectors]
    for height in heights:
        rest = code.sub(m, done)
        if height - 1 == heights[1]:
            rest = code.sub(rest, _left_to_the_next(code, m, height))
        stop = code.add(done, code.mul(code.builder.sdiv(rest, code.whole(height)), height))
        yield height, done, stop
        done = stop


def _left_to_the_next(code: Code, m: Any, height: int) -> Any:
    """Return how many of m rows go to tiles one row lower, so that tiles of the two heights take all of them.

    16 rows are 6 + 5 + 5 then, not 6 + 6 + 4: a tile of few sums takes as long as one of more.
    """
    full = code.whole(height)
    missing = code.builder.srem(code.sub(full, code.builder.srem(m, full)), full)
    rows = code.mul(missing, height - 1)
    return code.builder.select(code.builder.icmp_signed("<=", rows, m), rows, code.whole(0))


def _product(
    code: Code,
    n_of_a: int,
    matrix: Callable[..., _Matrix | _Packed],
    arguments: tuple[Any, ...],
    ending: tuple[Any, ...] = (),
) -> None:
    """Write a product of one panel, a function of its own for each number of vectors.

    Together, compilers run out of registers for addresses. The first `n_of_a` arguments are A, as `matrix` takes them
    and k.
    """
    *operands, m, vectors = arguments
    n_operands = len(operands)

    def write(n: int) -> None:
        def rows(inner: Code, m: Any, *given: Any) -> None:
            own, last = given[:n_operands], given[n_operands:]
            _rows(inner, n, m, matrix(*own[:n_of_a], own[-1]), own[n_of_a:], Ending(*last) if last else None)

        code.call(f"rows_of_{n}", rows, m, *operands, *ending)

    code.switch(vectors, {n: partial(write, n) for n in code.tile.rows})


@leaf("v ii v i v i v i iii iv")
def panel_product(code: Code, *arguments: Any) -> None:
    """Write C = init + A B for one panel: 2 m k vectors lanes operations.

    Parameters
    ----------
    a, a_row, a_column
        A, m x k: entry (i, j) is i * a_row + j * a_column numbers after `a`.
    b, b_row
        B, k rows, each of `vectors` registers.
    init, init_row
        What C begins with: m such rows, or one for all where `init_row` is 0.
    c, c_row
        C, m such rows.
    k, m, vectors
        All at least 1; `vectors` at most those of a panel (`registers.Tile`).
    ending, gate
        0; or the code of one of `calls.WITH_PRODUCTS`: then C is that activation of the product; or minus the code:
        then C is the product times the activation's derivative, the activation being at `gate`, laid out as C is.
    """

    def matrix(a: Any, a_row: Any, a_column: Any, _: Any) -> _Matrix:
        return _Matrix(lambda inner, row: inner.at(a, inner.mul(row, a_row)), a_column)

    _product(code, 3, matrix, arguments[:-2], arguments[-2:])


@leaf("v q v i v i v i iii i")
def product_of_rows(code: Code, *arguments: Any) -> None:
    """Do what `panel_product` does for an A whose row i begins `places[i]` numbers after `a`: any rows of a matrix.

    Arguments are a and places, then as there, without a gate. So a batch is multiplied where its samples are: their
    way from memory is hidden behind the arithmetic.
    """

    def matrix(a: Any, places: Any, _: Any) -> _Matrix:
        return _Matrix(lambda inner, row: inner.at(a, inner.scalar(places, row)), code.whole(1))

    _product(code, 2, matrix, arguments[:-1], arguments[-1:])


@leaf("v q v i v i v i iii")
def product_over_rows(code: Code, *arguments: Any) -> None:
    """Do the same for the transpose of such rows: entry (i, j) of A is i numbers after `places[j]`."""

    def matrix(a: Any, places: Any, _: Any) -> _Matrix:
        return _Matrix(lambda inner, row: inner.at(a, row), code.whole(0), places)

    _product(code, 2, matrix, arguments)


@leaf("v v i v i v i iii")
def product_of_packed(code: Code, *arguments: Any) -> None:
    """Do the same for an A that `pack_tiles` or `pack_rows` has written: arguments are a, then as there."""
    _product(code, 1, _Packed, arguments)


@leaf("v i v ii")
def pack_tiles(code: Code, a: Any, a_row: Any, out: Any, m: Any, k: Any) -> None:
    """Write the transpose of k rows of m numbers as `product_of_packed` reads it: m k numbers."""
    _pack(code, lambda i: code.at(a, code.mul(i, a_row)), out, m, k)


@leaf("v q v ii")
def pack_rows(code: Code, a: Any, places: Any, out: Any, m: Any, k: Any) -> None:
    """Do the same for rows that begin `places[i]` numbers after `a`."""
    _pack(code, lambda i: code.at(a, code.scalar(places, i)), out, m, k)


def _pack(code: Code, row_of: Callable[[Any], Any], out: Any, m: Any, k: Any) -> None:
    parts = list(_heights(code, code.tile.vectors, m))
    with code.loop(k) as i:
        row = row_of(i)
        for height, start, stop in parts:
            with code.loop(stop, height, start) as first:
                target = code.at(out, code.add(code.mul(first, k), code.mul(i, height)))
                _copy_few(code, code.at(row, first), target, height)


def _copy_few(code: Code, x: Any, out: Any, n: int) -> None:
    """Copy n numbers, by one register or two that overlap."""
    half = 1 << (n.bit_length() - 1)
    part = replace(code, kind=replace(code.kind, lanes=half))
    for start in sorted({0, n - half}):
        part.store(part.load(x, start), out, start)


# ---- one row and weights as the user has them, for networks that are asked a single question


_ROW_BLOCKS = (8, 4, 2, 1)  # registers of sums at a time: enough of them hide how long one addition takes


@leaf("v v v v i i")
def row_product(code: Code, a: Any, w: Any, b: Any, z: Any, k: Any, size: Any) -> None:
    """Write z = b + a W for one row: 2 k size operations, in the order of `panel_product`.

    W lies in C order, k x size, and nothing beyond its end is read; z is padded.
    """
    lanes = code.kind.lanes
    done: Any = code.whole(0)
    for vectors in _ROW_BLOCKS:
        width = vectors * lanes
        stop = code.add(done, code.mul(code.builder.sdiv(code.sub(size, done), code.whole(width)), width))
        with code.loop(stop, width, done) as column:
            _row_block(code, (a, w, b, z, k, size), column, vectors, None)
        done = stop
    with code.builder.if_then(code.builder.icmp_signed("<", done, size)):
        _row_block(code, (a, w, b, z, k, size), done, 1, code.below(code.sub(size, done)))


def _row_block(code: Code, operands: tuple[Any, ...], column: Any, vectors: int, there: Choice | None) -> None:
    """Write some registers of `row_product`, from a column on; of the last one, the lanes that are there."""
    a, w, b, z, k_stop, size = operands
    builder, lanes = code.builder, code.kind.lanes

    def numbers(pointer: Any, offset: Any) -> Lanes:
        return code.load(pointer, offset) if there is None else code.load_some(pointer, offset, there)

    starts = [numbers(b, code.add(column, j * lanes)) for j in range(vectors)]
    first_row = code.at(w, column)
    before, loop = builder.block, builder.function.append_basic_block("k")
    builder.branch(loop)
    builder.position_at_end(loop)
    k, row = builder.phi(INT), builder.phi(w.type)
    sums = [builder.phi(code.kind.vector) for _ in starts]
    factor = code.splat(code.scalar(a, k))
    added = [fused(factor, numbers(row, j * lanes), so_far) for j, so_far in enumerate(sums)]
    following = code.add(k, 1)
    for phi, start, then in (
        (k, code.whole(0), following),
        (row, first_row, code.at(row, size)),
        *zip(sums, (each.value for each in starts), (each.value for each in added), strict=True),
    ):
        phi.add_incoming(start, before)
        phi.add_incoming(then, loop)
    end = builder.function.append_basic_block("end")
    code.keep_rolled(builder.cbranch(builder.icmp_signed("<", following, k_stop), loop, end))
    builder.position_at_end(end)
    for j, value in enumerate(added):
        code.store(value, z, code.add(column, j * lanes))


# ---- a layer's weights again, transposed, for delta @ W.T


def transposed(rows: list[Lanes]) -> list[Lanes]:
    """Transpose a square block of registers: exchange ever larger parts of pairs of rows."""
    n, step = len(rows), 1
    while step < n:
        low = [j if not j & step else n + j - step for j in range(n)]
        high = [j + step if not j & step else n + j for j in range(n)]
        for i in range(n):
            if not i & step:
                a, b = rows[i], rows[i + step]
                rows[i], rows[i + step] = a.shuffled(b, low), a.shuffled(b, high)
        step *= 2
    return rows


@leaf("v iii v i")
def transpose(code: Code, w: Any, w_row: Any, m: Any, vectors: Any, t: Any, t_row: Any) -> None:
    """Write up to one register of rows of w, m x vectors, to one register of columns of t; missing rows as zeros.

    `w_row` and `t_row` are the numbers from row to row; t has as many rows as w has columns.
    """
    lanes = code.kind.lanes
    last = code.sub(m, 1)
    with code.loop(vectors) as j:
        rows = []
        for i in range(lanes):
            column = code.mul(j, lanes)
            row = code.load(w, code.add(code.mul(code.least(i, last), w_row), column))
            is_there = code.builder.icmp_signed("<", code.whole(i), m)
            rows.append(code.lanes(code.builder.select(is_there, row.value, code.lanes(0.0).value)))
        for i, row in enumerate(transposed(rows)):
            code.store(row, t, code.mul(code.add(code.mul(j, lanes), i), t_row))
