"""Where compiled kernels are kept between processes.

Numba's own cache notices that a function's file has changed, but not that a function it calls, in another file,
has; so the entries here live in a folder named after a hash of all sources that end up in a kernel. Entries are
pickles, so the folder must belong to the user alone. Whatever is wrong with the cache costs a warning and the
time of compiling again, never the result.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

from fastmlp import activations, dropout, elementary, losses, optimizers

ENVIRONMENT = "FASTMLP_CACHE_DIR"


@cache
def cache_folder() -> Path:
    """Return the folder for this version of the sources, of Numba and of Python; it need not exist."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {sys.version}".encode())
    here = Path(__file__).parent
    shared = [Path(str(module.__file__)) for module in (activations, dropout, elementary, losses, optimizers)]
    for path in sorted(here.glob("*.py")) + shared:
        digest.update(path.read_bytes())
    return _user_cache() / f"kernels-{digest.hexdigest()[:16]}"


def _user_cache() -> Path:
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "fastmlp"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fastmlp"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastmlp"


class _Locator(_CacheLocator):
    """Tells Numba the folder."""

    def __init__(self, name: str, file: str) -> None:
        self._name = name
        self._py_file = file  # Numba names it where a function cannot be cached

    def ensure_cache_path(self) -> None:
        """Make the folder, for this user alone, or raise OSError."""
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_owner(folder)

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return cache_folder().name

    def get_disambiguator(self) -> str:
        return hashlib.sha256(self._name.encode()).hexdigest()[:10]


def check_owner(folder: Path) -> None:
    """Refuse a folder that somebody else could put a pickle into.

    Raises
    ------
    PermissionError
        If it belongs to another user, or others may write to it.
    """
    if not hasattr(os, "getuid"):
        return
    status = folder.stat()
    group_or_others_write = 0o022
    if status.st_uid != os.getuid() or status.st_mode & group_or_others_write:
        msg = f"{folder} belongs to another user or is writable for others"
        raise PermissionError(msg)


class _Impl(CompileResultCacheImpl):
    def __init__(self, py_func: Any) -> None:
        self._lineno = py_func.__code__.co_firstlineno
        self._locator = _Locator(f"{py_func.__module__}.{py_func.__qualname__}", py_func.__code__.co_filename)
        self._filename_base = self.get_filename_base(py_func.__qualname__, getattr(sys, "abiflags", ""))


class KernelCache(FunctionCache):
    """Numba's cache of one function, in our folder, and never in the way."""

    _impl_class = _Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return a compiled kernel, or None where there is none that can be used."""
        folder = cache_folder()
        if not folder.exists():
            return None
        try:
            check_owner(folder)
            return super().load_overload(sig, target_context)
        except PermissionError as error:
            _warn_once(f"kernels are compiled anew in every process, because {error}")
        except Exception as error:  # noqa: BLE001  a damaged pickle can raise anything
            _warn_once(f"a damaged entry of the kernel cache in {folder} is compiled again ({error!r})")
            self._flush()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled kernel, where there is a place for it."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_once(
                f"kernels are compiled anew in every process, because {cache_folder()} cannot be written ({error}); "
                f"set {ENVIRONMENT} to a folder of yours"
            )

    def _flush(self) -> None:
        try:
            self.flush()
        except OSError as error:
            _warn_once(f"the kernel cache in {cache_folder()} cannot be written ({error})")


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def cached(dispatcher: Any) -> Any:
    """Keep what a jitted function compiles to."""
    if hasattr(dispatcher, "py_func"):  # not where NUMBA_DISABLE_JIT leaves plain functions
        dispatcher._cache = KernelCache(dispatcher.py_func)  # noqa: SLF001  what njit(cache=True) does, with our class
    return dispatcher
