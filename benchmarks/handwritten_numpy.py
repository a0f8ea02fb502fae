"""Training digits 64-32-10 as a NumPy programmer writes it for this one network: the NumPy backend's bar.

It knows everything beforehand (two layers, ReLU, softmax with cross-entropy, batches of 32, float32, Adam),
so that nothing is looked up, checked or decided while it runs. The targets are one-hot rows from the start.
Every result has its array (``out=``): a step allocates nothing but a few Python floats.

What was measured and kept: ``A.dot(W)`` in place of ``np.matmul`` (0.7 µs a call), ``X.take`` in place of
``np.take`` (0.8), sums over the batch as products with ones (1), 0-d arrays of the dtype in place of Python
floats as factors (0.3), and a product with the sign of A in place of a masked copy, whose branches a
processor cannot foresee (2).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.cases import DIGITS, Array

DTYPE = np.float32
N_IN, N_HIDDEN, N_OUT = DIGITS.layer_sizes
N = DIGITS.batch_size
LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


def _split(flat: Array) -> tuple[Array, Array, Array, Array]:
    """Return W1, b1, W2, b2 as views of the flat vector."""
    stops = np.cumsum([N_IN * N_HIDDEN, N_HIDDEN, N_HIDDEN * N_OUT])
    W1, b1, W2, b2 = np.split(flat, stops)
    return W1.reshape(N_IN, N_HIDDEN), b1, W2.reshape(N_HIDDEN, N_OUT), b2


def _number(value: float) -> Array:
    return np.array(value, DTYPE)


class Handwritten:
    """The network, its optimizer and all their memory.

    Parameters
    ----------
    X : ndarray of shape (n, 64), float32
        Whole batches.
    labels : ndarray of shape (n,), int64
    flat : ndarray of shape (2410,), float32
        The initial parameters, in the order of `fastmlp.Parameters`; copied.
    """

    def __init__(self, X: Array, labels: Array, flat: Array) -> None:
        self.X, self.Y = X, np.eye(N_OUT, dtype=DTYPE)[labels]
        self.flat, self.gradient, self.work = flat.copy(), np.empty_like(flat), np.empty_like(flat)
        self.m, self.v = np.zeros_like(flat), np.zeros_like(flat)
        self.W1, self.b1, self.W2, self.b2 = _split(self.flat)
        self.dW1, self.db1, self.dW2, self.db2 = _split(self.gradient)
        self.Xb, self.Yb = np.empty((N, N_IN), DTYPE), np.empty((N, N_OUT), DTYPE)
        self.A1, self.delta1, self.slope1 = (np.empty((N, N_HIDDEN), DTYPE) for _ in range(3))
        self.Z2, self.delta2 = (np.empty((N, N_OUT), DTYPE) for _ in range(2))
        self.column = np.empty((N, 1), DTYPE)
        self.row = self.column[:, 0]  # the same memory
        self.ones_rows, self.ones_outputs = np.ones(N, DTYPE), np.ones(N_OUT, DTYPE)
        self.zero, self.share = _number(0.0), _number(1.0 / N)
        self.keep1, self.take1, self.keep2, self.take2 = map(_number, (BETA1, 1 - BETA1, BETA2, 1 - BETA2))
        self.rate, self.eps = _number(LR), _number(EPS)
        self.power1 = self.power2 = 1.0

    def fit(self, epochs: int, permutation: Callable[[int], Array] = np.arange) -> list[float]:
        """Train, and return the mean loss of each epoch; `permutation` gives the order of the rows."""
        losses = []
        for _ in range(epochs):
            order = permutation(len(self.X))
            batches = [self.step(order[start : start + N]) for start in range(0, len(order), N)]
            losses.append(sum(batches) / len(batches))
        return losses

    def step(self, rows: Array) -> float:
        """Do one step on the given rows; return the loss before it."""
        self.X.take(rows, 0, self.Xb, "clip")  # unlike "raise", "clip" writes to the array directly
        self.Y.take(rows, 0, self.Yb, "clip")
        loss = self._forward()
        self._backward()
        self._update()
        return loss

    def _forward(self) -> float:
        """Write A1, and to delta2 the softmax; return the loss."""
        A1, Z2, A2, column = self.A1, self.Z2, self.delta2, self.column
        self.Xb.dot(self.W1, out=A1)
        np.add(A1, self.b1, out=A1)
        np.maximum(A1, self.zero, out=A1)
        A1.dot(self.W2, out=Z2)
        np.add(Z2, self.b2, out=Z2)
        np.maximum.reduce(Z2, axis=1, keepdims=True, out=column)
        np.subtract(Z2, column, out=Z2)
        np.exp(Z2, out=A2)
        A2.dot(self.ones_outputs, out=self.row)
        np.divide(A2, column, out=A2)
        np.log(column, out=column)
        return (float(self.ones_rows.dot(self.row)) - float(np.vdot(Z2, self.Yb))) / N

    def _backward(self) -> None:
        """Write the gradient."""
        delta1, delta2 = self.delta1, self.delta2
        np.subtract(delta2, self.Yb, out=delta2)
        np.multiply(delta2, self.share, out=delta2)
        self.A1.T.dot(delta2, out=self.dW2)
        self.ones_rows.dot(delta2, out=self.db2)
        delta2.dot(self.W2.T, out=delta1)
        np.sign(self.A1, out=self.slope1)
        np.multiply(delta1, self.slope1, out=delta1)
        self.Xb.T.dot(delta1, out=self.dW1)
        self.ones_rows.dot(delta1, out=self.db1)

    def _update(self) -> None:
        """Apply Adam: w -= a m / (sqrt(v) + e), with both corrections in a and e."""
        self.power1 *= BETA1
        self.power2 *= BETA2
        correction = (1.0 - self.power2) ** 0.5
        self.rate[...] = LR * correction / (1.0 - self.power1)
        self.eps[...] = EPS * correction
        g, m, v, work = self.gradient, self.m, self.v, self.work
        np.multiply(m, self.keep1, out=m)
        np.multiply(g, self.take1, out=work)
        np.add(m, work, out=m)
        np.multiply(v, self.keep2, out=v)
        np.multiply(g, g, out=work)
        np.multiply(work, self.take2, out=work)
        np.add(v, work, out=v)
        np.sqrt(v, out=work)
        np.add(work, self.eps, out=work)
        np.divide(m, work, out=work)
        np.multiply(work, self.rate, out=work)
        np.subtract(self.flat, work, out=self.flat)
