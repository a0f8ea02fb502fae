"""Steps as programs: lists of calls of leaves, made once for a size of batch and a thread.

Everything about a step but its numbers is known beforehand: which rows go through all layers together, which part of
which panel a product writes, where its operands begin. So it is written down in Python, a row of integers for each
call, and a kernel (`kernels.perform`) does what stands there, without loops over layers, panels or chunks of its own.

The rows go in stripes, each through all layers, forward and back to deltas, while they are in the cache. Then come the
parameters in chunks: a chunk's gradient over all rows of the block, the optimizer's rule, and its transposed copy. A
batch that is larger than a block goes a block at a time, and its gradient adds up. What is split, and in which order
it is added, depends on the problem alone: threads share out stripes and chunks, and change no bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastmlp.backends.numba.fast.layout import Layer, Layout

# The calls, and what stands behind each: offsets in `Memory.values` unless said otherwise.
_codes: Any = map(np.int64, range(21))
(
    END,  # ends a program
    PRODUCT,  # a, a_row, a_column, b, b_row, init, init_row, c, c_row, k, m, vectors
    FROM_INPUTS,  # the same, but a counts from where the caller's inputs begin
    ACTIVATE,  # z, a, n, activation
    DERIVATIVE,  # z, a, delta, n, activation
    SOFTMAX,  # z, a, rows, size, width
    SOFTMAX_DELTA,  # a, y, delta, rows, width, linked
    MEASURE,  # z, a, y, delta, first row, rows, size, width, case, stripe
    SCALE,  # delta, first row, rows, size, width
    MULTIPLY,  # x, y, out, n
    DROP,  # factors, rows, size, width, layer, first row of the batch
    OF_ROWS,  # a as in FROM_INPUTS, place of the first row, b, b_row, init, init_row, c, c_row, k, m, vectors
    OVER_ROWS,  # the same
    PLACES,  # first row of the batch, rows, first row of the block
    TARGETS,  # first row of the batch, rows, y, y_row, first row of the block
    UPDATE,  # w, g, s, t, n, how many of them are weights
    TRANSPOSE,  # w, w_row, m, vectors, t, t_row
    CHECK,  # number of stripes, whether the loss is complete
    MEET,  # threads wait for each other
    PENALISE,  # g, w, n: adds l2 w to a gradient that nobody will step by
    HAND_OUT,  # source, rows, row, size, first row of the batch: from there to the caller's input gradient
) = _codes
WIDTH = 13

Call = tuple[Any, ...]


class Writer:
    """Writes a network's programs.

    Parameters
    ----------
    layout : Layout
    dropping : bool
        Whether units are dropped.
    """

    def __init__(self, layout: Layout, *, dropping: bool) -> None:
        self.layout, self.dropping = layout, dropping

    # ---- programs

    def forward(self, n: int, *, measuring: bool) -> list[Call]:
        """Return the program that takes n rows, where they are, forward and, if wanted, sums up their losses."""
        calls = [*self._forward(0, n, 0, in_place=True)]
        if measuring:
            last = self.layout.layers[-1]
            calls.insert(0, (TARGETS, 0, n, self.layout.y, last.stride, 0))
            calls += [self._measure(0, n, 0, last.z), (CHECK, 1, False)]
        return [*calls, (END,)]

    def step(self, n: int, *, learning: bool, thread: int, n_threads: int) -> list[Call]:
        """Return one thread's program for a batch of n rows: a step, or with `learning` False its gradient alone."""
        size = self.layout.block_rows
        calls: list[Call] = []
        for first in range(0, n, size):
            rows, is_last = min(size, n - first), first + size >= n
            for stripe, start in enumerate(range(0, rows, self.layout.stripe_rows)):
                if stripe % n_threads == thread:
                    calls += self._stripe(start, min(self.layout.stripe_rows, rows - start), first, stripe)
            n_stripes = -(-rows // self.layout.stripe_rows)
            calls += [(MEET,), (CHECK, n_stripes, is_last)]
            single = is_last and not first and learning
            for number, chunk in enumerate(self._chunks()):
                if number % n_threads == thread:
                    calls += self._gradient(*chunk, rows, thread, adding=first > 0, kept=not single)
                    if is_last:
                        calls += self._update(*chunk, thread, kept=not single) if learning else self._penalise(*chunk)
            if self.layout.has_inputs and thread == 0:
                calls += self._input_gradient(rows, first)
            calls.append((MEET,))
        return [call for call in (*calls, (END,)) if n_threads > 1 or call[0] != MEET]

    # ---- rows

    def _stripe(self, first: int, n: int, before: int, stripe: int) -> Iterator[Call]:
        """Take n rows, from the block's row `first` on, through all layers and back; `before` is the block's first."""
        layout, last = self.layout, self.layout.layers[-1]
        y = layout.y + first * last.stride
        yield PLACES, before + first, n, first
        yield TARGETS, before + first, n, y, last.stride, first
        yield from self._forward(first, n, before)
        z, a, delta = (part + first * last.stride for part in (last.z, last.a, last.delta))
        yield self._measure(first, n, stripe, delta)
        if last.is_softmax:
            yield SOFTMAX_DELTA, a, y, delta, n, last.stride, layout.is_linked
        elif not layout.is_linked and not last.is_identity:
            yield DERIVATIVE, z, a, delta, n * last.stride, last.activation
        yield SCALE, delta, first, n, last.fan_out, last.stride
        for layer, below in zip(layout.layers[:0:-1], layout.layers[-2::-1], strict=True):
            start = first * below.stride
            yield from self._back_product(layer, first, n, below.delta + start, below.stride)
            if self.dropping:
                yield MULTIPLY, below.delta + start, below.factors + start, below.delta + start, n * below.stride
            z, a, delta = (part + start for part in (below.z, below.a, below.delta))
            yield DERIVATIVE, z, a, delta, n * below.stride, below.activation

    def _measure(self, first: int, n: int, stripe: int, slopes: int) -> Call:
        layout, last = self.layout, self.layout.layers[-1]
        z, a, y = (part + first * last.stride for part in (last.z, last.a, layout.y))
        return MEASURE, z, a, y, slopes, first, n, last.fan_out, last.stride, layout.loss_case, stripe

    def _forward(self, first: int, n: int, before: int, *, in_place: bool = False) -> Iterator[Call]:
        """Take n rows through all layers; `before` is the batch's row that is the block's first.

        Their X are read where they are: wherever `PLACES` found them, or one after the other.
        """
        layout = self.layout
        source, source_row = 0, layout.layers[0].fan_in
        for layer in layout.layers:
            z, a = layer.z + first * layer.stride, layer.a + first * layer.stride
            for panel in layer.panels:
                w = layout.weights + panel.start
                bias = w + layer.fan_in * panel.width
                A: Call = (PRODUCT, source, source_row, 1)
                if not layer.number:
                    A = (FROM_INPUTS, source, source_row, 1) if in_place else (OF_ROWS, 0, first)
                yield (
                    *(*A, w, panel.width, bias, 0),
                    *(z + panel.column, layer.stride, layer.fan_in, n, panel.vectors),
                )
            if layer.is_softmax:
                yield SOFTMAX, z, a, n, layer.fan_out, layer.stride
            elif not layer.is_identity or z != a:
                yield ACTIVATE, z, a, n * layer.stride, layer.activation
            source, source_row = a, layer.stride
            if self.dropping and layer.number < len(layout.layers) - 1:
                factors, dropped = layer.factors + first * layer.stride, layer.dropped + first * layer.stride
                yield DROP, factors, n, layer.fan_out, layer.stride, layer.number, before + first
                yield MULTIPLY, a, factors, dropped, n * layer.stride
                source = dropped

    def _back_product(self, layer: Layer, first: int, n: int, out: int, out_row: int) -> Iterator[Call]:
        """Write delta @ W.T of a layer."""
        delta = layer.delta + first * layer.stride
        for panel in layer.transposed_panels:
            t = self.layout.transposed + panel.start
            yield (
                *(PRODUCT, delta, layer.stride, 1, t, panel.width, self.layout.zeros, 0),
                *(out + panel.column, out_row, layer.fan_out, n, panel.vectors),
            )

    def _input_gradient(self, n: int, before: int) -> Iterator[Call]:
        """Write delta @ W.T of the first layer for the n rows of a block, and hand it out."""
        first, out = self.layout.layers[0], self.layout.input_gradient
        yield from self._back_product(first, 0, n, out, first.in_row)
        yield HAND_OUT, out, n, first.in_row, first.fan_in, before

    # ---- parameters

    def _chunks(self) -> Iterator[tuple[Layer, Any, int, int]]:
        """Yield (layer, panel, first row, stop); the bias is the row after the last."""
        height = self.layout.chunk_rows
        for layer in self.layout.layers:
            for panel in layer.panels:
                first = 0
                while first <= layer.fan_in:
                    stop = min(first + height, layer.fan_in + 1)
                    stop += stop == layer.fan_in  # the bias goes with the last weights
                    yield layer, panel, first, stop
                    first = stop

    def _gradient(
        self, layer: Layer, panel: Any, first: int, stop: int, n: int, thread: int, *, adding: bool, kept: bool
    ) -> Iterator[Call]:
        """Write, or add to, the gradient of a chunk."""
        layout, width = self.layout, panel.width
        g = self._place(panel, first, thread, kept=kept)
        A: Call = (OVER_ROWS, first, 0)
        if layer.number:
            below = layout.layers[layer.number - 1]
            A = (PRODUCT, (below.dropped if self.dropping else below.a) + first, 1, below.stride)
        start, start_row = (g, width) if adding else (layout.zeros, 0)
        delta = layer.delta + panel.column
        rows = min(stop, layer.fan_in) - first
        if rows > 0:
            yield (
                *(*A, delta, layer.stride, start, start_row),
                *(g, width, n, rows, panel.vectors),
            )
        if stop > layer.fan_in:  # the bias, whose input is one
            start += rows * start_row
            yield (
                *(PRODUCT, layout.one, 0, 0, delta, layer.stride, start, start_row),
                *(g + rows * width, width, n, 1, panel.vectors),
            )

    def _place(self, panel: Any, first: int, thread: int, *, kept: bool) -> int:
        """Return where a chunk's gradient goes: to its own place, or, used at once, to one that stays in the cache."""
        if kept:
            return int(self.layout.gradient + panel.start + first * panel.width)
        return int(self.layout.scratch + thread * self.layout.chunk_size)

    def _update(self, layer: Layer, panel: Any, first: int, stop: int, thread: int, *, kept: bool) -> Iterator[Call]:
        layout, width = self.layout, panel.width
        start = panel.start + first * width
        w, s, t = (part + start for part in (layout.weights, layout.first_state, layout.second_state))
        rows = min(stop, layer.fan_in) - first
        yield UPDATE, w, self._place(panel, first, thread, kept=kept), s, t, (stop - first) * width, rows * width
        if layer.number:
            yield from self.transposed(layer, panel, first, first + rows)

    def _penalise(self, layer: Layer, panel: Any, first: int, stop: int) -> Iterator[Call]:
        start = panel.start + first * panel.width
        n = (min(stop, layer.fan_in) - first) * panel.width
        yield PENALISE, self.layout.gradient + start, self.layout.weights + start, n

    def transposed(self, layer: Layer, panel: Any, first: int, stop: int) -> Iterator[Call]:
        """Refresh the transposed copy of some rows of a panel; `first` is a multiple of a register's lanes."""
        layout = self.layout
        for k in range(first, stop, layout.lanes):
            target = layer.transposed_panels[k // layout.panel_width]
            t = layout.transposed + target.start + panel.column * target.width + k % layout.panel_width
            w = layout.weights + panel.start + k * panel.width
            yield TRANSPOSE, w, panel.width, min(layout.lanes, stop - k), panel.vectors, t, target.width

    def transpose_all(self, first: int) -> list[Call]:
        """Return the program that makes the transposed copies of the layers from `first` on."""
        layers = self.layout.layers[first:]
        calls = [
            c for layer in layers for panel in layer.panels for c in self.transposed(layer, panel, 0, layer.fan_in)
        ]
        return [*calls, (END,)]


def assemble(programs: list[list[Call]]) -> tuple[Any, list[int]]:
    """Return programs as one array of integers, (n_calls, WIDTH), and the row at which each begins."""
    calls = [call for program in programs for call in program]
    table = np.zeros((len(calls), WIDTH), np.int64)
    for row, call in zip(table, calls, strict=True):
        row[: len(call)] = call
    starts = np.cumsum([0, *map(len, programs[:-1])])
    return table, [int(start) for start in starts]
