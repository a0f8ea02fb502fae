"""Two small kernels that stand for the library's own where it is about keeping them: those take long to compile.

The functions here run in processes of their own (`tests.processes`), each with a cache folder of its own.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import sys
import warnings
from typing import Any

import numpy as np

from fastmlp.backends.numba import store
from fastmlp.backends.numba.calls import Numbers1
from fastmlp.backends.numba.entry import EntryPoint


def halve(values: Numbers1) -> None:
    for i in range(values.size):
        values[i] = 0.5 * values[i]


def double(values: Numbers1) -> None:
    for i in range(values.size):
        values[i] = 2.0 * values[i]


FACTORS = {halve: 0.5, double: 2.0}


def entry_of(function: Any, *, kind: str = "kernels", module: str = __name__) -> EntryPoint:
    """Return the entry point of a function."""
    return EntryPoint(module, function.__name__, kind=kind, keeps_lock=False, makes_views=False)


def use(*wanted: tuple[Any, str]) -> dict[str, Any]:
    """Compile or load functions for dtypes; tell whether they are right, how many were loaded, and the warnings."""
    entries = {function: entry_of(function) for function, _ in wanted}
    right = True
    store.journal.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for function, dtype in wanted:
            values = np.array([1.0, 2.0, 3.0], dtype)
            entries[function](dtype)(values)
            right &= values.tolist() == [FACTORS[function], 2.0 * FACTORS[function], 3.0 * FACTORS[function]]
    return {
        "right": right,
        "loaded": list(store.journal.values()).count(False),
        "compiled": list(store.journal.values()).count(True),
        "warnings": [f"{warning.category.__name__}: {warning.message}" for warning in caught],
    }


def use_all() -> dict[str, Any]:
    """Use both kernels for both dtypes."""
    return use((halve, "float64"), (halve, "float32"), (double, "float64"), (double, "float32"))


def use_all_on_a_read_only_system(folder: str) -> dict[str, Any]:
    """Use them where no file of a folder can be made."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(folder) and arguments[2] & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system", arguments[0])

    sys.addaudithook(refuse)
    return use_all()


def use_all_as_another_user() -> dict[str, Any]:
    """Use them as a user who is not the one that the folder belongs to."""
    genuine = os.getuid()
    os.getuid = lambda: genuine + 1
    return use_all()


def truncated(_name: str, content: bytes) -> list[bytes]:
    """Cut at the start, near it, in the middle, and at the last byte."""
    return [content[:n] for n in (0, 1, 3, 40, len(content) // 2, len(content) - 1)]


def garbled(name: str, content: bytes) -> list[bytes]:
    """Something else altogether: noise, text, a pickle of something else, and that with a good checksum."""
    noise, other = np.random.default_rng(0).bytes(len(content)), pickle.dumps(("a", 1))
    with_checksum = hashlib.sha256(name.encode() + other).digest() + other
    return [noise, b"\x00" * len(content), b"<html>not found</html>", other, with_checksum, content + content]


def flipped(_name: str, content: bytes) -> list[bytes]:
    """One bit changed, at places all over: in names, in numbers, in machine code."""
    places = np.linspace(0, len(content) - 1, 12).astype(int).tolist()
    return [content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :] for place in places]


def use_damaged() -> list[dict[str, Any]]:
    """Damage all entries in every way, use a kernel, and use it again; return what happened each time."""
    whole = {path: path.read_bytes() for path in store.cache_folder().iterdir()}
    answers = []
    for damage in (truncated, garbled, flipped):
        forms = [damage(path.name, content) for path, content in whole.items()]
        damaged = [zip(whole, contents, strict=True) for contents in zip(*forms, strict=True)]
        for entries in damaged:
            for path, content in entries:
                path.write_bytes(content)
            store._warned.clear()
            answers.append({"damage": damage.__name__} | use((halve, "float64")) | {"again": use((halve, "float64"))})
    return answers
