"""The NumPy backend: whole batches, one matrix product for each product of a layer.

This module tells the story; `fast` and `strict` hold the arithmetic that it is told in, `workspace` the memory,
so that a batch allocates nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastmlp import dropout as masks
from fastmlp.backends.base import (
    Batch,
    Dropout,
    Run,
    dense_rows,
    sum_in_order,
    train_by_batches,
)
from fastmlp.backends.numpy.fast import FastArithmetic
from fastmlp.backends.numpy.strict import StrictArithmetic
from fastmlp.backends.numpy.threads import thread_limit
from fastmlp.backends.numpy.workspace import Views, Workspace, WorkspacePool
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

_ONE_HOT_TABLE = 512  # outputs up to which a table of all one-hot rows is worth its memory
_BLOCK = 4096  # rows that predict and loss take through all layers at once: bounds their memory


class NumpyBackend:
    """Batched matrix products. See `fastmlp.backends.base.Backend` for what the methods take and return."""

    name = "numpy"

    def __init__(self, spec: NetworkSpec, *, strict: bool = False, threads: int | None = None) -> None:
        self.spec = spec
        self.arithmetic = StrictArithmetic(spec) if strict else FastArithmetic(spec)
        self._pool = WorkspacePool(spec)
        self._limit_threads = thread_limit(threads)

    # ---- forward

    def _forward(self, parameters: Parameters, X: Array, views: Views, dropout: Dropout | None = None) -> None:
        arithmetic, last = self.arithmetic, len(views.Z) - 1
        arrays = zip(parameters.weights, parameters.biases, views.Z, views.A, views.scratch, strict=True)
        inputs = X
        for i, (W, b, Z, A, scratch) in enumerate(arrays):
            arithmetic.affine(inputs, W, b, Z)
            arithmetic.activate[i](Z, A, scratch)
            inputs = A
            if dropout is not None and i < last:
                self._write_factors(dropout, i, views.factors[i])
                arithmetic.multiply(inputs, views.factors[i], views.dropped[i])
                inputs = views.dropped[i]

    def _write_factors(self, dropout: Dropout, layer: int, out: Array) -> None:
        """Write 0 for a dropped unit, 1 / (1 - p) for one that stays."""
        n_rows, n_units = out.shape
        key = masks.layer_key(dropout.seed, dropout.step, layer)
        hashes = masks.unit_hash(key, np.arange(n_rows)[:, None], np.arange(n_units))
        np.multiply(hashes >= masks.threshold(self.spec.dropout), 1.0 / (1.0 - self.spec.dropout), out=out)

    # ---- backward

    def _backward(
        self, parameters: Parameters, X: Array, views: Views, gradient: Parameters | None, *, dropped: bool, l2: float
    ) -> None:
        """Run delta back through the layers; write the gradient on the way, where one is wanted."""
        arithmetic = self.arithmetic
        outputs = views.dropped if dropped else views.A
        for i in range(len(views.Z) - 1, -1, -1):
            delta, W = views.delta[i], parameters.weights[i]
            if gradient is not None:
                inputs = outputs[i - 1] if i else X
                arithmetic.weight_gradient(inputs, delta, gradient.weights[i])
                arithmetic.bias_gradient(delta, views.scratch[i], gradient.biases[i])
                if l2:
                    arithmetic.add_scaled(l2, W, gradient.weights[i])
            if i:
                before = views.delta[i - 1]
                arithmetic.back(delta, W, before)
                if dropped:
                    arithmetic.multiply(before, views.factors[i - 1], before)
                arithmetic.multiply_derivative[i - 1](views.Z[i - 1], views.A[i - 1], before, views.scratch[i - 1])

    # ---- the contract

    def predict(self, parameters: Parameters, X: Array) -> Array:
        """Return the outputs."""
        out = np.empty((len(X), self.spec.n_outputs), self.spec.dtype)
        for rows, views in self._blocks(parameters, X):
            out[rows] = views.A[-1]
        return out

    def hidden_activations(self, parameters: Parameters, X: Array) -> list[Array]:
        """Return the activations of every hidden layer."""
        out = [np.empty((len(X), size), self.spec.dtype) for size in self.spec.layer_sizes[1:-1]]
        for rows, views in self._blocks(parameters, X):
            for activations, block in zip(out, views.A, strict=False):  # A has the output's as well
                activations[rows] = block
        return out

    def loss(self, parameters: Parameters, batch: Batch) -> float:
        """Return the loss, l2 included."""
        losses = np.empty(len(batch.X))
        for rows, views in self._blocks(parameters, batch.X):
            Y = dense_rows(batch.Y, rows, views.Y)
            losses[rows] = self.arithmetic.sample_losses(views.Z[-1], views.A[-1], Y, views.scratch[-1])
        total = sum_in_order(losses if batch.weights is None else losses * batch.weights)
        return self._with_penalty(total / batch.total, parameters, batch.l2)

    def loss_and_gradient(
        self, parameters: Parameters, batch: Batch, gradient: Parameters, dropout: Dropout | None = None
    ) -> float:
        """Write the gradient and return the loss."""
        with self._computing(len(batch.X)) as workspace:
            views = workspace.views(len(batch.X))
            Y = dense_rows(batch.Y, slice(None), views.Y)
            return self.gradient_into(gradient, parameters, batch, Y, views, dropout)

    def input_gradient(self, parameters: Parameters, batch: Batch) -> Array:
        """Return the derivative of the loss with respect to X."""
        out = np.empty_like(batch.X)
        with self._computing(len(batch.X)) as workspace:
            views = workspace.views(len(batch.X))
            Y = dense_rows(batch.Y, slice(None), views.Y)
            self.gradient_into(None, parameters, batch, Y, views, None)
            self.arithmetic.back(views.delta[0], parameters.weights[0], out)
        return out

    def train(self, run: Run, start: int, stop: int) -> int:
        """Do the steps from `start` up to `stop` and return where it ended."""
        largest = int((run.stops - run.starts)[start:stop].max(initial=1))
        with self._computing(largest) as workspace:
            return train_by_batches(_Trainer(self, workspace, run), run, start, stop, dropping=self.spec.dropout > 0)

    # ---- pieces

    def gradient_into(
        self,
        gradient: Parameters | None,
        parameters: Parameters,
        batch: Batch,
        Y: Array,
        views: Views,
        dropout: Dropout | None,
    ) -> float:
        """Write the gradient of a batch, where one is wanted, and return its loss; `Y` are its targets as rows."""
        self._forward(parameters, batch.X, views, dropout)
        Z, A, scratch = views.Z[-1], views.A[-1], views.scratch[-1]
        one_hot = batch.Y.ndim == 1
        total = self.arithmetic.total_loss(Z, A, Y, batch.weights, scratch, one_hot=one_hot)
        self.arithmetic.output_delta(Z, A, Y, batch, views.delta[-1], scratch, one_hot=one_hot)
        self._backward(parameters, batch.X, views, gradient, dropped=dropout is not None, l2=batch.l2)
        return self._with_penalty(total / batch.total, parameters, batch.l2)

    def _with_penalty(self, loss: float, parameters: Parameters, l2: float) -> float:
        return loss + 0.5 * l2 * self.arithmetic.sum_of_squares(parameters) if l2 else loss

    def _blocks(self, parameters: Parameters, X: Array) -> Iterator[tuple[slice, Views]]:
        """Run X forward a block of rows at a time."""
        with self._computing(min(len(X), _BLOCK)) as workspace:
            for start in range(0, len(X), _BLOCK):
                rows = slice(start, min(start + _BLOCK, len(X)))
                views = workspace.views(rows.stop - rows.start)
                self._forward(parameters, X[rows], views)
                yield rows, views

    @contextmanager
    def _computing(self, n_rows: int) -> Iterator[Workspace]:
        """Take a workspace, hold BLAS to the wanted threads, and let infinities and NaN pass unreported."""
        with self._limit_threads(), np.errstate(all="ignore"), self._pool.take(n_rows) as workspace:
            yield workspace


class _Trainer:
    """A run's steps, in one workspace."""

    def __init__(self, backend: NumpyBackend, workspace: Workspace, run: Run) -> None:
        self._backend, self._workspace, self._run = backend, workspace, run
        self._update = backend.arithmetic.updater(run)
        self._starts, self._stops = run.starts.tolist(), run.stops.tolist()
        self._totals, self._l2, self._decay = run.totals.tolist(), run.l2.tolist(), run.decay.tolist()
        n_outputs = backend.spec.n_outputs
        self._one_hot = (
            np.eye(n_outputs, dtype=run.X.dtype) if run.Y.ndim == 1 and n_outputs <= _ONE_HOT_TABLE else None
        )

    def gather(self, step: int) -> Batch:
        run, start, stop = self._run, self._starts[step], self._stops[step]
        rows = run.order[start:stop]
        self._views = views = self._workspace.views(stop - start)
        # With "clip" take writes to the array directly; the rows are a permutation, so nothing is clipped.
        run.X.take(rows, 0, views.X, "clip")
        Y = run.Y.take(rows) if run.Y.ndim == 1 else run.Y.take(rows, 0, views.Y, "clip")
        weights = None if run.weights is None else run.weights[rows]
        return Batch(views.X, Y, weights, self._totals[step], self._l2[step])

    def loss_and_gradient(self, batch: Batch, dropout: Dropout | None) -> float:
        run, views = self._run, self._views
        if batch.Y.ndim > 1:
            Y = batch.Y
        elif self._one_hot is not None:
            Y = self._one_hot.take(batch.Y, 0, views.Y, "clip")
        else:
            Y = dense_rows(batch.Y, slice(None), views.Y)
        return self._backend.gradient_into(run.gradient, run.parameters, batch, Y, views, dropout)

    def update(self, step: int) -> None:
        """Decay the weights, then apply the rule."""
        if self._decay[step]:
            for W in self._run.parameters.weights:
                self._backend.arithmetic.add_scaled(-self._decay[step], W, W)
        self._update(step)
