"""The leaves of a dtype, compiled, and found under their names by kernels that are being compiled."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fastmlp.backends.numba.compiler import machine_code
from fastmlp.backends.numba.loading import engine_of
from fastmlp.backends.numba.simd import dots, outputs, passes, row_gradient, softmax_loss, sparse, threads, tiles  # noqa: F401  they define leaves
from fastmlp.backends.numba.simd.leaf import LEAVES
from fastmlp.backends.numba.simd.registers import Registers, host


def module_of(registers: Registers, dtype: str, triple: str) -> ir.Module:
    """Return all leaves in LLVM's language, for a processor with such registers."""
    module = ir.Module(f"fastmlp.leaves.{dtype}")
    module.triple = triple
    for leaf in LEAVES.values():
        leaf.define(module, registers, dtype)
    return module


_in_use: dict[str, Any] = {}


def load(dtype: str, code: bytes) -> None:
    """Make the leaves of a dtype known to what is compiled in this process; called before something that calls them.

    Parameters
    ----------
    dtype : str
    code : bytes
        What `compiled` returns.
    """
    if dtype in _in_use:
        return
    engine = engine_of([code])
    for leaf in LEAVES.values():
        llvm.add_symbol(leaf.symbol(dtype), engine.get_function_address(leaf.symbol(dtype)))
    _in_use[dtype] = engine


def compiled(dtype: str) -> bytes:
    """Return the machine code of the leaves."""
    with global_compiler_lock:
        library = cpu_target.target_context.codegen().create_library(f"fastmlp.leaves.{dtype}")
        library.enable_object_caching()
        library.add_ir_module(module_of(host(), dtype, llvm.get_process_triple()))
        library.finalize()
        return machine_code(library, next(iter(LEAVES.values())).symbol(dtype))
