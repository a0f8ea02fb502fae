"""The Numba backend: kernels that run whole epochs in one call, fast ones or strict ones."""

from __future__ import annotations

from fastmlp.backends.base import Backend
from fastmlp.spec import NetworkSpec


def make(spec: NetworkSpec, *, strict: bool = False, threads: int | None = None) -> Backend:
    """Return the backend of a mode; only its kernels are imported.

    Parameters
    ----------
    spec : NetworkSpec
    strict : bool
    threads : int or None
        At most so many threads; None lets the size of the work decide. Strict kernels compute on one.
    """
    if strict:
        from fastmlp.backends.numba.strict import StrictBackend  # noqa: PLC0415  not with the others

        return StrictBackend(spec)
    from fastmlp.backends.numba.fast import FastBackend  # noqa: PLC0415

    return FastBackend(spec, threads=threads)
