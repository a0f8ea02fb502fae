"""The NumPy backend: whole batches, one matrix product for each product of a layer.

`passes` tells the story; `fast` and `strict` hold the arithmetic that it is told in, `workspace` the memory, so that a
batch allocates nothing, and `steps` a training's steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from fastmlp.backends.base import (
    Batch,
    Dropout,
    PlainTraining,
    Responder,
    Run,
    answer_by_predicting,
    dense_rows,
    some_of,
    sum_in_order,
    train_by_batches,
)
from fastmlp.backends.numpy.answering import SingleRow
from fastmlp.backends.numpy.calls import now
from fastmlp.backends.numpy.passes import Passes
from fastmlp.backends.numpy.steps import Steps
from fastmlp.backends.numpy.threads import thread_limit
from fastmlp.backends.numpy.workspace import Kind, Views, Workspace, WorkspacePool
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

_BLOCK = 4096  # rows that predict and loss take through all layers at once: bounds their memory


class NumpyBackend(PlainTraining):
    """Batched matrix products. See `fastmlp.backends.base.Backend` for what the methods take and return."""

    name = "numpy"

    def __init__(self, spec: NetworkSpec, *, strict: bool = False, threads: int | None = None) -> None:
        self.spec = spec
        self.takes_sparse = not strict
        self._passes = Passes(spec, strict=strict)
        self._pool = WorkspacePool(spec)
        self._singles: list[SingleRow] = []
        self._threads = threads
        self._limit_threads = thread_limit(threads)

    # ---- the contract

    def predict(self, parameters: Parameters, X: Array) -> Array:
        """Return the outputs."""
        out = np.empty((len(X), self.spec.n_outputs), self.spec.dtype)
        for rows, views in self._blocks(parameters, X):
            out[rows] = views.A[-1]
        return out

    def answer(self, parameters: Parameters, X: Array, out: Array) -> bool:
        """Write the outputs and return whether all of X is finite."""
        if len(X) > 1 or self._threads is not None:  # holding BLAS to threads takes longer than a row
            return answer_by_predicting(self, parameters, X, out)
        try:
            single = self._singles.pop()  # atomic, as in `WorkspacePool`
        except IndexError:
            single = SingleRow(self._passes, parameters)
        if single.parameters is not parameters:
            single = SingleRow(self._passes, parameters)
        is_finite = single.answer(X, out)
        self._singles.append(single)
        return is_finite

    def responder(self, parameters: Parameters, n_rows: int) -> Responder:
        """Return what answers for some rows."""
        return partial(self.answer, parameters)

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
            dense_rows(batch.Y, rows, views.Y)
            losses[rows] = self._passes.arithmetic.sample_losses(views)
        total = sum_in_order(losses if batch.weights is None else losses * batch.weights)
        return total / batch.total + self._passes.penalty(parameters, batch.l2)

    def loss_and_gradient(
        self, parameters: Parameters, batch: Batch, gradient: Parameters, dropout: Dropout | None = None
    ) -> float:
        """Write the gradient and return the loss."""
        with self._computing(len(batch.X)) as workspace:
            views = workspace.views(len(batch.X))
            return self._gradient_into(gradient, parameters, batch, views, dropout)

    def input_gradient(self, parameters: Parameters, batch: Batch) -> Array:
        """Return the derivative of the loss with respect to X."""
        out = np.empty(batch.X.shape, self.spec.dtype)
        with self._computing(len(batch.X)) as workspace:
            views = workspace.views(len(batch.X))
            self._gradient_into(None, parameters, batch, views, None)
            self._passes.arithmetic.back(now, views.delta[0], parameters.weights[0], out)
            if parameters.input_scale is not None:
                self._passes.arithmetic.multiply(now, out, parameters.input_scale, out)
        return out

    def train(self, run: Run, start: int, stop: int) -> int:
        """Do the steps from `start` up to `stop` and return where it ended."""
        largest = int((run.stops - run.starts)[start:stop].max(initial=1))
        with self._computing(largest) as workspace:
            return train_by_batches(Steps(self._passes, workspace, run), run, start, stop)

    # ---- pieces

    def _gradient_into(
        self, gradient: Parameters | None, parameters: Parameters, batch: Batch, views: Views, dropout: Dropout | None
    ) -> float:
        """Write the gradient of a batch, where one is wanted, and return its loss."""
        kind = Kind(batch.Y.ndim == 1, batch.weights is not None, dropout is not None, batch.l2)
        dense_rows(batch.Y, slice(None), views.Y)
        if batch.weights is not None:
            views.weights[...], views.total[...] = batch.weights, batch.total
        if dropout is not None:
            self._passes.write_factors(dropout, views)
        loss = self._passes.loss(now, parameters, batch.X, views, kind)() / batch.total
        self._passes.gradient(now, parameters, batch.X, views, kind, gradient)
        return loss + self._passes.penalty(parameters, batch.l2)

    def _blocks(self, parameters: Parameters, X: Array) -> Iterator[tuple[slice, Views]]:
        """Run X forward a block of rows at a time."""
        with self._computing(min(len(X), _BLOCK)) as workspace:
            for start in range(0, len(X), _BLOCK):
                rows = slice(start, min(start + _BLOCK, len(X)))
                views = workspace.views(rows.stop - rows.start)
                self._passes.forward(now, parameters, some_of(X, rows), views)
                yield rows, views

    @contextmanager
    def _computing(self, n_rows: int) -> Iterator[Workspace]:
        """Take a workspace, hold BLAS to the wanted threads, and let infinities and NaN pass unreported."""
        with self._limit_threads(), np.errstate(all="ignore"), self._pool.take(n_rows) as workspace:
            yield workspace
