"""The Numba backend: kernels that run a whole epoch in one call.

This module is the boundary: typed Python on one side, jitted kernels (`kernels`), which have no types that a
checker could know, on the other. Inputs are handed over as read-only views, so that a kernel is compiled once
for a dtype, whatever the user's arrays are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastmlp.backends.base import Batch, Dropout, Floats, Indices, Run, sum_in_order, sum_of_squares
from fastmlp.backends.numba import kernels, layout
from fastmlp.optimizers import N_COEFFICIENTS
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

_BLOCK = 1024  # rows that predict and loss take through all layers at once: bounds their memory
_NO_LABELS = np.empty(0, np.int64)
_NO_WEIGHTS = _NO_LOSSES = np.empty(0)
_NO_COEFFICIENTS = np.empty((0, N_COEFFICIENTS))
_KEEP_ALL = (False, 0, 0)


def _frozen(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _steps(arrays: tuple[Array, ...], losses: Floats) -> layout.Steps:
    return layout.Steps._make((*map(_frozen, arrays), losses))


class NumbaBackend:
    """Jitted kernels. See `fastmlp.backends.base.Backend` for what the methods take and return."""

    name = "numba"

    def __init__(self, spec: NetworkSpec, *, strict: bool = False, threads: int | None = None) -> None:
        self.spec = spec
        self.strict = strict
        self.threads = threads  # an upper limit, and one is always within it
        self._integers, self._floats = layout.describe(spec, strict=strict)
        self._no_rows = np.empty((0, spec.n_outputs), spec.dtype)
        self._nothing = np.empty(0, spec.dtype)
        self._free: list[layout.Memory] = []

    # ---- the contract

    def predict(self, parameters: Parameters, X: Array) -> Array:
        """Return the outputs."""
        out = np.empty((len(X), self.spec.n_outputs), self.spec.dtype)
        for rows, activations in self._blocks(parameters, X):
            out[rows] = activations[-1]
        return out

    def hidden_activations(self, parameters: Parameters, X: Array) -> list[Array]:
        """Return the activations of every hidden layer."""
        out = [np.empty((len(X), size), self.spec.dtype) for size in self.spec.layer_sizes[1:-1]]
        for rows, activations in self._blocks(parameters, X):
            for whole, part in zip(out, activations, strict=False):  # the output's come last
                whole[rows] = part
        return out

    def loss(self, parameters: Parameters, batch: Batch) -> float:
        """Return the loss, l2 included."""
        losses = np.empty(len(batch.X))
        network, samples = self._network(parameters), self._samples(batch.X, batch.Y, None)
        with self._memory(min(len(batch.X), _BLOCK)) as memory:
            for rows in _cut(len(batch.X)):
                kernels.evaluate(network, samples, _frozen(rows), memory, _KEEP_ALL, losses[rows[0] : rows[-1] + 1])
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
        arrays = (run.order, run.starts, run.stops, run.totals, run.coefficients, run.decay, run.l2)
        ended: int = self._train(
            self._network(run.parameters),
            self._samples(run.X, run.Y, run.weights),
            _steps(arrays, run.losses),
            layout.Trainee(run.gradient.flat, *run.states, self._nothing),
            (start, stop),
            layout.RULE_CODES[run.rule],
            (self.spec.dropout > 0, run.seed, run.first_step),
        )
        return ended

    # ---- pieces

    def _network(self, parameters: Parameters) -> layout.Network:
        return layout.Network(self._integers, self._floats, parameters.flat)

    def _samples(self, X: Array, Y: Array | None, weights: Floats | None) -> layout.Samples:
        rows, labels = self._no_rows, _NO_LABELS
        if Y is not None and Y.ndim == 1:
            labels = Y
        elif Y is not None:
            rows = Y
        weights = _NO_WEIGHTS if weights is None else weights
        return layout.Samples(_frozen(X), _frozen(rows), _frozen(labels), _frozen(weights))

    def _gradients(
        self, parameters: Parameters, batch: Batch, gradient: Array, input_gradient: Array, dropout: Dropout | None
    ) -> float:
        """Write both gradients of a batch, as a run of one step that updates nothing; return the loss."""
        n = len(batch.X)
        arrays = (np.arange(n), np.zeros(1, np.int64), np.full(1, n), np.full(1, batch.total))
        unused = (_NO_COEFFICIENTS, _NO_WEIGHTS)
        losses = np.empty(1)
        self._train(
            self._network(parameters),
            self._samples(batch.X, batch.Y, batch.weights),
            _steps((*arrays, *unused, np.full(1, batch.l2)), losses),
            layout.Trainee(gradient, self._nothing, self._nothing, input_gradient),
            (0, 1),
            layout.NO_UPDATE,
            _KEEP_ALL if dropout is None else (True, dropout.seed, dropout.step),
        )
        return float(losses[0])

    def _train(
        self,
        network: layout.Network,
        samples: layout.Samples,
        steps: layout.Steps,
        trainee: layout.Trainee,
        span: tuple[int, int],
        rule: int,
        key: tuple[bool, int, int],
    ) -> int:
        largest = int(np.max(steps.stops[slice(*span)] - steps.starts[slice(*span)], initial=1))
        with self._memory(largest) as memory:
            ended: int = kernels.train(network, samples, steps, trainee, memory, span, rule, key)
        return ended

    def _blocks(self, parameters: Parameters, X: Array) -> Iterator[tuple[slice, list[Array]]]:
        """Run X forward a block of rows at a time; yield the rows and the activations of all layers."""
        network, samples = self._network(parameters), self._samples(X, None, None)
        with self._memory(min(len(X), _BLOCK)) as memory:
            for rows in _cut(len(X)):
                kernels.evaluate(network, samples, _frozen(rows), memory, _KEEP_ALL, _NO_LOSSES)
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
            memory = layout.new_memory(self.spec, n_rows, strict=self.strict)
        try:
            yield memory
        finally:
            self._free.append(memory)


def _cut(n: int) -> Iterator[Indices]:
    for start in range(0, n, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, n))
