"""How kernels are compiled, as a typed decorator: what Numba cannot tell a type checker ends here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def exact(kernel: Kernel) -> Kernel:
    """Compile a kernel whose every operation is rounded as written, in that order, products before sums.

    Jitted code alone may call it. What Python needs for a call, which takes a fifth of the time of compiling, only
    entry points get: see `callable_from_python`.
    """
    dispatcher = njit(error_model="numpy", nogil=True, no_cfunc_wrapper=True, no_cpython_wrapper=True)(kernel)
    if hasattr(dispatcher, "py_func"):  # not where NUMBA_DISABLE_JIT leaves plain functions
        # A call from Python would jump to address 0: it is refused, and no compiled form is on offer before that.
        dispatcher._compile_for_args, dispatcher._insert = _refuse, _ignore  # noqa: SLF001
    return cast("Kernel", dispatcher)


def callable_from_python(dispatcher: Any) -> None:
    """Let Python call a kernel; to be done before it is compiled."""
    dispatcher.targetoptions["no_cpython_wrapper"] = False
    del dispatcher._compile_for_args, dispatcher._insert  # noqa: SLF001


def _refuse(*_arguments: Any) -> NoReturn:
    raise TypeError("jitted code alone may call this kernel; make it an entry point to call it from Python")


def _ignore(*_arguments: Any) -> None:
    pass
