"""Machine code into this process, as a function that Python calls like its own. Nothing here needs Numba.

What was compiled is a C function of Python's fastest kind, which finds its arguments in the objects by itself
(`compiler`). A call costs a tenth of a microsecond, where Numba's dispatcher takes one for each tuple of arrays.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import llvmlite.binding as llvm

PYTHON_CALLS = (
    *("PyLong_AsLongLong", "PyLong_FromLongLong", "PyFloat_AsDouble"),
    *("PyEval_SaveThread", "PyEval_RestoreThread", "PyErr_SetString"),
)
"""What of Python's interface to C compiled functions may call."""

_OBJECTS = (b"\x7fELF", b"\xcf\xfa\xed\xfe")  # how object files begin that LLVM makes for processes: ELF, Mach-O
_METH_FASTCALL = 0x80  # f(self, arguments, how many)


class _Definition(ctypes.Structure):
    """Python's ``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_make_function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)
# What gives memory back to Numba. No kernel has any, but code that makes views of arrays has the name in it.
_NEVER_CALLED = "define void @NRT_MemInfo_call_dtor() { unreachable }"
_in_use: list[Any] = []  # definitions and engines, which nobody else keeps, for as long as the process lasts


def load(objects: Sequence[bytes], symbol: str) -> Callable[..., int]:
    """Return the function of a name in some object files, which may call one another's.

    Parameters
    ----------
    objects : sequence of bytes
    symbol : str

    Raises
    ------
    LookupError
        If there is none, or one is no object file.
    """
    if any(not content.startswith(_OBJECTS) for content in objects):
        raise LookupError("it is no object file")
    engine = engine_of(objects)
    address = engine.get_function_address(symbol)
    if not address:
        msg = f"there is no {symbol} in it"
        raise LookupError(msg)
    definition = _Definition(symbol.encode(), address, _METH_FASTCALL, None)
    _in_use.extend((engine, definition))
    function: Callable[..., int] = _make_function(ctypes.byref(definition), IndexError, None)  # raised by what it is of
    return function


def engine_of(objects: Sequence[bytes]) -> Any:
    """Return LLVM's engine with some object files in it, and no others: no name of theirs is taken for another's."""
    _get_ready()
    module, target = llvm.parse_assembly(_NEVER_CALLED), llvm.Target.from_triple(llvm.get_process_triple())
    engine = llvm.create_mcjit_compiler(module, target.create_target_machine(jit=True))
    for content in objects:
        engine.add_object_file(llvm.ObjectFileRef.from_data(content))
    engine.finalize_object()
    return engine


@cache
def _get_ready() -> None:
    with suppress(RuntimeError):  # newer versions have no need of it, and say so
        llvm.initialize()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name in PYTHON_CALLS:
        llvm.add_symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value)
