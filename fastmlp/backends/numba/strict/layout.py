"""What kernels read and write: tuples of arrays, and a network's description in integers and floats.

One set of kernels serves every network of a dtype: what varies is data. A part of the network that has a number
of its own puts it into `floats`; no kernel's signature changes for it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastmlp import dropout
from fastmlp.backends.numba.calls import ACTIVATION_CODES, LOSS_CODES, Floats1, Numbers1, ReadFloats1, ReadIntegers1
from fastmlp.losses import LOSSES
from fastmlp.spec import NetworkSpec

# Places in `Network.integers`; the layer sizes and then the activation codes follow the last.
N_LAYERS, LOSS, LINKED, AVERAGED, DROP_BELOW, INPUT_SCALE, HEADER = range(7)
# Places in `Network.floats`.
KEPT_FACTOR, LOSS_NUMBERS = range(2)  # the second begins a number for each output


class Network(NamedTuple):
    """A network: its description, and its parameters in one vector."""

    integers: ReadIntegers1
    floats: ReadFloats1
    flat: Numbers1


class Memory(NamedTuple):
    """Scratch: `values` of the network's dtype, and `wide`, float64, for the sums of a product.

    Of each row of a batch, also float64: its weight, and the logarithm of the sum that its softmax divides by.
    """

    values: Numbers1
    wide: Floats1
    weights: Floats1
    log_sums: Floats1


def describe(spec: NetworkSpec) -> tuple[Any, Any]:
    """Return a network's integers and floats."""
    integers = np.array(
        [
            spec.n_layers,
            LOSS_CODES[spec.loss],
            spec.is_linked,
            LOSSES[spec.loss].averaged,
            dropout.threshold(spec.dropout),
            spec.input_scale,
            *spec.layer_sizes,
            *(ACTIVATION_CODES[name] for name in spec.all_activations),
        ],
        np.int64,
    )
    kept = np.array(1.0 / (1.0 - spec.dropout), spec.dtype)
    return integers, np.array([kept, *spec.loss_numbers], np.float64)


# The blocks of a layer in `Memory.values`, after the gathered X and Y: see `block`.
# NumPy integers: of Python's, Numba compiles a function anew for each value that it is called with.
_integers: Any = map(np.int64, (0, 1, 2, 3, 4, 5, -1, 0))
Z, A, DELTA, DROPPED, FACTORS, N_BLOCKS, INPUT, FIRST = _integers  # INPUT is the layer "before" the first


def memory_size(spec: NetworkSpec, n_rows: int) -> int:
    """Return how many values a batch of `n_rows` needs."""
    return n_rows * (spec.n_inputs + spec.n_outputs + N_BLOCKS * sum(spec.layer_sizes[1:]))


def activations(spec: NetworkSpec, values: Any, n_rows: int) -> list[Any]:
    """Return the flat activations of each layer in the memory of a batch."""
    found, column = [], spec.n_inputs + spec.n_outputs
    for size in spec.layer_sizes[1:]:
        start = n_rows * (column + A * size)
        found.append(values[start : start + n_rows * size])
        column += N_BLOCKS * size
    return found


def new_memory(spec: NetworkSpec, n_rows: int) -> Memory:
    """Return memory for a batch of up to `n_rows`."""
    sums = max(fan_in * fan_out for fan_in, fan_out in spec.shapes)
    values = np.empty(memory_size(spec, n_rows), spec.dtype)
    return Memory(values, np.empty(sums), np.empty(n_rows), np.empty(n_rows))
