"""The machine code of the kernels: strict ones round every product before they add it, fast ones need not."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from fastmlp.backends.numba.strict import elementwise, kernels, products

FUSED = re.compile(r"^\s*(v?fn?m(?:add|sub)\d*[sp][sdh]|fn?m(?:add|sub|la|ls))\b", re.MULTILINE)
"""Fused multiply-adds: vfmadd213pd and its kin of x86, fmadd and fmla of ARM."""

CAN_FUSE = llvm.get_host_cpu_features().get("fma", False) or "aarch64" in llvm.get_process_triple()

N, FAN_IN, FAN_OUT = 3, 4, 5


def arrays(dtype: str) -> dict[str, Any]:
    """One array for each name that products give their arguments."""
    sizes = {"A": N * FAN_IN, "W": FAN_IN * FAN_OUT, "b": FAN_OUT, "Z": N * FAN_OUT}
    sizes |= {"delta": N * FAN_OUT, "dW": FAN_IN * FAN_OUT, "db": FAN_OUT, "dA": N * FAN_IN}
    return {name: np.ones(size, dtype) for name, size in sizes.items()} | {"n": N, "wide": np.ones(40)}


def assembly(kernel: Any, *examples: Any) -> str:
    """Return the machine code of a kernel, compiled for arguments of the kinds of these."""
    types = tuple(map(numba.typeof, examples))
    kernel.compile(types)
    return kernel.inspect_asm(types)


def product_code(kernel: Any, dtype: str) -> str:
    """Return the machine code of one of the products."""
    named = arrays(dtype)
    names = kernel.py_func.__code__.co_varnames[: kernel.py_func.__code__.co_argcount]
    return assembly(kernel, *(named[name] for name in names))


def dispatchers(module: ModuleType) -> dict[str, Any]:
    """Return the jitted functions that a module defines."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if isinstance(thing, Dispatcher) and thing.py_func.__module__ == module.__name__
    }


PRODUCTS = dispatchers(products)
MOVES_ONLY = {"fill"}
STRICT = sorted(set(PRODUCTS) - MOVES_ONLY)
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
on_a_processor_that_fuses = pytest.mark.skipif(not CAN_FUSE, reason="this processor has no fused multiply-add")


def test_there_are_products() -> None:
    assert len(STRICT) >= 4


@both_dtypes
@pytest.mark.parametrize("name", STRICT)
def test_strict_products_fuse_nothing(name: str, dtype: str) -> None:
    assert not FUSED.findall(product_code(PRODUCTS[name], dtype))


@on_a_processor_that_fuses
@pytest.mark.parametrize("name", sorted(set(STRICT) - {"bias_gradient"}))
def test_a_strict_product_compiled_the_fast_way_is_seen(name: str) -> None:
    """The mistake that is looked for: the same source under the other decorator."""
    mistaken = numba.njit(fastmath={"contract"})(PRODUCTS[name].py_func)
    assert FUSED.findall(product_code(mistaken, "float64"))


ROW = np.ones(6)
EXACT: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rules": (elementwise.apply_rule, (0, *(np.ones(4, "float32") for _ in range(4)), ROW)),
    "losses": (elementwise.loss_value, (0, 0, 0.5, 0.5, 0.5, 0.5)),
    "slopes of losses": (elementwise.loss_slope, (0, 0.5, 0.5, 0.5)),
    "slopes of activations": (elementwise.derivative, (0, 0.5, 0.5)),
    "l2": (kernels.add_scaled, (0.5, np.ones(4, "float32"), np.ones(4, "float32"))),
}
"""What both modes compute in the same way: it is exact, so that it can serve the strict one."""


@pytest.mark.parametrize("name", EXACT)
def test_what_both_modes_share_fuses_nothing(name: str) -> None:
    kernel, examples = EXACT[name]
    assert not FUSED.findall(assembly(kernel, *examples))


# --- how kernels are compiled ---

ALL = {name: each for module in (products, elementwise, kernels) for name, each in dispatchers(module).items()}


def flags_of(kernel: Any) -> set[str]:
    """Return the freedoms that a kernel's compiler has with its arithmetic."""
    fastmath = kernel.targetoptions.get("fastmath", False)
    return {"all"} if fastmath is True else set(fastmath or ())


def test_nothing_strict_may_be_reordered() -> None:
    assert not {name for name, kernel in ALL.items() if flags_of(kernel)}


@pytest.mark.parametrize("name", ALL)
def test_nan_and_infinity_are_never_assumed_away(name: str) -> None:
    assert flags_of(ALL[name]) <= {"reassoc", "contract", "nsz"}


def test_every_instruction_is_known() -> None:
    for code in (
        "\tvfmadd213pd %ymm0, %ymm1, %ymm2",
        "\tvfnmsub231ss\t%xmm0, %xmm1, %xmm2",
        "\tfmla v0.2d, v1.2d, v2.2d",
    ):
        assert FUSED.findall(code)
    assert not FUSED.findall("\tvmulpd %ymm0, %ymm1, %ymm2\n\tvaddpd\tfmadd_label")
