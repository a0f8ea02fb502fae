"""The two ways in which kernels are compiled, as typed decorators: what Numba cannot tell a type checker ends here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_REORDERED = {"reassoc", "contract", "nsz"}  # never nnan or ninf: NaN and infinity have to come through


def exact(kernel: Kernel) -> Kernel:
    """Compile a kernel whose every operation is rounded as written, in that order, products before sums."""
    return cast("Kernel", njit(error_model="numpy", nogil=True)(kernel))


def fast(kernel: Kernel) -> Kernel:
    """Compile a kernel whose sums may be reordered and whose products may be fused into them."""
    return cast("Kernel", njit(error_model="numpy", nogil=True, fastmath=_REORDERED)(kernel))
