"""Leaves compiled for processors that need not be here, and what is looked for in their machine code.

A leaf is LLVM's language, so LLVM writes what any of its processors would run. The text is then read as functions of
instructions and labels, in the spellings of x86 and of ARM.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import llvmlite.binding as llvm
from llvmlite import ir

from fastmlp.backends.numba.simd.leaf import LEAVES
from fastmlp.backends.numba.simd.library import module_of
from fastmlp.backends.numba.simd.registers import Registers

_LINUX, _LINUX_ON_ARM, _MAC = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-macosx11.0.0"
TILES = ("panel_product", "product_of_packed", "row_product", "dots", "spread", "transpose")
PRODUCTS = ("panel_product", "product_of_packed", "row_product", "dots")


@dataclass(frozen=True)
class Processor:
    """A processor, by LLVM's names, and its registers as `registers.host` would find them there.

    `since` is the version of LLVM that was the first to know it.
    """

    name: str
    triple: str
    registers: Registers
    fuses: bool = True
    since: int = 0


PROCESSORS = (
    Processor("skylake-avx512", _LINUX, Registers(64, 32)),
    Processor("znver4", _LINUX, Registers(64, 32), since=16),
    Processor("haswell", _LINUX, Registers(32, 16)),
    Processor("nehalem", _LINUX, Registers(16, 16), fuses=False),
    Processor("neoverse-n1", _LINUX_ON_ARM, Registers(16, 32)),
    Processor("apple-m1", _MAC, Registers(16, 32)),
)


def is_built_in(processor: Processor) -> bool:
    """Tell whether this build of LLVM can write the processor's instructions."""
    if llvm.llvm_version_info[0] < processor.since:
        return False
    try:
        _target(processor)
    except RuntimeError:
        return False
    return True


def _target(processor: Processor) -> llvm.Target:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(processor.triple)


def leaves_of(processor: Processor, dtype: str, names: tuple[str, ...] = ()) -> ir.Module:
    """Return the leaves in LLVM's language: those with these names, or all."""
    if not names:
        return module_of(processor.registers, dtype, processor.triple)
    module = ir.Module("leaves")
    module.triple = processor.triple
    for name in names:
        LEAVES[name].define(module, processor.registers, dtype)
    return module


def compiled(processor: Processor, module: ir.Module) -> str:
    """Return the machine code of a module, optimised as Numba does it."""
    machine = _target(processor).create_target_machine(cpu=processor.name, opt=3, codemodel="small")
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    tuning = llvm.create_pipeline_tuning_options(3)
    tuning.loop_vectorization = True
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(parsed, builder)
    return machine.emit_assembly(parsed)


@lru_cache
def code_of(processor: Processor, dtype: str, names: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Return the lines of each function of the compiled leaves."""
    return functions(compiled(processor, leaves_of(processor, dtype, names)))


# ---- reading


_FUNCTION = re.compile(r"^_?(fastmlp_\w+):")
_LABEL = re.compile(r"^(\.?L\w+):")
_JUMP = re.compile(r"^\s+(?:j\w+|b(?:\.\w+)?|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#\d+,)\s+(\.?L\w+)\s*$")
_CALL = re.compile(r"^\s+(?:callq?|blr?|br|jmpq?)\s+\*?(?!\.?L\w*\b)([^\s#]+)")
_NEVER_GOES_ON = re.compile(r"^\s+(?:jmpq?|b|br|ret[lq]?)(?:\s|$)")
_JUMP_OF_TABLE = re.compile(r"^\s+(?:jmpq?\s+\*(?:%|\.L)|br\s+x)")


def functions(assembly: str) -> dict[str, tuple[str, ...]]:
    """Return the lines of each function, its labels included, in the order of the text."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in assembly.splitlines():
        if named := _FUNCTION.match(line):
            lines = found.setdefault(named[1], [])
        elif _LABEL.match(line) or not re.match(r"^\s*(?:[.#;]|//|$)", line):
            lines.append(re.sub(r"\s+(?:##?\s|//|;).*$", "", line))
    return {name: tuple(lines) for name, lines in found.items()}


def innermost_loops(lines: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield what lies between a label and a jump back to it that comes of it, with no such jump in between."""
    places = {label[1]: i for i, line in enumerate(lines) if (label := _LABEL.match(line))}
    last_start = -1
    for i, line in enumerate(lines):
        jump = _JUMP.match(line)
        start = places.get(jump[1], i) if jump else i
        if start < i and start > last_start and _leads_to_its_end(lines[start : i + 1]):
            last_start = start
            yield lines[start : i + 1]


def _leads_to_its_end(lines: tuple[str, ...]) -> bool:
    """Tell whether a way through these lines goes from the first to the last: one may also jump back to an end."""
    places = {label[1]: i for i, line in enumerate(lines) if (label := _LABEL.match(line))}
    seen, ahead = set(), [0]
    while ahead:
        i = ahead.pop()
        if i in seen or i >= len(lines):
            continue
        seen.add(i)
        jump = _JUMP.match(lines[i])
        if jump and jump[1] in places:
            ahead.append(places[jump[1]])
        if not _NEVER_GOES_ON.match(lines[i]):
            ahead.append(i + 1)
    return len(lines) - 1 in seen


def calls(lines: tuple[str, ...]) -> set[str]:
    """Return what is called, or jumped to never to come back; the jumps of a switch are neither."""
    return {found[1] for line in lines if not _JUMP_OF_TABLE.match(line) and (found := _CALL.match(line))}


_FUSED = re.compile(r"^\s+(?:vfn?m(?:add|sub)\d*[sp][sd]|fn?m(?:add|sub|la|ls)(?:\.\w+)?)\s")
_ON_STACK = re.compile(
    r"%[xyz]mm\d+.*\(%rsp|\(%rsp.*%[xyz]mm"  # x86, computing with what lies there included
    # ARM; with another register as its index, x29 is a base like any other.
    r"|^\s+(?:st|ld)\w*\s+[qdsv]\d+.*\[(?:sp\b|x29\]|x29, #)"
)
_FRAME = re.compile(r"^\s+(?:mov|add)\s+x29, sp\b")
_X86_ARITHMETIC = r"add|sub|mul|div|sqrt|max|min|fn?m(?:add|sub)\d+|cmp\w*|u?comi|hadd|round|rndscale"
_DOUBLE = re.compile(
    rf"^\s+(?:v?(?:{_X86_ARITHMETIC})[sp]d|v?cvt[sp]s2[sp]d"
    r"|f(?!mov)\w+\.2d|f(?!mov)\w+\s+(?:v\d+\.2d|d\d+)|fcvtl2?(?:\.\w+)?)\b"
)


def fused(lines: tuple[str, ...]) -> list[str]:
    """Return the fused multiply-adds."""
    return [line for line in lines if _FUSED.match(line)]


def spills(lines: tuple[str, ...], function: tuple[str, ...]) -> list[str]:
    """Return what moves a register of numbers to the stack or from it, or computes with one there.

    On ARM x29 points there in a function that has it do so; in others it is a register like any.
    """
    has_frame = any(_FRAME.match(line) for line in function)
    found = [line for line in lines if _ON_STACK.search(line)]
    return [line for line in found if has_frame or "[x29" not in line]


def doubles(lines: tuple[str, ...]) -> list[str]:
    """Return the arithmetic of float64, and what widens to it; narrowing and moving are not among it."""
    return [line for line in lines if _DOUBLE.match(line)]
