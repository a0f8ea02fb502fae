"""Compressed rows without SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastmlp.backends.base import CompressedRows, Indices, Turned
from fastmlp.parameters import Array


class Compressed(CompressedRows):
    """The rows of a dense array; its arrays are what `place` makes of them."""

    def __init__(self, dense: Array, place: Callable[[np.ndarray], np.ndarray] = np.array) -> None:
        self._dense, self.shape = dense, dense.shape
        counts = np.count_nonzero(dense, axis=1)
        self.starts = place(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
        self.columns = place(np.nonzero(dense)[1].astype(np.int32))
        self.numbers = place(dense[dense != 0])

    def __getitem__(self, rows: Indices | slice) -> Array:
        return self._dense[rows]

    def some(self, rows: Indices | slice) -> Compressed:
        return Compressed(self._dense[rows])

    def dot(self, W: Array, out: Array) -> None:
        out[...] = self._dense @ W

    @property
    def T(self) -> Turned:
        return self._dense.T
