"""Parameters: one flat vector, a view of it for each layer, and how it begins."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._names import check_name
from fastmlp.activations import ACTIVATIONS

if TYPE_CHECKING:
    from fastmlp.spec import NetworkSpec

Array = NDArray[Any]  # float32 or float64, as the spec says

ALIGNMENT = 64  # bytes: a line of the cache, and the widest register


def aligned(n: int, dtype: str) -> Array:
    """Return n zeros that begin at a line of the cache."""
    raw = np.zeros(n + ALIGNMENT // np.dtype(dtype).itemsize, dtype)
    start = (-raw.ctypes.data % ALIGNMENT) // raw.itemsize
    return raw[start : start + n]


class Parameters:
    """The weights and biases of a network, and its input scale if it has one, or a gradient with respect to them.

    Parameters
    ----------
    layer_sizes : tuple of int
        (n_in, *hidden, n_out).
    flat : ndarray of shape (n_params,), float32 or float64, C-contiguous
        The values: W of the first layer in C order, its b, W of the second layer, and so on. If n_in more follow, they
        are the input scale. It is held, not copied.

    Attributes
    ----------
    flat : ndarray of shape (n_params,)
    weights : tuple of ndarray of shape (fan_in, fan_out)
        Views of `flat`, one a layer, so that ``Z = A @ W + b``.
    biases : tuple of ndarray of shape (fan_out,)
        Views of `flat`, one a layer.
    input_scale : ndarray of shape (n_in,), or None
        A view of `flat`: what each feature is multiplied with, where the network has such factors.
    """

    __slots__ = ("biases", "flat", "input_scale", "layer_sizes", "weights")

    def __init__(self, layer_sizes: tuple[int, ...], flat: Array) -> None:
        self.layer_sizes = layer_sizes
        self.flat = flat
        weights, biases, start = [], [], 0
        for fan_in, fan_out in pairwise(layer_sizes):
            middle, stop = start + fan_in * fan_out, start + (fan_in + 1) * fan_out
            weights.append(flat[start:middle].reshape(fan_in, fan_out))
            biases.append(flat[middle:stop])
            start = stop
        self.weights, self.biases = tuple(weights), tuple(biases)
        self.input_scale = flat[start:] if start < flat.size else None

    @classmethod
    def empty(cls, spec: NetworkSpec) -> Parameters:
        """Return parameters of the spec's shapes and dtype, all zero."""
        return cls(spec.layer_sizes, aligned(spec.n_params, spec.dtype))

    def copy(self) -> Parameters:
        """Return the same values in memory of their own."""
        flat = aligned(self.flat.size, self.flat.dtype.name)
        flat[...] = self.flat
        return Parameters(self.layer_sizes, flat)

    def check_writable(self) -> None:
        """Raise ValueError if they cannot be trained: kernels would write to memory that is not to be written to."""
        if not self.flat.flags.writeable:
            raise ValueError(
                "the network's parameters are read-only, as those of one loaded into mapped memory are; expected "
                "parameters that training can change, so train a copy, copy.deepcopy(net)"
            )

    def __reduce__(self) -> tuple[type[Parameters], tuple[tuple[int, ...], Array]]:
        return Parameters, (self.layer_sizes, self.flat)

    def __repr__(self) -> str:
        return f"Parameters({'-'.join(map(str, self.layer_sizes))}, {self.flat.size} values, {self.flat.dtype})"


def initialise(spec: NetworkSpec, init: str, generator: np.random.Generator) -> Parameters:
    """Return the parameters that a network begins with.

    Every scheme draws from a uniform distribution whose variance is the one that the scheme asks for:
    uniform draws are the same on every machine.

    Parameters
    ----------
    spec : NetworkSpec
    init : {"auto", "he", "glorot", "lecun", "uniform", "zeros"}
        "auto" is He's for a layer whose activation is of the ReLU family, Glorot's for the others.
        "uniform" draws weights and biases from (-1, 1); biases are zero in all others. An input scale is all ones.
    generator : numpy.random.Generator

    Warns
    -----
    UserWarning
        With "zeros" and a hidden layer: its units stay identical.

    References
    ----------
    Glorot and Bengio 2010 (variance 2 / (fan_in + fan_out)); He et al. 2015 (2 / fan_in); LeCun et al. 1998
    (1 / fan_in).
    """
    check_name("init", init, ("auto", *_VARIANCES, "uniform", "zeros"))
    parameters = Parameters.empty(spec)
    if parameters.input_scale is not None:
        parameters.input_scale[...] = 1.0
    if init == "zeros":
        if spec.activations:
            warnings.warn(
                'init="zeros" trains, but the units of a hidden layer get the same gradient and stay identical; '
                'use init="auto"',
                UserWarning,
                stacklevel=3,
            )
        return parameters
    for W, b, name in zip(parameters.weights, parameters.biases, spec.all_activations, strict=True):
        W[...] = (2.0 * generator.random(W.shape) - 1.0) * _limit(init, name, W.shape)
        if init == "uniform":
            b[...] = 2.0 * generator.random(b.shape) - 1.0
    return parameters


_VARIANCES: dict[str, Callable[[int, int], float]] = {
    "he": lambda fan_in, _: 2 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "lecun": lambda fan_in, _: 1 / fan_in,
}


def _limit(init: str, activation: str, shape: tuple[int, ...]) -> float:
    """Return the half-width of the uniform distribution with the variance that the scheme asks for."""
    if init == "uniform":
        return 1.0
    if init == "auto":
        init = "he" if activation in ACTIVATIONS and ACTIVATIONS[activation].rectifier else "glorot"
    fan_in, fan_out = shape
    return math.sqrt(3 * _VARIANCES[init](fan_in, fan_out))
