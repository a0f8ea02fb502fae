"""Where compiled kernels are kept between processes.

Numba's own cache notices that a function's file has changed, but not that a function it calls, in another file,
has; it takes an entry of one signature for another's when two processes save at once, and runs machine code in
which a bit has flipped. So the entries here are files of our own, one for a kernel and a signature, each with its
checksum, in a folder named after a hash of all sources that end up in a kernel. Their bodies are pickles, so the
folder must belong to the user alone. Whatever is wrong with the cache costs one warning and the time of compiling
again, never the result.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, _Cache
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from fastmlp import activations, dropout, elementary, losses, optimizers
from fastmlp.backends.numba.jit import callable_from_python
from fastmlp.backends.numba.simd.registers import host

ENVIRONMENT = "FASTMLP_CACHE_DIR"
_DIGEST_SIZE = hashlib.sha256().digest_size


@cache
def cache_folder() -> Path:
    """Return the folder for this version of the sources, of Numba and of Python; it need not exist.

    Raises
    ------
    RuntimeError
        If there is no home directory.
    """
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {sys.version} {host()}".encode())
    here = Path(__file__).parent
    shared = [Path(str(module.__file__)) for module in (activations, dropout, elementary, losses, optimizers)]
    for path in sorted(here.rglob("*.py")) + shared:
        digest.update(path.read_bytes())
    return _user_cache() / f"kernels-{digest.hexdigest()[:16]}"


def _user_cache() -> Path:
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "fastmlp"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fastmlp"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastmlp"


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


class _DamagedError(Exception):
    """An entry is not what was written."""


class KernelCache(_Cache):
    """What Numba asks for a compiled function and tells of one: see ``numba.core.caching.Cache``."""

    def __init__(self, py_func: Any) -> None:
        self._name = f"{py_func.__module__}.{py_func.__qualname__}"
        self._impl = CompileResultCacheImpl.__new__(CompileResultCacheImpl)  # for its pickling alone

    @property
    def cache_path(self) -> str:
        """The folder; empty where there is no home directory to have it in."""
        try:
            return str(cache_folder())
        except RuntimeError:
            return ""

    def enable(self) -> None:
        """Do nothing: it is enabled."""

    def disable(self) -> None:
        """Do nothing: nobody asks for it."""

    def flush(self) -> None:
        """Do nothing: entries are replaced, not collected."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return a compiled kernel, or None where there is none that can be used."""
        try:
            return self._load(sig, target_context)
        except (OSError, RuntimeError) as error:
            _warn_once("unusable", f"kernels are compiled anew in every process: {_reason(error)}; {_REMEDY}")
        except Exception as error:  # noqa: BLE001  a pickle can raise anything
            _warn_once("damaged", f"a damaged entry of the kernel cache is compiled again ({error!r})")
        return None

    def _load(self, sig: Any, target_context: Any) -> Any:
        path = self._path(sig, target_context.codegen())
        if not path.exists():
            return None
        check_owner(path.parent)
        # Not target_context.refresh(), which gets ready to compile: it imports all that Numba knows, and SciPy, which
        # takes longer than all else here. What is compiled already needs Numba's runtime alone.
        rtsys.initialize(target_context)
        compiled = self._impl.rebuild(target_context, pickle.loads(_checked(path.read_bytes())))  # noqa: S301  ours
        if tuple(compiled.signature.args) != tuple(sig):
            raise _DamagedError("it is of another signature")
        return compiled

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled kernel, where there is a place for it."""
        if data.lifted or data.library.has_dynamic_globals:
            return  # tied to this process
        try:
            path = self._path(sig, data.codegen)
        except RuntimeError as error:  # there is no home directory
            _warn_once("unusable", f"kernels are compiled anew in every process: {_reason(error)}; {_REMEDY}")
            return
        _save(path, dumps(self._impl.reduce(data)))

    def _path(self, sig: Any, codegen: Any) -> Path:
        return _path_of(f"{self._name} {sig}", codegen)


def kept(name: str, codegen: Any, make: Callable[[], Any]) -> Any:
    """Return a library of machine code: loaded, or else made and, where there is a place for it, kept."""
    path = None
    try:
        path = _path_of(name, codegen)
        if path.exists():
            check_owner(path.parent)
            return codegen.unserialize_library(pickle.loads(_checked(path.read_bytes())))  # noqa: S301  ours
    except (OSError, RuntimeError) as error:
        _warn_once("unusable", f"kernels are compiled anew in every process: {_reason(error)}; {_REMEDY}")
    except Exception as error:  # noqa: BLE001  a pickle can raise anything
        _warn_once("damaged", f"a damaged entry of the kernel cache is compiled again ({error!r})")
    library = make()
    _save(path, pickle.dumps(library.serialize_using_object_code()))
    return library


def _path_of(name: str, codegen: Any) -> Path:
    key = f"{name} {codegen.magic_tuple()}"
    return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.kernel"


def _save(path: Path | None, body: bytes) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_owner(path.parent)
        _write(path, hashlib.sha256(body).digest() + body)
    except (OSError, RuntimeError) as error:
        _warn_once("unusable", f"kernels are compiled anew in every process: {_reason(error)}; {_REMEDY}")


_REMEDY = f"set {ENVIRONMENT} to a folder that is yours alone"


def _checked(content: bytes) -> bytes:
    digest, body = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    if hashlib.sha256(body).digest() != digest:
        raise _DamagedError("its checksum is wrong")
    return body


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _reason(error: Exception) -> str:
    """Return what is wrong, in words that do not change from one attempt to the next."""
    if isinstance(error, OSError) and error.strerror:
        return f"their cache in {cache_folder().parent} cannot be used ({error.strerror})"
    return str(error)


_warned: set[str] = set()


def _warn_once(kind: str, message: str) -> None:
    if kind not in _warned:
        _warned.add(kind)
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def cached(dispatcher: Any) -> Any:
    """Make a jitted function an entry point: Python may call it, and what it compiles to is kept."""
    if hasattr(dispatcher, "py_func"):  # not where NUMBA_DISABLE_JIT leaves plain functions
        callable_from_python(dispatcher)
        dispatcher._cache = KernelCache(dispatcher.py_func)  # noqa: SLF001  what njit(cache=True) does, with our class
    return dispatcher
