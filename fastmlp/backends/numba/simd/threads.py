"""Where threads meet: a barrier on atomic integers.

It spins, for what lies between two meetings takes microseconds; after a bounded number of rounds each further one
gives the processor away, so that a thread whose partner does not run holds nobody up. No thread outlives the call that
it serves, so there is nothing to survive a fork.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from fastmlp.backends.numba.calls import GIVEN_UP
from fastmlp.backends.numba.simd.leaf import Code, leaf

_GENERATION = 8
_ROUNDS = 2000  # some 50 microseconds

_YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"


def _pause(builder: ir.IRBuilder) -> None:
    """Tell the processor that this is a loop that waits."""
    triple = builder.module.triple
    if triple.startswith(("x86_64", "i686", "amd64")):
        name, arguments = "llvm.x86.sse2.pause", []
    elif triple.startswith(("aarch64", "arm64")):
        name, arguments = "llvm.aarch64.hint", [ir.Constant(ir.IntType(32), 1)]
    else:
        return
    typed = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, typed, name), arguments)


@leaf("q i", returns="i")
def meet(code: Code, meeting: Any, n: Any) -> Any:
    """Return 0 when all of n threads have called this, or 1 as soon as one has given up.

    `meeting` points to `calls.MEETING_INTEGERS` integers that began as zeros.
    """
    builder = code.builder
    given_up = cgutils.alloca_once_value(builder, code.whole(0))
    with builder.if_then(builder.icmp_signed(">", n, code.whole(1))):
        generation = code.at(meeting, _GENERATION)
        before = builder.load_atomic(generation, "acquire", 8)
        arrived = builder.atomic_rmw("add", meeting, code.whole(1), "acq_rel")
        with builder.if_else(builder.icmp_signed("==", arrived, code.sub(n, 1))) as (is_last, is_not):
            with is_last:
                builder.store_atomic(code.whole(0), meeting, "release", 8)
                builder.store_atomic(code.add(before, 1), generation, "release", 8)
            with is_not:
                _wait(code, meeting, before, given_up)
    return builder.load(given_up)


def _wait(code: Code, meeting: Any, before: Any, given_up: Any) -> None:
    """Wait for the next generation, or for somebody to give up."""
    builder = code.builder
    rounds = cgutils.alloca_once_value(builder, code.whole(0))
    loop, end = (builder.function.append_basic_block(name) for name in ("wait", "met"))
    builder.branch(loop)
    builder.position_at_end(loop)
    _pause(builder)
    builder.store(code.add(builder.load(rounds), 1), rounds)
    with builder.if_then(builder.icmp_signed(">", builder.load(rounds), code.whole(_ROUNDS)), likely=False):
        typed = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, typed, _YIELD), [])
        builder.store(builder.load_atomic(code.at(meeting, GIVEN_UP), "acquire", 8), given_up)
    now = builder.load_atomic(code.at(meeting, _GENERATION), "acquire", 8)
    waits = builder.icmp_signed("==", now, before)
    hopes = builder.icmp_signed("==", builder.load(given_up), code.whole(0))
    builder.cbranch(builder.and_(waits, hopes), loop, end)
    builder.position_at_end(end)
