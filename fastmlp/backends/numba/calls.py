"""What the kernels of both modes are handed: data, a run's steps, and what a run writes.

What it is made of is said in full, since nothing looks at it any more when a kernel is called (`entry.EntryPoint`).
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

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
WITH_PRODUCTS = ("relu",)
"""Activations that cost so little beside a product that its tiles do them on their way out, and their derivatives."""

# Arrays, in C order: what they hold, "v" for numbers of the network's dtype, "d" float64, "q" int64 and "h" int32, a
# capital where kernels only read them; and how many dimensions they have.
Numbers1 = Annotated[Any, "v1"]
Numbers2 = Annotated[Any, "v2"]
ReadNumbers1 = Annotated[Any, "V1"]
ReadNumbers2 = Annotated[Any, "V2"]
Floats1 = Annotated[Any, "d1"]
ReadFloats1 = Annotated[Any, "D1"]
ReadFloats2 = Annotated[Any, "D2"]
Integers1 = Annotated[Any, "q1"]
ReadIntegers1 = Annotated[Any, "Q1"]
ReadIntegers2 = Annotated[Any, "Q2"]
ReadShortIntegers1 = Annotated[Any, "H1"]

# Of what threads meet with: each of three integers lies on a line of the cache of its own, the count first.
MEETING_INTEGERS = 24
GIVEN_UP = 16  # not 0 once a thread will not come: none may wait for it

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

    X: ReadNumbers2
    Y: ReadNumbers2
    labels: ReadIntegers1
    weights: ReadFloats1
    starts: ReadIntegers1
    columns: ReadShortIntegers1
    numbers: ReadNumbers1


class Steps(NamedTuple):
    """A run of steps, read only but for losses and penalties (`fastmlp.backends.base.Run`)."""

    order: ReadIntegers1
    starts: ReadIntegers1
    stops: ReadIntegers1
    totals: ReadFloats1
    coefficients: ReadFloats2
    decay: ReadFloats2
    l2: ReadFloats1
    losses: Floats1
    penalties: Floats1


class Trainee(NamedTuple):
    """What a run writes: the gradient (n_params,), the two states of an optimizer, and rows of samples, flat.

    The states are as `Backend.pack_state` lays them out.
    The rows are the derivative with respect to X, or outputs. What is not wanted or not used has no entries.
    """

    gradient: Numbers1
    s: Numbers1
    t: Numbers1
    rows: Numbers1


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
    return Samples(X, rows, labels, weights, *compressed)


def steps_of(run: Run) -> Steps:
    """Return a run's steps as kernels take them."""
    when = (run.order, run.starts, run.stops, run.totals)
    return Steps(*when, run.coefficients, run.decay, run.l2, run.losses, run.penalties)


def single_step(batch: Batch) -> Steps:
    """Return a batch as a run of one step that updates nothing."""
    n = len(batch.X)
    when = (np.arange(n), np.zeros(1, np.int64), np.full(1, n), np.full(1, float(batch.total)))
    return Steps(*when, _NO_COEFFICIENTS, np.zeros((1, 1)), np.full(1, float(batch.l2)), np.empty(1), np.empty(1))


def stripes(n: int, height: int) -> Steps:
    """Return n samples, in order, as steps of up to `height` rows that are only looked at."""
    starts = np.arange(0, n, height)
    stops = np.minimum(starts + height, n)
    zeros = np.zeros(starts.size)
    when = (np.arange(n), starts, stops, np.ones(starts.size))
    return Steps(*when, _NO_COEFFICIENTS, zeros[:, None], zeros, np.empty(starts.size), np.empty(starts.size))


def loss_case(loss: Any, linked: Any) -> Any:
    """Return the number of a loss, with or without its natural link, among the cases of `simd.outputs.measure`."""
    return 2 * loss + linked


def key_of(dropout: Dropout | None) -> Key:
    """Return the key of one step."""
    return KEEP_ALL if dropout is None else (True, dropout.seed, dropout.step)
