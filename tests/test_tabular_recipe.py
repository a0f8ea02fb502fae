"""The tabular estimators beside their recipe, written again as it is published: V, b and s trained by Adam themselves.

Here W is V / sqrt(fan_in) by a product at every step, three groups of parameters have rates of their own, and slopes of
activations come from complex steps; nothing of fastmlp's is used but what makes an array of the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fastmlp import TabularMLPClassifier, TabularMLPRegressor
from tests import analytic, bounds

N_EPOCHS = 12
GENERATOR = np.random.default_rng(9)
X = GENERATOR.normal(size=(50, 5)) * [1.0, 10.0, 0.1, 1.0, 3.0]
CLASSES = np.digitize(X[:, 0] * X[:, 3], [-0.3, 0.3])
NUMBERS = np.column_stack([X[:, 0] * X[:, 1], X[:, 2]])
ONE_HOT = (CLASSES[:, None] == np.arange(3)).astype(float)
STANDARDIZED = (NUMBERS - NUMBERS.mean(axis=0)) / NUMBERS.std(axis=0)


class Recipe:
    """The network, and its training on all samples at once.

    Parameters
    ----------
    activation : str
    rate : float
        The highest rate of V.
    sizes : tuple of int
    seed : int
        The estimator's.
    """

    def __init__(self, activation: str, rate: float, sizes: tuple[int, ...], seed: int) -> None:
        self.f, self.rate = analytic.ACTIVATIONS[activation], rate
        generator = np.random.default_rng(np.random.RandomState(seed).randint(2**31))
        shapes = list(pairwise(sizes))
        for shape in shapes:  # what the network itself draws before these take its place
            generator.random(shape)
        self.s = np.ones(sizes[0])
        self.V, self.b = [], []
        for shape in shapes[:-1]:
            self.V.append(generator.standard_normal(shape))
            self.b.append(generator.standard_normal(shape[1]))
        self.V.append(np.zeros(shapes[-1]))
        self.b.append(np.zeros(sizes[-1]))
        self.means = [np.zeros_like(p) for p in self.parameters]
        self.squares = [np.zeros_like(p) for p in self.parameters]

    @property
    def parameters(self) -> list[np.ndarray]:
        """The scale, then V and b of each layer."""
        return [self.s, *(p for layer in zip(self.V, self.b, strict=True) for p in layer)]

    @property
    def rates(self) -> list[float]:
        """The factors on the rate of each."""
        return [6.0, *(1.0, 0.1) * len(self.V)]

    def forward(self, inputs: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return Z of every layer, and what went into it."""
        A, Z = [inputs * self.s], []
        for V, b in zip(self.V, self.b, strict=True):
            Z.append(A[-1] @ V / math.sqrt(len(V)) + b)
            A.append(self.f(Z[-1]))
        return Z, A[:-1]

    def gradients(self, inputs: np.ndarray, delta: np.ndarray) -> list[np.ndarray]:
        """Return the gradient of each parameter, from the derivative with respect to the last Z."""
        Z, A = self.forward(inputs)
        found: list[np.ndarray] = []
        for i in reversed(range(len(self.V))):
            root = math.sqrt(len(self.V[i]))
            found = [A[i].T @ delta / root, delta.sum(axis=0), *found]
            delta = delta @ self.V[i].T / root
            if i:
                delta = delta * self.f(Z[i - 1] + 1j * bounds.COMPLEX_STEP).imag / bounds.COMPLEX_STEP
        return [(inputs * delta).sum(axis=0), *found]

    def step(self, number: int, gradients: list[np.ndarray]) -> None:
        """Do a step of Adam, as its paper first has it."""
        rate = self.rate * 0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + 15.0 * number / N_EPOCHS)))
        for p, g, m, v, factor in zip(self.parameters, gradients, self.means, self.squares, self.rates, strict=True):
            m[...] = 0.9 * m + 0.1 * g
            v[...] = 0.95 * v + 0.05 * g * g
            unbiased = m / (1.0 - 0.9 ** (number + 1)), v / (1.0 - 0.95 ** (number + 1))
            p[...] -= rate * factor * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)

    def losses(self, inputs: np.ndarray, targets: np.ndarray, *, has_classes: bool) -> Iterator[float]:
        """Train, and yield the loss of each epoch before its step."""
        for number in range(N_EPOCHS):
            logits = self.forward(inputs)[0][-1]
            if has_classes:
                P = analytic.softmax(logits)
                yield -np.sum(targets * np.log(P)) / len(targets)
                delta = (P - targets) / len(targets)
            else:
                yield np.mean((logits - targets) ** 2)
                delta = 2.0 * (logits - targets) / targets.size
            self.step(number, self.gradients(inputs, delta))


CASES = [
    (TabularMLPClassifier, CLASSES, ("selu", 0.04, (5, 7, 6, 3)), 0.9 * ONE_HOT + 0.1 / 3),
    (TabularMLPRegressor, NUMBERS, ("mish", 0.07, (5, 7, 6, 2)), STANDARDIZED),
]


@pytest.mark.parametrize(("kind", "y", "network", "targets"), CASES, ids=["classes", "numbers"])
def test_the_estimators_follow_the_recipe(kind: Any, y: np.ndarray, network: Any, targets: np.ndarray) -> None:
    settings = {"hidden_layer_sizes": (7, 6), "n_epochs": N_EPOCHS, "random_state": 4}
    estimator = kind(**settings, dtype="float64", validation_fraction=0.0).fit(X, y)
    inputs = estimator._encoder.apply(list(X.T), "float64")
    recipe = Recipe(*network, seed=4)
    losses = list(recipe.losses(inputs, targets, has_classes=kind is TabularMLPClassifier))
    np.testing.assert_allclose(estimator.loss_curve_, losses, rtol=bounds.PARITY["float64"])
    net = estimator.network_
    own = [net.input_scale, *(p for layer in zip(net.weights, net.biases, strict=True) for p in layer)]
    for ours, theirs in zip(own, recipe.parameters, strict=True):
        W = theirs / math.sqrt(len(theirs)) if theirs.ndim > 1 else theirs
        assert np.abs(ours - W).max() <= bounds.PARITY["float64"] * np.abs(W).max()
    assert losses[-1] < 0.95 * losses[0]
    assert np.ptp(net.input_scale) > 0.1
