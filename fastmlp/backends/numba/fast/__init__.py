"""The fast Numba backend: SIMD tiles, and a whole run of steps in one call, on one thread or several.

This module is the boundary: typed Python on one side, jitted kernels (`kernels`), which have no types that a
checker could know, on the other, behind their `entries`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from fastmlp.backends.base import (
    Batch,
    CompressedRows,
    Dropout,
    Indices,
    Learner,
    Responder,
    Run,
    some_of,
    sum_in_order,
    sum_of_squares,
)
from fastmlp.backends.numba import crew
from fastmlp.backends.numba.calls import (
    GIVEN_UP,
    KEEP_ALL,
    NO_UPDATE,
    RULE_CODES,
    Key,
    Samples,
    Steps,
    Trainee,
    key_of,
    samples_of,
    single_step,
    steps_of,
)
from fastmlp.backends.numba.fast import entries
from fastmlp.backends.numba.fast.layout import Layout
from fastmlp.backends.numba.fast.learner import FastLearner
from fastmlp.backends.numba.fast.room import Purpose, Room
from fastmlp.backends.numba.simd.registers import host
from fastmlp.groups import ParameterGroups
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

# In multiply-adds, of which a core does some 5e10 a second: meetings cost a microsecond, starting a thread a hundred.
_STEP_WORTH_THREADS = 5_000_000
_RUN_WORTH_THREADS = 100_000_000
_FEW_ROWS = 4  # up to so many, laying out the weights in panels takes longer than reading them as they are
_FEWEST_ROWS = 16  # memory for fewer is not worth making anew for more

Pieces = tuple[Samples, Steps, Trainee]


class Batches(NamedTuple):
    """The batches of a run.

    `sizes` are how many samples they have, one number if all have as many, and `largest` is the most. Where samples are
    compressed, none has more than `n_entries`.
    """

    sizes: Indices
    largest: int
    n_entries: int


class FastBackend:
    """SIMD kernels. See `fastmlp.backends.base.Backend` for what the methods take and return."""

    name = "numba"
    takes_sparse = True

    def __init__(self, spec: NetworkSpec, *, threads: int | None = None) -> None:
        self.spec = spec
        self.threads = threads
        host()  # so that what an environment says wrongly is an error now
        self._dtype, self._n_outputs = np.dtype(spec.dtype), spec.n_outputs
        self._pace = crew.Pace()
        self._nothing = np.empty(0, spec.dtype)
        self._nobody = Trainee(self._nothing, self._nothing, self._nothing, self._nothing)
        self._no_outputs = np.empty((0, spec.n_outputs), spec.dtype)
        self._known: tuple[weakref.ref[Run], tuple[Pieces, Key, Batches]] | None = None
        self._few: list[tuple[Array, Array]] = []
        self._free: dict[tuple[Purpose, bool], list[Room]] = {
            (purpose, is_sparse): [] for purpose in Purpose for is_sparse in (False, True)
        }

    @cached_property
    def _parts(self) -> Layout:
        """Where parameters lie in a part, which is the same in all layouts of a network."""
        return Layout(self.spec, 1, training=False)

    # ---- the contract

    def predict(self, parameters: Parameters, X: Array) -> Array:
        """Return the outputs."""
        out = np.empty((len(X), self._n_outputs), self._dtype)
        with self._room(Purpose.EVALUATING, len(X), is_sparse=isinstance(X, CompressedRows)) as room:
            self._evaluate(room, parameters.flat, samples_of(self.spec, X, None, None), out)
        return out

    def answer(self, parameters: Parameters, X: Array, out: Array) -> bool:
        """Write the outputs and return whether all of X is surely finite."""
        if len(X) > _FEW_ROWS:
            with self._room(Purpose.EVALUATING, len(X)) as room:
                finite, _ = self._evaluate(room, parameters.flat, samples_of(self.spec, X, None, None), out)
            return finite
        try:
            layers, values = memory = self._few.pop()  # as in `_borrow`
        except IndexError:
            layers, values = memory = self._memory_for_few(_FEW_ROWS)
        finite = bool(entries.answer(self.spec.dtype)(layers, parameters.flat, X, values, out))
        self._few.append(memory)
        return finite

    def responder(self, parameters: Parameters, n_rows: int) -> Responder:
        """Return what answers for up to `n_rows` rows."""
        flat = parameters.flat
        if n_rows <= _FEW_ROWS:
            layers, values = self._memory_for_few(n_rows)
            answer = entries.answer(self.spec.dtype)
            return lambda X, out: bool(answer(layers, flat, X, values, out))
        room = Room(self.spec, Purpose.EVALUATING, n_rows)
        is_laid_out = False

        def respond(X: Array, out: Array) -> bool:
            nonlocal is_laid_out
            samples = samples_of(self.spec, X, None, None)
            finite, _ = self._evaluate(room, flat, samples, out, laying_out=not is_laid_out)
            is_laid_out = True
            return finite

        return respond

    def hidden_activations(self, parameters: Parameters, X: Array) -> list[Array]:
        """Return the activations of every hidden layer."""
        out = [np.empty((len(X), size), self.spec.dtype) for size in self.spec.layer_sizes[1:-1]]
        with self._room(Purpose.EVALUATING, len(X), is_sparse=isinstance(X, CompressedRows)) as room:
            for start in range(0, len(X), room.layout.block_rows):
                rows = slice(start, min(start + room.layout.block_rows, len(X)))
                samples = samples_of(self.spec, some_of(X, rows), None, None)
                self._evaluate(room, parameters.flat, samples, self._no_outputs)
                for layer, A in enumerate(out):
                    A[rows] = room.layout.rows_of(room.memory, layer, rows.stop - start)
        return out

    def loss(self, parameters: Parameters, batch: Batch) -> float:
        """Return the loss, l2 included."""
        samples = samples_of(self.spec, batch.X, batch.Y, batch.weights)
        with self._room(Purpose.EVALUATING, len(batch.X), is_sparse=isinstance(batch.X, CompressedRows)) as room:
            _, losses = self._evaluate(room, parameters.flat, samples, self._no_outputs, measuring=True)
        mean = sum_in_order(losses) / batch.total
        return mean + 0.5 * batch.l2 * sum_of_squares(parameters) if batch.l2 else mean

    def loss_and_gradient(
        self, parameters: Parameters, batch: Batch, gradient: Parameters, dropout: Dropout | None = None
    ) -> float:
        """Write the gradient and return the loss."""
        return self._gradients(Purpose.GRADIENT, parameters, batch, (gradient.flat, self._nothing), key_of(dropout))

    def input_gradient(self, parameters: Parameters, batch: Batch) -> Array:
        """Return the derivative of the loss with respect to X."""
        out = np.empty(batch.X.shape, self._dtype)
        results = np.empty_like(parameters.flat), out.ravel()
        self._gradients(Purpose.BOTH_GRADIENTS, parameters, batch, results, KEEP_ALL)
        return out

    def pack_state(self, state: Array) -> Array:
        """Return a state in panels, where the kernels update it."""
        return self._parts.packed_state(state) if state.size else state

    def unpack_state(self, packed: Array) -> Array:
        """Return a state in the order of the parameters."""
        return self._parts.unpacked_state(packed) if packed.size else packed

    def train(self, run: Run, start: int, stop: int) -> int:
        """Do the steps from `start` up to `stop` and return where it ended."""
        known = self._known
        if known is None or known[0]() is not run:  # a run comes in pieces: what it is made of is taken apart once
            known = self._known = weakref.ref(run, self._forgetting()), self._taken_apart(run)
        pieces, key, batches = known[1]
        span = (start, stop, RULE_CODES[run.rule])
        return self._train(Purpose.TRAINING, run.parameters, pieces, span, key, batches, run.groups)

    def learner(self, run: Run) -> Learner:
        """Return what does single steps."""
        return FastLearner(self.spec, run)

    # ---- pieces

    def _evaluate(
        self,
        room: Room,
        flat: Array,
        samples: Samples,
        out: Array,
        *,
        measuring: bool = False,
        laying_out: bool = True,
    ) -> tuple[bool, Array]:
        """Run samples forward; write the outputs to `out` if it has rows.

        Return whether all is finite that the first layer makes of them, and the losses of stripes of them.
        """
        n_rows = samples.starts.size - 1 if room.layout.is_sparse else len(samples.X)
        network, steps = room.evaluation(flat, n_rows, measuring=measuring)
        trainee = self._nobody._replace(rows=out.reshape(-1))
        evaluate = entries.evaluate(self.spec.dtype)
        finite = evaluate(network, samples, steps, trainee, room.memory, laying_out, KEEP_ALL)
        return bool(finite), steps.losses

    def _gradients(
        self, purpose: Purpose, parameters: Parameters, batch: Batch, results: tuple[Array, Array], key: Key
    ) -> float:
        """Write gradients of a batch, as a run of one step that updates nothing; return the loss."""
        steps = single_step(batch)
        trainee = Trainee(results[0], self._nothing, self._nothing, results[1])
        samples = samples_of(self.spec, batch.X, batch.Y, batch.weights)
        n_rows = len(batch.X)
        batches = Batches(steps.stops, max(1, n_rows), _most_entries(samples.starts, n_rows))
        self._train(purpose, parameters, (samples, steps, trainee), (0, 1, NO_UPDATE), key, batches)
        return float(steps.losses[0])

    def _forgetting(self) -> Callable[[object], None]:
        """Return what drops the data and states of a run that is no more; it does not keep the backend."""
        backend = weakref.ref(self)

        def forget(_: object) -> None:
            own = backend()
            if own is not None:
                own._known = None  # noqa: SLF001  its own

        return forget

    def _taken_apart(self, run: Run) -> tuple[Pieces, Key, Batches]:
        """Return a run as kernels take it: its arrays, where its masks come from, and its batches."""
        samples = samples_of(self.spec, run.X, run.Y, run.weights)
        trainee = Trainee(self._nothing, *run.states, self._nothing)
        key = (self.spec.dropout > 0, run.seed, run.first_step)
        sizes = _sizes_of(run)
        largest = int(sizes.max())
        batches = Batches(sizes, largest, _most_entries(samples.starts, largest))
        return (samples, steps_of(run), trainee), key, batches

    def _train(
        self,
        purpose: Purpose,
        parameters: Parameters,
        pieces: Pieces,
        span: tuple[int, int, int],
        key: Key,
        batches: Batches,
        groups: ParameterGroups | None = None,
    ) -> int:
        """Do the steps of `span`, (start, stop, rule); where nothing is updated there are no groups."""
        train, largest, is_sparse = entries.train(self.spec.dtype), batches.largest, pieces[0].starts.size > 0
        most = self._pace.limit(self._threads_for(largest, span))
        with self._room(purpose, largest, most, is_sparse=is_sparse) as room:
            if is_sparse:
                room.take_entries(batches.n_entries)
            n_threads = min(most, -(-largest // room.layout.stripe_rows))  # one without a stripe would only wait
            programs = partial(room.training, parameters.flat, batches.sizes, groups=groups, key=key)
            networks = programs(n_threads=n_threads)

            def task(number: int, n: int) -> int:
                own = networks if n == n_threads else programs(n_threads=n)
                return train(own[number], *pieces, room.memory, span, key, (number, n))

            def give_up() -> None:
                room.memory.meeting[GIVEN_UP] = 1

            try:
                return crew.run(task, n_threads, give_up, self._pace)
            finally:
                if n_threads > 1:
                    room.memory.meeting[:] = 0

    def _threads_for(self, n_rows: int, span: tuple[int, int, int]) -> int:
        """Return how many threads a run is worth: several only where a step is long beside two meetings."""
        if self.threads == 1:
            return 1
        multiply_adds = 3 * n_rows * sum(fan_in * fan_out for fan_in, fan_out in self.spec.shapes)
        if multiply_adds < _STEP_WORTH_THREADS or multiply_adds * (span[1] - span[0]) < _RUN_WORTH_THREADS:
            return 1
        return crew.available_processors() if self.threads is None else self.threads

    @contextmanager
    def _room(self, purpose: Purpose, n_rows: int, n_threads: int = 1, *, is_sparse: bool = False) -> Iterator[Room]:
        """Lend a room for batches of `n_rows`: each call has its own, so calls may run in many threads."""
        room = self._borrow(purpose, n_rows, n_threads, is_sparse=is_sparse)
        try:
            yield room
        finally:
            self._free[purpose, is_sparse].append(room)

    def _memory_for_few(self, n_rows: int) -> tuple[Array, Array]:
        """Return what `kernels.answer` takes of the layers, and memory, for a few rows."""
        room = Room(self.spec, Purpose.EVALUATING, n_rows)
        return room.layout.answering, room.memory.values

    def _borrow(self, purpose: Purpose, n_rows: int, n_threads: int, *, is_sparse: bool) -> Room:
        try:
            room = self._free[purpose, is_sparse].pop()  # atomic, unlike asking first whether one is there
        except IndexError:
            room = None
        if room is None or not room.layout.serves(n_rows, n_threads):
            room = Room(self.spec, purpose, max(n_rows, _FEWEST_ROWS), n_threads, is_sparse=is_sparse)
        return room


def _sizes_of(run: Run) -> Indices:
    """Return the sizes of a run's batches: one, if they are all as large."""
    sizes = run.stops - run.starts
    return sizes[:1] if sizes.min() == sizes.max() else sizes


def _most_entries(starts: Indices, n_rows: int) -> int:
    """Return how many entries so many rows have at most; none, where samples are not compressed."""
    if not starts.size:
        return 0
    counts = np.diff(starts)
    return int(counts.sum() if n_rows >= counts.size else np.partition(counts, -n_rows)[-n_rows:].sum())
