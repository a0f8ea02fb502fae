"""The contract of a backend.

A backend is built for one spec and holds no parameters: every call gets them. It is coarse, a batch or a run
of steps a call, so that each implementation reads as one story and the calls between Python and a kernel do
not hide its speed. All arrays it gets have passed the door (`fastmlp.data`): C-contiguous, of the spec's
dtype, finite, of the right shapes, possibly read-only. It writes to nothing but its results.

In strict mode all backends return the same bits. The arithmetic is binary64, in the order that
`fastmlp.backends.naive` tells, and rounded to the spec's dtype after each scaled input, Z, A, dropped A, delta,
``delta @ W.T``, derivative by X, sum over the batch, gradient with l2, optimizer state and parameter. A dot product
starts at +0.0 and adds in ascending index, products rounded before they are added; the bias comes last.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastmlp.groups import ONE_GROUP, ParameterGroups
from fastmlp.optimizers import RULES, Coefficients
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Batch(NamedTuple):
    """The samples of one gradient.

    Attributes
    ----------
    X : ndarray of shape (n, n_in)
    Y : ndarray of shape (n, n_out), or of shape (n,) and int64 for class indices
    weights : ndarray of shape (n,), float64, or None
        Sample weights; None for all one.
    total : float
        Sum of the weights, added in ascending order; n without weights.
    l2 : float
    """

    X: Array
    Y: Array
    weights: Floats | None
    total: float
    l2: float


class CompressedRows(ABC):
    """Samples most of whose features are zero: what a batch has as X where a backend `takes_sparse`.

    Its arrays are C-contiguous.

    Attributes
    ----------
    shape : tuple of int
        (n_samples, n_in).
    starts : ndarray of shape (n_samples + 1,), int64
        The features of sample i that are not zero are those from ``starts[i]`` up to ``starts[i + 1]`` of the columns,
        in any order; of one that stands there several times it is the sum.
    columns : ndarray of shape (n_entries,), int32
    numbers : ndarray of shape (n_entries,)
        Of the spec's dtype.
    """

    shape: tuple[int, int]
    starts: Indices
    columns: NDArray[np.int32]
    numbers: Array

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, rows: Indices | slice) -> Array:
        """Return some of the samples, dense."""

    @abstractmethod
    def some(self, rows: Indices | slice) -> CompressedRows:
        """Return some of the samples."""

    @abstractmethod
    def dot(self, W: Array, out: Array) -> None:
        """Write X @ W."""

    @property
    @abstractmethod
    def T(self) -> Turned:
        """What multiplies as X.T does."""


class Turned(Protocol):
    """The transpose of compressed rows."""

    def dot(self, delta: Array, out: Array) -> None:
        """Write X.T @ delta."""


@dataclass(frozen=True)
class Dropout:
    """Where a step's dropout masks come from (`fastmlp.dropout`).

    Attributes
    ----------
    seed : int
        32 bits.
    step : int
        Steps done since the training began.
    """

    seed: int
    step: int


@dataclass(frozen=True)
class Run:
    """A run of training steps: what `Backend.train` reads and writes.

    Attributes
    ----------
    parameters : Parameters
        Updated step by step.
    states : tuple of ndarray
        Two, updated too, as `Backend.pack_state` has laid them out; what a rule does not use has shape (0,).
    rule : str
        A key of `fastmlp.optimizers.RULES`.
    X, Y, weights
        The whole data, as in `Batch`.
    order : ndarray, int64
        The samples in the order of an epoch, or those of several, one behind the other.
    starts, stops : ndarray of shape (n_steps,), int64
        Step i takes the samples ``order[starts[i]:stops[i]]``.
    totals : ndarray of shape (n_steps,), float64
        Weight sum of each step's samples.
    coefficients : ndarray of shape (n_steps, 6 n_groups), float64
        What the rule gets at each step: six numbers for each group of parameters, side by side.
    decay : ndarray of shape (n_steps, n_groups), float64
        The share of each of a group's weights taken away before the update.
    l2 : ndarray of shape (n_steps,), float64
        The l2 of the step.
    losses : ndarray of shape (n_steps,), float64
        Written: each batch's loss before its update.
    penalties : ndarray of shape (n_steps,), float64
        Written: what l2 adds to each of these losses.
    seed, first_step : int
        For dropout: the seed, and the number of step 0 here.
    groups : ParameterGroups
        Which parameters are in which group.
    """

    parameters: Parameters
    states: tuple[Array, Array]
    rule: str
    X: Array
    Y: Array
    weights: Floats | None
    order: Indices
    starts: Indices
    stops: Indices
    totals: Floats
    coefficients: Coefficients
    decay: Floats
    l2: Floats
    losses: Floats
    penalties: Floats
    seed: int
    first_step: int
    groups: ParameterGroups = ONE_GROUP

    def rows(self, step: int) -> Indices:
        """Return the samples of a step."""
        return self.order[self.starts[step] : self.stops[step]]

    def dropout(self, step: int) -> Dropout:
        """Return where a step's masks come from."""
        return Dropout(self.seed, self.first_step + step)


class Backend(Protocol):
    """One way to compute a network. Thread-safe but for `train`."""

    name: str
    spec: NetworkSpec
    takes_sparse: bool  # whether a batch's X may be `CompressedRows`, but in `answer` and in what a responder is given

    def predict(self, parameters: Parameters, X: Array) -> Array:
        """Return the outputs, of shape (n, n_out), in memory of their own."""

    def answer(self, parameters: Parameters, X: Array, out: Array) -> bool:
        """Write the outputs to `out` and return True, or False where not all of X may be finite.

        Whoever calls it looks then: if X is finite after all, and a sum has overflown, the outputs are in `out`. X may
        hold anything: for a single row, looking at it beforehand would cost as much as the answer.
        """

    def responder(self, parameters: Parameters, n_rows: int) -> Responder:
        """Return `answer` for up to `n_rows` rows, in one thread at a time; the parameters must not change."""

    def hidden_activations(self, parameters: Parameters, X: Array) -> list[Array]:
        """Return the activations of every hidden layer, each of shape (n, size)."""

    def loss(self, parameters: Parameters, batch: Batch) -> float:
        """Return the loss, l2 included."""

    def loss_and_gradient(
        self, parameters: Parameters, batch: Batch, gradient: Parameters, dropout: Dropout | None = None
    ) -> float:
        """Write the gradient and return the loss; with `dropout`, of the network with units dropped."""

    def input_gradient(self, parameters: Parameters, batch: Batch) -> Array:
        """Return the derivative of the loss with respect to X."""

    def pack_state(self, state: Array) -> Array:
        """Return an optimizer's state, in the order of the parameters, as runs of this backend have it.

        It may be the same array. An empty one stays empty.
        """

    def unpack_state(self, packed: Array) -> Array:
        """Return it in the order of the parameters again."""

    def train(self, run: Run, start: int, stop: int) -> int:
        """Do the steps from `start` up to `stop` and return where it ended.

        It ends early, before the update, at a step whose loss is not finite.
        """

    def learner(self, run: Run) -> Learner:
        """Return what does steps of this run, and of others over the same arrays, one at a time."""


class Learner(Protocol):
    """Does single steps as `Backend.train` does."""

    def step(self, run: Run, number: int) -> None:
        """Do one step of a run that has the first run's parameters, data and states."""


class PlainLearner:
    """A learner for a backend without anything faster than `Backend.train`."""

    def __init__(self, train: Callable[[Run, int, int], int]) -> None:
        self._train = train

    def step(self, run: Run, number: int) -> None:
        """Do one step."""
        self._train(run, number, number + 1)


class PlainTraining:
    """What a backend has that keeps states in the order of the parameters, and learns online by runs of one step."""

    takes_sparse = False

    def pack_state(self, state: Array) -> Array:
        """Return a state as it is."""
        return state

    def unpack_state(self, packed: Array) -> Array:
        """Return a state as it is."""
        return packed

    def learner(self: Backend, run: Run) -> Learner:  # noqa: ARG002  it does those of any run
        """Return what does single steps."""
        return PlainLearner(self.train)


Responder = Callable[[Array, Array], bool]
"""Writes the outputs for rows X to `out` and returns whether all of X is surely finite."""


def answer_by_predicting(backend: Backend, parameters: Parameters, X: Array, out: Array) -> bool:
    """Do what `Backend.answer` does, for a backend without anything faster."""
    if not np.isfinite(X).all():
        return False
    out[...] = backend.predict(parameters, X)
    return True


class Trainer(Protocol):
    """The steps of a run, for a backend whose training is a loop over batches in Python."""

    def loss_and_gradient(self, step: int) -> tuple[float, float]:
        """Compute the gradient for the batch of a step; return its loss without the penalty, and the penalty."""

    def update(self, step: int) -> None:
        """Decay the weights, then apply the run's rule to parameters and states."""


def train_by_batches(trainer: Trainer, run: Run, start: int, stop: int) -> int:
    """Do a run's steps one by one: `Backend.train` for a backend without a kernel for a whole run."""
    for step in range(start, stop):
        loss, run.penalties[step] = trainer.loss_and_gradient(step)
        run.losses[step] = loss + run.penalties[step]
        if not math.isfinite(run.losses[step]):
            return step
        trainer.update(step)
    return stop


def sum_in_order(values: Array) -> float:
    """Return the sum, added one by one in ascending index from +0.0: the same bits everywhere.

    ``np.sum`` adds in an order that depends on shape and processor; a running sum has but one.
    """
    if not values.size:
        return 0.0
    return 0.0 + float(np.add.accumulate(values, dtype=np.float64)[-1])


def empty_states(spec: NetworkSpec, rule: str) -> tuple[Array, Array]:
    """Return the two states of a rule at the start of a training."""
    n = RULES[rule].n_states
    first, second = (np.zeros(spec.n_params if i < n else 0, spec.dtype) for i in range(2))
    return first, second


def some_of(X: Array, rows: Indices | slice) -> Array:
    """Return some samples of X, which are compressed if it is."""
    return X.some(rows) if isinstance(X, CompressedRows) else X[rows]


def dense_rows(Y: Array, rows: Indices | slice, out: Array) -> Array:
    """Write the targets of some samples as rows of `out`: copied, or one-hot from class indices."""
    chosen = Y[rows]
    if Y.ndim > 1:
        out[...] = chosen
    else:
        out.fill(0)
        out[np.arange(chosen.size), chosen] = 1
    return out


def sum_of_squares(parameters: Parameters) -> float:
    """Return the sum of the squared weights, layer by layer, each in ascending index, strictly."""
    total = 0.0
    for W in parameters.weights:
        values = W.ravel().astype(np.float64)
        total += sum_in_order(values * values)
    return total


def check_single_thread(name: str, threads: int | None) -> None:
    """Refuse a number of threads for a backend that computes on one.

    Raises
    ------
    ValueError
        If `threads` is above 1.
    """
    if threads is not None and threads != 1:
        msg = f"threads is {threads}, but the {name} backend computes on one; use threads=None or backend='numba'"
        raise ValueError(msg)
