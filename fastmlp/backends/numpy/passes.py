"""The story of a batch: forward through the layers to the loss, and back with delta to the gradient.

It is told to a `Do` (`fastmlp.backends.numpy.calls`), so that the same lines serve a batch that comes once and the
steps of a training.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastmlp import dropout as masks
from fastmlp.backends.base import Dropout
from fastmlp.backends.numpy.calls import Do
from fastmlp.backends.numpy.fast import FastArithmetic
from fastmlp.backends.numpy.strict import StrictArithmetic
from fastmlp.backends.numpy.workspace import Kind, Views
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec


class Passes:
    """A network's passes, in fast or in strict arithmetic."""

    def __init__(self, spec: NetworkSpec, *, strict: bool) -> None:
        self.spec = spec
        self.arithmetic = StrictArithmetic(spec) if strict else FastArithmetic(spec)

    def forward(self, do: Do, parameters: Parameters, X: Array, views: Views, *, dropped: bool = False) -> None:
        """Write Z and A of every layer; with `dropped`, units are dropped as ``views.factors`` say."""
        arithmetic, last = self.arithmetic, len(views.Z) - 1
        arrays = zip(parameters.weights, parameters.biases, views.Z, views.A, views.scratch, strict=True)
        inputs = X
        if parameters.input_scale is not None:
            arithmetic.multiply(do, X, parameters.input_scale, views.inputs)
            inputs = views.inputs
        for i, (W, b, Z, A, scratch) in enumerate(arrays):
            arithmetic.affine(do, inputs, W, b, Z)
            arithmetic.activate(do, i, Z, A, scratch)
            inputs = A
            if dropped and i < last:
                arithmetic.multiply(do, inputs, views.factors[i], views.dropped[i])
                inputs = views.dropped[i]

    def loss(self, do: Do, parameters: Parameters, X: Array, views: Views, kind: Kind) -> Callable[[], float]:
        """Run forward, and return what gives the weighted sum of the samples' losses, until `gradient` follows."""
        self.forward(do, parameters, X, views, dropped=kind.dropped)
        return self.arithmetic.total_loss(do, views, kind)

    def gradient(
        self, do: Do, parameters: Parameters, X: Array, views: Views, kind: Kind, gradient: Parameters | None
    ) -> None:
        """Run delta back through the layers; write the gradient on the way, where one is wanted."""
        arithmetic = self.arithmetic
        outputs = views.dropped if kind.dropped else views.A
        entering = X if parameters.input_scale is None else views.inputs
        arithmetic.output_delta(do, views, kind)
        for i in range(len(views.Z) - 1, -1, -1):
            delta, W = views.delta[i], parameters.weights[i]
            if gradient is not None:
                inputs = outputs[i - 1] if i else entering
                arithmetic.weight_gradient(do, inputs, delta, gradient.weights[i])
                arithmetic.bias_gradient(do, delta, views.scratch[i], gradient.biases[i])
                if kind.l2:
                    arithmetic.add_scaled(do, kind.l2, W, gradient.weights[i])
            if i:
                before = views.delta[i - 1]
                arithmetic.back(do, delta, W, before)
                if kind.dropped:
                    arithmetic.multiply(do, before, views.factors[i - 1], before)
                arithmetic.multiply_derivative(do, i - 1, views, before)
        if gradient is not None and gradient.input_scale is not None:
            arithmetic.back(do, views.delta[0], parameters.weights[0], views.slopes)
            arithmetic.scale_gradient(do, X, views.slopes, views.scratch[0], gradient.input_scale)

    def write_factors(self, dropout: Dropout, views: Views) -> None:
        """Write 0 for a dropped unit, 1 / (1 - p) for one that stays."""
        for layer, out in enumerate(views.factors):
            n_rows, n_units = out.shape
            key = masks.layer_key(dropout.seed, dropout.step, layer)
            hashes = masks.unit_hash(key, np.arange(n_rows)[:, None], np.arange(n_units))
            np.multiply(hashes >= masks.threshold(self.spec.dropout), 1.0 / (1.0 - self.spec.dropout), out=out)

    def penalty(self, parameters: Parameters, l2: float) -> float:
        """Return what l2 adds to the loss."""
        return 0.5 * l2 * self.arithmetic.sum_of_squares(parameters) if l2 else 0.0
