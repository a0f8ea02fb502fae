"""The oracle: gradients of a multilayer perceptron by the complex step, from the forward computation alone.

It imports nothing from the package it judges and contains no derivative. An analytic function satisfies
f(x + ih) = f(x) + ih f'(x) + O(h^2), so Im f(x + ih)/h with h = 1e-200 is the derivative to the last digits of
binary64: there is no difference of nearby numbers and hence no cancellation. One parameter at a time gets the
imaginary part; many such parameter vectors are stacked in a leading axis and go forward together.

The activations and losses are in `tests.analytic`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tests import bounds
from tests.analytic import LOSSES, NATURAL_LINKS, OUTPUTS

Masks = Sequence[NDArray[np.float64]]

H = bounds.COMPLEX_STEP
CHUNK = 2**15
"""Complex numbers in one layer's stacked activations: half a megabyte, which stays in the cache."""


class Network(NamedTuple):
    """What is computed: sizes, one activation a hidden layer, output activation, loss, l2, whether X is scaled."""

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    output: str
    loss: str
    l2: float = 0.0
    input_scale: bool = False

    @property
    def n_params(self) -> int:
        """Number of weights, biases and factors of features."""
        n_factors = self.sizes[0] if self.input_scale else 0
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(self.sizes)) + n_factors


def targets(network: Network, Y: ArrayLike) -> NDArray[np.float64]:
    """Rows of binary64: class indices become one-hot rows, a vector becomes a column."""
    Y = np.asarray(Y)
    if network.loss == "cross_entropy" and Y.ndim == 1:
        return np.eye(network.sizes[-1])[Y]
    return Y.astype(np.float64).reshape(len(Y), network.sizes[-1])


def sample_losses(network: Network, logits: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """One loss a sample, from the last pre-activation."""
    link = NATURAL_LINKS.get((network.loss, network.output))
    if link is not None:
        return link(logits, Y)
    return LOSSES[network.loss](OUTPUTS[network.output](logits), Y)


def layers(sizes: Sequence[int], flat: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield views W (..., fan_in, fan_out) and b (..., 1, fan_out) of flat vectors (..., n_params) in order."""
    lead, start = flat.shape[:-1], 0
    for fan_in, fan_out in pairwise(sizes):
        middle = start + fan_in * fan_out
        W = flat[..., start:middle].reshape(*lead, fan_in, fan_out)
        yield W, flat[..., None, middle : middle + fan_out]
        start = middle + fan_out


def scaled(network: Network, flat: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return what enters the first layer: X, or X times the last n_in of the parameters."""
    return X * flat[..., None, -X.shape[-1] :] if network.input_scale else X


def forward(
    network: Network, flat: np.ndarray, X: np.ndarray, masks: Masks | None = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pre-activations of every layer, and activations of every hidden layer (times its mask) and of the output."""
    A, pre_activations, activations = scaled(network, flat, X), [], []
    names = (*network.activations, network.output)
    for layer, (W, b) in enumerate(layers(network.sizes, flat)):
        Z = A @ W + b
        A = OUTPUTS[names[layer]](Z)
        if masks is not None and layer < len(masks):
            A = A * masks[layer]
        pre_activations.append(Z)
        activations.append(A)
    return pre_activations, activations


def predict(network: Network, flat: ArrayLike, X: ArrayLike) -> NDArray[np.float64]:
    """Return the outputs (n_samples, n_outputs) in binary64."""
    return forward(network, np.asarray(flat, np.float64), np.asarray(X, np.float64))[1][-1]


def logits_of(network: Network, flat: np.ndarray, X: np.ndarray, masks: Masks | None) -> np.ndarray:
    """Last pre-activation; the output activation is not computed, it may overflow where the loss does not."""
    return forward(network._replace(output="identity"), flat, X, masks)[0][-1]


def mean_weights(w: ArrayLike | None, n_samples: int) -> NDArray[np.float64]:
    """Sample weights divided by their sum; 1/n without weights."""
    weights = np.ones(n_samples) if w is None else np.asarray(w, np.float64)
    return weights / weights.sum()


def loss(
    network: Network,
    flat: ArrayLike,
    X: ArrayLike,
    Y: ArrayLike,
    w: ArrayLike | None = None,
    masks: Masks | None = None,
) -> np.ndarray:
    """Weighted mean of the samples' losses plus l2/2 times the sum of squared weights, for stacked flat vectors."""
    flat, X = np.asarray(flat), np.asarray(X, np.float64)
    losses = sample_losses(network, logits_of(network, flat, X, masks), targets(network, Y))
    squares = sum((W * W).sum(axis=(-2, -1)) for W, _ in layers(network.sizes, flat))
    return (losses * mean_weights(w, len(X))).sum(axis=-1) + 0.5 * network.l2 * squares


def gradient(
    network: Network,
    flat: ArrayLike,
    X: ArrayLike,
    Y: ArrayLike,
    w: ArrayLike | None = None,
    masks: Masks | None = None,
) -> NDArray[np.float64]:
    """Return d loss / d flat, every parameter by its own complex step.

    Parameters
    ----------
    network : Network
        What is computed.
    flat : array_like of shape (n_params,)
        Parameters W0, b0, W1, b1 ... each in C order, then the input scale, if there is one.
    X : array_like of shape (n_samples, n_inputs)
        Inputs.
    Y : array_like of shape (n_samples, n_outputs) or (n_samples,)
        Targets, or class indices.
    w : array_like of shape (n_samples,), optional
        Sample weights.
    masks : sequence of ndarray of shape (n_samples, size), optional
        Dropout masks of the hidden layers, already scaled by 1/(1 - rate).

    Returns
    -------
    ndarray of shape (n_params,)
    """
    flat, X = np.asarray(flat, np.float64), np.asarray(X, np.float64)
    chunk = max(1, CHUNK // (len(X) * max(network.sizes)))
    result = np.empty(flat.size)
    for start in range(0, flat.size, chunk):
        indices = np.arange(start, min(start + chunk, flat.size))
        stack = np.tile(flat.astype(np.complex128), (len(indices), 1))
        stack[np.arange(len(indices)), indices] += 1j * H
        result[indices] = loss(network, stack, X, Y, w, masks).imag / H
    return result


def input_gradient(
    network: Network, flat: ArrayLike, X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Return d loss / d X.

    A sample's loss depends on its own row alone, so one step a feature, taken by all rows at once, is enough.
    """
    flat, X = np.asarray(flat, np.float64), np.asarray(X, np.float64)
    steps = 1j * H * np.eye(X.shape[1])
    stack = X + steps[:, None, :]
    losses = sample_losses(network, logits_of(network, flat, stack, None), targets(network, Y))
    return (losses.imag / H).T * mean_weights(w, len(X))[:, None]
