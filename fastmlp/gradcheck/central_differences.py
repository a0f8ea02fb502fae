"""Derivatives of a network's own loss by central differences, each with a bound on its error.

The loss is that of the network's own backend, on a copy of the network in float64: in float32 a difference of
two losses would have three digits at best.
"""

from __future__ import annotations

import numpy as np

from fastmlp.backends.base import Batch, Floats, Indices
from fastmlp.gradcheck.rounding import SIGMAS, batch_noise
from fastmlp.network import MLP

# Near the cube root of binary64's eps, where truncation, h**2, and rounding, eps / h, are of one size. For a
# parameter above 1 it is multiplied by that.
STEP = 2.0**-17


def central_differences(net: MLP, batch: Batch, indices: Indices) -> tuple[Floats, Floats]:
    """Return the derivatives of ``net.loss`` with respect to some parameters, and how far each may be off.

    Parameters
    ----------
    net : MLP
        It is not written to.
    batch : Batch
    indices : ndarray of shape (k,), int64
        Positions in ``net.parameters.flat``.

    Returns
    -------
    derivatives, errors : ndarray of shape (k,)

    Notes
    -----
    Truncation is estimated with a second step of twice the size: by how much the first difference changes,
    and by how far the second difference is from doubling. For a smooth loss the former is three times the
    error; for a loss with one kink, anywhere within the steps, both together are not below it. Rounding of
    the loss is 16 sigma (`fastmlp.gradcheck.rounding`), divided by the step.
    """
    twin = _float64_copy(net)
    flat = twin.parameters.flat
    rounding = SIGMAS * batch_noise(twin.spec, twin.parameters, batch).loss_sigma

    def loss_at(index: int, value: float) -> float:
        kept, flat[index] = flat[index], value
        loss = twin.loss(batch.X, batch.Y, batch.weights)
        flat[index] = kept
        return loss

    middle = twin.loss(batch.X, batch.Y, batch.weights)
    derivatives, errors = np.empty(indices.size), np.empty(indices.size)
    for k, index in enumerate(indices):
        center = float(flat[index])
        step = STEP * max(1.0, abs(center))
        values = [center - 2.0 * step, center - step, center + step, center + 2.0 * step]
        far_left, left, right, far_right = (loss_at(index, value) for value in values)
        derivatives[k] = (right - left) / (values[2] - values[1])
        wide = (far_right - far_left) / (values[3] - values[0])
        bend = (left - 2.0 * middle + right) / (2.0 * step)
        wide_bend = (far_left - 2.0 * middle + far_right) / (4.0 * step)
        errors[k] = abs(wide - derivatives[k]) + abs(2.0 * bend - wide_bend) + rounding / step
    return derivatives, errors


def _float64_copy(net: MLP) -> MLP:
    spec = net.spec
    twin = MLP(
        spec.layer_sizes,
        spec.activations,
        spec.output_activation,
        spec.loss,
        backend=net.backend,
        dtype="float64",
        strict=net.strict,
        threads=net.threads,
        seed=0,
        l2=spec.l2,
        input_scale=spec.input_scale,
    )
    twin.parameters.flat[...] = net.parameters.flat
    return twin
