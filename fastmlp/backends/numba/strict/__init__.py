"""The strict Numba backend: loops in binary64, the same bits as the reference.

This module is the boundary: typed Python on one side, jitted kernels (`kernels`), which have no types that a
checker could know, on the other, behind their `entries`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from fastmlp.backends.base import (
    Batch,
    Dropout,
    Indices,
    PlainTraining,
    Responder,
    Run,
    answer_by_predicting,
    sum_in_order,
    sum_of_squares,
)
from fastmlp.backends.numba.calls import (
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
from fastmlp.backends.numba.strict import entries, layout
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

_BLOCK = 1024  # rows that predict and loss take through all layers at once: bounds their memory
_NO_LOSSES = np.empty(0)
_NO_GROUPS = np.empty((0, 2), np.int64)


class StrictBackend(PlainTraining):
    """Jitted loops. See `fastmlp.backends.base.Backend` for what the methods take and return."""

    name = "numba"

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self._integers, self._floats = layout.describe(spec)
        self._nothing = np.empty(0, spec.dtype)
        self._free: list[layout.Memory] = []

    # ---- the contract

    def predict(self, parameters: Parameters, X: Array) -> Array:
        """Return the outputs."""
        out = np.empty((len(X), self.spec.n_outputs), self.spec.dtype)
        for rows, activations in self._blocks(parameters, X):
            out[rows] = activations[-1]
        return out

    def answer(self, parameters: Parameters, X: Array, out: Array) -> bool:
        """Write the outputs and return whether all of X is finite."""
        return answer_by_predicting(self, parameters, X, out)

    def responder(self, parameters: Parameters, n_rows: int) -> Responder:  # noqa: ARG002  it takes any number
        """Return what answers for some rows."""
        return partial(self.answer, parameters)

    def hidden_activations(self, parameters: Parameters, X: Array) -> list[Array]:
        """Return the activations of every hidden layer."""
        out = [np.empty((len(X), size), self.spec.dtype) for size in self.spec.layer_sizes[1:-1]]
        for rows, activations in self._blocks(parameters, X):
            for whole, part in zip(out, activations, strict=False):  # the output's come last
                whole[rows] = part
        return out

    def loss(self, parameters: Parameters, batch: Batch) -> float:
        """Return the loss, l2 included."""
        losses, evaluate = np.empty(len(batch.X)), entries.evaluate(self.spec.dtype)
        network, samples = self._network(parameters), samples_of(self.spec, batch.X, batch.Y, None)
        with self._memory(min(len(batch.X), _BLOCK)) as memory:
            for rows in _cut(len(batch.X)):
                evaluate(network, samples, rows, memory, KEEP_ALL, losses[rows[0] : rows[-1] + 1])
        if batch.weights is not None:
            losses *= batch.weights
        mean = sum_in_order(losses) / batch.total
        return mean + 0.5 * batch.l2 * sum_of_squares(parameters) if batch.l2 else mean

    def loss_and_gradient(
        self, parameters: Parameters, batch: Batch, gradient: Parameters, dropout: Dropout | None = None
    ) -> float:
        """Write the gradient and return the loss."""
        return self._gradients(parameters, batch, gradient.flat, self._nothing, dropout)

    def input_gradient(self, parameters: Parameters, batch: Batch) -> Array:
        """Return the derivative of the loss with respect to X."""
        out = np.empty(batch.X.size, self.spec.dtype)
        self._gradients(parameters, batch, np.empty_like(parameters.flat), out, None)
        return out.reshape(batch.X.shape)

    def train(self, run: Run, start: int, stop: int) -> int:
        """Do the steps from `start` up to `stop` and return where it ended."""
        return self._train(
            self._network(run.parameters),
            samples_of(self.spec, run.X, run.Y, run.weights),
            steps_of(run),
            Trainee(np.empty_like(run.parameters.flat), *run.states, self._nothing),
            (start, stop, RULE_CODES[run.rule]),
            (self.spec.dropout > 0, run.seed, run.first_step),
            np.array([*map(run.groups.of, range(self.spec.n_layers)), (run.groups.input_scale,) * 2]),
        )

    # ---- pieces

    def _network(self, parameters: Parameters) -> layout.Network:
        return layout.Network(self._integers, self._floats, parameters.flat)

    def _gradients(
        self, parameters: Parameters, batch: Batch, gradient: Array, input_gradient: Array, dropout: Dropout | None
    ) -> float:
        """Write both gradients of a batch, as a run of one step that updates nothing; return the loss."""
        steps = single_step(batch)
        self._train(
            self._network(parameters),
            samples_of(self.spec, batch.X, batch.Y, batch.weights),
            steps,
            Trainee(gradient, self._nothing, self._nothing, input_gradient),
            (0, 1, NO_UPDATE),
            key_of(dropout),
            _NO_GROUPS,
        )
        return float(steps.losses[0])

    def _train(
        self,
        network: layout.Network,
        samples: Samples,
        steps: Steps,
        trainee: Trainee,
        span: tuple[int, int, int],
        key: Key,
        groups: Indices,
    ) -> int:
        steps_done = slice(*span[:2])
        largest = int(np.max(steps.stops[steps_done] - steps.starts[steps_done], initial=1))
        with self._memory(largest) as memory:
            return entries.train(self.spec.dtype)(network, samples, steps, trainee, memory, span, key, groups)

    def _blocks(self, parameters: Parameters, X: Array) -> Iterator[tuple[slice, list[Array]]]:
        """Run X forward a block of rows at a time; yield the rows and the activations of all layers."""
        network, samples = self._network(parameters), samples_of(self.spec, X, None, None)
        evaluate = entries.evaluate(self.spec.dtype)
        with self._memory(min(len(X), _BLOCK)) as memory:
            for rows in _cut(len(X)):
                evaluate(network, samples, rows, memory, KEEP_ALL, _NO_LOSSES)
                yield slice(rows[0], rows[-1] + 1), self._activations(memory, len(rows))

    def _activations(self, memory: layout.Memory, n: int) -> list[Array]:
        return [values.reshape(n, -1) for values in layout.activations(self.spec, memory.values, n)]

    @contextmanager
    def _memory(self, n_rows: int) -> Iterator[layout.Memory]:
        """Lend scratch memory for at least `n_rows`: each call has its own, so calls may run in many threads."""
        try:
            memory = self._free.pop()  # atomic, unlike asking first whether one is there
        except IndexError:
            memory = None
        if memory is None or memory.weights.size < n_rows:
            memory = layout.new_memory(self.spec, n_rows)
        try:
            yield memory
        finally:
            self._free.append(memory)


def _cut(n: int) -> Iterator[Indices]:
    for start in range(0, n, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, n))
