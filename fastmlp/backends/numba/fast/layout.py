"""Where the fast kernels keep a network: in padded rows and panels, at offsets computed once.

A row of activations is a whole number of registers. A layer's weights lie in panels of a few registers' width, each
with all its rows one after the other and its biases as the last: what a tile of the product reads is contiguous, and
so is what an optimizer writes. A narrow layer, of a few outputs, is kept transposed instead, a row for each output, and
its biases behind: as columns, nearly all of it would be padding. Padding begins as zeros, and zero weights, biases and
deltas stay zero.

All offsets count numbers from the start of one array, `Memory.values`; those of panels, from the start of a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fastmlp import dropout
from fastmlp.activations import ACTIVATIONS, SOFTMAX
from fastmlp.backends.numba.calls import ACTIVATION_CODES, LOSS_CODES
from fastmlp.backends.numba.simd.dots import columns_at_most
from fastmlp.backends.numba.simd.passes import loss_case
from fastmlp.backends.numba.simd.registers import host, lanes
from fastmlp.backends.numba.simd.threads import N_INTEGERS
from fastmlp.losses import LOSSES
from fastmlp.parameters import ALIGNMENT, Array, aligned
from fastmlp.spec import NetworkSpec

_NEEDS_Z = ("gelu", "silu", "mish")  # whose derivative is not computed from the output

_STRIPE_BYTES = 128 * 1024  # of rows that go through all layers together: half a small second-level cache
_BLOCK_BYTES = 512 * 1024  # of rows whose activations and deltas are kept until the gradient has them
_FEWEST_BLOCK_ROWS = 512  # below them products would read the weights too often
_SPREAD_BYTES = 512
_CHUNK_ROWS = 48  # of a panel, whose gradient is used as soon as it is there: a whole number of tiles and registers


class Memory(NamedTuple):
    """What a call computes in.

    `values`, of the network's dtype, holds everything that has an offset; `shares`, float64, a row's part of its batch;
    `losses`, float64, those of stripes of rows; `places`, integers, where the X of a block's rows begin; `meeting`,
    integers, is where threads meet.
    """

    values: Any
    shares: Any
    losses: Any
    places: Any
    meeting: Any


class Network(NamedTuple):
    """A network as kernels take it: its programs, where its parameters lie, and the parameters in one vector.

    `table` holds the programs (`program.assemble`), the first of which makes the transposed copies; `entries` the row
    at which each step's begins. `parts` are the offsets of the panels of weights, gradient, first and second state.
    """

    table: Any
    entries: Any
    moves: Any
    weights: Any
    parts: Any
    flat: Any
    divisor: float
    drop_below: int
    kept: float


@dataclass(frozen=True)
class Panel:
    """Some columns of a layer's weights, or of their transpose.

    Attributes
    ----------
    column, width, vectors : int
        Its first column, and how many numbers, and registers, it is wide.
    start, row : int
        Its offset in a part, and how far it is from one of its rows to the next.
    """

    column: int
    width: int
    vectors: int
    start: int
    row: int


@dataclass
class Layer:
    """A layer, and where its rows and weights are."""

    number: int
    fan_in: int
    fan_out: int
    row: int  # its outputs, padded to whole registers
    stride: int  # from one row of activations to the next
    in_row: int
    activation: int
    is_softmax: bool
    is_identity: bool
    is_narrow: bool  # its weights are their transpose: the panels of one are those of the other
    panels: list[Panel]
    transposed_panels: list[Panel]
    bias: int  # of a narrow layer, their offset in a part
    z: int = 0
    a: int = 0
    dropped: int = 0
    factors: int = 0
    delta: int = 0


def padded(size: int, dtype: str) -> int:
    """Return a size rounded up to whole registers."""
    n = lanes(dtype)
    return -(-size // n) * n


def _spread(row: int, dtype: str) -> int:
    """Return how far apart rows are kept: not a multiple of 512 bytes, lest a column share few sets of a cache."""
    n_bytes = row * np.dtype(dtype).itemsize
    return row + lanes(dtype) if n_bytes % _SPREAD_BYTES == 0 else row


def _panels(row: int, n_rows: int, width: int, n_lanes: int, start: int) -> list[Panel]:
    widths = [(column, min(width, row - column)) for column in range(0, row, width)]
    return [Panel(column, own, own // n_lanes, start + column * n_rows, own) for column, own in widths]


def _is_narrow(spec: NetworkSpec, number: int) -> bool:
    """Return whether a layer is narrow: of few outputs, fewer than half its inputs.

    And of inputs for which zero weights in the padding stay zero. That padding is the activation of zero, so the
    gradient with respect to those weights is not zero unless that is.
    """
    (fan_in, fan_out), n = spec.shapes[number], lanes(spec.dtype)
    if number == 0 or fan_out > columns_at_most(n) or fan_in <= 2 * fan_out:
        return False
    return fan_in % n == 0 or ACTIVATIONS[spec.activations[number - 1]].forward(0.0) == 0.0


def _narrow_panels(in_row: int, width: int, n_lanes: int, start: int) -> list[Panel]:
    widths = [(column, min(width, in_row - column)) for column in range(0, in_row, width)]
    return [Panel(column, own, own // n_lanes, start + column, in_row) for column, own in widths]


class Layout:
    """The offsets of a network for up to so many rows a batch.

    Parameters
    ----------
    spec : NetworkSpec
    n_rows : int
        Rows of the largest batch. Larger ones than a block are taken a block at a time.
    training : bool
        Whether there are gradients, and states of an optimizer.
    has_inputs : bool
        Whether the gradient with respect to the inputs is wanted too.
    n_threads : int
        For how many there is scratch memory.
    """

    def __init__(
        self, spec: NetworkSpec, n_rows: int, *, training: bool, has_inputs: bool = False, n_threads: int = 1
    ) -> None:
        self.spec, self._training, self.has_inputs, self.n_threads = spec, training, has_inputs, n_threads
        self._unit, self._size = ALIGNMENT // np.dtype(spec.dtype).itemsize, 0
        self.lanes = lanes(spec.dtype)
        self.panel_width = host().tile.vectors * self.lanes
        self.chunk_rows, self.chunk_size = _CHUNK_ROWS, (_CHUNK_ROWS + 1) * self.panel_width
        self.stripe_rows, self.block_rows = _rows_at_once(spec, n_rows, training=training)
        self.divisor = float(spec.n_outputs if LOSSES[spec.loss].averaged else 1)
        self.drop_below, self.kept = (
            dropout.threshold(spec.dropout),
            float(np.array(1 / (1 - spec.dropout), spec.dtype)),
        )
        self.loss_case, self.is_linked = loss_case(LOSS_CODES[spec.loss], int(spec.is_linked)), int(spec.is_linked)
        self.layers, n_weights, n_transposed = self._make_layers()
        self.is_scaled, self.input_scale = spec.input_scale, n_weights  # behind the layers, in each part
        n_weights += self.layers[0].in_row if self.is_scaled else 0
        self.weights, self.transposed = self._reserve(n_weights), self._reserve(n_transposed)
        self.zeros, self.one = self._reserve(self.panel_width), self._reserve(1)
        self.first_state, self.second_state = (self._reserve(n_weights) if training else 0 for _ in range(2))
        self.y = self._reserve(self.block_rows * self.layers[-1].stride)
        self.gradient = self._reserve(n_weights if training else 0)  # untouched where each chunk is used at once
        self.scratch = self._reserve(n_threads * self.chunk_size if training else 0)
        self.input_gradient = self._reserve(self.block_rows * self.layers[0].in_row if has_inputs else 0)
        for layer in self.layers:
            self._place_rows(layer)
        self.input_stride = _spread(self.layers[0].in_row, spec.dtype)
        n_inputs = self.block_rows * self.input_stride if self.is_scaled else 0
        self.samples, self.inputs = self._reserve(n_inputs), self._reserve(n_inputs)  # before and after the scale
        self.slopes = self._reserve(n_inputs if training else 0)

    def _make_layers(self) -> tuple[list[Layer], int, int]:
        """Return the layers, and how large all weights and all transposed copies are."""
        spec, layers, start, transposed = self.spec, [], 0, 0
        for number, ((fan_in, fan_out), name) in enumerate(zip(spec.shapes, spec.all_activations, strict=True)):
            row, in_row = padded(fan_out, spec.dtype), padded(fan_in, spec.dtype)
            shape, is_narrow = (self.panel_width, self.lanes), _is_narrow(spec, number)
            if is_narrow:
                panels = transposed_panels = _narrow_panels(in_row, *shape, start)
            else:
                panels = _panels(row, fan_in + 1, *shape, start)
                transposed_panels = _panels(in_row, row, *shape, transposed)
                transposed += in_row * row
            bias = start + fan_out * in_row if is_narrow else 0
            layers.append(
                Layer(
                    *(number, fan_in, fan_out, row, _spread(row, spec.dtype), in_row, ACTIVATION_CODES[name]),
                    *(name == SOFTMAX, name == "identity", is_narrow, panels, transposed_panels, bias),
                )
            )
            start += fan_out * in_row + row if is_narrow else (fan_in + 1) * row
        return layers, start, transposed

    def _reserve(self, size: int) -> int:
        start = self._size
        self._size += -(-size // self._unit) * self._unit
        return start

    def _place_rows(self, layer: Layer) -> None:
        """Reserve what every row has of a layer; Z is apart where the derivative, or softmax, needs it."""
        size, is_last = self.block_rows * layer.stride, layer is self.layers[-1]
        layer.a = layer.z = layer.dropped = self._reserve(size)
        if is_last or self.spec.all_activations[layer.number] in _NEEDS_Z:
            layer.z = self._reserve(size)
        if self.spec.dropout and not is_last:
            layer.dropped, layer.factors = self._reserve(size), self._reserve(size)
        layer.delta = self._reserve(size) if self._training else 0

    def serves(self, n_rows: int, n_threads: int = 1) -> bool:
        """Return whether batches of so many rows fit; they are split as with a layout made for them."""
        if n_threads > self.n_threads:
            return False
        return (
            n_rows <= self.block_rows or _rows_at_once(self.spec, n_rows, training=self._training)[1] <= self.block_rows
        )

    def memory(self) -> Memory:
        """Return memory for it."""
        values = aligned(self._size, self.spec.dtype)
        values[self.one] = 1.0
        stripes = -(-self.block_rows // self.stripe_rows)
        places, meeting = (np.zeros(n, np.int64) for n in (self.block_rows, N_INTEGERS))
        return Memory(values, np.zeros(self.block_rows), np.zeros(stripes), places, meeting)

    def network(self, flat: Array, table: Array, entries: Array) -> Network:
        """Return the network with these parameters and programs."""
        parts = np.array([self.weights, self.gradient, self.first_state, self.second_state], np.int64)
        places = (self.moves, self.weight_runs, parts)
        return Network(table, entries, *places, flat, self.divisor, self.drop_below, self.kept)

    def rows_of(self, memory: Memory, layer: int, n: int) -> Array:
        """Return the first n rows of a layer's activations, a view."""
        own = self.layers[layer]
        rows: Array = memory.values[own.a : own.a + n * own.stride].reshape(n, own.stride)[:, : own.fan_out]
        return rows

    def unpack(self, memory: Memory, start: int, flat: Array) -> None:
        """Write what lies in a part, in panels, to a vector in the order of the parameters."""
        for first, step, place, n, _ in self.moves.tolist():
            flat[first : first + n * step : step] = memory.values[start + place : start + place + n]

    @cached_property
    def answering(self) -> Array:
        """What `kernels.answer` takes of each layer."""
        rows, flat = [], 0
        scale = (self.spec.n_params - self.spec.n_inputs if self.is_scaled else -1, self.inputs)
        for layer in self.layers:
            bias = flat + layer.fan_in * layer.fan_out
            places = (flat, bias, layer.fan_in, layer.fan_out, layer.z, layer.a, layer.row)
            rows.append((*places, layer.activation, layer.is_softmax, layer.is_narrow, *scale))
            flat = bias + layer.fan_out
        return np.array(rows, np.int64)

    @cached_property
    def weight_runs(self) -> Array:
        """Where weights lie in `values` one after the other, and how many they are, biases apart."""
        runs = []
        for layer in self.layers:
            if layer.is_narrow:
                runs.append((layer.panels[0].start, layer.fan_out * layer.in_row))
            else:
                runs += [(panel.start, layer.fan_in * panel.width) for panel in layer.panels]
        return np.array([(self.weights + start, n) for start, n in runs], np.int64)

    @cached_property
    def moves(self) -> Array:
        """What lies where: rows (in the flat parameters, step there, in a part, how many numbers, with padding).

        One for each row of each panel.
        """
        rows, flat = [], 0
        for layer in self.layers:
            bias = flat + layer.fan_in * layer.fan_out
            if layer.is_narrow:
                start, sizes = layer.panels[0].start, (layer.fan_in, layer.in_row)
                rows += [(flat + j, layer.fan_out, start + j * layer.in_row, *sizes) for j in range(layer.fan_out)]
                rows.append((bias, 1, layer.bias, layer.fan_out, layer.row))
            else:
                for panel in layer.panels:
                    size = min(panel.width, layer.fan_out - panel.column)
                    for k in range(layer.fan_in + 1):
                        place = panel.start + k * panel.row
                        rows.append((flat + k * layer.fan_out + panel.column, 1, place, size, panel.width))
            flat = bias + layer.fan_out
        if self.is_scaled:
            rows.append((flat, 1, self.input_scale, self.spec.n_inputs, self.layers[0].in_row))
        return np.array(rows, np.int64)


def _rows_at_once(spec: NetworkSpec, n_rows: int, *, training: bool) -> tuple[int, int]:
    """Return how many rows go through all layers together, and how many are kept for one product of gradients."""
    numbers = sum(2 * padded(size, spec.dtype) for size in spec.layer_sizes[1:])
    row_bytes = numbers * np.dtype(spec.dtype).itemsize
    stripe = max(24, min(192, _STRIPE_BYTES // row_bytes // 24 * 24))  # whole tiles of 4, 6 and 8 rows
    block = max(_FEWEST_BLOCK_ROWS, _BLOCK_BYTES // row_bytes) if training else stripe
    return min(stripe, n_rows), min(block, n_rows)
