"""The matrix product for a narrow matrix: sums along rows, for layers of a few outputs.

Tiles compute whole registers of columns; of a layer with one output all of them but one would be padding. Here the
lanes run along k, and a butterfly of exchanges adds those of several sums up at once. Its order is the same wherever a
sum stands, so a row's result is the same whichever rows are computed beside it. What comes out is kept in padded rows
for the next layer's tiles, or in columns, for a last layer: a register of a column holds nothing but results.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir

from fastmlp.backends.numba.simd.lanes import Lanes
from fastmlp.backends.numba.simd.leaf import INT, Code, leaf
from fastmlp.backends.numba.simd.registers import columns_at_most
from fastmlp.backends.numba.simd.tiles import Ending, Finish, fused

_MOST_ROWS = 8  # at a time: more would want for registers that hold their addresses


def _totals(code: Code, sums: list[Lanes]) -> Lanes:
    """Return the sum of each register's lanes, that of the i-th register in lane i."""
    lanes, step = code.kind.lanes, 1
    while step < lanes:
        low = [j if not j & step else lanes + j - step for j in range(lanes)]
        high = [j + step if not j & step else lanes + j for j in range(lanes)]
        pairs = zip(sums[::2], [*sums[1::2], sums[-1]], strict=False)  # the last with itself, if it has no partner
        sums = [a.shuffled(b, low) + a.shuffled(b, high) for a, b in pairs]
        step *= 2
    return sums[0]


def _loop(code: Code, stop: Any, sums: list[Lanes], add: Any) -> list[Lanes]:
    """Write the loop over k, a register at a time, in which `add(k, sums)` returns the next sums; return the last."""
    builder = code.builder
    before, loop = builder.block, builder.function.append_basic_block("k")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(INT)
    phis = [builder.phi(code.kind.vector) for _ in sums]
    added = add(k, [code.lanes(phi) for phi in phis])
    following = code.add(k, code.kind.lanes)
    k.add_incoming(code.whole(0), before)
    k.add_incoming(following, loop)
    for phi, start, then in zip(phis, sums, added, strict=True):
        phi.add_incoming(start.value, before)
        phi.add_incoming(then.value, loop)
    end = builder.function.append_basic_block("end")
    code.keep_rolled(builder.cbranch(builder.icmp_signed("<", following, stop), loop, end))
    builder.position_at_end(end)
    return added


def _sums(code: Code, pairs: list[tuple[int, int]], operands: tuple[Any, ...]) -> Lanes:
    """Return the products of rows of A with rows of W, in the order of the pairs (row of A, row of W)."""
    a, a_row, w, w_row, k_stop = operands
    heads = [code.at(a, code.mul(a_row, i)) for i in range(1 + max(i for i, _ in pairs))]
    weights = [code.at(w, code.mul(w_row, j)) for j in range(1 + max(j for _, j in pairs))]

    def add(k: Any, sums: list[Lanes]) -> list[Lanes]:
        own = [code.load(column, k) for column in weights]
        factors = [code.load(head, k) for head in heads]
        return [fused(factors[i], own[j], so_far.value) for (i, j), so_far in zip(pairs, sums, strict=True)]

    return _totals(code, _loop(code, k_stop, [code.lanes(0.0)] * len(pairs), add))


def _row(code: Code, totals: Lanes, i: int, columns: int) -> Lanes:
    """Return the i-th row of totals, and zeros behind it."""
    lanes = code.kind.lanes
    return totals.shuffled(code.lanes(0.0), [i * columns + j if j < columns else lanes for j in range(lanes)])


Write = Callable[[Code, int, int, Any, Any, Any, tuple[Any, ...]], None]


def _write_rows(code: Code, rows: int, columns: int, init: Any, c: Any, c_step: Any, operands: tuple[Any, ...]) -> None:
    """Write some rows of C, a register each."""
    totals = _sums(code, [(i, j) for i in range(rows) for j in range(columns)], operands)
    start = code.load(init)
    for i in range(rows):
        code.store(_row(code, totals, i, columns) + start, c, code.mul(c_step, i))


def _write_columns(
    code: Code, rows: int, columns: int, init: Any, c: Any, c_step: Any, operands: tuple[Any, ...]
) -> None:
    """Write as many numbers of each column of C."""
    totals = _sums(code, [(i, j) for j in range(columns) for i in range(rows)], operands)
    start = code.load_some(init, 0, code.below(columns))
    own = [j for j in range(columns) for _ in range(rows)]
    sums = totals + start.shuffled(start, [*own, *[0] * (code.kind.lanes - len(own))])
    for j in range(columns):
        code.store_part(sums, range(j * rows, (j + 1) * rows), c, code.mul(c_step, j))


def _blocks_of_rows(code: Code, write: Write, arguments: tuple[Any, ...], *, by_row: bool) -> None:
    """Write C, as many rows at a time as have room in registers, and then the others one by one."""
    *operands, m, columns = arguments

    def rows(n: int, inner: Code, m: Any, *own: Any) -> None:
        a, a_row, w, w_row, init, c, c_step, k = own
        done: Any = inner.whole(0)
        for height in dict.fromkeys((min(_MOST_ROWS, inner.kind.lanes // n), 1)):
            stop = inner.add(done, inner.mul(inner.builder.sdiv(inner.sub(m, done), inner.whole(height)), height))
            with inner.loop(stop, height, done) as i:
                start = inner.at(c, inner.mul(i, c_step) if by_row else i)
                factors = inner.at(a, inner.mul(i, a_row)), a_row, w, w_row, k
                write(inner, height, n, init, start, c_step, factors)
            done = stop

    def case(n: int) -> None:
        code.call(f"columns_of_{n}", partial(rows, n), m, *operands)

    code.switch(columns, {n: partial(case, n) for n in range(1, columns_at_most(code.kind.lanes) + 1)})


@leaf("v i v i v v i iii")
def dots(code: Code, *arguments: Any) -> None:
    """Write C = init + A W.T for a W of few rows: 2 m k columns operations.

    Parameters
    ----------
    a, a_row
        A, m rows of k numbers, and how far from one to the next.
    w, w_row
        W, a row of k numbers for each column of C.
    init
        A register that each row of C begins with.
    c, c_row
        C, m rows of one register, whose lanes beyond the columns get those of `init`.
    k, m, columns
        `k` is a multiple of a register's lanes; `columns` at most `columns_at_most`.
    """
    _blocks_of_rows(code, _write_rows, arguments, by_row=True)


@leaf("v i v i v v i iii")
def dots_to_columns(code: Code, *arguments: Any) -> None:
    """Write the same to columns of m numbers, `c_row` being how far from one column to the next."""
    _blocks_of_rows(code, _write_columns, arguments, by_row=False)


# ---- the way back


@leaf("v ii v i v i iii iv")
def spread(code: Code, *arguments: Any) -> None:
    """Write C = A W for a W of few rows, each row of C as a whole: 2 m columns size operations.

    Panel by panel, as tiles do it, nearly all of the time would go into writing numbers that are far apart.

    Parameters
    ----------
    a, a_row, a_column
        A: entry (i, j) is i * a_row + j * a_column numbers after `a`.
    w, w_row
        W, a row for each column of A.
    c, c_row
        C, m rows.
    size, m, columns
        Numbers of a row of W and C, a multiple of a register's lanes; rows of C; columns of A, at most
        `columns_at_most`.
    ending, gate
        As of `tiles.panel_product`.
    """
    *operands, m, columns, ending, gate = arguments

    def rows(n: int, inner: Code, m: Any, *own: Any) -> None:
        a, a_row, a_column, w, w_row, c, c_row, size, *last = own

        def write(finish: Finish) -> None:
            with inner.loop(m) as i:
                row, down = inner.at(a, inner.mul(i, a_row)), inner.mul(i, c_row)
                factors = [inner.splat(inner.scalar(row, inner.mul(a_column, j))) for j in range(n)]
                with inner.loop(size, inner.kind.lanes) as column:
                    total = inner.lanes(0.0)
                    for j, factor in enumerate(factors):
                        numbers = inner.load(w, inner.add(inner.mul(w_row, j), column))
                        total = fused(factor, numbers, total.value)
                    place = inner.add(down, column)
                    inner.store(finish(total, place), c, place)

        own_ending = Ending(*last)
        inner.switch(own_ending.number, own_ending.cases(inner, write))

    def case(n: int) -> None:
        code.call(f"columns_of_{n}", partial(rows, n), m, *operands, ending, gate)

    code.switch(columns, {n: partial(case, n) for n in range(1, columns_at_most(code.kind.lanes) + 1)})


# ---- one row


@leaf("v v v v i i")
def row_dots(code: Code, a: Any, w: Any, b: Any, z: Any, k: Any, columns: Any) -> None:
    """Write z = b + a W for one row, in the order of `dots`.

    W lies in C order, k x columns, and nothing beyond its end is read; a and z are padded, a with zeros.
    """

    def write(n: int) -> None:
        lanes, builder = code.kind.lanes, code.builder
        last = code.sub(k, 1)

        def numbers(column: int, first: Any) -> Lanes:
            found: Any = ir.Constant(code.kind.vector, ir.Undefined)
            for lane in range(lanes):
                row = code.least(code.add(first, lane), last)
                number = code.scalar(w, code.add(code.mul(row, n), column))
                found = builder.insert_element(found, number, ir.Constant(ir.IntType(32), lane))
            return code.lanes(found)

        def add(first: Any, sums: list[Lanes]) -> list[Lanes]:
            factor = code.load(a, first)
            return [fused(factor, numbers(column, first), own.value) for column, own in enumerate(sums)]

        totals = _totals(code, _loop(code, k, [code.lanes(0.0)] * n, add))
        code.store(_row(code, totals, 0, n) + code.load_some(b, 0, code.below(code.whole(n))), z)

    code.switch(columns, {n: partial(write, n) for n in range(1, columns_at_most(code.kind.lanes) + 1)})
