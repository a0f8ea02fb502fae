"""Gradients by the complex step: the loss in complex arithmetic, and no derivative written down.

A function that is analytic around x and real there satisfies ``f(x + ih) = f(x) + ih f'(x) + O(h**2)``, so
the imaginary part of ``f(x + ih) / h`` is the derivative. No two nearby numbers are subtracted, so nothing
cancels and h may be so small that its square underflows: the result is as exact as f itself.

References
----------
W. Squire and G. Trapp, *Using Complex Variables to Estimate Derivatives of Real Functions*, 1998.
J. Martins, P. Sturdza and J. Alonso, *The Complex-Step Derivative Approximation*, 2003.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastmlp.backends.base import Batch, Floats, Indices, dense_rows
from fastmlp.gradcheck.complex_functions import Complexes, activate, sample_losses
from fastmlp.parameters import Parameters
from fastmlp.spec import NetworkSpec

STEP = 1e-200
RELATIVE_STEP, LEAST_STEP = 1e-20, 1e-290
# Samples, and complex numbers of a layer, that go through the network together: half a megabyte stays in the
# processor's cache, and a product with so few rows is not worth a second thread to BLAS.
ROWS, CHUNK = 128, 2**15


def derivative(function: Callable[[Any], Any], x: Floats) -> Floats:
    """Return f'(x), element by element, of a function that acts on each element alone.

    The step is small beside x, too, so that log is differentiated rightly at 1e-250.
    """
    step = np.maximum(RELATIVE_STEP * np.abs(x), LEAST_STEP)
    result: Floats = np.imag(function(x + 1j * step)) / step
    return result


def gradient(spec: NetworkSpec, parameters: Parameters, batch: Batch, indices: Indices | None = None) -> Floats:
    """Return the derivative of the loss with respect to some parameters, each by a complex step of its own.

    Parameters
    ----------
    spec : NetworkSpec
    parameters : Parameters
    batch : Batch
    indices : ndarray of shape (k,), int64, optional
        Positions in `parameters.flat`; all by default.

    Returns
    -------
    ndarray of shape (k,), float64

    Notes
    -----
    Memory is bounded: blocks of samples and, for each, chunks of parameters go through the network together.
    """
    wanted = np.arange(spec.n_params) if indices is None else indices
    exact = Parameters(spec.layer_sizes, parameters.flat.astype(np.float64))
    result = _of_penalty(spec, exact.flat, batch.l2)[wanted]
    with np.errstate(all="ignore"):  # what leaves the range of numbers shows in the result
        for rows in _blocks(len(batch.X), ROWS):
            part = _part(spec, batch, rows)
            result += _of_samples(spec, exact, part, wanted)
            if exact.input_scale is not None:
                result += _of_scale(spec, exact, part, wanted)
    return result


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _part(spec: NetworkSpec, batch: Batch, rows: slice) -> tuple[Floats, Floats, Floats]:
    """Return inputs, dense targets, and each sample's share of the loss, in binary64."""
    X = batch.X[rows].astype(np.float64)
    targets = dense_rows(batch.Y, rows, np.empty((len(X), spec.n_outputs)))
    weights = np.ones(len(X)) if batch.weights is None else batch.weights[rows]
    return X, targets, weights / batch.total


def _of_samples(
    spec: NetworkSpec, parameters: Parameters, part: tuple[Floats, Floats, Floats], wanted: Indices
) -> Floats:
    """Return what some samples contribute, layer by layer: the layers below a parameter stay real."""
    X, targets, shares = part
    A = _scaled(parameters, X)
    result = np.zeros(wanted.size)
    start = 0
    for layer, (fan_in, fan_out) in enumerate(spec.shapes):
        W, b = parameters.weights[layer], parameters.biases[layer]
        Z = A @ W + b
        positions = np.flatnonzero((wanted >= start) & (wanted < start + (fan_in + 1) * fan_out))
        # A bias is the weight of an input that is always 1, and the flat order has it in the row below W.
        inputs = np.column_stack((A, np.ones(len(A))))
        for chunk in _blocks(positions.size, max(1, CHUNK // (len(A) * max(spec.layer_sizes[1:])))):
            row, column = np.divmod(wanted[positions[chunk]] - start, fan_out)
            stepped = np.tile(Z.astype(np.complex128), (row.size, 1, 1))
            stepped[np.arange(row.size), :, column] += 1j * STEP * inputs.T[row]
            losses = sample_losses(spec, _logits_from(spec, parameters, layer, stepped), targets)
            result[positions[chunk]] = losses.imag @ shares / STEP
        A = activate(spec.all_activations[layer], Z.astype(np.complex128)).real
        start += (fan_in + 1) * fan_out
    return result


def _of_scale(
    spec: NetworkSpec, parameters: Parameters, part: tuple[Floats, Floats, Floats], wanted: Indices
) -> Floats:
    """Return what some samples contribute to the derivatives by the input scale, the last of the parameters."""
    X, targets, shares = part
    W, start = parameters.weights[0], spec.n_params - spec.n_inputs
    Z = _scaled(parameters, X) @ W + parameters.biases[0]
    result, positions = np.zeros(wanted.size), np.flatnonzero(wanted >= start)
    for chunk in _blocks(positions.size, max(1, CHUNK // (len(X) * max(spec.layer_sizes[1:])))):
        features = wanted[positions[chunk]] - start
        stepped = Z + 1j * STEP * (X.T[features, :, None] * W[features, None, :])
        losses = sample_losses(spec, _logits_from(spec, parameters, 0, stepped), targets)
        result[positions[chunk]] = losses.imag @ shares / STEP
    return result


def _scaled(parameters: Parameters, X: Floats) -> Floats:
    """Return what enters the first layer."""
    return X if parameters.input_scale is None else X * parameters.input_scale


def _logits_from(spec: NetworkSpec, parameters: Parameters, layer: int, Z: Complexes) -> Complexes:
    """Return Z of the last layer from Z of a layer."""
    for above in range(layer + 1, spec.n_layers):
        A = activate(spec.all_activations[above - 1], Z)
        Z = A @ parameters.weights[above] + parameters.biases[above]
    return Z


def _of_penalty(spec: NetworkSpec, flat: Floats, l2: float) -> Floats:
    """Return what l2 adds: the complex step of 0.5 * l2 * w**2 for every weight, 0 for a bias or a scale."""
    result = Parameters(spec.layer_sizes, derivative(lambda w: 0.5 * l2 * (w * w), flat))
    for b in result.biases:
        b[...] = 0.0
    if result.input_scale is not None:
        result.input_scale[...] = 0.0
    return result.flat
