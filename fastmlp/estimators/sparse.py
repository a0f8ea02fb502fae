"""Sparse data, and what makes its batches dense for a backend that wants them so: one at a time, never the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
from scipy.sparse import csr_array

from fastmlp.backends.base import (
    Backend,
    Batch,
    CompressedRows,
    Dropout,
    Indices,
    Learner,
    PlainLearner,
    Responder,
    Run,
    answer_by_predicting,
)
from fastmlp.estimators.scaling import Scaling
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

_BLOCK_ENTRIES = 1 << 20  # of the dense rows that a forward pass takes at once: 8 MB


class SparseRows(CompressedRows):
    """A sparse matrix as a batch's X.

    Parameters
    ----------
    matrix : sparse matrix or array of shape (n_samples, n_features)
        In SciPy's CSR format; others are converted.
    dtype : str
        Of the dense rows.
    scaling : Scaling, optional
        Applied to the dense rows.
    """

    def __init__(self, matrix: Any, dtype: str, scaling: Scaling | None = None) -> None:  # noqa: ANN401  SciPy has no types
        self._matrix = csr_array(matrix.tocsr().astype(dtype, copy=False))
        self._scaling = scaling
        self.shape, self.dtype = self._matrix.shape, np.dtype(dtype)
        self.starts = np.ascontiguousarray(self._matrix.indptr, np.int64)
        self.columns = np.ascontiguousarray(self._matrix.indices, np.int32)
        self.numbers = np.ascontiguousarray(self._matrix.data)

    @property
    def is_scaled(self) -> bool:
        """Whether nothing of it is zero."""
        return self._scaling is not None

    def __getitem__(self, rows: Indices | slice) -> Array:
        """Return some rows, dense and C-contiguous."""
        dense: Array = self._matrix[rows].toarray(order="C")
        return dense if self._scaling is None else self._scaling.apply(dense)

    def some(self, rows: Indices | slice) -> SparseRows:
        """Return some of the samples."""
        if isinstance(rows, slice) and rows.indices(len(self)) == (0, len(self), 1):
            return self
        return SparseRows(self._matrix[rows], self.dtype.name, self._scaling)

    def dot(self, W: Array, out: Array) -> None:
        """Write X @ W."""
        out[...] = self._matrix @ W

    @property
    def T(self) -> _Turned:
        """What multiplies as X.T does."""
        return _Turned(self._matrix)

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield all rows in blocks of bounded size."""
        height = max(1, _BLOCK_ENTRIES // self.shape[1])
        for start in range(0, len(self), height):
            rows = slice(start, min(start + height, len(self)))
            yield rows, self[rows]


class _Turned:
    """The transpose of a sparse matrix."""

    def __init__(self, matrix: Any) -> None:  # noqa: ANN401
        self._matrix = matrix

    def dot(self, delta: Array, out: Array) -> None:
        """Write X.T @ delta."""
        out[...] = self._matrix.T @ delta


def for_rows(backend: Backend, rows: SparseRows) -> Backend:
    """Return a backend that takes these rows as X: this one, or one that makes their batches dense for it."""
    return backend if backend.takes_sparse and not rows.is_scaled else SparseBackend(backend)


def as_array(rows: SparseRows) -> Array:
    """Return the rows under the type that data has in a batch: what `for_rows` returns takes them for what they are."""
    return cast("Array", rows)


class SparseBackend:
    """A backend whose data is `SparseRows`: it makes batches dense and hands them to a backend of the usual kind.

    Parameters
    ----------
    inner : Backend
    """

    def __init__(self, inner: Backend) -> None:
        self._inner, self.takes_sparse = inner, True
        self.name = inner.name
        self.spec: NetworkSpec = inner.spec

    def predict(self, parameters: Parameters, X: Array) -> Array:
        """Return the outputs."""
        out = np.empty((len(X), self.spec.n_outputs), self.spec.dtype)
        for rows, dense in cast("SparseRows", X).blocks():
            out[rows] = self._inner.predict(parameters, dense)
        return out

    def answer(self, parameters: Parameters, X: Array, out: Array) -> bool:
        """Write the outputs; return whether X is finite."""
        return answer_by_predicting(self, parameters, X, out)

    def responder(self, parameters: Parameters, n_rows: int) -> Responder:
        """Return what answers for dense rows."""
        return self._inner.responder(parameters, n_rows)

    def hidden_activations(self, parameters: Parameters, X: Array) -> list[Array]:
        """Return the activations of every hidden layer."""
        parts = [self._inner.hidden_activations(parameters, dense) for _, dense in cast("SparseRows", X).blocks()]
        return [np.concatenate(layer) for layer in zip(*parts, strict=True)]

    def loss(self, parameters: Parameters, batch: Batch) -> float:
        """Return the loss, l2 included."""
        return sum(self._inner.loss(parameters, part) for part in _parts(batch))

    def loss_and_gradient(
        self, parameters: Parameters, batch: Batch, gradient: Parameters, dropout: Dropout | None = None
    ) -> float:
        """Write the gradient and return the loss: both are sums over blocks that know the weight of the whole."""
        loss, total = 0.0, np.zeros_like(gradient.flat)
        for part in _parts(batch):
            loss += self._inner.loss_and_gradient(parameters, part, gradient, dropout)
            total += gradient.flat
        gradient.flat[...] = total
        return loss

    def input_gradient(self, parameters: Parameters, batch: Batch) -> Array:
        """Return the derivative of the loss with respect to X, which is dense."""
        return np.concatenate([self._inner.input_gradient(parameters, part) for part in _parts(batch)])

    def pack_state(self, state: Array) -> Array:
        """Return an optimizer's state as runs have it."""
        return self._inner.pack_state(state)

    def unpack_state(self, packed: Array) -> Array:
        """Return it in the order of the parameters."""
        return self._inner.unpack_state(packed)

    def train(self, run: Run, start: int, stop: int) -> int:
        """Do the steps from `start` up to `stop` and return where it ended."""
        for step in range(start, stop):
            single = _single_step(run, step)
            ended = self._inner.train(single, 0, 1)
            run.losses[step], run.penalties[step] = single.losses[0], single.penalties[0]
            if ended < 1:
                return step
        return stop

    def learner(self, run: Run) -> Learner:  # noqa: ARG002  it does those of any run
        """Return what does single steps."""
        return PlainLearner(self.train)


def _parts(batch: Batch) -> Iterator[Batch]:
    """Yield a batch in blocks whose losses and gradients add up to its own: the first has all of the l2."""
    l2 = batch.l2
    for rows, dense in cast("SparseRows", batch.X).blocks():
        weights = None if batch.weights is None else batch.weights[rows]
        yield Batch(dense, batch.Y[rows], weights, batch.total, l2)
        l2 = 0.0


def _single_step(run: Run, step: int) -> Run:
    """Return a run of one step, with its own samples dense and in their order."""
    rows, one = run.rows(step), slice(step, step + 1)
    return replace(
        run,
        X=run.X[rows],
        Y=run.Y[rows],
        weights=None if run.weights is None else run.weights[rows],
        order=np.arange(rows.size),
        starts=np.zeros(1, np.int64),
        stops=np.full(1, rows.size),
        totals=run.totals[one],
        coefficients=run.coefficients[one],
        decay=run.decay[one],
        l2=run.l2[one],
        losses=np.empty(1),
        penalties=np.empty(1),
        first_step=run.first_step + step,
    )
