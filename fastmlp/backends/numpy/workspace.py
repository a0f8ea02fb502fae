"""The memory of the NumPy backend: allocated once, cut to the rows of a batch, reused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fastmlp.backends.base import Floats
from fastmlp.parameters import Array
from fastmlp.spec import NetworkSpec

_KEPT_SIZES = 8
_ONE_HOT_TABLE = 512  # outputs up to which a table of all one-hot rows is worth its memory


@dataclass(frozen=True)
class Scratch:
    """Memory for intermediate results of a layer, and constants of the network's dtype.

    A ufunc takes an array without dimensions faster than a number, and a product with ones adds up rows or
    columns faster than a reduction does.

    Attributes
    ----------
    values, gate, slope, factor : ndarray of shape (n, size)
    mask : ndarray of shape (n, size), bool
    column, row : ndarray of shape (n, 1) and (n,)
        The same memory.
    ones_rows, ones_outputs : ndarray of shape (n,) and (size,)
    zero, one : ndarray of shape ()
    numbers : ndarray of shape (n_out,)
        Those that the loss has for each output.
    """

    values: Array
    gate: Array
    slope: Array
    factor: Array
    mask: Array
    column: Array
    row: Array
    ones_rows: Array
    ones_outputs: Array
    zero: Array
    one: Array
    numbers: Array


@dataclass(frozen=True)
class Views:
    """The workspace cut to n rows; lists have one entry a layer.

    Attributes
    ----------
    Y, weights, total
        The batch, as in `fastmlp.backends.base.Batch`, but Y always as rows, and the total without dimensions.
        Weights and total for a batch with weights.
    share, scale, shares : ndarray of shape (), (), (n, 1)
        For the samples' shares of the loss: without weights one for all, in the network's dtype.
    Z, A, delta : list of ndarray of shape (n, size)
    dropped, factors : list of ndarray of shape (n, size)
        Hidden activations after dropout, and what they were multiplied with; empty without dropout.
    inputs, slopes : ndarray of shape (n, n_in)
        X times the input scale, and the derivative of the loss with respect to that; without a scale they have no rows.
    scratch : list of Scratch
    """

    Y: Array
    weights: Floats
    total: Floats
    share: Array
    scale: Floats
    shares: Floats
    Z: list[Array]
    A: list[Array]
    delta: list[Array]
    dropped: list[Array]
    factors: list[Array]
    inputs: Array
    slopes: Array
    scratch: list[Scratch]


class Kind(NamedTuple):
    """What a batch is like: which calls its loss and gradient consist of.

    Attributes
    ----------
    one_hot : bool
        Whether the rows of Y are made from class indices.
    weighted : bool
        Whether the samples have weights.
    dropped : bool
        Whether hidden units are dropped.
    l2 : float
    """

    one_hot: bool
    weighted: bool
    dropped: bool
    l2: float


class Workspace:
    """Buffers for up to `capacity` rows."""

    def __init__(self, spec: NetworkSpec, capacity: int) -> None:
        self.capacity = capacity
        sizes, hidden = spec.layer_sizes[1:], spec.layer_sizes[1:-1] if spec.dropout else ()
        self._rows = {
            name: [np.empty((capacity, size), spec.dtype) for size in sizes] for name in ("Z", "A", "delta")
        } | {name: [np.empty((capacity, size), spec.dtype) for size in hidden] for name in ("dropped", "factors")}
        self._X_shape, self._Y = (capacity, spec.n_inputs), np.empty((capacity, spec.n_outputs), spec.dtype)
        n_scaled = capacity if spec.input_scale else 0
        self._inputs, self._slopes = (np.empty((n_scaled, spec.n_inputs), spec.dtype) for _ in range(2))
        self._values = [np.empty(capacity * max(sizes), spec.dtype) for _ in range(4)]
        self._mask = np.empty(capacity * max(sizes), np.bool_)
        self._column = np.empty((capacity, 1), spec.dtype)
        self._ones = np.ones(max(capacity, *sizes), spec.dtype)
        self._zero, self._one = np.zeros((), spec.dtype), np.ones((), spec.dtype)
        self._numbers = np.array(spec.loss_numbers, spec.dtype)
        self._sizes = sizes
        self._views: dict[int, Views] = {}
        self.kept: object = None  # what was bound to these buffers, for whoever can use it again

    @cached_property
    def one_hot(self) -> Array | None:
        """All one-hot rows, where a table of them is worth its memory."""
        n_outputs = self._sizes[-1]
        return np.eye(n_outputs, dtype=self._ones.dtype) if n_outputs <= _ONE_HOT_TABLE else None

    @cached_property
    def _X(self) -> Array:
        return np.empty(self._X_shape, self._ones.dtype)

    def inputs(self, n_rows: int) -> Array:
        """Return where the X of a batch are gathered, if they are: not where they are sparse, or taken as they lie."""
        return self._X[:n_rows]

    def views(self, n_rows: int) -> Views:
        """Return the buffers cut to `n_rows`; the few sizes that a fit has are kept."""
        if n_rows not in self._views:
            if len(self._views) == _KEPT_SIZES:
                self._views.clear()
            self._views[n_rows] = self._cut(n_rows)
        return self._views[n_rows]

    def _cut(self, n: int) -> Views:
        Y = self._Y[:n]
        lists = {name: [buffer[:n] for buffer in buffers] for name, buffers in self._rows.items()}
        return Views(
            Y=Y,
            weights=np.empty(n),
            total=np.empty(()),
            share=np.empty((), Y.dtype),
            scale=np.empty(()),
            shares=np.empty((n, 1)),
            **lists,
            inputs=self._inputs[:n],
            slopes=self._slopes[:n],
            scratch=[self._scratch(n, size) for size in self._sizes],
        )

    def _scratch(self, n: int, size: int) -> Scratch:
        values, gate, slope, factor = (buffer[: n * size].reshape(n, size) for buffer in self._values)
        mask = self._mask[: n * size].reshape(n, size)
        column = self._column[:n]
        return Scratch(
            values=values,
            gate=gate,
            slope=slope,
            factor=factor,
            mask=mask,
            column=column,
            row=column[:, 0],
            ones_rows=self._ones[:n],
            ones_outputs=self._ones[:size],
            zero=self._zero,
            one=self._one,
            numbers=self._numbers,
        )


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
