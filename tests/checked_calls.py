"""Looks at what kernels are called with, which the library does not: whether it is what they say that they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from fastmlp.backends.numba.entry import EntryPoint

_DTYPES = {"d": "float64", "q": "int64", "h": "int32"}
_load = EntryPoint._load


def load(entry: EntryPoint, dtype: str) -> Callable[..., int]:
    """Do what `EntryPoint._load` does; calls of what it returns are looked at first."""
    if dtype not in entry._loaded:
        entry._loaded[dtype] = checked(entry, dtype, _load(entry, dtype))
    return entry._loaded[dtype]


def checked(entry: EntryPoint, dtype: str, function: Callable[..., int]) -> Callable[..., int]:
    """Return a function that raises AssertionError where it is called with something else than it takes."""
    source = getattr(import_module(entry._module), entry._function)

    def call(*arguments: Any) -> int:
        assert_taken(source, dtype, arguments)
        return function(*arguments)

    return call


def assert_taken(kernel: Any, dtype: str, arguments: tuple[Any, ...]) -> None:
    """Assert that a kernel takes such arguments."""
    hints = _hints(getattr(kernel, "py_func", kernel))
    for value, (name, hint) in zip(arguments, hints.items(), strict=True):
        assert_is(value, hint, dtype, name)


@cache
def _hints(kernel: Any) -> dict[str, Any]:
    hints = get_type_hints(kernel, include_extras=True)
    return {name: hint for name, hint in hints.items() if name != "return"}


def assert_is(value: Any, hint: Any, dtype: str, where: str) -> None:
    """Assert that a value is what a kernel's annotation says."""
    if hint in (int, bool):
        assert isinstance(value, int | np.integer), where
    elif hint is float:
        assert isinstance(value, float), where
    elif hasattr(hint, "_fields"):
        assert type(value) is hint, where
        for field, own in zip(value, _hints(hint).items(), strict=True):
            assert_is(field, own[1], dtype, f"{where}.{own[0]}")
    elif get_origin(hint) is tuple:
        for i, pair in enumerate(zip(value, get_args(hint), strict=True)):
            assert_is(*pair, dtype, f"{where}[{i}]")
    else:
        letter, n_dimensions = hint.__metadata__[0]
        assert isinstance(value, np.ndarray), where
        assert value.dtype == _DTYPES.get(letter.lower(), dtype), where
        assert value.dtype.isnative, where
        assert value.ndim == int(n_dimensions), where
        assert value.flags.c_contiguous, where
        assert value.flags.aligned, where
        # Parameters are written to by training alone, which checks them at its door.
        is_written = letter.islower() and not where.endswith(".flat")
        assert value.flags.writeable or not is_written, where
