"""Compiling all kernels of a dtype ahead of their use, and telling which are kept already."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fastmlp.backends.numba import store
from fastmlp.backends.numba.entry import LEAVES, EntryPoint


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
    for entry in _entries(strict=strict):
        entry(dtype)
    seconds = time.perf_counter() - begun
    compiled = {entry.name for entry, was_compiled in store.journal.items() if was_compiled and entry not in before}
    names = kernels(strict=strict)
    return Warmth(
        tuple(_short(name) for name in names if name in compiled),
        tuple(_short(name) for name in names if name not in compiled),
        seconds,
        missing(dtype, strict=strict),
    )


def kernels(*, strict: bool) -> tuple[str, ...]:
    """Return the names of all entries that a mode has for a dtype."""
    own = tuple(entry.name for entry in _entries(strict=strict))
    return own if strict else (LEAVES, *own)


def _entries(*, strict: bool) -> tuple[EntryPoint, ...]:
    if strict:
        from fastmlp.backends.numba.strict import entries as strict_entries  # noqa: PLC0415  not with the others

        return strict_entries.ALL
    from fastmlp.backends.numba.fast import entries  # noqa: PLC0415

    return entries.ALL


def missing(dtype: str, *, strict: bool) -> tuple[str, ...]:
    """Return the kernels of a dtype that are not kept."""
    try:
        kept = {entry.name for entry in store.entries() if entry.dtype == dtype}
    except (OSError, RuntimeError):  # as good as none
        kept = set()
    return tuple(_short(name) for name in kernels(strict=strict) if name not in kept)


def _short(name: str) -> str:
    return name.rpartition(".")[2]
