"""The registry of backends: the one place that knows them by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

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


# Seconds, measured with the benchmarks of this project on one core of a server and rounded to one
# digit: only their order of magnitude enters the choice.
_NUMPY_LAYER_STEP = 2e-5  # the calls that one layer makes in a training step
_NUMPY_ACTIVATION = 4e-9  # what is done to an output of a layer for a sample, forward and back
_NUMPY_MULTIPLY_ADD = 5e-11
_NUMBA_STEP = 5e-7
_NUMBA_ACTIVATION = 5e-10
_NUMBA_MULTIPLY_ADD = 3e-11
_NUMBA_START = 0.05  # loading kernels, once a process


def choose(backend: str, spec: NetworkSpec, work: Work) -> Choice:
    """Return the backend for a call: the one asked for, or, for "auto", the one that should end first.

    The choice depends on the size of the work alone, not on this machine's state: the same call takes the
    same backend wherever it runs. Loading kernels counts, whether or not this process has done it; compiling them, once
    for all processes, does not.
    """
    if backend != AUTO:
        return Choice(backend, f"the {backend} backend, because it was asked for")
    if not work.epochs:
        return Choice(_AUTO_DEFAULT, "the numpy backend, because a single call would not pay for loading kernels")
    numpy, numba = _estimate(spec, work)
    compared = f"{_duration(numpy)} with numpy against {_duration(numba)} with numba, loading its kernels included"
    name = "numba" if numba < numpy else "numpy"
    return Choice(name, f"the {name} backend, because this fit is an estimated {compared}")


def _estimate(spec: NetworkSpec, work: Work) -> tuple[float, float]:
    """Return the seconds that a fit should take with numpy and with numba."""
    steps = work.epochs * -(-work.n_samples // work.batch_size)
    rows = work.n_samples * work.epochs
    activations = sum(spec.layer_sizes[1:]) * rows
    multiply_adds = 3 * sum(fan_in * fan_out for fan_in, fan_out in spec.shapes) * rows
    numpy = steps * spec.n_layers * _NUMPY_LAYER_STEP
    numpy += activations * _NUMPY_ACTIVATION + multiply_adds * _NUMPY_MULTIPLY_ADD
    numba = _NUMBA_START + steps * _NUMBA_STEP
    numba += activations * _NUMBA_ACTIVATION + multiply_adds * _NUMBA_MULTIPLY_ADD
    return numpy, numba


def _duration(seconds: float) -> str:
    minute, hour = 60, 3600
    if seconds < minute:
        return f"{seconds:.2g} s"
    return f"{seconds / minute:.2g} min" if seconds < hour else f"{seconds / hour:.2g} h"
