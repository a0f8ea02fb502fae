"""Entry points: the kernels that Python calls. Their machine code is kept in files (`store`).

A process that finds it there loads it and has no need of Numba, whose import alone takes several times as long as all
else before a first fit. One that does not has it compiled (`compiler`), and kept.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

from fastmlp._environment import may_compile
from fastmlp.backends.numba import loading, notice, store

LEAVES = "leaves"
_OURS = "fastmlp.backends.numba."
_lock = threading.RLock()


def _renew_lock() -> None:
    """In a process that was forked while a thread had it, nobody else would give it back."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class EntryPoint:
    """A kernel that Python calls, for each dtype.

    Parameters
    ----------
    module, name : str
        Where its source is: imported only if it has to be compiled.
    kind : str
        What a user is told that is being compiled.
    has_leaves : bool
        Whether it calls leaves (`simd`).
    **traits
        As for `compiler.entry_point`.
    """

    def __init__(
        self, module: str, name: str, *, kind: str = "kernels", has_leaves: bool = False, **traits: bool
    ) -> None:
        self.name = f"{module}.{name}".removeprefix(_OURS)
        self._module, self._function = module, name
        self._kind, self._has_leaves, self._traits = kind, has_leaves, traits
        self._loaded: dict[str, Callable[..., int]] = {}

    def __call__(self, dtype: str) -> Callable[..., int]:
        """Return the kernel for a dtype.

        Nothing is checked when it is called: all arguments must be what it says that it takes, arrays in C order. With
        NUMBA_DISABLE_JIT it is Python, as its source has it, which leaves do not run as.
        """
        return self._loaded.get(dtype) or self._load(dtype)

    def _load(self, dtype: str) -> Callable[..., int]:
        with _lock:
            if dtype not in self._loaded:
                self._loaded[dtype] = self._compiled(dtype) if may_compile() else self._plain()
            return self._loaded[dtype]

    def _plain(self) -> Any:
        return getattr(import_module(self._module), self._function)

    def _compiled(self, dtype: str) -> Callable[..., int]:
        entry, symbol = store.entry_of(self.name, dtype), f"fastmlp_{self.name}_{dtype}"

        def load(code: bytes) -> Callable[..., int]:
            leaves = [leaves_for(dtype)] if self._has_leaves else []
            return loading.load([*leaves, code], symbol)

        function: Callable[..., int] | None = store.load(entry, load)
        if function is not None:
            return function
        with notice.said(f"{self._kind} for {dtype}", store.kept_in):
            from fastmlp.backends.numba import compiler  # noqa: PLC0415  it imports Numba

            if self._has_leaves:
                from fastmlp.backends.numba.simd import library  # noqa: PLC0415

                library.load(dtype, leaves_for(dtype))
            code = compiler.entry_point(self._plain(), symbol, dtype, **self._traits)
        store.save(entry, code)
        return load(code)


_leaves: dict[str, bytes] = {}


def leaves_for(dtype: str) -> bytes:
    """Return the machine code of the leaves for a dtype."""
    with _lock:
        if dtype not in _leaves:
            entry = store.entry_of(LEAVES, dtype)
            _leaves[dtype] = store.load(entry, bytes) or _compiled_leaves(entry)
        return _leaves[dtype]


def _compiled_leaves(entry: store.Entry) -> bytes:
    with notice.said(f"kernels for {entry.dtype}", store.kept_in):
        from fastmlp.backends.numba.simd import library  # noqa: PLC0415  it imports Numba

        code = library.compiled(entry.dtype)
    store.save(entry, code)
    return code
