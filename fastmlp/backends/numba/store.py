"""Files in which machine code is kept between processes.

One for a kernel and a dtype, each with its checksum, in a folder named after a hash of all that machine code depends
on. It is run as it is, so the folder must belong to the user alone. Whatever is wrong with one costs one warning, never
the result. (Numba's own cache would notice that a function's file has changed, but not that a function it calls, in
another file, has; and it runs machine code in which a bit has flipped.)
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, TypeVar

import llvmlite
import llvmlite.binding as llvm

from fastmlp import activations, dropout, elementary, losses, optimizers
from fastmlp.backends.numba.simd.registers import host

ENVIRONMENT = "FASTMLP_CACHE_DIR"
SUFFIX = ".kernel"
_DIGEST_SIZE = hashlib.sha256().digest_size
Loaded = TypeVar("Loaded")
_SETTINGS = ("CPU_NAME", "CPU_FEATURES", "ENABLE_AVX", "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK")


@cache
def cache_folder() -> Path:
    """Return the folder for this processor and version of the sources, of Numba and of Python; it need not exist.

    And for what the environment has to say to Numba about compiling.

    Raises
    ------
    RuntimeError
        If there is no home directory.
    """
    versions = llvmlite.__version__, sys.version
    processor = llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), host()
    settings = [os.environ.get(f"NUMBA_{name}", "") for name in _SETTINGS]
    digest = hashlib.sha256(f"{versions} {processor} {settings}".encode())
    here = Path(__file__).parent
    shared = [Path(str(module.__file__)) for module in (activations, dropout, elementary, losses, optimizers)]
    for path in [*sorted(here.rglob("*.py")), *shared, *_numbas_version()]:
        digest.update(path.read_bytes())
    return _user_cache() / f"kernels-{digest.hexdigest()[:16]}"


def _numbas_version() -> list[Path]:
    """Return the file that has Numba's version, which is not imported for it."""
    with suppress(ValueError):  # it was imported in a way of somebody's own
        numba = find_spec("numba")
        if numba is not None and numba.origin:
            return [Path(numba.origin).with_name("_version.py")]
    return []


def _user_cache() -> Path:
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "fastmlp"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fastmlp"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastmlp"


def check_owner(folder: Path) -> None:
    """Refuse a folder that somebody else could put machine code into.

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


class DamagedError(Exception):
    """An entry is not what was written."""


class Entry(NamedTuple):
    """What is kept, or could be: of which kernel, for which dtype, and in which file of the folder."""

    name: str
    dtype: str
    file: str


journal: dict[Entry, bool] = {}
"""The entries that this process has used, and whether it had to compile them."""


def entry_of(name: str, dtype: str) -> Entry:
    """Return the entry of a kernel for a dtype."""
    return Entry(name, dtype, f"{name}-{dtype}{SUFFIX}")


def entries() -> list[Entry]:
    """Return what is kept for this processor and version.

    Raises
    ------
    OSError, RuntimeError
        If the folder cannot be read, or there is no home directory.
    """
    found = []
    for path in sorted(cache_folder().glob(f"*{SUFFIX}")):
        name, _, dtype = path.stem.rpartition("-")
        found.append(Entry(name, dtype, path.name))
    return found


def sizes() -> tuple[list[int], list[int]]:
    """Return the bytes of each entry for this processor and version, and of each other one beside it.

    Raises
    ------
    OSError, RuntimeError
        As `entries`.
    """
    own: list[int] = []
    others: list[int] = []
    for path in cache_folder().parent.glob(f"*/*{SUFFIX}"):
        (own if path.parent == cache_folder() else others).append(path.stat().st_size)
    return own, others


def kept_in() -> Path | None:
    """Return the folder in which what is compiled now will be kept; None, and a warning, where it cannot be used."""
    try:
        folder = _made_folder()
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, RuntimeError) as error:
        _warn_unusable(error)
        return None
    return folder


def _made_folder() -> Path:
    folder = cache_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_owner(folder)
    return folder


def load(entry: Entry, rebuild: Callable[[bytes], Loaded]) -> Loaded | None:
    """Return what is made of an entry's machine code, or None where there is none that can be used."""
    try:
        content = _read(entry)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        _warn_unusable(error)
        return None
    try:
        found = rebuild(_checked(entry, content))
    except (DamagedError, LookupError) as error:
        _warn_once("damaged", f"a damaged entry of the kernel cache is compiled again ({error!r})")
        return None
    journal[entry] = False
    return found


def _read(entry: Entry) -> bytes:
    path = cache_folder() / entry.file
    check_owner(path.parent)
    return path.read_bytes()


def save(entry: Entry, body: bytes) -> None:
    """Keep what was compiled, where there is a place for it."""
    journal[entry] = True
    try:
        _write(_made_folder() / entry.file, _digest(entry, body) + body)
    except (OSError, RuntimeError) as error:
        _warn_unusable(error)


_REMEDY = f"set {ENVIRONMENT} to a folder that is yours alone, or FASTMLP_BACKEND to numpy"


def _checked(entry: Entry, content: bytes) -> bytes:
    digest, body = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    if _digest(entry, body) != digest:
        raise DamagedError("its checksum is wrong")
    return body


def _digest(entry: Entry, body: bytes) -> bytes:
    """Return a checksum that another entry's content does not have."""
    return hashlib.sha256(entry.file.encode() + body).digest()


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


def _warn_unusable(error: Exception) -> None:
    _warn_once("unusable", f"kernels are compiled anew in every process: {_reason(error)}; {_REMEDY}")


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
