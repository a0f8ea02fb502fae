"""Softmax and the loss whose natural link it is, for rows of outputs: from logits to deltas in one pass.

As rows, outputs are padded to whole registers, and maxima and sums go across a register's lanes. Transposed, as many
rows as a register has lanes are columns, a register for each output: none is padding, and no row waits for another.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from fastmlp.activations import SOFTMAX
from fastmlp.backends.numba.calls import LOSS_CODES, loss_case
from fastmlp.backends.numba.simd.formulas import formulas
from fastmlp.backends.numba.simd.lanes import Lanes, splat, where
from fastmlp.backends.numba.simd.leaf import Code, leaf
from fastmlp.backends.numba.simd.outputs import formulas_of
from fastmlp.backends.numba.simd.passes import add_product, sum_wide, wide
from fastmlp.backends.numba.simd.tiles import transposed
from fastmlp.losses import LOSSES

_CASES = {name: loss_case(LOSS_CODES[name], 1) for name, row in LOSSES.items() if row.link == SOFTMAX}


@leaf("vvvvv d iiii", returns="f")
def softmax_loss(
    code: Code, z: Any, a: Any, y: Any, delta: Any, p: Any, shares: Any, rows: Any, size: Any, width: Any, case: Any
) -> Any:
    """Return the loss of some rows, each times its share, and write delta, with zeros beyond the rows' true end.

    Arguments are those of `outputs.measure`, where a is not softmax yet: this does what `softmax`, `measure`,
    `softmax_delta` and `scale` do one after the other. Beyond a row's true end y is 0, which adds nothing to the loss.
    Up to as many rows as a register has lanes, what is behind the last one may be read of z, written of a and delta.
    """
    total = cgutils.alloca_once_value(code.builder, ir.Constant(wide(code), [0.0] * code.kind.lanes))

    def write(name: str) -> None:
        group = _Group(code, name, size, width)
        with code.loop(rows, code.kind.lanes) as first:
            start = code.mul(first, width)
            own_z, own_a, own_y, own_delta = (code.at(array, start) for array in (z, a, y, delta))
            group.softmax(own_z, own_delta, own_a)
            own_shares = code.at(shares, first)
            with code.loop(code.least(code.sub(rows, first), code.kind.lanes)) as row:
                group.measure(row, (own_z, own_a, own_y, own_delta, p), code.scalar(own_shares, row), total)

    code.switch(case, {number: partial(write, name) for name, number in _CASES.items()})
    return sum_wide(code, code.builder.load(total))


class _Group:
    """Writes what is done to as many rows as a register has lanes.

    Parameters
    ----------
    code : Code
    name : str
        The loss.
    size, width
        Of a row: what counts, and how far it is to the next.
    """

    def __init__(self, code: Code, name: str, size: Any, width: Any) -> None:
        self.code, self.size, self.width, self.lanes = code, size, width, code.kind.lanes
        self.f, (self.value, _) = formulas(code.kind.dtype), formulas_of(code, name, linked=True)
        # of each row, in a lane
        self.tops, self.totals, self.logs = (cgutils.alloca_once(code.builder, code.kind.vector) for _ in range(3))

    def softmax(self, z: Any, columns: Any, a: Any) -> None:
        """Write softmax of rows of z to rows of a; `columns` has room for them."""
        code, lanes = self.code, self.lanes
        self._transpose(z, self.width, columns, lanes, by_rows=True)
        code.store(code.load(columns), self.tops)
        with code.loop(self.size, 1, 1) as j:
            own, so_far = code.load(columns, code.mul(j, lanes)), code.load(self.tops)
            code.store(where(own > so_far, own, so_far), self.tops)
        code.store(code.lanes(0.0), self.totals)
        with code.loop(self.size) as j:
            at = code.mul(j, lanes)
            power = self.f.exp(code.load(columns, at) - code.load(self.tops))  # NaN need not be the top: so is the sum
            code.store(power, columns, at)
            code.store(code.load(self.totals) + power, self.totals)
        total = code.load(self.totals)
        code.store(self.f.log(total), self.logs)
        with code.loop(self.size) as j:
            at = code.mul(j, lanes)
            code.store(code.load(columns, at) / total, columns, at)
        self._transpose(columns, lanes, a, self.width, by_rows=False)

    def _transpose(self, x: Any, x_row: Any, out: Any, out_row: Any, *, by_rows: bool) -> None:
        """Transpose blocks as high and wide as a register: side by side in rows, one below the other in columns."""
        code, lanes = self.code, self.lanes
        with code.loop(self.width, lanes) as j:
            source, target = (j, code.mul(j, lanes)) if by_rows else (code.mul(j, lanes), j)
            block = [code.load(x, code.add(source, code.mul(x_row, i))) for i in range(lanes)]
            for i, row in enumerate(transposed(block)):
                code.store(row, out, code.add(target, code.mul(out_row, i)))

    def measure(self, row: Any, arrays: tuple[Any, ...], share: Any, total: Any) -> None:
        """Add a row's loss, times its share, to a total, and write its delta."""
        code, builder = self.code, self.code.builder
        z, a, y, delta, p = arrays
        start, own_share, wide_share = code.mul(row, self.width), code.splat(share), splat(builder, wide(code), share)
        top, log_total = (self._of_row(values, row) for values in (self.tops, self.logs))
        sums = cgutils.alloca_once(builder, code.kind.vector)
        code.store(code.lanes(0.0), sums)
        with code.loop(self.width, self.lanes) as j:
            code.store(code.load(sums) + code.load(y, code.add(start, j)), sums)
        y_total = code.splat(code.load(sums).sum())
        with code.loop(self.width, self.lanes) as j:
            at = code.add(start, j)
            log_a, own_a, own_y = code.load(z, at) - top - log_total, code.load(a, at), code.load(y, at)
            add_product(code, total, self.value(log_a, own_a, own_y, code.load(p, j)).value, wide_share)
            own_delta = (own_a * y_total - own_y) * own_share
            code.store(where(code.below(code.sub(self.size, j)), own_delta, 0.0), delta, at)

    def _of_row(self, values: Any, row: Any) -> Lanes:
        """Return a row's lane of a register, in all lanes."""
        code = self.code
        return code.splat(code.scalar(code.builder.bitcast(values, code.kind.scalar.as_pointer()), row))
