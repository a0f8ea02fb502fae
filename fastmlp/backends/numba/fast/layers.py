"""The layers of a network as the fast kernels keep them: panels of their weights, rows and columns of activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastmlp.activations import ACTIVATIONS
from fastmlp.backends.numba.calls import ACTIVATION_CODES, WITH_PRODUCTS
from fastmlp.backends.numba.simd.registers import columns_at_most, host, lanes
from fastmlp.spec import NetworkSpec

_SPREAD_BYTES = 512
_WITH_PRODUCTS = tuple(ACTIVATION_CODES[name] for name in WITH_PRODUCTS)


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
    column: int  # from one number of such a row to the next
    in_row: int
    activation: int
    is_softmax: bool
    is_identity: bool
    is_narrow: bool  # its weights are their transpose: the panels of one are those of the other
    panels: list[Panel]
    transposed_panels: list[Panel]
    bias: int  # of a narrow layer, their offset in a part
    chunk_rows: int  # of a panel, see `_CHUNK_ROWS`
    is_packed: bool  # whether the inputs that a chunk's gradient is made of are laid side by side first
    z: int = 0
    a: int = 0
    dropped: int = 0
    factors: int = 0
    delta: int = 0

    @property
    def comes_with_product(self) -> bool:
        """Whether a product that writes Z can write the activation in its place, and so with the derivative."""
        return self.activation in _WITH_PRODUCTS and self.z == self.a

    @property
    def is_in_columns(self) -> bool:
        """Whether its activations are kept in columns."""
        return self.column != 1

    def size(self, n_rows: int) -> int:
        """Return how many numbers so many rows of it take."""
        return self.fan_out * self.column if self.is_in_columns else n_rows * self.stride


def padded(size: int, dtype: str) -> int:
    """Return a size rounded up to whole registers."""
    n = lanes(dtype)
    return -(-size // n) * n


def spread(row: int, dtype: str) -> int:
    """Return how far apart rows are kept: not a multiple of 512 bytes, lest a column share few sets of a cache."""
    n_bytes = row * np.dtype(dtype).itemsize
    return row + lanes(dtype) if n_bytes % _SPREAD_BYTES == 0 else row


def panels_of(row: int, n_rows: int, n_lanes: int, start: int) -> list[Panel]:
    """Return the panels of a layer whose rows are so long, one behind the other."""
    return [Panel(column, own, own // n_lanes, start + column * n_rows, own) for column, own in _columns(row, n_lanes)]


def is_narrow(spec: NetworkSpec, number: int) -> bool:
    """Return whether a layer is narrow: of few outputs, fewer than half its inputs.

    And of inputs for which zero weights in the padding stay zero. That padding is the activation of zero, so the
    gradient with respect to those weights is not zero unless that is.
    """
    (fan_in, fan_out), n = spec.shapes[number], lanes(spec.dtype)
    if number == 0 or fan_out > columns_at_most(n) or fan_in <= 2 * fan_out:
        return False
    return fan_in % n == 0 or ACTIVATIONS[spec.activations[number - 1]].forward(0.0) == 0.0


def has_columns(spec: NetworkSpec, number: int) -> bool:
    """Return whether a layer's activations are kept in columns: a narrow last layer's."""
    return number == spec.n_layers - 1 and is_narrow(spec, number)


def narrow_panels(in_row: int, n_lanes: int, start: int) -> list[Panel]:
    """Return those of a narrow layer, whose rows go through all of them."""
    return [Panel(column, own, own // n_lanes, start + column, in_row) for column, own in _columns(in_row, n_lanes)]


def _columns(row: int, n_lanes: int) -> Iterator[tuple[int, int]]:
    """Yield the first column of each panel of a row, and its width."""
    column = 0
    for vectors in host().tile.panels(row // n_lanes):
        yield column, vectors * n_lanes
        column += vectors * n_lanes
