"""The registry of backends: the one place that knows them by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

import numpy as np

from fastmlp._environment import NO_COMPILING, may_compile
from fastmlp._names import check_name
from fastmlp.backends.base import Backend
from fastmlp.spec import NetworkSpec

AUTO = "auto"
ENVIRONMENT = "FASTMLP_BACKEND"

_CLASSES = {
    "naive": ("fastmlp.backends.naive", "NaiveBackend"),
    "numpy": ("fastmlp.backends.numpy", "NumpyBackend"),
    "numba": ("fastmlp.backends.numba", "make"),
}
REFERENCE = "naive"
_AUTO_DEFAULT = "numpy"


def available_backends() -> tuple[str, ...]:
    """Return the names of the backends, the reference first.

    Examples
    --------
    >>> available_backends()
    ('naive', 'numpy', 'numba')
    """
    return tuple(_CLASSES)


def resolve(backend: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the backend that a user's word means: "auto" is what FASTMLP_BACKEND says, where it is set.

    Raises
    ------
    TypeError, ValueError
        If the word, or what the variable holds, is no backend.
    """
    if check_name("backend", backend, (*_CLASSES, AUTO)) == AUTO and environment.get(ENVIRONMENT):
        return check_name(f"the environment's {ENVIRONMENT}", environment[ENVIRONMENT], (*_CLASSES, AUTO))
    return backend


def make_backend(name: str, spec: NetworkSpec, *, strict: bool, threads: int | None) -> Backend:
    """Return a backend for a spec; its module is imported now and not before."""
    module, attribute = _CLASSES[_AUTO_DEFAULT if name == AUTO else name]
    backend: Backend = getattr(import_module(module), attribute)(spec, strict=strict, threads=threads)
    return backend


@dataclass(frozen=True)
class Work:
    """The size of a call.

    Attributes
    ----------
    n_samples : int
        Rows of X.
    epochs : int
        Times that they are trained on; 0 for a call that does not train.
    batch_size : int
        Rows of a step.
    """

    n_samples: int
    epochs: int = 0
    batch_size: int = 32


@dataclass(frozen=True)
class Choice:
    """A backend and, in a sentence, why it was chosen."""

    name: str
    reason: str


class _Costs(NamedTuple):
    """Seconds of a backend: before the first step, a step, each layer's calls in it, an output, a multiply-add."""

    start: float
    step: float
    layer: float
    activation: float  # of a layer, for a sample, forward and back
    multiply_add: float


# Measured with the benchmarks of this project on one core of a server and rounded to one digit: only their order of
# magnitude enters the choice. What Numba begins with is half of what loading kernels takes, 0.05 s, once a process: its
# fits are seldom one, and from the second one on nobody waits for longer than without. Multiply-adds are of float32.
_COSTS = {
    ("numpy", False): _Costs(0.0, 0.0, 2e-5, 4e-9, 5e-11),
    ("numba", False): _Costs(0.025, 5e-7, 0.0, 5e-10, 3e-11),
    ("numpy", True): _Costs(0.0, 0.0, 2e-4, 4e-8, 1e-9),
    ("numba", True): _Costs(0.025, 2e-6, 0.0, 1e-8, 1e-10),
}


_BYTES = 4  # of a number, in what was measured


def choose(backend: str, spec: NetworkSpec, work: Work, *, strict: bool) -> Choice:
    """Return the backend for a call: the one asked for, or, for "auto", the one that should end first.

    The choice depends on the size of the work alone, not on this machine's state: the same call takes the
    same backend wherever it runs. Loading kernels counts, whether or not this process has done it, as if shared with
    one more such fit; compiling them, once for all processes, does not. (Where the environment forbids Numba to
    compile, there is nothing to choose.)
    """
    if backend != AUTO:
        return Choice(backend, f"the {backend} backend, because it was asked for")
    if not work.epochs:
        return Choice(_AUTO_DEFAULT, "the numpy backend, because a single call would not pay for loading kernels")
    if not may_compile():
        return Choice(_AUTO_DEFAULT, f"the numpy backend, because {NO_COMPILING} is set")
    numpy, numba = (_estimate(_COSTS[name, strict], spec, work) for name in ("numpy", "numba"))
    compared = f"{_duration(numpy)} with numpy against {_duration(numba)} with numba, half of loading kernels included"
    name = "numba" if numba < numpy else "numpy"
    return Choice(name, f"the {name} backend, because this fit is an estimated {compared}")


def _estimate(costs: _Costs, spec: NetworkSpec, work: Work) -> float:
    """Return the seconds that a fit should take."""
    steps = work.epochs * -(-work.n_samples // work.batch_size)
    rows = work.n_samples * work.epochs
    activations = sum(spec.layer_sizes[1:]) * rows
    n_bytes = np.dtype(spec.dtype).itemsize
    multiply_adds = 3 * sum(fan_in * fan_out for fan_in, fan_out in spec.shapes) * rows * n_bytes / _BYTES
    of_steps = costs.start + steps * (costs.step + spec.n_layers * costs.layer)
    return of_steps + activations * costs.activation + multiply_adds * costs.multiply_add


def _duration(seconds: float) -> str:
    minute, hour = 60, 3600
    if seconds < minute:
        return f"{seconds:.2g} s"
    return f"{seconds / minute:.2g} min" if seconds < hour else f"{seconds / hour:.2g} h"
