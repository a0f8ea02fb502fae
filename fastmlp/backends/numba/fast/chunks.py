"""What a step does with parameters: chunks of gradients, the optimizer's rule, transposed copies."""

from __future__ import annotations

from collections.abc import Iterator

from fastmlp.backends.numba.fast.codes import (
    OF_PACKED,
    OVER_ROWS,
    OVER_SPARSE,
    PACK,
    PACK_INPUTS,
    PENALISE,
    PRODUCT,
    SUMS_OF_COLUMNS,
    SUMS_OF_ROWS,
    TRANSPOSE,
    UPDATE,
    Call,
)
from fastmlp.backends.numba.fast.layers import Layer, Panel
from fastmlp.backends.numba.fast.layout import Layout
from fastmlp.groups import ParameterGroups

Piece = tuple[int, int, int, int]  # of parameters: offset in a part, gradient, numbers, how many of them weights
Chunk = tuple[Layer, Panel, int, int]  # rows of a panel, from one up to another; the biases are the row after the last


class Chunks:
    """Writes the calls for chunks of parameters.

    Parameters
    ----------
    layout : Layout
    dropping : bool
        Whether units are dropped.
    groups : ParameterGroups
        Of what is updated.
    """

    def __init__(self, layout: Layout, *, dropping: bool, groups: ParameterGroups) -> None:
        self.layout, self.dropping, self.groups = layout, dropping, groups

    def share_of(self, thread: int, n_threads: int) -> Iterator[list[Chunk]]:
        """Yield a thread's chunks, in groups that are made of the same inputs if these are packed; no group is empty.

        The biases go with the last weights.
        """
        number = 0
        for layer in self.layout.layers:
            if layer.is_packed:
                yield from _share_of_packed(layer, thread, n_threads)
                continue
            rows = [(0, layer.fan_out)] if layer.is_narrow else _rows_of_chunks(layer)
            for panel in layer.panels:
                for first, stop in rows:
                    if number % n_threads == thread:
                        yield [(layer, panel, first, stop)]
                    number += 1

    def packed_inputs(self, chunk: Chunk, n: int, thread: int) -> Iterator[Call]:
        """Copy the inputs that a group of chunks is made of to where products read them one after the other."""
        layer, _, first, stop = chunk
        size = min(stop, layer.fan_in) - first
        if not layer.is_packed or size == 0:
            return
        layout = self.layout
        out = layout.packed + thread * layout.packed_size
        if layer.number or layout.is_gathered:
            source, source_row = self._source(layer)
            yield PACK, source + first, source_row, out, size, n
        else:
            yield PACK_INPUTS, first, 0, out, size, n

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

    def gradient(self, chunk: Chunk, n: int, thread: int, *, adding: bool, kept: bool) -> Iterator[Call]:
        """Write, or add to, the gradient of a chunk."""
        layer, panel, first, stop = chunk
        if layer.is_narrow:
            yield from self._narrow_gradient(chunk, n, thread, adding=adding, kept=kept)
            return
        layout = self.layout
        g, row = self._place(chunk, thread, kept=kept)
        start, start_row = (g, row) if adding else (layout.zeros, 0)
        delta = layer.delta + panel.column
        rows = min(stop, layer.fan_in) - first
        A: Call = (OVER_ROWS, first, 0)
        if layer.is_packed:
            A = (OF_PACKED, layout.packed + thread * layout.packed_size)
        elif layer.number or layout.is_gathered:
            source, source_row = self._source(layer)
            A = (PRODUCT, source + first, 1, source_row)
        if rows > 0 and not layer.number and layout.is_sparse:
            yield OVER_SPARSE, first, delta, layer.stride, start, start_row, g, row, rows, panel.vectors
        elif rows > 0:
            yield (
                *(*A, delta, layer.stride, start, start_row),
                *(g, row, n, rows, panel.vectors),
            )
        if stop > layer.fan_in:  # the bias, whose input is one
            yield SUMS_OF_ROWS, delta, layer.stride, start + rows * start_row, g + rows * row, n, panel.vectors

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
                yield SUMS_OF_ROWS, layer.delta, layer.stride, start, g, n, 1

    def _source(self, layer: Layer) -> tuple[int, int]:
        """Return where the inputs of a layer are, and how far apart their rows; of the first, if they are gathered."""
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

    def update(self, chunk: Chunk, thread: int, *, kept: bool) -> Iterator[Call]:
        """Do a step of the optimizer for a chunk, and refresh its transposed copy."""
        layout = self.layout
        for place, g, n, n_weights in self._runs(chunk, thread, kept=kept):
            yield UPDATE, layout.weights + place, g, place, n, n_weights, *self.groups.of(chunk[0].number)
        layer, panel, first, stop = chunk
        if layer.number >= layout.first_transposed:
            yield from self._transposed(layer, panel, first, min(stop, layer.fan_in))

    def scale_gradient(self, n: int, *, adding: bool) -> Iterator[Call]:
        """Write, or add to, the gradient of the scale: the sum of n rows."""
        layout, width = self.layout, self.layout.panel_width
        for column in range(0, layout.layers[0].in_row, width):
            g = layout.scale_gradient + column
            vectors = min(width, layout.layers[0].in_row - column) // layout.lanes
            start = g if adding else layout.zeros
            rows = layout.slopes + column
            yield SUMS_OF_ROWS, rows, layout.input_stride, start, g, n, vectors

    def update_scale(self) -> Iterator[Call]:
        """Do a step of the optimizer for the scale."""
        layout, group = self.layout, self.groups.input_scale
        w, place = layout.weights + layout.input_scale, layout.input_scale
        yield UPDATE, w, layout.scale_gradient, place, layout.layers[0].in_row, 0, group, group

    def penalise(self, chunk: Chunk) -> Iterator[Call]:
        """Add the penalty's part to the gradient of a chunk, where it is not the optimizer that does."""
        for place, g, _, n_weights in self._runs(chunk, 0, kept=True):
            if n_weights:
                yield PENALISE, g, self.layout.weights + place, n_weights

    def _transposed(self, layer: Layer, panel: Panel, first: int, stop: int) -> Iterator[Call]:
        """Refresh the transposed copy, if any, of rows of a panel; `first` is a multiple of a register's lanes."""
        layout = self.layout
        for k in range(first, 0 if layer.is_narrow else stop, layout.lanes):
            target = next(each for each in layer.transposed_panels if k < each.column + each.width)
            t = layout.transposed + target.start + panel.column * target.row + k - target.column
            w = layout.weights + panel.start + k * panel.row
            yield TRANSPOSE, w, panel.row, min(layout.lanes, stop - k), panel.vectors, t, target.row

    def transpose_all(self) -> Iterator[Call]:
        """Make all transposed copies."""
        for layer in self.layout.layers[self.layout.first_transposed :]:
            for panel in layer.panels:
                yield from self._transposed(layer, panel, 0, layer.fan_in)


def _rows_of_chunks(layer: Layer) -> list[tuple[int, int]]:
    """Return the chunks of each of a layer's panels: the first row, and the one behind the last."""
    rows, first = [], 0
    while first <= layer.fan_in:
        stop = min(first + layer.chunk_rows, layer.fan_in + 1)
        stop += stop == layer.fan_in
        rows.append((first, stop))
        first = stop
    return rows


def _share_of_packed(layer: Layer, thread: int, n_threads: int) -> Iterator[list[Chunk]]:
    """Yield a thread's groups of a packed layer: the same rows of all its panels.

    Of what is left when each thread has as many, each packs the inputs, for some of the panels.
    """
    rows = _rows_of_chunks(layer)
    n_whole = len(rows) - len(rows) % n_threads
    for number, (first, stop) in enumerate(rows):
        panels = layer.panels[thread::n_threads] if number >= n_whole else layer.panels
        if panels and (number >= n_whole or number % n_threads == thread):
            yield [(layer, panel, first, stop) for panel in panels]


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
