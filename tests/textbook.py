"""Backpropagation as a textbook has it, in plain NumPy: what wrong implementations and rounding noise are made from.

One method is one step, so that a wrong implementation (`tests.planted`) overrides the one method in which it is
wrong, and the rounding model (`Noisy`) perturbs what each step returns. It imports nothing from fastmlp. It is no
truth: the complex-step oracle judges it like any backend, and it must pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tests import analytic, bounds, oracle

EULER_SHIFT = analytic.SELU_SCALE * analytic.SELU_ALPHA


class Gradient(NamedTuple):
    """What `loss_and_gradient` returns beside the loss: the part of it that tests read."""

    flat: np.ndarray


# --- derivatives of the activations, and how large the terms are that a rounding is relative to ------------------


def gelu_gate(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return s, 1 - s and d(2u)/dz for the gate s = sigmoid(2u) of gelu."""
    exponent = 2.0 * analytic.GELU_SCALE * (z + analytic.GELU_CUBIC * z**3)
    steep = 2.0 * analytic.GELU_SCALE * (1.0 + 3.0 * analytic.GELU_CUBIC * z**2)
    return analytic.sigmoid(exponent), analytic.sigmoid(-exponent), steep


def gelu_slope(z: np.ndarray, _: np.ndarray) -> np.ndarray:
    """d/dz of z s(2u)."""
    s, rest, steep = gelu_gate(z)
    return s + z * s * rest * steep


def silu_slope(z: np.ndarray, _: np.ndarray) -> np.ndarray:
    """d/dz of z s(z)."""
    return analytic.sigmoid(z) * (1.0 + z * analytic.sigmoid(-z))


def mish_gate(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return t = tanh(s), s = softplus(z), and its slope (1 - t^2) s', where 1 - t^2 does not cancel."""
    s = analytic.softplus(z)
    return np.tanh(s), 4.0 * analytic.sigmoid(2.0 * s) * analytic.sigmoid(-2.0 * s) * analytic.sigmoid(z)


def mish_slope(z: np.ndarray, _: np.ndarray) -> np.ndarray:
    """d/dz of z t(z)."""
    t, steep = mish_gate(z)
    return t + z * steep


def mish_slope_terms(z: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Both summands of the slope."""
    t, steep = mish_gate(z)
    return t + np.abs(z) * steep


def one(z: np.ndarray, _: np.ndarray) -> np.ndarray:
    """1."""
    return np.ones_like(z)


SLOPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "identity": one,
    "sigmoid": lambda _, a: a * (1.0 - a),
    "tanh": lambda _, a: (1.0 - a) * (1.0 + a),
    "relu": lambda z, _: np.where(z > 0, 1.0, 0.0),
    "leaky_relu": lambda z, _: np.where(z > 0, 1.0, analytic.LEAKY_SLOPE),
    "elu": lambda z, a: np.where(z > 0, 1.0, a + 1.0),
    "selu": lambda z, a: np.where(z > 0, analytic.SELU_SCALE, a + EULER_SHIFT),
    "softplus": lambda _, a: -np.expm1(-a),
    "gelu": gelu_slope,
    "silu": silu_slope,
    "mish": mish_slope,
    "exp": lambda _, a: a,
}
"""f'(z), from the output a where it can be had from it: then the rounding of a is part of it, as in a backend."""


def gelu_gate_terms(z: np.ndarray) -> np.ndarray:
    """s (1 - s) |2u|: what a relative change of the exponent 2u does to the gate."""
    s, rest, _ = gelu_gate(z)
    return s * rest * 2.0 * analytic.GELU_SCALE * np.abs(z + analytic.GELU_CUBIC * z**3)


def gelu_slope_terms(z: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Both summands of the slope, and what a relative change of the exponent does to them."""
    s, rest, steep = gelu_gate(z)
    return s + np.abs(z) * s * rest * steep + (1.0 + np.abs(z) * steep) * gelu_gate_terms(z)


ACTIVATION_TERMS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "gelu": lambda z, a: np.abs(a) + np.abs(z) * gelu_gate_terms(z),
}
"""The size of what is rounded on the way to an activation a = f(z); where absent, a itself."""

SLOPE_TERMS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "tanh": lambda _, a: 1.0 + a * a,
    "softplus": lambda _, a: 1.0 + np.exp(-a),
    "elu": lambda _, a: 1.0 + np.abs(a),
    "selu": lambda _, a: EULER_SHIFT + np.abs(a),
    "gelu": gelu_slope_terms,
    "silu": lambda z, _: analytic.sigmoid(z) * (1.0 + np.abs(z) * analytic.sigmoid(-z)),
    "mish": mish_slope_terms,
}
"""The same for a slope; where absent, the slope itself."""


# --- derivatives of the losses with respect to the output a ------------------------------------------------------


def loss_slope(loss: str, a: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return d loss / d a of each output of a sample, and the sum of the absolute terms of it."""
    r, n = a - y, y.shape[-1]
    if loss == "mse":
        slope = 2.0 * r / n
    elif loss == "squared_error":
        slope = r
    elif loss == "mae":
        slope = np.sign(r) / n
    elif loss == "huber":
        slope = np.clip(r, -1.0, 1.0) / n
    else:  # poisson without its natural link
        return 1.0 - y / a, 1.0 + y / a
    return slope, np.abs(slope)


def loss_terms(loss: str, z: np.ndarray, a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the sum of the absolute terms of each sample's loss."""
    if loss == "cross_entropy":
        terms = y * (np.log(y.shape[-1]) + 2.0 * (z.max(axis=-1, keepdims=True) - z))
    elif loss == "binary_cross_entropy":
        terms = np.abs(y * z) + analytic.softplus(z)
    elif loss == "poisson":
        terms = a + y * (1.0 + np.abs(np.log(a)))
    else:
        return 2.0 * analytic.LOSSES[loss](a, y)  # of the same sign, from a residual that was rounded itself
    return terms.sum(axis=-1)


class Textbook:
    """A network with fixed parameters that computes in one dtype.

    Parameters
    ----------
    network : oracle.Network
        What is computed.
    flat : array_like of shape (n_params,)
        Parameters.
    dtype : str
        "float32" or "float64"; every array has it.
    """

    def __init__(self, network: oracle.Network, flat: ArrayLike, dtype: str = "float64") -> None:
        self.network, self.dtype = network, dtype
        self.flat = np.asarray(flat, dtype)
        self.layers = list(oracle.layers(network.sizes, self.flat))
        self.scale = self.flat[..., None, -network.sizes[0] :] if network.input_scale else None
        self.last = len(self.layers) - 1

    # the steps

    def rounded(self, value: np.ndarray, terms: np.ndarray) -> np.ndarray:  # noqa: ARG002  for `Noisy`
        """Return what is stored of a computed value whose absolute terms add up to `terms`."""
        return value.astype(self.dtype, copy=False)

    def summed(self, total: np.ndarray, terms: np.ndarray, n_terms: int) -> np.ndarray:
        """Return what is stored of a sum: the more terms, the longer the running sum is rounded while it is large."""
        return self.rounded(total, terms + bounds.DRIFT * np.sqrt(n_terms) * np.abs(total))

    def pre_activation(self, layer: int, A: np.ndarray) -> np.ndarray:
        """Return Z = A W + b."""
        W, b = self.layers[layer]
        return self.summed(A @ W + b, np.abs(A) @ np.abs(W) + np.abs(b), A.shape[-1])

    def activation(self, name: str, Z: np.ndarray) -> np.ndarray:
        """Return A = f(Z)."""
        A = analytic.OUTPUTS[name](Z)
        return self.rounded(A, ACTIVATION_TERMS[name](Z, A) if name in ACTIVATION_TERMS else np.abs(A))

    def slope(self, name: str, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
        """Return f'(Z)."""
        slope = SLOPES[name](Z, A)
        return self.rounded(slope, SLOPE_TERMS[name](Z, A) if name in SLOPE_TERMS else np.abs(slope))

    def shares(self, w: ArrayLike | None, n_samples: int) -> np.ndarray:
        """Each sample's part of the mean."""
        return oracle.mean_weights(w, n_samples).astype(self.dtype)[:, None]

    def output_delta(self, Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
        """d loss / d Z of each sample, of the last layer."""
        network = self.network
        if (network.loss, network.output) in analytic.NATURAL_LINKS:
            mass = Y.sum(axis=-1, keepdims=True) if network.output == "softmax" else 1.0
            return self.rounded(A * mass - Y, np.abs(A * mass - Y))
        s = self.rounded(*loss_slope(network.loss, A, Y))
        if network.output == "softmax":
            mean = (A * s).sum(axis=-1, keepdims=True)
            terms = np.abs(A) * (np.abs(s) + (A * np.abs(s)).sum(axis=-1, keepdims=True))
            return self.rounded(A * (s - mean), terms)
        delta = s * self.slope(network.output, Z, A)
        return self.rounded(delta, np.abs(delta))

    def propagated(self, layer: int, delta: np.ndarray) -> np.ndarray:
        """d loss / d A of what enters a layer."""
        W = self.layers[layer][0].swapaxes(-1, -2)
        return self.summed(delta @ W, np.abs(delta) @ np.abs(W), delta.shape[-1])

    def hidden_delta(self, layer: int, dA: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
        """d loss / d Z of a hidden layer."""
        delta = dA * self.slope(self.network.activations[layer], Z, A)
        return self.rounded(delta, np.abs(delta))

    def weight_gradient(self, layer: int, A: np.ndarray, delta: np.ndarray) -> np.ndarray:
        """dW: what entered the layer, times its delta, summed over the batch; l2 included."""
        W, l2 = self.layers[layer][0], self.network.l2
        A = A.swapaxes(-1, -2)
        return self.summed(A @ delta + l2 * W, np.abs(A) @ np.abs(delta) + l2 * np.abs(W), A.shape[-1])

    def bias_gradient(self, layer: int, delta: np.ndarray) -> np.ndarray:  # noqa: ARG002  for wrong implementations
        """db: the delta summed over the batch."""
        return self.summed(delta.sum(axis=-2), np.abs(delta).sum(axis=-2), delta.shape[-2])

    def inputs(self, X: np.ndarray) -> np.ndarray:
        """Return what enters the first layer: X times the scale, if there is one."""
        return X if self.scale is None else self.rounded(X * self.scale, np.abs(X * self.scale))

    def scale_gradient(self, X: np.ndarray, dA: np.ndarray) -> np.ndarray:
        """d loss / d scale: X times the derivative by what is made of it, summed over the batch."""
        terms = X * dA
        return self.summed(terms.sum(axis=-2), np.abs(terms).sum(axis=-2), terms.shape[-2])

    # the passes

    def forward(self, X: ArrayLike) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Z of every layer, and what enters the first followed by A of every layer."""
        Zs, As = [], [self.inputs(np.asarray(X, self.dtype))]
        for layer, name in enumerate((*self.network.activations, self.network.output)):
            Zs.append(self.pre_activation(layer, As[-1]))
            As.append(self.activation(name, Zs[-1]))
        return Zs, As

    def backward(self, X: ArrayLike, Y: ArrayLike, w: ArrayLike | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Gradients W0, b0, W1, b1 ... and that of the scale, if there is one, and the deltas of the layers."""
        Zs, As = self.forward(X)
        rows = oracle.targets(self.network, Y).astype(self.dtype)
        delta = self.output_delta(Zs[-1], As[-1], rows) * self.shares(w, len(rows))
        delta = self.rounded(delta, np.abs(delta))
        tensors, deltas = [], [delta]
        for layer in range(self.last, -1, -1):
            tensors += [self.bias_gradient(layer, delta), self.weight_gradient(layer, As[layer], delta)]
            if layer:
                delta = self.hidden_delta(layer - 1, self.propagated(layer, delta), Zs[layer - 1], As[layer])
                deltas.append(delta)
        tensors.reverse()
        if self.scale is not None:
            tensors.append(self.scale_gradient(np.asarray(X, self.dtype), self.propagated(0, delta)))
        return tensors, deltas[::-1]

    # what a network offers

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the outputs."""
        return self.forward(X)[1][-1]

    def hidden_activations(self, X: ArrayLike) -> list[np.ndarray]:
        """Activations of the hidden layers."""
        return self.forward(X)[1][1:-1]

    def loss(self, X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None) -> np.ndarray:
        """Loss, l2 included."""
        network, (Zs, As) = self.network, self.forward(X)
        rows = oracle.targets(network, Y)
        link = analytic.NATURAL_LINKS.get((network.loss, network.output))
        losses = link(Zs[-1], rows) if link else analytic.LOSSES[network.loss](As[-1], rows)
        shares = oracle.mean_weights(w, len(rows))
        parts = self.rounded(losses, loss_terms(network.loss, Zs[-1], As[-1], rows)) * shares
        penalty = 0.5 * network.l2 * sum((W**2).sum(axis=(-2, -1)) for W, _ in self.layers)
        terms = np.abs(parts).sum(axis=-1) + penalty
        return self.summed(parts.sum(axis=-1) + penalty, terms, max(len(rows), self.flat.shape[-1]))

    def loss_and_gradient(self, X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None) -> tuple[np.ndarray, Gradient]:
        """Loss, and the gradient as one flat vector."""
        tensors, _ = self.backward(X, Y, w)
        lead = self.flat.shape[:-1]
        flat = np.concatenate([tensor.reshape(*lead, -1) for tensor in tensors], axis=-1)
        return self.loss(X, Y, w), Gradient(flat)

    def input_gradient(self, X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None) -> np.ndarray:
        """d loss / d X."""
        dA = self.propagated(0, self.backward(X, Y, w)[1][0])
        return dA if self.scale is None else self.rounded(dA * self.scale, np.abs(dA * self.scale))


class Noisy(Textbook):
    """The same in binary64, with Gaussian noise added to what every step returns.

    Its size is `bounds.NOISE` times the sum of the absolute terms of what was computed. The reruns stand in a
    leading axis of the parameters, and so of every result.

    Parameters
    ----------
    network, flat
        As for `Textbook`.
    seed : int
        Of the noise.
    """

    def __init__(self, network: oracle.Network, flat: ArrayLike, seed: int) -> None:
        super().__init__(network, np.tile(np.asarray(flat, np.float64), (bounds.RERUNS, 1)))
        self.generator = np.random.default_rng(seed)

    def rounded(self, value: np.ndarray, terms: np.ndarray) -> np.ndarray:
        """Return the value plus noise."""
        return value + bounds.NOISE * terms * self.generator.standard_normal(value.shape)
