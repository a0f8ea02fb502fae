"""Softmax and the loss whose natural link it is, for rows of outputs: from logits to deltas in one pass.

As rows, outputs are padded to whole registers, and maxima and sums go across a register's lanes. Transposed, as many
rows as a register has lanes are columns, a register for each output: none is padding, and no row waits for another.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
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
        for step in (group.find_tops, group.find_powers, group.divide):
            with code.loop(rows, code.kind.lanes) as first:
                start = code.mul(first, width)
                step(*(code.at(array, start) for array in (z, delta, a)))
        with code.loop(rows, code.kind.lanes) as first:
            start = code.mul(first, width)
            own = [code.at(array, start) for array in (z, a, y, delta)]
            group.measure(code.sub(rows, first), (*own, p), code.at(shares, first), total)

    code.switch(case, {number: partial(write, name) for name, number in _CASES.items()})
    return sum_wide(code, code.builder.load(total))


class _Group:
    """Writes what is done to as many rows as a register has lanes, and their columns.

    Each step is done to all groups before the next one: a step is a chain of results, and while one group's is under
    way the processor begins with the next group's.

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
        self.sums, self.tops, self.logs = (cgutils.alloca_once(code.builder, code.kind.vector) for _ in range(3))

    def _of_each_output(self, start: int = 0) -> AbstractContextManager[Any]:
        """Loop over the places of columns."""
        return self.code.loop(self.code.mul(self.size, self.lanes), self.lanes, start * self.lanes)

    def find_tops(self, z: Any, columns: Any, a: Any) -> None:
        """Write rows of z as columns, and their largest numbers to a."""
        code, tops = self.code, self.tops
        self._transpose(z, self.width, columns, self.lanes, by_rows=True)
        code.store(code.load(columns), tops)
        with self._of_each_output(1) as j:
            own, so_far = code.load(columns, j), code.load(tops)
            code.store(where(own > so_far, own, so_far), tops)
        code.store(code.load(tops), a)

    def find_powers(self, z: Any, columns: Any, a: Any) -> None:  # noqa: ARG002
        """Make columns powers, and write their sums behind the largest numbers."""
        code, sums, tops = self.code, self.sums, self.code.load(a)
        code.store(code.lanes(0.0), sums)
        with self._of_each_output() as j:
            power = self.f.exp(code.load(columns, j) - tops)  # NaN need not be on top: its power is, and so the sum
            code.store(power, columns, j)
            code.store(code.load(sums) + power, sums)
        code.store(code.load(sums), a, self.lanes)

    def divide(self, z: Any, columns: Any, a: Any) -> None:  # noqa: ARG002
        """Write softmax as rows of a, and in place of columns what the logits lack to its logarithms."""
        code, tops, total = self.code, self.code.load(a), self.code.load(a, self.lanes)
        with self._of_each_output() as j:
            code.store(code.load(columns, j) / total, columns, j)
        self._transpose(columns, self.lanes, a, self.width, by_rows=False)
        code.store(tops, columns)
        code.store(self.f.log(total), columns, self.lanes)

    def _transpose(self, x: Any, x_row: Any, out: Any, out_row: Any, *, by_rows: bool) -> None:
        """Transpose blocks as high and wide as a register: side by side in rows, one below the other in columns."""
        code, lanes = self.code, self.lanes
        with code.loop(self.width, lanes) as j:
            source, target = (j, code.mul(j, lanes)) if by_rows else (code.mul(j, lanes), j)
            block = [code.load(x, code.add(source, code.mul(x_row, i))) for i in range(lanes)]
            for i, row in enumerate(transposed(block)):
                code.store(row, out, code.add(target, code.mul(out_row, i)))

    def measure(self, rows: Any, arrays: tuple[Any, ...], shares: Any, total: Any) -> None:
        """Add the losses of rows, times their shares, to a total, and write their deltas."""
        code, (z, a, y, delta, p) = self.code, arrays
        code.store(code.load(delta), self.tops)
        code.store(code.load(delta, self.lanes), self.logs)
        with code.loop(code.least(rows, self.lanes)) as row:
            start = code.mul(row, self.width)
            own = [code.at(array, start) for array in (z, a, y, delta)]
            self._measure_row(
                (*own, p), (self._of_row(self.tops, row), self._of_row(self.logs, row)), code.scalar(shares, row), total
            )

    def _measure_row(self, arrays: tuple[Any, ...], lacking: tuple[Lanes, Lanes], share: Any, total: Any) -> None:
        code, (z, a, y, delta, p), (top, log_total) = self.code, arrays, lacking
        own_share, wide_share = code.splat(share), splat(code.builder, wide(code), share)
        code.store(code.lanes(0.0), self.sums)
        with code.loop(self.width, self.lanes) as j:
            code.store(code.load(self.sums) + code.load(y, j), self.sums)
        y_total = code.splat(code.load(self.sums).sum())
        with code.loop(self.width, self.lanes) as j:
            log_a, own_a, own_y = code.load(z, j) - top - log_total, code.load(a, j), code.load(y, j)
            add_product(code, total, self.value(log_a, own_a, own_y, code.load(p, j)).value, wide_share)
            own_delta = (own_a * y_total - own_y) * own_share
            code.store(where(code.below(code.sub(self.size, j)), own_delta, 0.0), delta, j)

    def _of_row(self, values: Any, row: Any) -> Lanes:
        """Return a row's lane of a register, in all lanes."""
        code = self.code
        return code.splat(code.scalar(code.builder.bitcast(values, code.kind.scalar.as_pointer()), row))
