"""The compiled leaves of a dtype: made once, kept between processes, found by kernels under their names."""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fastmlp.backends.numba.cache import kept
from fastmlp.backends.numba.simd import dots, outputs, passes, sparse, threads, tiles  # noqa: F401  they define leaves
from fastmlp.backends.numba.simd.leaf import LEAVES
from fastmlp.backends.numba.simd.registers import Registers, host

LEAVES_ENTRY = "leaves"


def module_of(registers: Registers, dtype: str, triple: str) -> ir.Module:
    """Return all leaves in LLVM's language, for a processor with such registers."""
    module = ir.Module(f"fastmlp.leaves.{dtype}")
    module.triple = triple
    for leaf in LEAVES.values():
        leaf.define(module, registers, dtype)
    return module


@cache
def load(dtype: str) -> Any:
    """Make the leaves of a dtype known to kernels; called before a kernel is compiled or loaded that calls them."""
    with global_compiler_lock:
        codegen = cpu_target.target_context.codegen()
        library = kept(LEAVES_ENTRY, dtype, codegen, lambda: _compiled(codegen, dtype))
    for leaf in LEAVES.values():
        llvm.add_symbol(leaf.symbol(dtype), library.get_pointer_to_function(leaf.symbol(dtype)))
    return library


def _compiled(codegen: Any, dtype: str) -> Any:
    library = codegen.create_library(f"fastmlp.leaves.{dtype}")
    library.enable_object_caching()
    library.add_ir_module(module_of(host(), dtype, llvm.get_process_triple()))
    library.finalize()
    return library
