"""The table of cases: networks and batches from the smallest that anybody trains to one that BLAS likes.

All data is made from a seed and has both signs, so that both branches of a ReLU are taken; only the digits
are real. An epoch consists of whole batches: every step does the same work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp import MLP
from fastmlp.backends import REFERENCE, available_backends
from fastmlp.datasets import load_digits

Array = NDArray[Any]

SEED = 20
WHITE = 16.0  # the digits' brightest pixel
# The reference needs some 60 ns for each: so this is a step of 60 ms, and a benchmark of it one of seconds.
MOST_FOR_REFERENCE = 1_000_000


@dataclass(frozen=True)
class Case:
    """A network and the data that it is timed on.

    Attributes
    ----------
    name : str
    layer_sizes : tuple of int
    activation : str
        Of the hidden layers.
    batch_size, n_batches : int
        Rows of a step, and steps of an epoch.
    classes : bool
        Whether the targets are classes (softmax, cross_entropy) or numbers (identity, mse).
    dtype : str
    is_real : bool
        Whether the data is the handwritten digits.
    """

    name: str
    layer_sizes: tuple[int, ...]
    activation: str
    batch_size: int
    n_batches: int
    classes: bool = False
    dtype: str = "float32"
    is_real: bool = False

    @property
    def n_samples(self) -> int:
        """Rows of the data."""
        return self.batch_size * self.n_batches

    @property
    def loss(self) -> str:
        """The loss that suits the targets."""
        return "cross_entropy" if self.classes else "mse"

    @property
    def output_activation(self) -> str:
        """The output activation that suits the targets."""
        return "softmax" if self.classes else "identity"

    def network(self, backend: str, threads: int | None = None) -> MLP:
        """Return the network on a backend: the same parameters on each."""
        return MLP(
            self.layer_sizes,
            self.activation,
            self.output_activation,
            self.loss,
            backend=backend,
            dtype=self.dtype,
            threads=threads,
            seed=SEED,
        )

    def data(self) -> tuple[Array, Array]:
        """Return X of shape (n_samples, n_in) and Y, of shape (n_samples, n_out) or classes. Read-only."""
        return _data(self)

    def batch(self) -> tuple[Array, Array]:
        """Return the first batch."""
        X, Y = self.data()
        return X[: self.batch_size], Y[: self.batch_size]

    # ---- work

    @property
    def forward_flops(self) -> int:
        """Floating-point operations of a batch forward: in matrix products, two a weight and row."""
        return 2 * self.batch_size * sum(self._n_weights)

    @property
    def gradient_flops(self) -> int:
        """Those of loss and gradient: the first layer has two products (Z and dW), the others three."""
        first, *others = self._n_weights
        return 2 * self.batch_size * (2 * first + 3 * sum(others))

    @property
    def _n_weights(self) -> list[int]:
        return [fan_in * fan_out for fan_in, fan_out in pairwise(self.layer_sizes)]

    @property
    def backends(self) -> tuple[str, ...]:
        """The backends that it is timed on: the reference only where it ends in reason."""
        slow = self.gradient_flops // 2 > MOST_FOR_REFERENCE
        return tuple(name for name in available_backends() if not (slow and name == REFERENCE))


@lru_cache(maxsize=2)
def _data(case: Case) -> tuple[Array, Array]:
    X, Y = _digits(case) if case.is_real else _random(case)
    X = X.astype(case.dtype)
    for array in (X, Y):
        array.flags.writeable = False
    return X, Y


def _digits(case: Case) -> tuple[Array, Array]:
    X, y = load_digits()
    return X[: case.n_samples] / WHITE, y[: case.n_samples]


def _random(case: Case) -> tuple[Array, Array]:
    """Return normally distributed inputs, and what a random linear map makes of them: something to learn."""
    generator = np.random.default_rng(SEED)
    n_in, n_out = case.layer_sizes[0], case.layer_sizes[-1]
    X = generator.standard_normal((case.n_samples, n_in))
    Y = X @ generator.standard_normal((n_in, n_out)) / np.sqrt(n_in)
    return X, Y.argmax(axis=1) if case.classes else Y.astype(case.dtype)


DIGITS = Case("digits", (64, 32, 10), "relu", batch_size=32, n_batches=56, classes=True, is_real=True)
_ROWS = (
    DIGITS,
    replace(DIGITS, name="digits64", dtype="float64"),
    Case("xor", (2, 3, 1), "tanh", batch_size=1, n_batches=400),
    Case("rl", (8, 64, 64, 2), "tanh", batch_size=64, n_batches=16),
    Case("tab", (16, 64, 64, 1), "relu", batch_size=32, n_batches=32),
    Case("tab256", (16, 64, 64, 1), "relu", batch_size=256, n_batches=16),
    Case("mnist", (784, 128, 10), "relu", batch_size=128, n_batches=16, classes=True),
    Case("chains", (4, 32, 16, 4), "tanh", batch_size=10_000, n_batches=1),
    Case("wide", (256, 1024, 1024, 10), "relu", batch_size=256, n_batches=16, classes=True),
)
CASES = {case.name: case for case in _ROWS}
