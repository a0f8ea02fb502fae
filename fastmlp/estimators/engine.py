"""An estimator's network and the backend that computes it: what is made anew, rather than pickled."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_

import numpy as np

from fastmlp.backends import Work, choose, make_backend, resolve
from fastmlp.backends.base import Backend
from fastmlp.network import MLP
from fastmlp.parameters import Array
from fastmlp.spec import NetworkSpec

Arrays = Sequence[Array]


class Engine:
    """A network whose parameters are an estimator's coefficients, and its backend.

    Parameters
    ----------
    spec : NetworkSpec
    backend : str
        "naive", "numpy" or "numba": which it is has been decided.
    strict : bool
    threads : int or None
    seed : int
        Of dropout masks.

    Attributes
    ----------
    net : MLP
    backend : Backend
        For training; `net` has its own for single calls.
    """

    def __init__(self, spec: NetworkSpec, backend: str, *, strict: bool, threads: int | None, seed: int = 0) -> None:
        self.net = MLP(
            spec.layer_sizes,
            spec.activations,
            spec.output_activation,
            spec.loss,
            backend=backend,
            dtype=spec.dtype,
            strict=strict,
            threads=threads,
            seed=seed,
            dropout=spec.dropout,
            quantiles=spec.quantiles or None,
        )
        self.backend: Backend = make_backend(backend, spec, strict=strict, threads=threads)

    def serves(self, spec: NetworkSpec, backend: str, *, strict: bool, threads: int | None) -> bool:
        """Return whether the engine is as one made of these would be."""
        net = self.net
        return net.spec == spec and (net.backend, net.strict, net.threads) == (backend, strict, threads)

    def fill(self, coefs: Arrays, intercepts: Arrays) -> None:
        """Copy coefficients into the network.

        Raises
        ------
        ValueError
            If their shapes are not those of the layers.
        """
        check_shapes("coefs_", coefs, self.net.weights)
        check_shapes("intercepts_", intercepts, self.net.biases)
        for W, coef in zip(self.net.weights, coefs, strict=True):
            W[...] = coef
        for b, intercept in zip(self.net.biases, intercepts, strict=True):
            b[...] = intercept

    def holds(self, coefs: Arrays, intercepts: Arrays) -> bool:
        """Return whether these are the network's own arrays, so that writing to them counts."""
        net = self.net
        return all(map(is_, coefs, net.weights)) and all(map(is_, intercepts, net.biases))


def check_shapes(name: str, given: Arrays, own: Arrays) -> None:
    """Raise ValueError unless arrays have the shapes of the layers' own."""
    shapes, expected = ([np.shape(array) for array in arrays] for arrays in (given, own))
    if shapes != expected:
        msg = f"{name} has shapes {shapes}; expected {expected}, one a layer"
        raise ValueError(msg)


def backend_for(backend: str, spec: NetworkSpec, work: Work, *, strict: bool) -> str:
    """Return the name of the backend that a fit of this size takes."""
    return choose(resolve(backend), spec, work, strict=strict).name
