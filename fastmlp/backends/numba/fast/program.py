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

from fastmlp.backends.numba.fast.codes import (
    ACTIVATE,
    CHECK,
    DERIVATIVE,
    DOTS,
    DOTS_TO_COLUMNS,
    DROP,
    END,
    FINITE,
    FROM_INPUTS,
    GATHER,
    HAND_OUT,
    MEASURE,
    MEASURE_COLUMNS,
    MEET,
    MULTIPLY,
    MULTIPLY_ROWS,
    OF_ROWS,
    OVER_ROWS,
    PENALISE,
    PLACES,
    PRODUCT,
    SCALE,
    SCALE_COLUMNS,
    SOFTMAX,
    SOFTMAX_COLUMNS,
    SOFTMAX_DELTA,
    SOFTMAX_DELTA_COLUMNS,
    SUMS_OF_COLUMNS,
    TARGETS,
    TRANSPOSE,
    UPDATE,
    WIDTH,
)
from fastmlp.backends.numba.fast.layout import Layer, Layout, Panel
from fastmlp.groups import ONE_GROUP, ParameterGroups

Call = tuple[Any, ...]
Piece = tuple[int, int, int, int]  # of parameters: offset in a part, gradient, numbers, how many of them weights
Chunk = tuple[Layer, Panel, int, int]  # rows of a panel, from one up to another; the biases are the row after the last


class Writer:
    """Writes a network's programs.

    Parameters
    ----------
    layout : Layout
    dropping : bool
        Whether units are dropped.
    groups : ParameterGroups
        Of what is updated.
    """

    def __init__(self, layout: Layout, *, dropping: bool, groups: ParameterGroups = ONE_GROUP) -> None:
        self.layout, self.dropping, self.groups = layout, dropping, groups

    # ---- programs

    def forward(self, n: int, *, measuring: bool) -> list[Call]:
        """Return the program that takes n rows, where they are, forward and, if wanted, sums up their losses."""
        last = self.layout.layers[-1]
        calls = [*self._forward(0, n, 0, in_place=True, measuring=measuring)]
        if measuring:
            calls.insert(0, (TARGETS, 0, n, self.layout.y, last.stride, last.column, 0))
            calls += [self._measure(0, n, 0, last.z), (CHECK, 1, False)]
        else:
            calls.append((HAND_OUT, last.a, n, last.stride, last.column, last.fan_out, 0))
        return [*calls, (END,)]

    def step(self, n: int, *, learning: bool, thread: int, n_threads: int) -> list[Call]:
        """Return one thread's program for a batch of n rows: a step, or with `learning` False its gradient alone."""
        size = self.layout.block_rows
        calls: list[Call] = []
        for first in range(0, n, size):
            rows, is_last = min(size, n - first), first + size >= n
            stripes = self.layout.stripes(rows)
            for stripe, (start, n_rows) in enumerate(stripes):
                if stripe % n_threads == thread:
                    calls += self._stripe(start, n_rows, first, stripe)
            calls += [(MEET,), (CHECK, len(stripes), is_last)]
            single = is_last and not first and learning
            for number, chunk in enumerate(self._chunks()):
                if number % n_threads == thread:
                    calls += self._gradient(chunk, rows, thread, adding=first > 0, kept=not single)
                    if is_last:
                        calls += self._update(chunk, thread, kept=not single) if learning else self._penalise(chunk)
            if self.layout.is_scaled and thread == n_threads - 1:
                calls += self._scale_gradient(rows, adding=first > 0)
                calls += self._update_scale() if is_last and learning else ()
            if self.layout.has_inputs and thread == 0:
                calls += self._input_gradient(rows, first)
            calls.append((MEET,))
        return [call for call in (*calls, (END,)) if n_threads > 1 or call[0] != MEET]

    # ---- rows

    def _stripe(self, first: int, n: int, before: int, stripe: int) -> Iterator[Call]:
        """Take n rows, from the block's row `first` on, through all layers and back; `before` is the block's first."""
        layout, last = self.layout, self.layout.layers[-1]
        y = layout.y + first * last.stride
        if not layout.is_scaled:
            yield PLACES, before + first, n, first
        yield TARGETS, before + first, n, y, last.stride, last.column, first
        yield from self._forward(first, n, before)
        z, a, delta = (part + first * last.stride for part in (last.z, last.a, last.delta))
        yield self._measure(first, n, stripe, delta)
        if last.is_softmax and last.is_in_columns:
            yield SOFTMAX_DELTA_COLUMNS, a, y, delta, n, last.fan_out, last.column, layout.is_linked
        elif last.is_softmax:
            yield SOFTMAX_DELTA, a, y, delta, n, last.stride, layout.is_linked
        elif not layout.is_linked and not last.is_identity:
            for start, size in self._runs_of_rows(last, n):
                yield DERIVATIVE, z + start, a + start, delta + start, size, last.activation
        yield self._by_layout(SCALE, SCALE_COLUMNS), delta, first, n, last.fan_out, self._step(last)
        for layer, below in zip(layout.layers[:0:-1], layout.layers[-2::-1], strict=True):
            start = first * below.stride
            yield from self._back_product(layer, first, n, below.delta + start, below.stride)
            if self.dropping:
                yield MULTIPLY, below.delta + start, below.factors + start, below.delta + start, n * below.stride
            z, a, delta = (part + start for part in (below.z, below.a, below.delta))
            yield DERIVATIVE, z, a, delta, n * below.stride, below.activation
        if layout.is_scaled:
            yield from self._slopes_of_scale(first, n)

    def _measure(self, first: int, n: int, stripe: int, slopes: int) -> Call:
        layout, last = self.layout, self.layout.layers[-1]
        z, a, y = (part + first * last.stride for part in (last.z, last.a, layout.y))
        code = self._by_layout(MEASURE, MEASURE_COLUMNS)
        rows = (first, n, last.fan_out, self._step(last))
        return code, z, a, y, slopes, *rows, layout.loss_case, stripe, layout.numbers

    def _by_layout(self, code: Any, code_for_columns: Any) -> Any:
        """Return which of two calls does it for outputs as they are kept."""
        return code_for_columns if self.layout.layers[-1].is_in_columns else code

    @staticmethod
    def _step(layer: Layer) -> int:
        """Return how far it is from one column, or one row, of a layer to the next."""
        return layer.column if layer.is_in_columns else layer.stride

    def _runs_of_rows(self, layer: Layer, n: int) -> Iterator[tuple[int, int]]:
        """Yield where n rows of a layer lie one after the other, and how many numbers, registers' padding included."""
        if not layer.is_in_columns:
            yield 0, n * layer.stride
            return
        for j in range(layer.fan_out):
            yield j * layer.column, -(-n // self.layout.lanes) * self.layout.lanes

    def _forward(
        self, first: int, n: int, before: int, *, in_place: bool = False, measuring: bool = True
    ) -> Iterator[Call]:
        """Take n rows through all layers; `before` is the batch's row that is the block's first.

        Their X are read where they are: wherever `PLACES` found them, or one after the other. Where there is a scale,
        what is made of them is.
        """
        layout = self.layout
        source, source_row = 0, layout.layers[0].fan_in
        if layout.is_scaled:
            yield from self._scaled_inputs(first, n, before)
            source, source_row = layout.inputs + first * layout.input_stride, layout.input_stride
        for layer in layout.layers:
            z, a = layer.z + first * layer.stride, layer.a + first * layer.stride
            if layer.is_narrow:
                w, bias = layout.weights + layer.panels[0].start, layout.weights + layer.bias
                yield (
                    *(DOTS_TO_COLUMNS if layer.is_in_columns else DOTS, source, source_row, w, layer.in_row, bias),
                    *(z, self._step(layer), layer.in_row, n, layer.fan_out),
                )
            for panel in () if layer.is_narrow else layer.panels:
                w = layout.weights + panel.start
                bias = w + layer.fan_in * panel.width
                A: Call = (PRODUCT, source, source_row, 1)
                if not layer.number and not layout.is_scaled:
                    A = (FROM_INPUTS, source, source_row, 1) if in_place else (OF_ROWS, 0, first)
                yield (
                    *(*A, w, panel.width, bias, 0),
                    *(z + panel.column, layer.stride, layer.fan_in, n, panel.vectors),
                )
            if not measuring and not layer.number:  # where X is finite but for an overflow, which the caller looks into
                yield FINITE, z, n, layer.row, layer.stride
            if layer.is_softmax:
                code = self._by_layout(SOFTMAX, SOFTMAX_COLUMNS)
                yield code, z, a, n, layer.fan_out, self._step(layer), measuring
            elif not layer.is_identity:
                for start, size in self._runs_of_rows(layer, n):
                    yield ACTIVATE, z + start, a + start, size, layer.activation
            source, source_row = a, layer.stride
            if self.dropping and layer.number < len(layout.layers) - 1:
                factors, dropped = layer.factors + first * layer.stride, layer.dropped + first * layer.stride
                yield DROP, factors, n, layer.fan_out, layer.stride, layer.number, before + first
                yield MULTIPLY, a, factors, dropped, n * layer.stride
                source = dropped

    def _scaled_inputs(self, first: int, n: int, before: int) -> Iterator[Call]:
        """Write n rows of X, and what the scale makes of them."""
        layout, start = self.layout, first * self.layout.input_stride
        samples, inputs, scale = layout.samples + start, layout.inputs + start, layout.weights + layout.input_scale
        yield GATHER, before + first, n, samples, layout.input_stride
        yield MULTIPLY_ROWS, samples, scale, inputs, n, layout.input_stride, layout.layers[0].in_row

    def _slopes_of_scale(self, first: int, n: int) -> Iterator[Call]:
        """Write, for n rows, what each adds to the gradient of the scale: X times delta @ W.T of the first layer."""
        layout, start = self.layout, first * self.layout.input_stride
        slopes = layout.slopes + start
        yield from self._back_product(layout.layers[0], first, n, slopes, layout.input_stride)
        yield MULTIPLY, slopes, layout.samples + start, slopes, n * layout.input_stride

    def _back_product(self, layer: Layer, first: int, n: int, out: int, out_row: int) -> Iterator[Call]:
        """Write delta @ W.T of a layer."""
        delta = layer.delta + first * layer.stride
        for panel in layer.transposed_panels:
            t = panel.start + (self.layout.weights if layer.is_narrow else self.layout.transposed)
            yield (
                *(PRODUCT, delta, layer.stride, layer.column, t, panel.row, self.layout.zeros, 0),
                *(out + panel.column, out_row, layer.fan_out, n, panel.vectors),
            )

    def _input_gradient(self, n: int, before: int) -> Iterator[Call]:
        """Write delta @ W.T of the first layer for the n rows of a block, and hand it out."""
        first, out = self.layout.layers[0], self.layout.input_gradient
        yield from self._back_product(first, 0, n, out, first.in_row)
        if self.layout.is_scaled:
            scale = self.layout.weights + self.layout.input_scale
            yield MULTIPLY_ROWS, out, scale, out, n, first.in_row, first.in_row
        yield HAND_OUT, out, n, first.in_row, 1, first.fan_in, before

    # ---- parameters

    def _chunks(self) -> Iterator[Chunk]:
        """Yield all parameters in chunks; the biases go with the last weights."""
        height = self.layout.chunk_rows
        for layer in self.layout.layers:
            for panel in layer.panels:
                if layer.is_narrow:
                    yield layer, panel, 0, layer.fan_out
                    continue
                first = 0
                while first <= layer.fan_in:
                    stop = min(first + height, layer.fan_in + 1)
                    stop += stop == layer.fan_in
                    yield layer, panel, first, stop
                    first = stop

    def _place(self, chunk: Chunk, thread: int, *, kept: bool) -> tuple[int, int]:
        """Return where a chunk's gradient goes, and how far apart its rows are there.

        It is the gradient's own place or, if it is used at once, one that stays in the cache.
        """
        _, panel, first, _ = chunk
        if kept:
            return self.layout.gradient + panel.start + first * panel.row, panel.row
        return self.layout.scratch + thread * self.layout.chunk_size, panel.width

    def _bias_place(self, chunk: Chunk, thread: int, *, kept: bool) -> int:
        """Return the same for the biases of a narrow layer, which are kept behind all of its weights."""
        layer, panel = chunk[:2]
        if kept:
            return self.layout.gradient + layer.bias
        return self._place(chunk, thread, kept=False)[0] + layer.fan_out * panel.width

    def _gradient(self, chunk: Chunk, n: int, thread: int, *, adding: bool, kept: bool) -> Iterator[Call]:
        """Write, or add to, the gradient of a chunk."""
        layer, panel, first, stop = chunk
        if layer.is_narrow:
            yield from self._narrow_gradient(chunk, n, thread, adding=adding, kept=kept)
            return
        layout = self.layout
        g, row = self._place(chunk, thread, kept=kept)
        A: Call = (OVER_ROWS, first, 0)
        if layer.number or layout.is_scaled:
            source, source_row = self._source(layer)
            A = (PRODUCT, source + first, 1, source_row)
        start, start_row = (g, row) if adding else (layout.zeros, 0)
        delta = layer.delta + panel.column
        rows = min(stop, layer.fan_in) - first
        if rows > 0:
            yield (
                *(*A, delta, layer.stride, start, start_row),
                *(g, row, n, rows, panel.vectors),
            )
        if stop > layer.fan_in:  # the bias, whose input is one
            start += rows * start_row
            yield (
                *(PRODUCT, layout.one, 0, 0, delta, layer.stride, start, start_row),
                *(g + rows * row, row, n, 1, panel.vectors),
            )

    def _narrow_gradient(self, chunk: Chunk, n: int, thread: int, *, adding: bool, kept: bool) -> Iterator[Call]:
        layer, panel = chunk[:2]
        g, row = self._place(chunk, thread, kept=kept)
        source, source_row = self._source(layer)
        start, start_row = (g, row) if adding else (self.layout.zeros, 0)
        yield (
            *(PRODUCT, layer.delta, layer.column, layer.stride, source + panel.column, source_row, start, start_row),
            *(g, row, n, layer.fan_out, panel.vectors),
        )
        if panel is layer.panels[-1]:
            g = self._bias_place(chunk, thread, kept=kept)
            if layer.is_in_columns:
                sums = self.layout.sums
                start, start_row = (sums, self.layout.lanes) if adding else (self.layout.zeros, 0)
                yield SUMS_OF_COLUMNS, layer.delta, n, layer.fan_out, layer.column, start, start_row, sums, g
            else:
                start = g if adding else self.layout.zeros
                yield PRODUCT, self.layout.one, 0, 0, layer.delta, layer.stride, start, 0, g, layer.row, n, 1, 1

    def _source(self, layer: Layer) -> tuple[int, int]:
        """Return where the inputs of a layer are, and how far apart their rows; of the first, if they are scaled."""
        if not layer.number:
            return self.layout.inputs, self.layout.input_stride
        below = self.layout.layers[layer.number - 1]
        return below.dropped if self.dropping else below.a, below.stride

    def _runs(self, chunk: Chunk, thread: int, *, kept: bool) -> Iterator[Piece]:
        """Yield what of a chunk lies in one piece."""
        layer, panel, first, stop = chunk
        g, row = self._place(chunk, thread, kept=kept)
        if not layer.is_narrow:
            rows = min(stop, layer.fan_in) - first
            yield panel.start + first * row, g, (stop - first) * row, rows * row
            return
        pieces = [(panel.start + j * panel.row, g + j * row, panel.width, panel.width) for j in range(layer.fan_out)]
        if panel is layer.panels[-1]:
            pieces.append((layer.bias, self._bias_place(chunk, thread, kept=kept), layer.row, 0))
        yield from _joined(pieces)

    def _update(self, chunk: Chunk, thread: int, *, kept: bool) -> Iterator[Call]:
        layout = self.layout
        for place, g, n, n_weights in self._runs(chunk, thread, kept=kept):
            w, s, t = (part + place for part in (layout.weights, layout.first_state, layout.second_state))
            yield UPDATE, w, g, s, t, n, n_weights, *self.groups.of(chunk[0].number)
        layer, panel, first, stop = chunk
        if layer.number or layout.is_scaled:
            yield from self.transposed(layer, panel, first, min(stop, layer.fan_in))

    def _scale_gradient(self, n: int, *, adding: bool) -> Iterator[Call]:
        """Write, or add to, the gradient of the scale: the sum of n rows."""
        layout, width = self.layout, self.layout.panel_width
        for column in range(0, layout.layers[0].in_row, width):
            g = layout.gradient + layout.input_scale + column
            vectors = min(width, layout.layers[0].in_row - column) // layout.lanes
            start = g if adding else layout.zeros
            rows = layout.slopes + column
            yield PRODUCT, layout.one, 0, 0, rows, layout.input_stride, start, 0, g, width, n, 1, vectors

    def _update_scale(self) -> Iterator[Call]:
        layout, group = self.layout, self.groups.input_scale
        parts = (layout.weights, layout.gradient, layout.first_state, layout.second_state)
        yield UPDATE, *(part + layout.input_scale for part in parts), layout.layers[0].in_row, 0, group, group

    def _penalise(self, chunk: Chunk) -> Iterator[Call]:
        for place, g, _, n_weights in self._runs(chunk, 0, kept=True):
            if n_weights:
                yield PENALISE, g, self.layout.weights + place, n_weights

    def transposed(self, layer: Layer, panel: Any, first: int, stop: int) -> Iterator[Call]:
        """Refresh the transposed copy, if any, of rows of a panel; `first` is a multiple of a register's lanes."""
        layout = self.layout
        for k in range(first, 0 if layer.is_narrow else stop, layout.lanes):
            target = layer.transposed_panels[k // layout.panel_width]
            t = layout.transposed + target.start + panel.column * target.row + k % layout.panel_width
            w = layout.weights + panel.start + k * panel.row
            yield TRANSPOSE, w, panel.row, min(layout.lanes, stop - k), panel.vectors, t, target.row

    def transpose_all(self, first: int) -> list[Call]:
        """Return the program that makes the transposed copies of the layers from `first` on."""
        layers = self.layout.layers[first:]
        calls = [
            c for layer in layers for panel in layer.panels for c in self.transposed(layer, panel, 0, layer.fan_in)
        ]
        return [*calls, (END,)]


def _joined(pieces: list[Piece]) -> Iterator[Piece]:
    """Yield pieces, those that lie one behind the other as one; weights come before biases."""
    place, g, n, n_weights = pieces[0]
    for piece in pieces[1:]:
        if piece[:2] == (place + n, g + n):
            n, n_weights = n + piece[2], n_weights + piece[3]
        else:
            yield place, g, n, n_weights
            place, g, n, n_weights = piece
    yield place, g, n, n_weights


def assemble(programs: list[list[Call]]) -> tuple[Any, list[int]]:
    """Return programs as one array of integers, (n_calls, WIDTH), and the row at which each begins."""
    calls = [call for program in programs for call in program]
    table = np.zeros((len(calls), WIDTH), np.int64)
    for row, call in zip(table, calls, strict=True):
        row[: len(call)] = call
    starts = np.cumsum([0, *map(len, programs[:-1])])
    return table, [int(start) for start in starts]
