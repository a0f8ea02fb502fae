"""Where the fast kernels keep a network: in padded rows and panels, at offsets computed once.

A row of activations is a whole number of registers. A layer's weights lie in panels of a few registers' width, each
with all its rows one after the other and its biases as the last: what a tile of the product reads is contiguous, and
so is what an optimizer writes. A narrow layer, of a few outputs, is kept transposed instead, a row for each output, and
its biases behind: as columns, nearly all of it would be padding. So would its rows of activations be; if it is the last
layer they are kept in columns, one for each output. Padding begins as zeros, and zero weights, biases and deltas stay
zero.

All offsets count numbers from the start of one array, `Memory.values`; those of panels, from the start of a part of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastmlp import dropout
from fastmlp.activations import SOFTMAX
from fastmlp.backends.numba.calls import (
    ACTIVATION_CODES,
    LOSS_CODES,
    MEETING_INTEGERS,
    Floats1,
    Integers1,
    Numbers1,
    ReadIntegers1,
    ReadIntegers2,
    loss_case,
)
from fastmlp.backends.numba.fast.layers import Layer, has_columns, is_narrow, narrow_panels, padded, panels_of, spread
from fastmlp.backends.numba.simd.registers import host, lanes
from fastmlp.losses import LOSSES
from fastmlp.parameters import ALIGNMENT, Array, aligned
from fastmlp.spec import NetworkSpec

_NEEDS_Z = ("gelu", "silu", "mish")  # whose derivative is not computed from the output

_STRIPE_BYTES = 128 * 1024  # of rows that go through all layers together: half a small second-level cache
_BLOCK_BYTES = 512 * 1024  # of rows whose activations and deltas are kept until the gradient has them
_FEWEST_BLOCK_ROWS = 512  # below them products would read the weights too often
_EVEN_ROWS = 8  # in whose multiples stripes are made as large as each other
_CHUNK_ROWS = 48  # of a panel, whose gradient is used as soon as it is there: a whole number of tiles and registers
_SPARSE_CHUNK_ROWS = 384  # where each has but a few entries: as long as a first-level cache has room
_PANELS_WORTH_PACKING = 4  # of a layer: so often is what has been packed read
_BYTES_WORTH_PACKING = 64 * 1024  # of a layer's inputs: twice a first-level cache
_PACKED_BYTES = 160 * 1024  # of a chunk's inputs: a third of a small second-level cache
_GATHERED_BYTES = 128  # of a row of X, for each panel of the first layer that is multiplied with it
_HEAVY_BYTES = 512 * 1024  # of weights, which do not stay in a small second-level cache:
_ROWS_IF_HEAVY = 48  # so that many rows are multiplied with what has been fetched


class Memory(NamedTuple):
    """What a call computes in.

    `values`, of the network's dtype, holds everything that has an offset; `shares`, float64, a row's part of its batch;
    `losses`, float64, those of stripes of rows; `places`, integers, where the X of a block's rows begin; `meeting`,
    integers, is where threads meet. Of samples that are compressed, the entries of each feature in a block: `ends`,
    `rows` and `numbers`, as in `moving.turn`.
    """

    values: Numbers1
    shares: Floats1
    losses: Floats1
    places: Integers1
    meeting: Integers1
    ends: Integers1
    rows: Integers1
    numbers: Numbers1


class Network(NamedTuple):
    """A network as kernels take it: its programs, where its parameters lie, and the parameters in one vector.

    `table` holds the programs (`program.assemble`), the first of which makes the transposed copies; `entries` the row
    at which each step's begins. `parts` are the offsets of the panels of weights and gradient.
    """

    table: ReadIntegers2
    entries: ReadIntegers1
    moves: ReadIntegers2
    weights: ReadIntegers2
    parts: ReadIntegers1
    flat: Numbers1
    divisor: float
    drop_below: int
    kept: float


class Layout:
    """The offsets of a network for up to so many rows a batch.

    Parameters
    ----------
    spec : NetworkSpec
    n_rows : int
        Rows of the largest batch. Larger ones than a block are taken a block at a time.
    training : bool
        Whether there are gradients.
    keeps_gradient : bool
        Whether they are wanted as a whole, and not only used up chunk by chunk.
    has_inputs : bool
        Whether the gradient with respect to the inputs is wanted too.
    n_threads : int
        For how many there is scratch memory.
    is_sparse : bool
        Whether X is compressed.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        n_rows: int,
        *,
        training: bool,
        keeps_gradient: bool = False,
        has_inputs: bool = False,
        n_threads: int = 1,
        is_sparse: bool = False,
    ) -> None:
        self.is_sparse = is_sparse
        self.is_in_place = is_sparse and not training  # laying out the first W would take longer than the product
        self.spec, self._training, self.has_inputs, self.n_threads = spec, training, has_inputs, n_threads
        self._served: dict[int, bool] = {}  # what `serves` has answered: a fit asks again and again
        self._unit, self._size = ALIGNMENT // np.dtype(spec.dtype).itemsize, 0
        self.lanes = lanes(spec.dtype)
        self.panel_width = host().tile.most_vectors * self.lanes  # at most
        self.stripe_rows, self.block_rows = _rows_at_once(spec, n_rows, training=training)
        if has_columns(spec, spec.n_layers - 1):  # no register of a column is of two stripes, or of two blocks
            self.stripe_rows, self.block_rows = (padded(n, spec.dtype) for n in (self.stripe_rows, self.block_rows))
        self.divisor = float(spec.n_outputs if LOSSES[spec.loss].averaged else 1)
        self.drop_below, self.kept = (
            dropout.threshold(spec.dropout),
            float(np.array(1 / (1 - spec.dropout), spec.dtype)),
        )
        self.loss_case, self.is_linked = loss_case(LOSS_CODES[spec.loss], int(spec.is_linked)), int(spec.is_linked)
        is_in_columns = has_columns(spec, spec.n_layers - 1)
        # whether softmax, the loss and the outputs' deltas are one pass
        self.has_softmax_loss = training and spec.is_linked and spec.output_activation == SOFTMAX and not is_in_columns
        self.is_scaled = spec.input_scale
        self.first_transposed = 0 if has_inputs or self.is_scaled else 1  # whose layer has a delta below it
        self.layers, n_weights, n_transposed = self._make_layers()
        self.chunk_size = (max(layer.chunk_rows for layer in self.layers) + 1) * self.panel_width
        self.packed_size = max(self.block_rows * layer.chunk_rows * layer.is_packed for layer in self.layers)
        self.input_scale = n_weights  # behind the layers, in each part
        n_scale = self.layers[0].in_row if self.is_scaled else 0
        self.part_size = n_weights + n_scale
        self.weights = self._reserve(self.part_size)
        self.transposed = self._reserve(n_transposed if training else 0)
        self.zeros = self._reserve(self.panel_width)
        self.numbers = self._reserve(self.layers[-1].row)
        self.y = self._reserve(self.layers[-1].size(self.block_rows))
        is_plain = training and not is_sparse and not self.is_scaled
        self.takes_single_rows = is_plain and all(layer.row == self.lanes for layer in self.layers)  # see `single_row`
        adds_up = training and n_rows > self.block_rows  # the gradients of blocks
        self.keeps_gradient = keeps_gradient or adds_up or self.takes_single_rows
        self.gradient = self._reserve(self.part_size if self.keeps_gradient else 0)
        self.scale_gradient = self.gradient + self.input_scale if self.keeps_gradient else self._reserve(n_scale)
        self.scratch = self._reserve(n_threads * self.chunk_size if training else 0)
        self.packed = self._reserve(n_threads * self.packed_size if training else 0)
        self.sums = self._reserve(self.layers[-1].fan_out * self.lanes if self.layers[-1].is_in_columns else 0)
        self.input_gradient = self._reserve(self.block_rows * self.layers[0].in_row if has_inputs else 0)
        for layer in self.layers:
            self._place_rows(layer)
        self.input_stride = spread(self.layers[0].in_row, spec.dtype)
        self.is_gathered = self.is_scaled or (training and self._is_worth_gathering())
        n_inputs = self.block_rows * self.input_stride
        self.inputs = self.samples = self._reserve(n_inputs if self.is_gathered else 0)
        if self.is_scaled:
            self.inputs = self._reserve(n_inputs)  # what becomes of the samples
        self.slopes = self._reserve(n_inputs if self.is_scaled and training else 0)

    def _make_layers(self) -> tuple[list[Layer], int, int]:
        """Return the layers, and how large all weights and all transposed copies are."""
        spec, layers, start, transposed = self.spec, [], 0, 0
        for number, ((fan_in, fan_out), name) in enumerate(zip(spec.shapes, spec.all_activations, strict=True)):
            row, in_row = padded(fan_out, spec.dtype), padded(fan_in, spec.dtype)
            narrow = is_narrow(spec, number)
            is_transposed = number >= self.first_transposed
            steps = spread(row, spec.dtype), 1
            if has_columns(spec, number):
                steps = 1, spread(self.block_rows, spec.dtype)
            if number == 0 and self.is_in_place:
                panels, transposed_panels = [], []
            elif narrow:
                panels = transposed_panels = narrow_panels(in_row, self.lanes, start)
            else:
                panels = panels_of(row, fan_in + 1, self.lanes, start)
                transposed_panels = panels_of(in_row, row, self.lanes, transposed) if is_transposed else []
                transposed += in_row * row if is_transposed else 0
            bias = start + fan_out * in_row if narrow else 0
            chunks = (_CHUNK_ROWS, False) if narrow else self._chunks_of(number, fan_in, len(panels))
            layers.append(
                Layer(
                    *(number, fan_in, fan_out, row, *steps, in_row, ACTIVATION_CODES[name]),
                    *(name == SOFTMAX, name == "identity", narrow, panels, transposed_panels, bias, *chunks),
                )
            )
            if panels:
                start += fan_out * in_row + row if narrow else (fan_in + 1) * row
        return layers, start, transposed

    def _chunks_of(self, number: int, fan_in: int, n_panels: int) -> tuple[int, bool]:
        """Return how many rows of a layer's panels are a chunk, and whether their inputs are packed.

        Read where they are, they come from another page for each row of the batch, and for each panel again.
        """
        column_bytes = self.block_rows * np.dtype(self.spec.dtype).itemsize
        if self.is_sparse and number == 0:
            return _SPARSE_CHUNK_ROWS, False
        if n_panels < _PANELS_WORTH_PACKING or column_bytes * fan_in < _BYTES_WORTH_PACKING:
            return _CHUNK_ROWS, False
        return (2 if column_bytes * 2 * _CHUNK_ROWS <= _PACKED_BYTES else 1) * _CHUNK_ROWS, True

    def _is_worth_gathering(self) -> bool:
        """Return whether a batch's X are copied to where they lie side by side.

        Products that read them where they are go to another page for each row and panel; a long row is read for long.
        """
        row_bytes = self.spec.n_inputs * np.dtype(self.spec.dtype).itemsize
        return not self.is_sparse and row_bytes < _GATHERED_BYTES * len(self.layers[0].panels)

    def _reserve(self, size: int) -> int:
        start = self._size
        self._size += -(-size // self._unit) * self._unit
        return start

    def _place_rows(self, layer: Layer) -> None:
        """Reserve what every row has of a layer; Z is apart where the derivative, the loss, or softmax needs it."""
        is_last = layer is self.layers[-1]
        size = layer.size(padded(self.block_rows, self.spec.dtype) if is_last else self.block_rows)
        layer.a = layer.z = layer.dropped = self._reserve(size)
        if (is_last and not layer.is_identity) or self.spec.all_activations[layer.number] in _NEEDS_Z:
            layer.z = self._reserve(size)
        if self.spec.dropout and not is_last:
            layer.dropped, layer.factors = self._reserve(size), self._reserve(size)
        layer.delta = self._reserve(size) if self._training else 0

    def serves(self, n_rows: int, n_threads: int = 1) -> bool:
        """Return whether batches of so many rows fit; they are split as with a layout made for them."""
        if n_threads > self.n_threads:
            return False
        if n_rows not in self._served:
            blocks = _rows_at_once(self.spec, n_rows, training=self._training)[1]
            is_kept = self.keeps_gradient or not self._training or n_rows <= self.block_rows
            self._served[n_rows] = is_kept and min(n_rows, blocks) <= self.block_rows
        return self._served[n_rows]

    def stripes(self, n: int) -> list[tuple[int, int]]:
        """Return the stripes of n rows of a block, (first row, rows): as long, and as many for each of two threads."""
        count = -(-n // self.stripe_rows)
        count += count % 2 if count > 1 else 0
        unit = self._stripe_unit
        each, rest = divmod(-(-n // unit), count)  # the larger ones are the last, of which one lacks some rows
        ends = [min(n, unit * (i * each + max(0, i - count + rest))) for i in range(count + 1)]
        return [(start, stop - start) for start, stop in pairwise(ends) if start < stop]

    @property
    def _stripe_unit(self) -> int:
        """Of how many rows stripes are made."""
        if self.layers[-1].is_in_columns:
            return self.lanes
        if self.has_softmax_loss:
            return max(_EVEN_ROWS, self.lanes)
        return _EVEN_ROWS if self.stripe_rows % _EVEN_ROWS == 0 else 1

    def memory(self) -> Memory:
        """Return memory for it."""
        values = aligned(self._size, self.spec.dtype)
        values[self.numbers : self.numbers + self.spec.n_outputs] = self.spec.loss_numbers
        stripes = len(self.stripes(self.block_rows))
        places, meeting, none = (np.zeros(n, np.int64) for n in (self.block_rows, MEETING_INTEGERS, 0))
        shares, losses = np.zeros(self.block_rows), np.zeros(stripes)
        return Memory(values, shares, losses, places, meeting, none, none, values[:0])

    def network(self, flat: Array, table: Array, entries: Array) -> Network:
        """Return the network with these parameters and programs."""
        parts = np.array([self.weights, self.gradient], np.int64)
        places = (self.moves, self.weight_runs, parts)
        return Network(table, entries, *places, flat, self.divisor, self.drop_below, self.kept)

    def rows_of(self, memory: Memory, layer: int, n: int) -> Array:
        """Return the first n rows of a layer's activations, a view."""
        own = self.layers[layer]
        rows: Array = memory.values[own.a : own.a + n * own.stride].reshape(n, own.stride)[:, : own.fan_out]
        return rows

    def packed_state(self, flat: Array) -> Array:
        """Return numbers in the order of the parameters as a part, in panels."""
        part = aligned(self.part_size, self.spec.dtype)
        if flat.any():  # a training begins with zeros
            for packed, plain in self._blocks_of(part, flat):
                packed[...] = plain
        return part

    def unpacked_state(self, part: Array) -> Array:
        """Return a part's numbers in the order of the parameters."""
        flat = np.empty(self.spec.n_params, self.spec.dtype)
        for packed, plain in self._blocks_of(part, flat):
            plain[...] = packed
        return flat

    def _blocks_of(self, part: Array, flat: Array) -> Iterator[tuple[Array, Array]]:
        """Yield the blocks of numbers that `moves` tells of: views of a part, and of the parameters."""
        size = flat.itemsize
        for first, step, flat_row, place, row, n_rows, n, _ in self.moves.tolist():
            shape, strides = (n_rows, n), (flat_row * size, step * size)
            packed: Array = np.ndarray(shape, part.dtype, part, place * size, (row * size, size))
            yield packed, np.ndarray(shape, flat.dtype, flat, first * size, strides)

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
        return np.array([(self.weights + start, n) for start, n in runs], np.int64).reshape(-1, 2)

    @cached_property
    def moves(self) -> Array:
        """What lies where, some rows of numbers each time.

        (place in the flat parameters, from number to number and from row to row there, place in a part, from row to row
        there, rows, numbers of a row, the same with padding).
        """
        moves, flat = [], 0
        for layer in self.layers:
            fan_in, fan_out, bias = layer.fan_in, layer.fan_out, flat + layer.fan_in * layer.fan_out
            if layer.is_narrow:
                start, in_row = layer.panels[0].start, layer.in_row
                moves.append((flat, fan_out, 1, start, in_row, fan_out, fan_in, in_row))
                moves.append((bias, 1, fan_out, layer.bias, layer.row, 1, fan_out, layer.row))
            else:  # the biases lie behind the weights in both
                for panel in layer.panels:
                    sizes = fan_in + 1, min(panel.width, fan_out - panel.column), panel.width
                    moves.append((flat + panel.column, 1, fan_out, panel.start, panel.row, *sizes))
            flat = bias + fan_out
        if self.is_scaled:
            n = self.spec.n_inputs
            moves.append((flat, 1, n, self.input_scale, n, 1, n, self.layers[0].in_row))
        return np.array(moves, np.int64).reshape(-1, 8)  # there are none where the only W is read in place


def _rows_at_once(spec: NetworkSpec, n_rows: int, *, training: bool) -> tuple[int, int]:
    """Return how many rows go through all layers together, and how many are kept for one product of gradients."""
    numbers = sum(2 * padded(size, spec.dtype) for size in spec.layer_sizes[1:])
    row_bytes = numbers * np.dtype(spec.dtype).itemsize
    unit = 24  # whole tiles of 4, 6 and 8 rows
    if has_columns(spec, spec.n_layers - 1) or spec.output_activation == SOFTMAX:
        unit = math.lcm(unit, lanes(spec.dtype))  # and of a column's registers
    stripe = max(unit, min(192, _STRIPE_BYTES // row_bytes // unit * unit))
    if sum(fan_in * fan_out for fan_in, fan_out in spec.shapes) * np.dtype(spec.dtype).itemsize > _HEAVY_BYTES:
        stripe = max(stripe, _ROWS_IF_HEAVY // unit * unit)
    block = max(_FEWEST_BLOCK_ROWS, _BLOCK_BYTES // row_bytes) if training else stripe
    return min(stripe, n_rows), min(block, n_rows)
