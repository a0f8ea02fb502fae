"""The memory of the NumPy backend: allocated once, cut to the rows of a batch, reused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from fastmlp.parameters import Array
from fastmlp.spec import NetworkSpec

_KEPT_SIZES = 8


@dataclass(frozen=True)
class Scratch:
    """Arrays of a layer's shape for intermediate results: four of numbers, one of truth values."""

    values: Array
    gate: Array
    slope: Array
    factor: Array
    mask: Array


@dataclass(frozen=True)
class Views:
    """The workspace cut to n rows; lists have one entry a layer.

    Attributes
    ----------
    X, Y : ndarray of shape (n, n_in) and (n, n_out)
        The gathered batch.
    Z, A, delta : list of ndarray of shape (n, size)
    dropped, factors : list of ndarray of shape (n, size)
        Hidden activations after dropout, and what they were multiplied with; empty without dropout.
    scratch : list of Scratch
    ones : ndarray of shape (n,)
    """

    X: Array
    Y: Array
    Z: list[Array]
    A: list[Array]
    delta: list[Array]
    dropped: list[Array]
    factors: list[Array]
    scratch: list[Scratch]
    ones: Array


class Workspace:
    """Buffers for up to `capacity` rows."""

    def __init__(self, spec: NetworkSpec, capacity: int) -> None:
        self.capacity = capacity
        sizes, hidden = spec.layer_sizes[1:], spec.layer_sizes[1:-1] if spec.dropout else ()
        self._rows = {
            name: [np.empty((capacity, size), spec.dtype) for size in sizes] for name in ("Z", "A", "delta")
        } | {name: [np.empty((capacity, size), spec.dtype) for size in hidden] for name in ("dropped", "factors")}
        self._batch = [np.empty((capacity, size), spec.dtype) for size in (spec.n_inputs, spec.n_outputs)]
        self._values = [np.empty(capacity * max(sizes), spec.dtype) for _ in range(4)]
        self._mask = np.empty(capacity * max(sizes), np.bool_)
        self._ones = np.ones(capacity, spec.dtype)
        self._sizes = sizes
        self._views: dict[int, Views] = {}

    def views(self, n_rows: int) -> Views:
        """Return the buffers cut to `n_rows`; the few sizes that a fit has are kept."""
        if n_rows not in self._views:
            if len(self._views) == _KEPT_SIZES:
                self._views.clear()
            self._views[n_rows] = self._cut(n_rows)
        return self._views[n_rows]

    def _cut(self, n: int) -> Views:
        X, Y = (buffer[:n] for buffer in self._batch)
        lists = {name: [buffer[:n] for buffer in buffers] for name, buffers in self._rows.items()}
        scratch = [
            Scratch(*(buffer[: n * size].reshape(n, size) for buffer in (*self._values, self._mask)))
            for size in self._sizes
        ]
        return Views(X, Y, **lists, scratch=scratch, ones=self._ones[:n])


class WorkspacePool:
    """Workspaces that wait for the next call; each call has one to itself, so calls may run in many threads."""

    def __init__(self, spec: NetworkSpec) -> None:
        self._spec = spec
        self._free: list[Workspace] = []

    @contextmanager
    def take(self, n_rows: int) -> Iterator[Workspace]:
        """Lend a workspace for at least `n_rows`."""
        try:
            workspace = self._free.pop()  # atomic, unlike asking first whether one is there
        except IndexError:
            workspace = Workspace(self._spec, n_rows)
        if workspace.capacity < n_rows:
            workspace = Workspace(self._spec, n_rows)
        try:
            yield workspace
        finally:
            self._free.append(workspace)
