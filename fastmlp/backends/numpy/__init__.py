"""The NumPy backend: whole batches, one matrix product for each product of a layer.

This module tells the story; `fast` and `strict` hold the arithmetic that it is told in, `workspace` the memory,
so that a batch allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from fastmlp import dropout as masks
from fastmlp.backends.base import (
    Batch,
    Dropout,
    Floats,
    Run,
    dense_rows,
    train_by_batches,
)
from fastmlp.backends.numpy.fast import FastArithmetic
from fastmlp.backends.numpy.strict import StrictArithmetic
from fastmlp.backends.numpy.workspace import Views, Workspace, WorkspacePool
from fastmlp.losses import LOSSES
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

_BLOCK = 4096  # rows that predict and loss take through all layers at once: bounds their memory


class NumpyBackend:
    """Batched matrix products. See `fastmlp.backends.base.Backend` for what the methods take and return."""

    name = "numpy"

    def __init__(self, spec: NetworkSpec, *, strict: bool = False, threads: int | None = None) -> None:
        self.spec = spec
        self._averaged = LOSSES[spec.loss].averaged
        self.arithmetic = StrictArithmetic(spec) if strict else FastArithmetic(spec)
        self._pool = WorkspacePool(spec)
        self._limit_threads = _thread_limit(threads)

    # ---- forward

    def _forward(self, parameters: Parameters, X: Array, views: Views, dropout: Dropout | None = None) -> None:
        arithmetic, last = self.arithmetic, self.spec.n_layers - 1
        inputs = X
        for i, name in enumerate(self.spec.all_activations):
            arithmetic.affine(inputs, parameters.weights[i], parameters.biases[i], views.Z[i])
            arithmetic.activate(name, views.Z[i], views.A[i], views.scratch[i])
            inputs = views.A[i]
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

    # ---- loss and gradient

    def _sample_losses(self, views: Views, Y: Array) -> Floats:
        """Return each sample's loss."""
        totals = self.arithmetic.sample_losses(views.Z[-1], views.A[-1], Y, views.scratch[-1])
        return totals / self.spec.n_outputs if self._averaged else totals

    def _output_delta(self, batch: Batch, views: Views, Y: Array) -> None:
        """Write d loss / d Z of the last layer."""
        shares: Any = 1.0 / batch.total if batch.weights is None else (batch.weights / batch.total)[:, None]
        if self._averaged:
            shares = shares / self.spec.n_outputs
        self.arithmetic.output_delta(views.Z[-1], views.A[-1], Y, shares, views.delta[-1], views.scratch[-1])

    def _backward(
        self, parameters: Parameters, X: Array, views: Views, gradient: Parameters | None, *, dropped: bool, l2: float
    ) -> None:
        """Run delta back through the layers; write the gradient on the way, where one is wanted."""
        arithmetic, names = self.arithmetic, self.spec.all_activations
        outputs = views.dropped if dropped else views.A
        for i in range(self.spec.n_layers - 1, -1, -1):
            delta, W = views.delta[i], parameters.weights[i]
            if gradient is not None:
                inputs = outputs[i - 1] if i else X
                arithmetic.weight_gradient(inputs, delta, gradient.weights[i])
                arithmetic.bias_gradient(delta, views.ones, gradient.biases[i])
                if l2:
                    arithmetic.add_scaled(l2, W, gradient.weights[i])
            if i:
                before = views.delta[i - 1]
                arithmetic.back(delta, W, before)
                if dropped:
                    arithmetic.multiply(before, views.factors[i - 1], before)
                arithmetic.multiply_derivative(
                    names[i - 1], views.Z[i - 1], views.A[i - 1], before, views.scratch[i - 1]
                )

    def _mean(self, losses: Floats, batch: Batch, parameters: Parameters) -> float:
        if batch.weights is not None:
            losses = losses * batch.weights
        mean = self.arithmetic.total(losses) / batch.total
        return mean + 0.5 * batch.l2 * self.arithmetic.sum_of_squares(parameters) if batch.l2 else mean

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
            losses[rows] = self._sample_losses(views, dense_rows(batch.Y, rows, views.Y))
        return self._mean(losses, batch, parameters)

    def loss_and_gradient(
        self, parameters: Parameters, batch: Batch, gradient: Parameters, dropout: Dropout | None = None
    ) -> float:
        """Write the gradient and return the loss."""
        with self._computing(len(batch.X)) as workspace:
            views = workspace.views(len(batch.X))
            return self.gradient_into(
                parameters, batch, dense_rows(batch.Y, slice(None), views.Y), views, gradient, dropout
            )

    def input_gradient(self, parameters: Parameters, batch: Batch) -> Array:
        """Return the derivative of the loss with respect to X."""
        out = np.empty_like(batch.X)
        with self._computing(len(batch.X)) as workspace:
            views = workspace.views(len(batch.X))
            self._forward(parameters, batch.X, views)
            self._output_delta(batch, views, dense_rows(batch.Y, slice(None), views.Y))
            self._backward(parameters, batch.X, views, None, dropped=False, l2=0.0)
            self.arithmetic.back(views.delta[0], parameters.weights[0], out)
        return out

    def train(self, run: Run, start: int, stop: int) -> int:
        """Do the steps from `start` up to `stop` and return where it ended."""
        largest = int(np.max(run.stops[start:stop] - run.starts[start:stop], initial=1))
        with self._computing(largest) as workspace:
            return train_by_batches(_Trainer(self, workspace, run), run, start, stop, dropping=self.spec.dropout > 0)

    # ---- pieces

    def gradient_into(
        self,
        parameters: Parameters,
        batch: Batch,
        Y: Array,
        views: Views,
        gradient: Parameters,
        dropout: Dropout | None,
    ) -> float:
        """Write the gradient of a batch, its targets dense, and return its loss."""
        self._forward(parameters, batch.X, views, dropout)
        losses = self._sample_losses(views, Y)
        self._output_delta(batch, views, Y)
        self._backward(parameters, batch.X, views, gradient, dropped=dropout is not None, l2=batch.l2)
        return self._mean(losses, batch, parameters)

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
        self._work = np.empty_like(run.parameters.flat)

    def gather(self, step: int) -> Batch:
        run, rows = self._run, self._run.rows(step)
        views = self._workspace.views(rows.size)
        # With mode="clip" take writes to `out` directly; the rows are a permutation, so nothing is clipped.
        np.take(run.X, rows, axis=0, out=views.X, mode="clip")
        if run.Y.ndim > 1:
            np.take(run.Y, rows, axis=0, out=views.Y, mode="clip")
        else:
            dense_rows(run.Y, rows, views.Y)
        weights = None if run.weights is None else run.weights[rows]
        return Batch(views.X, views.Y, weights, float(run.totals[step]), float(run.l2[step]))

    def loss_and_gradient(self, batch: Batch, dropout: Dropout | None) -> float:
        run, views = self._run, self._workspace.views(len(batch.X))
        return self._backend.gradient_into(run.parameters, batch, batch.Y, views, run.gradient, dropout)

    def update(self, step: int) -> None:
        """Decay the weights, then apply the rule."""
        run, arithmetic, decay = self._run, self._backend.arithmetic, float(self._run.decay[step])
        if decay:
            for W in run.parameters.weights:
                arithmetic.add_scaled(-decay, W, W)
        c = run.coefficients[step].tolist()
        arithmetic.update(run.rule, run.parameters.flat, run.gradient.flat, run.states, c, self._work)


def _thread_limit(threads: int | None) -> Callable[[], AbstractContextManager[object]]:
    """Return what holds BLAS to `threads` for the time of a call; nothing for None.

    Raises
    ------
    ImportError
        If threadpoolctl is missing.
    """
    if threads is None:
        return nullcontext
    try:
        from threadpoolctl import ThreadpoolController  # noqa: PLC0415  an extra, and slow to import
    except ImportError:
        msg = (
            f"threads is {threads}, but limiting NumPy's threads needs the package threadpoolctl, which is missing; "
            "run `pip install threadpoolctl`, or use threads=None"
        )
        raise ImportError(msg) from None
    controller = ThreadpoolController()
    return lambda: controller.limit(limits=threads, user_api="blas")
