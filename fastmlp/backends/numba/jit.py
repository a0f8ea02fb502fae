"""How kernels are compiled, as a typed decorator: what Numba cannot tell a type checker ends here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def exact(kernel: Kernel) -> Kernel:
    """Compile a kernel whose every operation is rounded as written, in that order, products before sums."""
    return cast("Kernel", njit(error_model="numpy", nogil=True)(kernel))
