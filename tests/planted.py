"""Wrong implementations, each a textbook network with one method spoiled.

A checker that has never refused anything proves nothing: `test_planted_bugs.py` shows it these. The first group are
slips one makes when writing kernels; the second are gradients that people have published as backpropagation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from tests import analytic, oracle
from tests.textbook import Textbook, loss_slope

LANES = 8


class DroppedBiasGradient(Textbook):
    """The biases never learn."""

    def bias_gradient(self, layer: int, delta: np.ndarray) -> np.ndarray:
        return np.zeros_like(super().bias_gradient(layer, delta))


class MissingMean(Textbook):
    """The gradient of the sum over the batch, with the loss of the mean."""

    def shares(self, w: ArrayLike | None, n_samples: int) -> np.ndarray:
        total = n_samples if w is None else np.sum(w)
        return super().shares(w, n_samples) * np.asarray(total, self.dtype)


class SkippedRemainderColumns(Textbook):
    """A vectorised loop over the outputs of a layer that forgets what is left after the last full vector."""

    def weight_gradient(self, layer: int, A: np.ndarray, delta: np.ndarray) -> np.ndarray:
        dW = super().weight_gradient(layer, A, delta).copy()
        dW[:, dW.shape[1] - dW.shape[1] % LANES :] = 0.0
        return dW


class SkippedRemainderRows(Textbook):
    """The same in the reduction over the inputs of a layer."""

    def pre_activation(self, layer: int, A: np.ndarray) -> np.ndarray:
        W, b = self.layers[layer]
        whole = len(W) - len(W) % LANES
        return A[:, :whole] @ W[:whole] + b


class TransposedWeights(Textbook):
    """Delta goes back through W read in the wrong order."""

    def propagated(self, layer: int, delta: np.ndarray) -> np.ndarray:
        W = self.layers[layer][0]
        return delta @ W.reshape(W.shape[::-1])


class MissingDerivative(Textbook):
    """Delta of a hidden layer without the derivative of its activation."""

    def hidden_delta(self, layer: int, dA: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:  # noqa: ARG002
        return dA


class ScaledGradient(Textbook):
    """A factor that no plot of a loss curve would show."""

    def weight_gradient(self, layer: int, A: np.ndarray, delta: np.ndarray) -> np.ndarray:
        return super().weight_gradient(layer, A, delta) * np.asarray(1.0 + 1e-6, self.dtype)


class LastSampleLeftOut(Textbook):
    """A loop over the batch that ends one too early."""

    def weight_gradient(self, layer: int, A: np.ndarray, delta: np.ndarray) -> np.ndarray:
        return super().weight_gradient(layer, A[:-1], delta[:-1])


class MissingRegularisation(Textbook):
    """The loss has its l2 term, the gradient has not."""

    def weight_gradient(self, layer: int, A: np.ndarray, delta: np.ndarray) -> np.ndarray:  # noqa: ARG002
        return A.T @ delta


class RegularisedBiases(Textbook):
    """The l2 term reaches the biases."""

    def bias_gradient(self, layer: int, delta: np.ndarray) -> np.ndarray:
        return super().bias_gradient(layer, delta) + np.asarray(self.network.l2, self.dtype) * self.layers[layer][1][0]


class IgnoredSampleWeights(Textbook):
    """The loss is weighted, the gradient is not."""

    def shares(self, w: ArrayLike | None, n_samples: int) -> np.ndarray:  # noqa: ARG002
        return super().shares(None, n_samples)


class SwallowedNegatives(Textbook):
    """Every piecewise activation treated as its positive side, as all-positive test data would allow."""

    def activation(self, name: str, Z: np.ndarray) -> np.ndarray:
        return Z if name in {"relu", "leaky_relu", "elu"} else super().activation(name, Z)


class ShiftedLabels(Textbook):
    """Targets of the neighbouring sample."""

    def output_delta(self, Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
        return super().output_delta(Z, A, np.roll(Y, 1, axis=0))


class DroppedScaleGradient(Textbook):
    """The factors of the features never learn."""

    def scale_gradient(self, X: np.ndarray, dA: np.ndarray) -> np.ndarray:
        return np.zeros_like(super().scale_gradient(X, dA))


class ScaleGradientFromScaledInputs(Textbook):
    """The scale's gradient is built from what enters the first layer, in place of X."""

    def scale_gradient(self, X: np.ndarray, dA: np.ndarray) -> np.ndarray:
        return super().scale_gradient(self.inputs(X), dA)


class WeightGradientFromUnscaledInputs(Textbook):
    """dW of the first layer is built from X, in place of what enters the layer."""

    def weight_gradient(self, layer: int, A: np.ndarray, delta: np.ndarray) -> np.ndarray:
        unscaled = A if layer or self.scale is None else A / np.where(self.scale == 0.0, 1.0, self.scale)
        return super().weight_gradient(layer, unscaled.astype(self.dtype), delta)


class UnscaledInputGradient(Textbook):
    """The derivative by what enters the first layer, taken for that by X."""

    def input_gradient(self, X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None) -> np.ndarray:
        return self.propagated(0, self.backward(X, Y, w)[1][0])


class RegularisedScale(Textbook):
    """The l2 term reaches the scale."""

    def scale_gradient(self, X: np.ndarray, dA: np.ndarray) -> np.ndarray:
        assert self.scale is not None
        return super().scale_gradient(X, dA) + np.asarray(self.network.l2, self.dtype) * self.scale[..., 0, :]


# --- published as backpropagation -------------------------------------------------------------------------------


class HiddenErrorWithoutOutputDerivative(Textbook):
    """(a) What is sent back is a - y, without the derivative of the output activation."""

    def backward(self, X: ArrayLike, Y: ArrayLike, w: ArrayLike | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
        rows = oracle.targets(self.network, Y).astype(self.dtype)
        self.error = loss_slope(self.network.loss, self.predict(X), rows)[0] * self.shares(w, len(rows))
        return super().backward(X, Y, w)

    def propagated(self, layer: int, delta: np.ndarray) -> np.ndarray:
        return super().propagated(layer, self.error if layer == self.last else delta)


class RateInPropagatedError(Textbook):
    """(b) The learning rate is multiplied into the error before that goes back to the hidden layer."""

    rate = 0.1

    def propagated(self, layer: int, delta: np.ndarray) -> np.ndarray:
        return super().propagated(layer, np.asarray(self.rate, self.dtype) * delta)


class HiddenBiasStepOnOutputBias(Textbook):
    """(c) The step of the hidden layer's bias is added to the output's bias."""

    def backward(self, X: ArrayLike, Y: ArrayLike, w: ArrayLike | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
        tensors, deltas = super().backward(X, Y, w)
        if self.last:
            tensors[-1] = tensors[-1] + np.resize(tensors[-3], tensors[-1].shape)
            tensors[-3] = np.zeros_like(tensors[-3])
        return tensors, deltas


class SignSwappedBetweenLayers(Textbook):
    """(d) y - a in one layer and a - y in the other."""

    def hidden_delta(self, layer: int, dA: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
        return -super().hidden_delta(layer, dA, Z, A)


class OutputWeightsFromInput(Textbook):
    """(e) dW of the output layer is built from the input in place of the hidden activation."""

    def wrong_inputs(self, X: ArrayLike, Y: ArrayLike) -> ArrayLike:  # noqa: ARG002
        return X

    def backward(self, X: ArrayLike, Y: ArrayLike, w: ArrayLike | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
        self.wrong = np.asarray(self.wrong_inputs(X, Y), self.dtype)
        return super().backward(X, Y, w)

    def weight_gradient(self, layer: int, A: np.ndarray, delta: np.ndarray) -> np.ndarray:
        return super().weight_gradient(layer, np.resize(self.wrong, A.shape) if 0 < layer == self.last else A, delta)


class OutputWeightsFromTarget(OutputWeightsFromInput):
    """(e) The same from the target."""

    def wrong_inputs(self, X: ArrayLike, Y: ArrayLike) -> ArrayLike:  # noqa: ARG002
        return oracle.targets(self.network, Y)


# --- visible to one of the metamorphic relations, or to one of the checks of an activation --------------------------


class LabelsOffByOne(Textbook):
    """Class indices counted from one, rows of probabilities not."""

    def backward(self, X: ArrayLike, Y: ArrayLike, w: ArrayLike | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
        Y = np.asarray(Y)
        return super().backward(X, (Y + 1) % self.network.sizes[-1] if Y.ndim == 1 else Y, w)


class WeightsCountedBySample(Textbook):
    """Weighted, but divided by the number of samples."""

    def shares(self, w: ArrayLike | None, n_samples: int) -> np.ndarray:
        total = n_samples if w is None else np.sum(w)
        return super().shares(w, n_samples) * np.asarray(total / n_samples, self.dtype)


class WrongActivation(Textbook):
    """An activation computed by a formula that one finds in tutorials; `wrong` holds it by name."""

    wrong: ClassVar[dict[str, Callable[[np.ndarray], np.ndarray]]] = {}

    def activation(self, name: str, Z: np.ndarray) -> np.ndarray:
        if name not in self.wrong:
            return super().activation(name, Z)
        with np.errstate(all="ignore"):
            return self.wrong[name](Z).astype(self.dtype)


class ReluWithThreshold(WrongActivation):
    """On from 0.1, not from 0."""

    wrong: ClassVar = {"relu": lambda z: np.where(z > 0.1, z, 0.0)}


class OneSidedTanh(WrongActivation):
    """A polynomial that fits for positive arguments."""

    wrong: ClassVar = {"tanh": lambda z: np.where(z > 0, np.tanh(z), z - z**3 / 3.0)}


class TutorialFormulas(WrongActivation):
    """What overflows, cancels, or is another function: each right to a few digits near 1."""

    wrong: ClassVar = {
        "sigmoid": lambda z: np.exp(z) / (1.0 + np.exp(z)),
        "tanh": lambda z: (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
        "leaky_relu": lambda z: np.where(z > 0, z, 0.010001 * z),
        "elu": lambda z: np.where(z > 0, z, np.exp(z) - 1.0),
        "selu": lambda z: 1.0507 * np.where(z > 0, z, 1.6733 * np.expm1(np.minimum(z, 0.0))),
        "softplus": lambda z: np.log(1.0 + np.exp(z)),
        "gelu": lambda z: 0.5 * z * (1.0 + np.tanh(analytic.GELU_SCALE * (z + analytic.GELU_CUBIC * z**3))),
        "silu": lambda z: z * np.exp(z) / (1.0 + np.exp(z)),
        "mish": lambda z: z * np.tanh(np.log(1.0 + np.exp(z))),
        "exp": lambda z: 1.0 + z + z**2 / 2.0 + z**3 / 6.0,
        "relu": lambda z: np.log1p(np.exp(z)),
        "identity": lambda z: z.astype(np.float16),
        "softmax": lambda z: np.exp(z.astype(np.float16)) / np.exp(z.astype(np.float16)).sum(axis=1, keepdims=True),
    }

    def slope(self, name: str, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
        """Right but for a single wrong bit in half the digits."""
        return super().slope(name, Z, A) * np.asarray(1.0 + 2.0 ** (-10), self.dtype)


SCALES = (
    DroppedScaleGradient,
    ScaleGradientFromScaledInputs,
    WeightGradientFromUnscaledInputs,
    UnscaledInputGradient,
    RegularisedScale,
)
SLIPS = (
    DroppedBiasGradient,
    MissingMean,
    SkippedRemainderColumns,
    SkippedRemainderRows,
    TransposedWeights,
    MissingDerivative,
    ScaledGradient,
    LastSampleLeftOut,
    MissingRegularisation,
    RegularisedBiases,
    IgnoredSampleWeights,
    SwallowedNegatives,
    ShiftedLabels,
    *SCALES,
)
PUBLISHED = (
    HiddenErrorWithoutOutputDerivative,
    RateInPropagatedError,
    HiddenBiasStepOnOutputBias,
    SignSwappedBetweenLayers,
    OutputWeightsFromInput,
    OutputWeightsFromTarget,
)
