"""Compiling all kernels of a dtype ahead of their use, and telling which are kept already."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from fastmlp.backends.base import Backend, Batch
from fastmlp.backends.numba import cache, make, store
from fastmlp.backends.numba.calls import frozen
from fastmlp.parameters import Parameters
from fastmlp.spec import NetworkSpec

_N = 32  # rows enough that no backend takes them for a few


@dataclass(frozen=True)
class Warmth:
    """What was done to have kernels ready.

    Attributes
    ----------
    compiled, found : tuple of str
        The kernels that were compiled, and those that were there already, in the cache or in this process.
    seconds : float
        What it took.
    missing : tuple of str
        The kernels that the next process will have to compile again, because there is no place to keep them.
    """

    compiled: tuple[str, ...]
    found: tuple[str, ...]
    seconds: float
    missing: tuple[str, ...]

    @property
    def told(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What was done to which kernels, in words."""
        return ("compiled", self.compiled), ("found", self.found)


def warm_up(dtype: str = "float32", *, strict: bool = False) -> Warmth:
    """Compile the kernels of a dtype and keep them, so that no later call, in any process, has to.

    Parameters
    ----------
    dtype : str
        "float32" or "float64".
    strict : bool
        Whether it is the strict kernels.
    """
    begun = time.perf_counter()
    before = set(store.journal)
    spec = NetworkSpec((2, 2, 2), ("relu",), "identity", "mse", dtype, 0.0, 0.0)
    _use(make(spec, strict=strict, threads=1), spec)
    seconds = time.perf_counter() - begun
    compiled = {entry.name for entry, was_compiled in store.journal.items() if was_compiled and entry not in before}
    names = kernels(strict=strict)
    return Warmth(
        tuple(_short(name) for name in names if name in compiled),
        tuple(_short(name) for name in names if name not in compiled),
        seconds,
        missing(dtype, strict=strict),
    )


def _use(backend: Backend, spec: NetworkSpec) -> None:
    """Call every entry point with every kind of arrays that users have: those to be written to, and those not."""
    parameters = Parameters.empty(spec)
    X = np.zeros((_N, spec.n_inputs), spec.dtype)
    batch = Batch(X, np.zeros((_N, spec.n_outputs), spec.dtype), None, float(_N), 0.0)
    backend.loss_and_gradient(parameters, batch, Parameters.empty(spec))  # first: it takes longest, and is what is told
    backend.loss(parameters, batch)
    for rows in (X, frozen(X), X[:1], frozen(X[:1])):
        backend.answer(parameters, rows, np.empty((len(rows), spec.n_outputs), spec.dtype))


def kernels(*, strict: bool) -> tuple[str, ...]:
    """Return the names of all entries that a mode has for a dtype."""
    if strict:
        from fastmlp.backends.numba.strict.kernels import ENTRY_POINTS  # noqa: PLC0415  not with the others

        return cache.names_of(ENTRY_POINTS)
    from fastmlp.backends.numba.fast import kernels as fast  # noqa: PLC0415
    from fastmlp.backends.numba.simd.library import LEAVES_ENTRY  # noqa: PLC0415

    return (LEAVES_ENTRY, *cache.names_of(fast.ENTRY_POINTS))


def missing(dtype: str, *, strict: bool) -> tuple[str, ...]:
    """Return the kernels of a dtype that are not kept."""
    try:
        kept = {entry.name for entry in store.entries() if entry.dtype == dtype}
    except (OSError, RuntimeError):  # as good as none
        kept = set()
    return tuple(_short(name) for name in kernels(strict=strict) if name not in kept)


def _short(name: str) -> str:
    return name.rpartition(".")[2]
