"""What the kernels of both modes are handed: data, a run's steps, and what a run writes.

Inputs are read-only views, so that a kernel is compiled once for a dtype, whatever the user's arrays are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastmlp.activations import ACTIVATIONS, SOFTMAX
from fastmlp.backends.base import Batch, CompressedRows, Dropout, Floats, Run
from fastmlp.losses import LOSSES
from fastmlp.optimizers import N_COEFFICIENTS, RULES
from fastmlp.parameters import Array
from fastmlp.spec import NetworkSpec

ACTIVATION_CODES = {name: code for code, name in enumerate((*ACTIVATIONS, SOFTMAX))}
LOSS_CODES = {name: code for code, name in enumerate(LOSSES)}
RULE_CODES = {name: code for code, name in enumerate(RULES)}
NO_UPDATE = -1

Key = tuple[bool, int, int]
"""Whether units are dropped, the seed of the masks, and the number of the first step."""
KEEP_ALL: Key = (False, 0, 0)

_NO_LABELS = np.empty(0, np.int64)
_NO_COLUMNS = np.empty(0, np.int32)
_NO_NUMBERS = np.empty(0)
_NO_COEFFICIENTS = np.empty((0, N_COEFFICIENTS))


class Samples(NamedTuple):
    """Data, read only: X (n, n_in); Y (n, n_out), or labels (n,); weights (n,). What is not there has no rows.

    In place of the rows of X there may be starts, columns and numbers, as in `fastmlp.backends.base.CompressedRows`.
    """

    X: Any
    Y: Any
    labels: Any
    weights: Any
    starts: Any
    columns: Any
    numbers: Any


class Steps(NamedTuple):
    """A run of steps, read only but for losses and penalties (`fastmlp.backends.base.Run`)."""

    order: Any
    starts: Any
    stops: Any
    totals: Any
    coefficients: Any
    decay: Any
    l2: Any
    losses: Any
    penalties: Any


class Trainee(NamedTuple):
    """What a run writes: the gradient (n_params,), the two states of an optimizer, and rows of samples, flat.

    The states are as `Backend.pack_state` lays them out.
    The rows are the derivative with respect to X, or outputs. What is not wanted or not used has no entries.
    """

    gradient: Any
    s: Any
    t: Any
    rows: Any


def frozen(array: Array) -> Array:
    """Return a read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view


def samples_of(spec: NetworkSpec, X: Array, Y: Array | None, weights: Floats | None) -> Samples:
    """Return data as kernels take it."""
    rows, labels = np.empty((0, spec.n_outputs), spec.dtype), _NO_LABELS
    if Y is not None and Y.ndim == 1:
        labels = Y
    elif Y is not None:
        rows = Y
    weights = _NO_NUMBERS if weights is None else weights
    nothing = np.empty((0, spec.n_inputs), spec.dtype)
    compressed = (_NO_LABELS, _NO_COLUMNS, nothing[:, 0])
    if isinstance(X, CompressedRows):
        X, compressed = nothing, (X.starts, X.columns, X.numbers)
    return Samples._make(map(frozen, (X, rows, labels, weights, *compressed)))


def steps_of(run: Run) -> Steps:
    """Return a run's steps as kernels take them."""
    arrays = (run.order, run.starts, run.stops, run.totals, run.coefficients, run.decay, run.l2)
    return Steps._make((*map(frozen, arrays), run.losses, run.penalties))


def single_step(batch: Batch) -> Steps:
    """Return a batch as a run of one step that updates nothing."""
    n = len(batch.X)
    arrays = (np.arange(n), np.zeros(1, np.int64), np.full(1, n), np.full(1, batch.total))
    unused = (_NO_COEFFICIENTS, np.zeros((1, 1)))
    return Steps._make((*map(frozen, (*arrays, *unused, np.full(1, batch.l2))), np.empty(1), np.empty(1)))


def stripes(n: int, height: int) -> Steps:
    """Return n samples, in order, as steps of up to `height` rows that are only looked at."""
    starts = np.arange(0, n, height)
    stops = np.minimum(starts + height, n)
    zeros = np.zeros(starts.size)
    arrays = (np.arange(n), starts, stops, np.ones(starts.size), _NO_COEFFICIENTS, zeros[:, None], zeros)
    return Steps._make((*map(frozen, arrays), np.empty(starts.size), np.empty(starts.size)))


def key_of(dropout: Dropout | None) -> Key:
    """Return the key of one step."""
    return KEEP_ALL if dropout is None else (True, dropout.seed, dropout.step)
