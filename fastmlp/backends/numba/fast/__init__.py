"""The fast Numba backend: SIMD tiles, and a whole run of steps in one call, on one thread or several.

This module is the boundary: typed Python on one side, jitted kernels (`kernels`), which have no types that a
checker could know, on the other.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastmlp.backends.base import Batch, Dropout, Responder, Run, sum_of_squares
from fastmlp.backends.numba import crew
from fastmlp.backends.numba.calls import (
    KEEP_ALL,
    NO_UPDATE,
    RULE_CODES,
    Key,
    Samples,
    Steps,
    Trainee,
    frozen,
    key_of,
    samples_of,
    single_step,
    steps_of,
)
from fastmlp.backends.numba.fast import kernels, plan
from fastmlp.backends.numba.simd import library
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

# In multiply-adds, of which a core does some 5e10 a second: meetings cost a microsecond, starting a thread a hundred.
_STEP_WORTH_THREADS = 5_000_000
_RUN_WORTH_THREADS = 100_000_000
_AS_THEY_ARE, _LAID_OUT = (True, KEEP_ALL), (False, KEEP_ALL)  # whether weights must be laid out first, and the key
_FEW_ROWS = 4  # up to so many, laying out the weights in panels takes longer than reading them as they are
_FEWEST_ROWS = 16  # memory for fewer is not worth making anew for more


Pieces = tuple[Samples, Steps, Trainee]


class FastBackend:
    """SIMD kernels. See `fastmlp.backends.base.Backend` for what the methods take and return."""

    name = "numba"

    def __init__(self, spec: NetworkSpec, *, threads: int | None = None) -> None:
        self.spec = spec
        self.threads = threads
        library.load(spec.dtype)
        self._dtype, self._n_outputs = np.dtype(spec.dtype), spec.n_outputs
        self._nothing = np.empty(0, spec.dtype)
        self._no_outputs = np.empty((0, spec.n_outputs), spec.dtype)
        self._known: tuple[weakref.ref[Run], tuple[Pieces, Key, int]] | None = None
        self._free: dict[bool, list[tuple[plan.Plan, plan.Memory]]] = {False: [], True: []}

    # ---- the contract

    def predict(self, parameters: Parameters, X: Array) -> Array:
        """Return the outputs."""
        out = np.empty((len(X), self._n_outputs), self._dtype)
        if len(X) <= _FEW_ROWS:
            own, memory = lent = self._borrow(_FEW_ROWS, training=False)
            kernels.answer(own.integers, parameters.flat, X, memory.values, out)
            self._free[False].append(lent)
            return out
        self._evaluate(parameters, samples_of(self.spec, X, None, None), out)
        return out

    def responder(self, parameters: Parameters, n_rows: int) -> Responder:
        """Return what answers for up to `n_rows` rows."""
        own = plan.Plan(self.spec, n_rows, training=False)
        memory, flat = own.memory(), parameters.flat
        if n_rows <= _FEW_ROWS:
            return lambda X, out: bool(kernels.answer(own.integers, flat, X, memory.values, out))
        network, order = own.network(flat), frozen(np.arange(n_rows))
        kernels.lay_out(own.integers, flat, memory.values)

        def respond(X: Array, out: Array) -> bool:
            if not math.isfinite(np.vdot(X, X)) and not np.isfinite(X).all():
                return False
            kernels.evaluate(network, samples_of(self.spec, X, None, None), order, memory, out, _LAID_OUT)
            return True

        return respond

    def hidden_activations(self, parameters: Parameters, X: Array) -> list[Array]:
        """Return the activations of every hidden layer."""
        out = [np.empty((len(X), size), self.spec.dtype) for size in self.spec.layer_sizes[1:-1]]
        with self._memory(len(X), training=False) as (own, memory):
            for start in range(0, len(X), own.n_rows):
                rows = slice(start, min(start + own.n_rows, len(X)))
                samples = samples_of(self.spec, X[rows], None, None)
                self._call_evaluate(own, memory, parameters, samples, self._no_outputs)
                for layer, A in enumerate(out):
                    A[rows] = own.rows_of(memory, layer, rows.stop - start)
        return out

    def loss(self, parameters: Parameters, batch: Batch) -> float:
        """Return the loss, l2 included."""
        samples = samples_of(self.spec, batch.X, batch.Y, batch.weights)
        mean = self._evaluate(parameters, samples, self._no_outputs) / batch.total
        return mean + 0.5 * batch.l2 * sum_of_squares(parameters) if batch.l2 else mean

    def loss_and_gradient(
        self, parameters: Parameters, batch: Batch, gradient: Parameters, dropout: Dropout | None = None
    ) -> float:
        """Write the gradient and return the loss."""
        return self._gradients(parameters, batch, gradient.flat, self._nothing, key_of(dropout))

    def input_gradient(self, parameters: Parameters, batch: Batch) -> Array:
        """Return the derivative of the loss with respect to X."""
        out = np.empty((len(batch.X), plan.padded(self.spec.n_inputs, self.spec.dtype)), self.spec.dtype)
        self._gradients(parameters, batch, np.empty_like(parameters.flat), out.ravel(), key_of(None))
        return np.ascontiguousarray(out[:, : self.spec.n_inputs])

    def train(self, run: Run, start: int, stop: int) -> int:
        """Do the steps from `start` up to `stop` and return where it ended."""
        known = self._known
        if known is None or known[0]() is not run:  # a run comes in pieces: what it is made of is taken apart once
            known = self._known = weakref.ref(run), self._taken_apart(run)
        pieces, key, largest = known[1]
        return self._train(run.parameters, pieces, (start, stop, RULE_CODES[run.rule]), key, largest)

    # ---- pieces

    def _evaluate(self, parameters: Parameters, samples: Samples, out: Array) -> float:
        with self._memory(len(samples.X), training=False) as (own, memory):
            return self._call_evaluate(own, memory, parameters, samples, out)

    def _call_evaluate(
        self, own: plan.Plan, memory: plan.Memory, parameters: Parameters, samples: Samples, out: Array
    ) -> float:
        order = frozen(np.arange(len(samples.X)))
        loss: float = kernels.evaluate(own.network(parameters.flat), samples, order, memory, out, _AS_THEY_ARE)
        return loss

    def _gradients(self, parameters: Parameters, batch: Batch, gradient: Array, dX: Array, key: Key) -> float:
        """Write both gradients of a batch, as a run of one step that updates nothing; return the loss."""
        steps = single_step(batch)
        trainee = Trainee(gradient, self._nothing, self._nothing, dX)
        samples = samples_of(self.spec, batch.X, batch.Y, batch.weights)
        self._train(parameters, (samples, steps, trainee), (0, 1, NO_UPDATE), key, len(batch.X))
        return float(steps.losses[0])

    def _taken_apart(self, run: Run) -> tuple[Pieces, Key, int]:
        """Return a run as kernels take it: its arrays, where its masks come from, and its largest batch."""
        samples = samples_of(self.spec, run.X, run.Y, run.weights)
        trainee = Trainee(run.gradient.flat, *run.states, self._nothing)
        largest = int(np.max(run.stops - run.starts, initial=1))
        return (samples, steps_of(run), trainee), (self.spec.dropout > 0, run.seed, run.first_step), largest

    def _train(self, parameters: Parameters, pieces: Pieces, span: tuple[int, int, int], key: Key, largest: int) -> int:
        with self._memory(largest, training=True) as (own, memory):

            def task(number: int, n_threads: int) -> int:
                network, thread = own.network(parameters.flat), (number, n_threads)
                ended: int = kernels.train(network, *pieces, memory, span, key, thread)
                return ended

            return crew.run(task, self._threads_for(own, largest, span))

    def _threads_for(self, own: plan.Plan, n_rows: int, span: tuple[int, int, int]) -> int:
        """Return how many threads a run is worth: several only where a step is long beside two meetings."""
        if self.threads == 1:
            return 1
        multiply_adds = 3 * n_rows * sum(fan_in * fan_out for fan_in, fan_out in self.spec.shapes)
        if multiply_adds < _STEP_WORTH_THREADS or multiply_adds * (span[1] - span[0]) < _RUN_WORTH_THREADS:
            return 1
        most = crew.available_processors() if self.threads is None else self.threads
        return max(1, min(most, -(-n_rows // int(own.integers[plan.STRIPE_ROWS]))))

    @contextmanager
    def _memory(self, n_rows: int, *, training: bool) -> Iterator[tuple[plan.Plan, plan.Memory]]:
        """Lend memory for batches of `n_rows`: each call has its own, so calls may run in many threads."""
        lent = self._borrow(n_rows, training=training)
        try:
            yield lent
        finally:
            self._free[training].append(lent)

    def _borrow(self, n_rows: int, *, training: bool) -> tuple[plan.Plan, plan.Memory]:
        try:
            lent = self._free[training].pop()  # atomic, unlike asking first whether one is there
        except IndexError:
            lent = None
        if lent is None or not lent[0].serves(n_rows):
            own = plan.Plan(self.spec, max(n_rows, _FEWEST_ROWS), training=training)
            lent = own, own.memory()
        return lent
