"""What is done to a network's outputs: losses and their slopes, shares of samples in them, softmax.

Each loss is the table's own, in registers (`formulas`). Rows are padded to whole registers, and what lies beyond their
true end may be read and written. Of a layer of a few outputs nearly all would be padding: it is kept in columns, one
for each output, each as many numbers from the next as `column` says; what lies beyond the last row, up to a whole
register, may be read and written then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from fastmlp.backends.numba.calls import LOSS_CODES, loss_case
from fastmlp.backends.numba.simd.formulas import formulas, twin
from fastmlp.backends.numba.simd.lanes import splat, where
from fastmlp.backends.numba.simd.leaf import Cases, Code, leaf
from fastmlp.backends.numba.simd.passes import add_product, sum_wide, wide
from fastmlp.losses import LOSSES

# ---- losses and the output's delta


def each_loss(write: Callable[[str, bool], None]) -> Cases:
    """Return a case for each loss, and one for each with its natural link, which `write` writes."""
    cases: Cases = {}
    for name, row in LOSSES.items():
        if row.link is not None:
            cases[loss_case(LOSS_CODES[name], 1)] = partial(write, name, True)  # noqa: FBT003
        if row.outputs != (row.link,):
            cases[loss_case(LOSS_CODES[name], 0)] = partial(write, name, False)  # noqa: FBT003
    return cases


@leaf("vvvv v d iiii", returns="f")
def measure(
    code: Code, z: Any, a: Any, y: Any, delta: Any, p: Any, shares: Any, rows: Any, size: Any, width: Any, case: Any
) -> Any:
    """Return the loss of some rows, each times its share, and write the loss's slope to delta.

    `rows` rows of `width` numbers, the first `size` of which count, and p a row of those that the loss has for each
    output; `case` is of `loss_case`. With the natural link the slope is that through the output activation, a - y.
    """
    total = _nothing(code)

    def write(name: str, linked: bool) -> None:
        value, slope = formulas_of(code, name, linked=linked)
        with code.loop(rows) as i:
            share = splat(code.builder, wide(code), code.scalar(shares, i))
            with code.loop(width, code.kind.lanes) as j:
                at = code.add(code.mul(i, width), j)
                numbers = code.load(z, at), code.load(a, at), code.load(y, at), code.load(p, j)
                losses = where(code.below(code.sub(size, j)), value(*numbers), 0.0)
                add_product(code, total, losses.value, share)
                code.store(slope(*numbers[1:]), delta, at)

    code.switch(case, each_loss(write))
    return sum_wide(code, code.builder.load(total))


@leaf("vvvv v d iiii", returns="f")
def measure_columns(
    code: Code, z: Any, a: Any, y: Any, delta: Any, p: Any, shares: Any, rows: Any, size: Any, column: Any, case: Any
) -> Any:
    """Do what `measure` does, for `size` columns."""
    total = _nothing(code)

    def write(name: str, linked: bool) -> None:
        value, slope = formulas_of(code, name, linked=linked)
        with code.loop(rows, code.kind.lanes) as i:
            share, is_row = _wide_shares(code, shares, i), code.below(code.sub(rows, i))
            with code.loop(size) as j:
                at = code.add(code.mul(j, column), i)
                numbers = code.load(z, at), code.load(a, at), code.load(y, at), code.splat(code.scalar(p, j))
                add_product(code, total, where(is_row, value(*numbers), 0.0).value, share)
                code.store(slope(*numbers[1:]), delta, at)

    code.switch(case, each_loss(write))
    return sum_wide(code, code.builder.load(total))


def _nothing(code: Code) -> Any:
    """Return where a sum begins, in float64."""
    return cgutils.alloca_once_value(code.builder, ir.Constant(wide(code), [0.0] * code.kind.lanes))


def formulas_of(code: Code, name: str, *, linked: bool) -> tuple[Any, Any]:
    """Return a loss and its slope, for registers."""
    row = LOSSES[name]
    if linked:
        return twin(row.link_value, code.kind.dtype), lambda a, y, _: a - y
    return twin(row.value, code.kind.dtype), twin(row.slope, code.kind.dtype)


def _wide_shares(code: Code, shares: Any, i: Any) -> Any:
    """Return the shares of a register's rows, in float64."""
    place = code.builder.bitcast(code.at(shares, i), wide(code).as_pointer())
    return code.builder.load(place, align=8)


@leaf("v d iii")
def scale(code: Code, delta: Any, shares: Any, rows: Any, size: Any, width: Any) -> None:
    """Multiply each row with its share, and make what lies beyond its true end zero."""
    with code.loop(rows) as i:
        share = code.splat(code.scalar(shares, i))
        with code.loop(width, code.kind.lanes) as j:
            at = code.add(code.mul(i, width), j)
            code.store(where(code.below(code.sub(size, j)), code.load(delta, at) * share, 0.0), delta, at)


@leaf("v d iii")
def scale_columns(code: Code, delta: Any, shares: Any, rows: Any, size: Any, column: Any) -> None:
    """Do what `scale` does, for `size` columns; what lies beyond the last row becomes zero."""
    with code.loop(rows, code.kind.lanes) as i:
        wide_share, is_row = _wide_shares(code, shares, i), code.below(code.sub(rows, i))
        share = code.lanes(
            wide_share if wide_share.type == code.kind.vector else code.builder.fptrunc(wide_share, code.kind.vector)
        )
        with code.loop(size) as j:
            at = code.add(code.mul(j, column), i)
            code.store(where(is_row, code.load(delta, at) * share, 0.0), delta, at)


# ---- softmax


@leaf("vv iii i")
def softmax(code: Code, z: Any, a: Any, rows: Any, size: Any, width: Any, logarithm: Any) -> None:
    """Write softmax of the rows of z to a, and make z its logarithm where that is not 0.

    As many rows as a register has lanes take each step together: they need not wait for one another's results, and
    one register holds the logarithms of all their sums.
    """
    f, lanes, builder = formulas(code.kind.dtype), code.kind.lanes, code.builder
    so_far, totals = (cgutils.alloca_once(builder, code.kind.vector) for _ in range(2))
    total_of = builder.bitcast(totals, code.kind.scalar.as_pointer())

    with code.loop(rows, lanes) as first:
        count = code.least(code.sub(rows, first), lanes)
        with code.loop(count) as row:
            start = code.mul(code.add(first, row), width)
            code.store(code.lanes(-math.inf), so_far)
            with code.loop(width, lanes) as j:
                own = where(code.below(code.sub(size, j)), code.load(z, code.add(start, j)), -math.inf)
                code.store(where(own > code.load(so_far), own, code.load(so_far)), so_far)
            top = code.load(so_far).maximum()  # NaN need not be: its power is NaN, and so is their sum
            with code.loop(width, lanes) as j:
                at = code.add(start, j)
                code.store(code.load(z, at) - top, z, at)
        code.store(code.lanes(1.0), totals)
        with code.loop(count) as row:
            start = code.mul(code.add(first, row), width)
            code.store(code.lanes(0.0), so_far)
            with code.loop(width, lanes) as j:
                at = code.add(start, j)
                power = where(code.below(code.sub(size, j)), f.exp(code.load(z, at)), 0.0)
                code.store(power, a, at)
                code.store(code.load(so_far) + power, so_far)
            builder.store(code.load(so_far).sum(), code.at(total_of, row))
        with code.loop(count) as row:
            start, total = code.mul(code.add(first, row), width), code.splat(code.scalar(total_of, row))
            with code.loop(width, lanes) as j:
                at = code.add(start, j)
                code.store(code.load(a, at) / total, a, at)
        with builder.if_then(builder.icmp_signed("!=", logarithm, code.whole(0))):
            code.store(f.log(code.load(totals)), totals)
            with code.loop(count) as row:
                start, log_total = code.mul(code.add(first, row), width), code.splat(code.scalar(total_of, row))
                with code.loop(width, lanes) as j:
                    at = code.add(start, j)
                    code.store(code.load(z, at) - log_total, z, at)


@leaf("vv iii i")
def softmax_columns(code: Code, z: Any, a: Any, rows: Any, size: Any, column: Any, logarithm: Any) -> None:
    """Do what `softmax` does, for `size` columns."""
    f, register = formulas(code.kind.dtype), partial(cgutils.alloca_once, code.builder, code.kind.vector)
    tops, sums = register(), register()
    with code.loop(rows, code.kind.lanes) as i:
        code.store(code.load(z, i), tops)
        with code.loop(size, 1, 1) as j:
            own, so_far = code.load(z, code.add(code.mul(j, column), i)), code.load(tops)
            code.store(where(own > so_far, own, so_far), tops)
        code.store(code.lanes(0.0), sums)
        with code.loop(size) as j:
            at = code.add(code.mul(j, column), i)
            below_top = code.load(z, at) - code.load(tops)  # NaN need not be the top: its power is NaN, and so the sum
            power = f.exp(below_top)
            code.store(below_top, z, at)
            code.store(power, a, at)
            code.store(code.load(sums) + power, sums)
        total = code.load(sums)
        with code.loop(size) as j:
            at = code.add(code.mul(j, column), i)
            code.store(code.load(a, at) / total, a, at)
        with code.builder.if_then(code.builder.icmp_signed("!=", logarithm, code.whole(0))):
            log_total = f.log(total)
            with code.loop(size) as j:
                at = code.add(code.mul(j, column), i)
                code.store(code.load(z, at) - log_total, z, at)


@leaf("vvv iii")
def softmax_delta(code: Code, a: Any, y: Any, delta: Any, rows: Any, width: Any, linked: Any) -> None:
    """Turn the loss's slopes in delta into those with respect to the logits of a softmax, still without shares."""
    lanes = code.kind.lanes
    sums = cgutils.alloca_once(code.builder, code.kind.vector)

    def write(addend: Callable[[Any], Any], result: Callable[[Any, Any], Any]) -> None:
        with code.loop(rows) as i:
            start = code.mul(i, width)
            code.builder.store(code.lanes(0.0).value, sums)
            with code.loop(width, lanes) as j:
                at = code.add(start, j)
                code.builder.store((code.lanes(code.builder.load(sums)) + addend(at)).value, sums)
            total = code.splat(code.lanes(code.builder.load(sums)).sum())
            with code.loop(width, lanes) as j:
                at = code.add(start, j)
                code.store(result(at, total), delta, at)

    code.switch(linked, _each_delta(code, a, y, delta, write))


def _each_delta(code: Code, a: Any, y: Any, delta: Any, write: Callable[..., None]) -> Cases:
    """Return what `write` is called with, by whether softmax is the loss's natural link.

    A number of each output, whose sum over a row is wanted, and the slope that comes of that sum, both from a place.
    """

    def of(array: Any) -> Callable[[Any], Any]:
        return lambda at: code.load(array, at)

    return {
        1: partial(write, of(y), lambda at, total: of(a)(at) * total - of(y)(at)),
        0: partial(
            write,
            lambda at: of(a)(at) * of(delta)(at),
            lambda at, total: of(a)(at) * (of(delta)(at) - total),
        ),
    }


@leaf("vvv iii i")
def softmax_delta_columns(
    code: Code, a: Any, y: Any, delta: Any, rows: Any, size: Any, column: Any, linked: Any
) -> None:
    """Do what `softmax_delta` does, for `size` columns."""
    sums = cgutils.alloca_once(code.builder, code.kind.vector)

    def write(addend: Callable[[Any], Any], result: Callable[[Any, Any], Any]) -> None:
        with code.loop(rows, code.kind.lanes) as i:
            code.store(code.lanes(0.0), sums)
            with code.loop(size) as j:
                code.store(code.load(sums) + addend(code.add(code.mul(j, column), i)), sums)
            total = code.load(sums)
            with code.loop(size) as j:
                at = code.add(code.mul(j, column), i)
                code.store(result(at, total), delta, at)

    code.switch(linked, _each_delta(code, a, y, delta, write))


# ---- the gradient of biases


@leaf("v iii v i vv")
def sums_of_columns(
    code: Code, x: Any, rows: Any, size: Any, column: Any, init: Any, init_row: Any, sums: Any, out: Any
) -> None:
    """Write the sums of `size` columns, zero beyond their last row, to the first lanes of a register, and zeros behind.

    Rows that come in several calls have the sum that they have in one: a register of sums is kept for each column, to
    which its registers are added, from those at `init`, of which each is `init_row` numbers from the next.
    """
    so_far = cgutils.alloca_once(code.builder, code.kind.vector)
    code.store(code.lanes(0.0), out)
    with code.loop(size) as j:
        code.store(code.load(init, code.mul(j, init_row)), so_far)
        with code.loop(rows, code.kind.lanes) as i:
            code.store(code.load(so_far) + code.load(x, code.add(code.mul(j, column), i)), so_far)
        code.store(code.load(so_far), sums, code.mul(j, code.kind.lanes))
        code.builder.store(code.load(so_far).sum(), code.at(out, j))
