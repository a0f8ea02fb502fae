"""What is compiled is kept between processes.

Numba's own cache notices that a function's file has changed, but not that a function it calls, in another file,
has; it takes an entry of one signature for another's when two processes save at once, and runs machine code in
which a bit has flipped. So the entries here are files of our own (`store`). Whatever is wrong with the cache costs one
warning and the time of compiling again, never the result.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from numba.core.caching import CompileResultCacheImpl, _Cache
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from fastmlp.backends.numba import compiling, store

_OURS = "fastmlp.backends.numba."


class KernelCache(_Cache):
    """What Numba asks for a compiled function and tells of one: see ``numba.core.caching.Cache``."""

    def __init__(self, py_func: Any, kind: str, needs: Callable[[str], object] | None) -> None:
        self.name = f"{py_func.__module__}.{py_func.__qualname__}".removeprefix(_OURS)
        self._function, self._kind, self._needs = py_func, kind, needs
        self._impl = CompileResultCacheImpl.__new__(CompileResultCacheImpl)  # for its pickling alone

    @property
    def cache_path(self) -> str:
        """The folder; empty where there is no home directory to have it in."""
        try:
            return str(store.cache_folder())
        except RuntimeError:
            return ""

    def enable(self) -> None:
        """Do nothing: it is enabled."""

    def disable(self) -> None:
        """Do nothing: nobody asks for it."""

    def flush(self) -> None:
        """Do nothing: entries are replaced, not collected."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return a compiled kernel, or None where there is none that can be used: Numba compiles it next."""
        dtype = _dtype_of(sig)
        entry = store.entry_of(self.name, dtype, str(sig))
        if store.is_there(entry):
            self._get_ready(dtype)
            loaded = store.load(entry, partial(self._rebuilt, sig, target_context))
            if loaded is not None:
                return loaded
        compiling.begin(f"{self._kind} for {dtype}", store.kept_in, until=self._function)
        try:
            self._get_ready(dtype)
        except BaseException:
            compiling.end()
            raise
        return None

    def _get_ready(self, dtype: str) -> None:
        if self._needs is not None:
            self._needs(dtype)

    def _rebuilt(self, sig: Any, target_context: Any, content: Any) -> Any:
        # Not target_context.refresh(), which gets ready to compile: it imports all that Numba knows, and SciPy, which
        # takes longer than all else here. What is compiled already needs Numba's runtime alone.
        rtsys.initialize(target_context)
        compiled = self._impl.rebuild(target_context, content)
        if tuple(compiled.signature.args) != tuple(sig):
            raise store.DamagedError("it is of another signature")
        return compiled

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled kernel, where there is a place for it."""
        if data.lifted or data.library.has_dynamic_globals:
            return  # tied to this process
        store.save(store.entry_of(self.name, _dtype_of(sig), str(sig)), dumps(self._impl.reduce(data)))


def names_of(dispatchers: Iterable[Any]) -> tuple[str, ...]:
    """Return the names under which entry points are kept."""
    return tuple(dispatcher._cache.name for dispatcher in dispatchers)  # noqa: SLF001  ours, see `cached`


def _dtype_of(sig: Any) -> str:
    """Return which dtype's kernel has a signature: some of its arrays are float64 for both."""
    return "float32" if "float32" in str(sig) else "float64"


def kept(name: str, dtype: str, codegen: Any, make: Callable[[], Any]) -> Any:
    """Return a dtype's library of machine code: loaded, or else made and, where there is a place for it, kept."""
    entry = store.entry_of(name, dtype)
    library = store.load(entry, codegen.unserialize_library) if store.is_there(entry) else None
    if library is not None:
        return library
    with compiling.said(f"kernels for {dtype}", store.kept_in):
        library = make()
    store.save(entry, pickle.dumps(library.serialize_using_object_code()))
    return library


def cached(dispatcher: Any, needs: Callable[[str], object] | None = None, *, kind: str = "kernels") -> Any:
    """Make a jitted function an entry point: what it compiles to is kept.

    Parameters
    ----------
    dispatcher : Dispatcher
    needs : callable, optional
        Called with a dtype before a kernel for it is compiled or loaded.
    kind : str
        What a user is told that is being compiled.
    """
    if hasattr(dispatcher, "py_func"):  # not where NUMBA_DISABLE_JIT leaves plain functions
        dispatcher._cache = KernelCache(dispatcher.py_func, kind, needs)  # noqa: SLF001  as njit(cache=True) does
    return dispatcher
