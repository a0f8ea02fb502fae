"""What scikit-learn's regressor looks at where it has several outputs, and ours have to as well to end when it does."""

from __future__ import annotations

import numpy as np

from fastmlp.backends.base import Backend, Batch, Dropout, Floats, Learner, Responder, Run
from fastmlp.parameters import Array, Parameters


class MeanOverOutputs:
    """A loss whose error is the mean over outputs, and whose penalty is whole; its gradient is nothing to follow.

    A batch's penalty is not known apart from its loss. So this stands in for the backend of a training, asks it for one
    step at a time, and takes down the squared weights before each.

    Parameters
    ----------
    inner : Backend
    alpha : float
        Strength of the penalty.
    """

    def __init__(self, inner: Backend, alpha: float) -> None:
        self.name, self.spec = inner.name, inner.spec
        self._inner, self._alpha = inner, alpha
        self._squares: Floats = np.empty(0)

    def __call__(self, loss: float, run: Run) -> float:
        """Return it for an epoch that is over, from its loss."""
        counts = run.stops - run.starts
        penalty = 0.5 * self._alpha * float((self._squares / run.totals) @ counts) / float(counts.sum())
        return (loss - penalty) / self.spec.n_outputs + penalty

    def train(self, run: Run, start: int, stop: int) -> int:
        """Do the steps from `start` up to `stop` and return where it ended."""
        if start == 0:
            self._squares = np.empty(run.losses.size)
        for step in range(start, stop):
            self._squares[step] = sum(float(np.vdot(W, W)) for W in run.parameters.weights)
            if self._inner.train(run, step, step + 1) == step:
                return step
        return stop

    # ---- the rest of a backend is the inner one's

    def predict(self, parameters: Parameters, X: Array) -> Array:
        """Return the outputs."""
        return self._inner.predict(parameters, X)

    def answer(self, parameters: Parameters, X: Array, out: Array) -> bool:
        """Write the outputs; return whether X is finite."""
        return self._inner.answer(parameters, X, out)

    def learner(self, run: Run) -> Learner:
        """Return what does single steps."""
        return self._inner.learner(run)

    def responder(self, parameters: Parameters, n_rows: int) -> Responder:
        """Return what answers for some rows."""
        return self._inner.responder(parameters, n_rows)

    def hidden_activations(self, parameters: Parameters, X: Array) -> list[Array]:
        """Return the activations of every hidden layer."""
        return self._inner.hidden_activations(parameters, X)

    def loss(self, parameters: Parameters, batch: Batch) -> float:
        """Return the loss."""
        return self._inner.loss(parameters, batch)

    def loss_and_gradient(
        self, parameters: Parameters, batch: Batch, gradient: Parameters, dropout: Dropout | None = None
    ) -> float:
        """Write the gradient and return the loss."""
        return self._inner.loss_and_gradient(parameters, batch, gradient, dropout)

    def input_gradient(self, parameters: Parameters, batch: Batch) -> Array:
        """Return the derivative of the loss with respect to X."""
        return self._inner.input_gradient(parameters, batch)
