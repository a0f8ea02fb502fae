"""Where the fast kernels keep a network: in padded rows and panels, at offsets computed once.

A row of activations is a whole number of registers. A layer's weights lie in panels of a few registers' width, each
with all its rows one after the other and its biases as the last: what a tile of the product reads is contiguous, and
so is what an optimizer writes. Padding begins as zeros, and zero weights, biases and deltas stay zero.

All offsets count numbers from the start of one array, `Memory.values`, or, for parameters, of one of its parts of
`PARAMETERS` numbers each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastmlp import dropout
from fastmlp.activations import SOFTMAX
from fastmlp.backends.numba.calls import ACTIVATION_CODES, LOSS_CODES
from fastmlp.backends.numba.simd.passes import loss_case
from fastmlp.backends.numba.simd.registers import host, lanes
from fastmlp.backends.numba.simd.threads import N_INTEGERS
from fastmlp.losses import LOSSES
from fastmlp.spec import NetworkSpec

SOFTMAX_CODE = ACTIVATION_CODES[SOFTMAX]
_NEEDS_Z = {ACTIVATION_CODES[name] for name in ("gelu", "silu")}

# NumPy integers: of Python's, Numba compiles a function anew for each value that it is called with.
_header: Any = map(np.int64, range(20))
N_LAYERS, LOSS_CASE, LINKED, AVERAGED, DROP_BELOW, BLOCK_ROWS, STRIPE_ROWS, PANEL, CHUNK_ROWS, *_header = _header
X, X_ROW, Y, ZEROS, ONE, WEIGHTS, TRANSPOSED, GRADIENT, FIRST_STATE, SECOND_STATE, PARAMETERS = _header
HEADER = 20
# Of a layer: its sizes, and where its parts are. ROW is its outputs' padded size; T_AT lies in the transposed part.
_fields: Any = map(np.int64, range(13))
FAN_IN, FAN_OUT, ROW, IN_ROW, ACTIVATION, FLAT, W_AT, T_AT, Z, A, DROPPED, FACTORS, DELTA = _fields
FIELDS = 13

START: Any = np.int64(0)  # the first row, or layer

_ALIGNMENT = 64  # bytes: a line of the cache
_STRIPE_BYTES = 128 * 1024  # of rows that go through all layers together: half a small second-level cache
_BLOCK_BYTES = 512 * 1024  # of rows whose activations and deltas are kept until the gradient has them
_FEWEST_BLOCK_ROWS = 512  # below them products would read the weights too often


class Network(NamedTuple):
    """A network: its plan's numbers, and its parameters in one vector."""

    integers: Any
    floats: Any
    flat: Any


class Memory(NamedTuple):
    """What a call computes in.

    `values`, of the network's dtype, holds everything that has an offset; `shares`, float64, a row's part of its batch;
    `losses`, float64, those of stripes of rows; `meeting`, integers, is where threads meet.
    """

    values: Any
    shares: Any
    losses: Any
    meeting: Any


def padded(size: int, dtype: str) -> int:
    """Return a size rounded up to whole registers."""
    n = lanes(dtype)
    return -(-size // n) * n


class Plan:
    """The offsets of a network for up to so many rows a batch.

    Parameters
    ----------
    spec : NetworkSpec
    n_rows : int
        Rows of the largest batch. Larger ones than a block are taken a block at a time.
    training : bool
        Whether there are gradients, and states of an optimizer.
    """

    def __init__(self, spec: NetworkSpec, n_rows: int, *, training: bool) -> None:
        self.spec = spec
        self._unit = _ALIGNMENT // np.dtype(spec.dtype).itemsize
        self._size = 0
        rows = [padded(size, spec.dtype) for size in spec.layer_sizes]
        stripe_rows, block_rows = _rows_at_once(spec, n_rows, training=training)
        layers = np.zeros((spec.n_layers, FIELDS), np.int64)
        flat = weights = transposed = 0
        for layer, ((fan_in, fan_out), name) in enumerate(zip(spec.shapes, spec.all_activations, strict=True)):
            row, in_row = rows[layer + 1], rows[layer]
            code = ACTIVATION_CODES[name]
            layers[layer, [FAN_IN, FAN_OUT, ROW, IN_ROW, ACTIVATION]] = fan_in, fan_out, row, in_row, code
            layers[layer, [FLAT, W_AT, T_AT]] = flat, weights, transposed
            flat += (fan_in + 1) * fan_out
            weights += (fan_in + 1) * row
            transposed += in_row * row
        header = np.zeros(HEADER, np.int64)
        header[N_LAYERS] = spec.n_layers
        header[LOSS_CASE] = loss_case(LOSS_CODES[spec.loss], int(spec.is_linked))
        header[[LINKED, AVERAGED]] = spec.is_linked, LOSSES[spec.loss].averaged
        header[DROP_BELOW] = dropout.threshold(spec.dropout)
        header[[BLOCK_ROWS, STRIPE_ROWS, PANEL, CHUNK_ROWS]] = (
            block_rows,
            stripe_rows,
            host().tile.vectors * lanes(spec.dtype),
            48,
        )
        header[[PARAMETERS, X_ROW]] = weights, spec.n_inputs
        header[WEIGHTS] = self._reserve(weights)
        header[TRANSPOSED] = self._reserve(transposed)
        header[ZEROS] = self._reserve(int(header[PANEL]))
        header[ONE] = self._reserve(1)
        if training:
            header[GRADIENT] = self._reserve(weights)
            header[FIRST_STATE] = self._reserve(weights)
            header[SECOND_STATE] = self._reserve(weights)
        header[Y] = self._reserve(block_rows * rows[-1])
        self.zeroed = self._size  # what must begin as zeros ends here
        header[X] = self._reserve(block_rows * spec.n_inputs)
        for layer in range(spec.n_layers):
            self._place_rows(layers[layer], block_rows, is_last=layer == spec.n_layers - 1)
        self.n_rows = block_rows
        self._training = training
        self.integers = np.concatenate([header, layers.ravel()])
        self.floats = np.array([np.array(1.0 / (1.0 - spec.dropout), spec.dtype)], np.float64)

    def _reserve(self, size: int) -> int:
        start = self._size
        self._size += -(-size // self._unit) * self._unit
        return start

    def _place_rows(self, layer: Any, n_rows: int, *, is_last: bool) -> None:
        """Reserve what every row has of a layer; Z is apart where the derivative, or softmax, needs it."""
        size = n_rows * layer[ROW]
        layer[A] = self._reserve(size)
        has_z = layer[ACTIVATION] in _NEEDS_Z or is_last
        layer[Z] = self._reserve(size) if has_z else layer[A]
        dropping = self.spec.dropout > 0 and not is_last
        layer[DROPPED] = self._reserve(size) if dropping else layer[A]
        layer[FACTORS] = self._reserve(size) if dropping else 0
        layer[DELTA] = self._reserve(size)

    def serves(self, n_rows: int) -> bool:
        """Return whether batches of so many rows fit; they are split as in a plan made for them."""
        return n_rows <= self.n_rows or _rows_at_once(self.spec, n_rows, training=self._training)[1] <= self.n_rows

    def network(self, flat: Any) -> Network:
        """Return the network with these parameters."""
        return Network(self.integers, self.floats, flat)

    def memory(self) -> Memory:
        """Return memory for it."""
        raw = np.empty(self._size + self._unit, self.spec.dtype)
        skipped = (-raw.ctypes.data % _ALIGNMENT) // raw.itemsize
        values = raw[skipped : skipped + self._size]
        values[: self.zeroed] = 0.0
        values[self.integers[ONE]] = 1.0
        stripes = -(-self.n_rows // int(self.integers[STRIPE_ROWS]))
        return Memory(values, np.zeros(self.n_rows), np.zeros(stripes), np.zeros(N_INTEGERS, np.int64))

    def rows_of(self, memory: Memory, layer: int, n: int) -> Any:
        """Return the first n rows of a layer's activations, a view."""
        fields = self.integers[HEADER + FIELDS * layer :]
        start, row = int(fields[A]), int(fields[ROW])
        return memory.values[start : start + n * row].reshape(n, row)[:, : int(fields[FAN_OUT])]


def _rows_at_once(spec: NetworkSpec, n_rows: int, *, training: bool) -> tuple[int, int]:
    """Return how many rows go through all layers together, and how many are kept for one product of gradients."""
    numbers = spec.n_inputs + sum(2 * padded(size, spec.dtype) for size in spec.layer_sizes[1:])
    row_bytes = numbers * np.dtype(spec.dtype).itemsize
    stripe = max(24, min(192, _STRIPE_BYTES // row_bytes // 24 * 24))  # whole tiles of 4, 6 and 8 rows
    block = max(_FEWEST_BLOCK_ROWS, _BLOCK_BYTES // row_bytes) if training else stripe
    return min(stripe, n_rows), min(block, n_rows)
