"""What a step does with rows: all layers forward, the loss, and back to deltas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastmlp.backends.numba.fast.codes import (
    ACTIVATE,
    DERIVATIVE,
    DOTS,
    DOTS_TO_COLUMNS,
    DROP,
    FINITE,
    FROM_INPUTS,
    GATHER,
    HAND_OUT,
    MEASURE,
    MEASURE_COLUMNS,
    MULTIPLY,
    MULTIPLY_ROWS,
    OF_ROWS,
    OF_SPARSE,
    OF_SPARSE_IN_PLACE,
    PLACES,
    PRODUCT,
    SCALE,
    SCALE_COLUMNS,
    SOFTMAX,
    SOFTMAX_COLUMNS,
    SOFTMAX_DELTA,
    SOFTMAX_DELTA_COLUMNS,
    SOFTMAX_LOSS,
    SPREAD,
    TARGETS,
    Call,
)
from fastmlp.backends.numba.fast.layers import Layer
from fastmlp.backends.numba.fast.layout import Layout

_BACK_BYTES = 8 * 1024  # of deltas that are made in one pass and multiplied in the next: they, activations and weights


class Rows:
    """Writes the calls for stripes of rows.

    Parameters
    ----------
    layout : Layout
    dropping : bool
        Whether units are dropped.
    """

    def __init__(self, layout: Layout, *, dropping: bool) -> None:
        self.layout, self.dropping = layout, dropping

    def stripe(self, first: int, n: int, before: int, stripe: int) -> Iterator[Call]:
        """Take n rows, from the block's row `first` on, through all layers and back; `before` is the block's first."""
        layout, last = self.layout, self.layout.layers[-1]
        y = layout.y + first * last.stride
        if not layout.is_gathered and not layout.is_sparse:
            yield PLACES, before + first, n, first
        yield TARGETS, before + first, n, y, last.stride, last.column, first
        yield from self.forward(first, n, before)
        yield self.measure(first, n, stripe, last.delta + first * last.stride)
        if not layout.has_softmax_loss:
            yield from self._last_delta(first, n, y)
        for layer, below in zip(layout.layers[:0:-1], layout.layers[-2::-1], strict=True):
            for own_first, rows in self._at_once(layer, below, first, n):
                yield from self._back(layer, below, own_first, rows)
        if layout.is_scaled:
            yield from self._slopes_of_scale(first, n)

    def _last_delta(self, first: int, n: int, y: int) -> Iterator[Call]:
        """Make the last layer's deltas of the slopes of the loss."""
        layout, last = self.layout, self.layout.layers[-1]
        z, a, delta = (part + first * last.stride for part in (last.z, last.a, last.delta))
        if last.is_softmax and last.is_in_columns:
            yield SOFTMAX_DELTA_COLUMNS, a, y, delta, n, last.fan_out, last.column, layout.is_linked
        elif last.is_softmax:
            yield SOFTMAX_DELTA, a, y, delta, n, last.stride, layout.is_linked
        elif not layout.is_linked and not last.is_identity:
            for start, size in self._runs_of_rows(last, n):
                yield DERIVATIVE, z + start, a + start, delta + start, size, last.activation
        yield self._by_layout(SCALE, SCALE_COLUMNS), delta, first, n, last.fan_out, self._step(last)

    def _at_once(self, layer: Layer, below: Layer, first: int, n: int) -> Iterator[tuple[int, int]]:
        """Yield the first, and the number, of those of n rows whose deltas go back through a layer together.

        Of a narrow one they are so few that they stay in the first-level cache, where they are read once more.
        """
        row_bytes = below.stride * np.dtype(self.layout.spec.dtype).itemsize
        size = max(1, _BACK_BYTES // row_bytes) if layer.is_narrow and not self._is_ended(below) else n
        for start in range(first, first + n, size):
            yield start, min(size, first + n - start)

    def _back(self, layer: Layer, below: Layer, first: int, n: int) -> Iterator[Call]:
        """Take the deltas of n rows from a layer to the one below."""
        start = first * below.stride
        z, a, delta = (part + start for part in (below.z, below.a, below.delta))
        is_ended = self._is_ended(below)
        ending = (-below.activation, a) if is_ended else None
        yield from self._back_product(layer, first, n, delta, below.stride, ending)
        if self.dropping:
            yield MULTIPLY, delta, below.factors + start, delta, n * below.stride
        if not is_ended:
            yield DERIVATIVE, z, a, delta, n * below.stride, below.activation

    def _is_ended(self, below: Layer) -> bool:
        """Return whether the product that takes deltas to a layer multiplies them with its activation's derivative."""
        return below.comes_with_product and not self.dropping

    def measure(self, first: int, n: int, stripe: int, slopes: int) -> Call:
        """Return the call that sums up the losses of n rows, as a stripe's, and writes their slopes or deltas."""
        layout, last = self.layout, self.layout.layers[-1]
        z, a, y = (part + first * last.stride for part in (last.z, last.a, layout.y))
        code = SOFTMAX_LOSS if layout.has_softmax_loss else self._by_layout(MEASURE, MEASURE_COLUMNS)
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

    def forward(
        self, first: int, n: int, before: int, *, in_place: bool = False, measuring: bool = True
    ) -> Iterator[Call]:
        """Take n rows through all layers; `before` is the batch's row that is the block's first.

        Their X are read where they are: wherever `PLACES` found them, or one after the other. If they are gathered, or
        scaled, what is made of them is read.
        """
        layout = self.layout
        source, source_row = 0, layout.layers[0].fan_in
        is_gathered = layout.is_scaled or (layout.is_gathered and not in_place)
        if is_gathered:
            yield from self._gathered_inputs(first, n, before)
            source, source_row = layout.inputs + first * layout.input_stride, layout.input_stride
        for layer in layout.layers:
            z, a = layer.z + first * layer.stride, layer.a + first * layer.stride
            is_sparse, is_looked_at = layout.is_sparse and not layer.number, not measuring and not layer.number
            is_activated = layer.comes_with_product and not (layer.is_narrow or is_sparse or is_looked_at)
            if layer.is_narrow:
                w, bias = layout.weights + layer.panels[0].start, layout.weights + layer.bias
                yield (
                    *(DOTS_TO_COLUMNS if layer.is_in_columns else DOTS, source, source_row, w, layer.in_row, bias),
                    *(z, self._step(layer), layer.in_row, n, layer.fan_out),
                )
            for panel in () if layer.is_narrow else layer.panels:
                w = layout.weights + panel.start
                bias = w + layer.fan_in * panel.width
                if is_sparse:
                    yield (
                        OF_SPARSE,
                        before + first,
                        w,
                        panel.width,
                        bias,
                        z + panel.column,
                        layer.stride,
                        n,
                        panel.vectors,
                    )
                    continue
                A: Call = (PRODUCT, source, source_row, 1)
                if not layer.number and not is_gathered:
                    A = (FROM_INPUTS, source, source_row, 1) if in_place else (OF_ROWS, 0, first)
                yield (
                    *(*A, w, panel.width, bias, 0),
                    *(z + panel.column, layer.stride, layer.fan_in, n, panel.vectors),
                    layer.activation if is_activated else 0,
                )
            if not layer.number and layout.is_in_place:
                bias = layer.fan_in * layer.fan_out
                yield OF_SPARSE_IN_PLACE, before + first, layer.fan_out, bias, z, layer.stride, n
            if is_looked_at:  # where X is finite but for an overflow, which the caller looks into
                yield FINITE, z, n, layout.lanes, layer.stride  # a register: what is not finite is in every Z of a row
            if layer.is_softmax and layout.has_softmax_loss:
                continue  # it comes with the loss, and nothing comes behind it
            if layer.is_softmax:
                code = self._by_layout(SOFTMAX, SOFTMAX_COLUMNS)
                yield code, z, a, n, layer.fan_out, self._step(layer), measuring
            elif not layer.is_identity and not is_activated:
                for start, size in self._runs_of_rows(layer, n):
                    yield ACTIVATE, z + start, a + start, size, layer.activation
            source, source_row = a, layer.stride
            if self.dropping and layer.number < len(layout.layers) - 1:
                factors, dropped = layer.factors + first * layer.stride, layer.dropped + first * layer.stride
                yield DROP, factors, n, layer.fan_out, layer.stride, layer.number, before + first
                yield MULTIPLY, a, factors, dropped, n * layer.stride
                source = dropped

    def _gathered_inputs(self, first: int, n: int, before: int) -> Iterator[Call]:
        """Write n rows of X side by side and, if there is a scale, what it makes of them."""
        layout, start = self.layout, first * self.layout.input_stride
        samples = layout.samples + start
        yield GATHER, before + first, n, samples, layout.input_stride
        if layout.is_scaled:
            inputs, scale = layout.inputs + start, layout.weights + layout.input_scale
            yield MULTIPLY_ROWS, samples, scale, inputs, n, layout.input_stride, layout.layers[0].in_row

    def _slopes_of_scale(self, first: int, n: int) -> Iterator[Call]:
        """Write, for n rows, what each adds to the gradient of the scale: X times delta @ W.T of the first layer."""
        layout, start = self.layout, first * self.layout.input_stride
        slopes = layout.slopes + start
        yield from self._back_product(layout.layers[0], first, n, slopes, layout.input_stride)
        yield MULTIPLY, slopes, layout.samples + start, slopes, n * layout.input_stride

    def _back_product(
        self, layer: Layer, first: int, n: int, out: int, out_row: int, ending: tuple[int, int] | None = None
    ) -> Iterator[Call]:
        """Write delta @ W.T of a layer; `ending` is how a product ends, and where its gate is."""
        delta = layer.delta + first * layer.stride
        if layer.is_narrow:
            w, sizes = self.layout.weights + layer.panels[0].start, (layer.in_row, n, layer.fan_out)
            yield SPREAD, delta, layer.stride, layer.column, w, layer.in_row, out, out_row, *sizes, *(ending or ())
            return
        for panel in layer.transposed_panels:
            t = panel.start + self.layout.transposed
            yield (
                *(PRODUCT, delta, layer.stride, layer.column, t, panel.row, self.layout.zeros, 0),
                *(out + panel.column, out_row, layer.fan_out, n, panel.vectors),
                *(() if ending is None else (ending[0], ending[1] + panel.column)),
            )

    def input_gradient(self, n: int, before: int) -> Iterator[Call]:
        """Write delta @ W.T of the first layer for the n rows of a block, and hand it out."""
        first, out = self.layout.layers[0], self.layout.input_gradient
        yield from self._back_product(first, 0, n, out, first.in_row)
        if self.layout.is_scaled:
            scale = self.layout.weights + self.layout.input_scale
            yield MULTIPLY_ROWS, out, scale, out, n, first.in_row, first.in_row
        yield HAND_OUT, out, n, first.in_row, 1, first.fan_in, before
