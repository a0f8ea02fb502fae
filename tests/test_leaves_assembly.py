"""The machine code of the leaves, for processors that need not be here: what the products' loops hold and what not.

LLVM writes it for any of its processors. In float32 the whole library is looked through; float64 has the same source,
and only the tiles, whose registers hold half as many numbers, are looked at again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from fastmlp.backends.numba.simd import dots, registers, tiles
from fastmlp.backends.numba.simd.leaf import LEAVES, Code, Leaf
from tests import assembly
from tests.assembly import PROCESSORS, PRODUCTS, TILES, Processor

MEETING = "fastmlp_meet"
YIELDS = {"sched_yield", "_sched_yield", "sched_yield@PLT"}
_SUMS = ("measure", "measure_columns", "softmax_loss", "row_gradient", "sum_of_squares")
SUM_IN_DOUBLE = {f"fastmlp_{name}_float32" for name in _SUMS}
"""The leaves of float32 that may compute in float64. Others read coefficients and shares, which are rounded at once."""


@pytest.fixture(params=PROCESSORS, ids=lambda processor: processor.name)
def processor(request: pytest.FixtureRequest) -> Processor:
    """Each processor that this build of LLVM knows."""
    if not assembly.is_built_in(request.param):
        pytest.skip(f"this build of LLVM does not write the instructions of {request.param.name}")
    return request.param


def code(processor: Processor, dtype: str) -> dict[str, tuple[str, ...]]:
    return assembly.code_of(processor, dtype, TILES if dtype == "float64" else ())


def planted(processor: Processor, *names: str) -> dict[str, tuple[str, ...]]:
    """Return the code of leaves as they are now, without asking for what was compiled before."""
    return assembly.functions(assembly.compiled(processor, assembly.leaves_of(processor, "float32", names)))


def loops_of_products(functions: dict[str, tuple[str, ...]]) -> dict[str, list[tuple[str, ...]]]:
    """Return the innermost loops of each function that multiplies matrices."""
    wanted = ("row_product", "rows_of", "columns_of")
    return {
        name: list(assembly.innermost_loops(lines))
        for name, lines in functions.items()
        if any(part in name for part in wanted)
    }


def complaints_of_products(functions: dict[str, tuple[str, ...]], *, fuses: bool) -> list[str]:
    """Name the loops of products that go to the stack, call something, or do not fuse."""
    found = []
    for name, loops in loops_of_products(functions).items():
        for loop in loops:
            found += [f"{name} goes to the stack: {line}" for line in assembly.spills(loop, functions[name])]
            found += [f"{name} calls {callee}" for callee in assembly.calls(loop)]
            if fuses and not assembly.fused(loop) and not is_lane_by_lane(loop):
                found.append(f"{name} does not fuse: {loop}")
    return found


def is_lane_by_lane(loop: tuple[str, ...]) -> bool:
    """Tell whether it is part of how ARM reads the last, incomplete register of a row: a jump for each number."""
    return any(line.split()[0] in {"tbz", "tbnz"} for line in loop[1:])


def complaints_of_calls(functions: dict[str, tuple[str, ...]]) -> list[str]:
    """Name what leaves call: a product its own loops over rows, a meeting the system's yield, and nothing else.

    Not even a copy of memory: what LLVM would make one of is short here, and a call costs more than it.
    """
    found = []
    for name, lines in functions.items():
        callees = {callee.removesuffix("@PLT") for callee in assembly.calls(lines)}
        parts = f"{name}_rows_of", f"{name}_columns_of", f"{name}_entries_of"
        allowed = YIELDS if name == MEETING else {each for each in functions if each.startswith(parts)}
        found += [f"{name} calls {callee}" for callee in callees if callee.removeprefix("_") not in allowed]
    return found


def complaints_of_doubles(functions: dict[str, tuple[str, ...]]) -> list[str]:
    """Name the float64 arithmetic in leaves of float32."""
    return [
        f"{name}: {line}"
        for name, lines in functions.items()
        if name not in SUM_IN_DOUBLE
        for line in assembly.doubles(lines)
    ]


# ---- what is promised


def test_every_leaf_is_there(processor: Processor) -> None:
    functions = code(processor, "float32")
    assert {leaf.symbol("float32") for leaf in LEAVES.values()} <= set(functions)
    assert all(len(lines) > 1 for lines in functions.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_stay_in_registers(processor: Processor, dtype: str) -> None:
    if (processor.triple.startswith("a") or not processor.fuses) and llvm.llvm_version_info[0] < 20:
        pytest.skip("for ARM, and without fused multiply-adds, this LLVM keeps sums on the stack: slow but right")
    functions = code(processor, dtype)
    assert not complaints_of_products(functions, fuses=processor.fuses)
    loops = loops_of_products(functions)
    tile = processor.registers.tile
    for vectors, heights in tile.rows.items():
        assert len(loops[f"fastmlp_panel_product_{dtype}_rows_of_{vectors}"]) >= len(heights)
    row_loops = [loop for loop in loops[f"fastmlp_row_product_{dtype}"] if not is_lane_by_lane(loop)]
    assert len(row_loops) >= len(tiles._ROW_BLOCKS)
    for columns in range(1, dots.columns_at_most(processor.registers.kind(dtype).lanes) + 1):
        assert loops[f"fastmlp_dots_{dtype}_columns_of_{columns}"]
        assert loops[f"fastmlp_spread_{dtype}_columns_of_{columns}"]


def test_sparse_products_stay_in_registers(processor: Processor) -> None:
    """The sums of a row's entries: nothing in their loops goes to the stack."""
    if processor.triple.startswith("a") and llvm.llvm_version_info[0] < 20:
        pytest.skip("for ARM, this LLVM keeps sums on the stack, which is slow but right")
    functions = {name: lines for name, lines in code(processor, "float32").items() if "sparse" in name}
    loops = {name: list(assembly.innermost_loops(lines)) for name, lines in functions.items()}
    for vectors in processor.registers.tile.rows:
        for name in ("sparse_product", "sparse_gradient"):
            own = loops[f"fastmlp_{name}_float32_entries_of_{vectors}"]
            assert sum(len(assembly.fused(loop)) >= vectors for loop in own) or not processor.fuses
    assert not [line for name in loops for loop in loops[name] for line in assembly.spills(loop, functions[name])]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_tile_fuses_once_for_each_of_its_sums(processor: Processor, dtype: str) -> None:
    """No sum is computed twice, and none is left to another loop."""
    if not processor.fuses:
        pytest.skip(f"{processor.name} has no fused multiply-add")
    loops = loops_of_products(code(processor, dtype))
    for vectors, heights in processor.registers.tile.rows.items():
        sums = {len(assembly.fused(loop)) for loop in loops[f"fastmlp_panel_product_{dtype}_rows_of_{vectors}"]}
        assert sums == {vectors * height for height in heights}


def test_nothing_else_is_called(processor: Processor) -> None:
    functions = code(processor, "float32")
    assert not complaints_of_calls(functions)
    assert assembly.calls(functions[MEETING]) & YIELDS


def test_float32_is_not_computed_in_float64(processor: Processor) -> None:
    functions = code(processor, "float32")
    assert not complaints_of_doubles(functions)
    assert all(assembly.doubles(functions[name]) for name in SUM_IN_DOUBLE)


# ---- the same checks, shown what they look for


def test_a_tile_that_is_too_large_is_seen(processor: Processor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many sums as there are registers."""
    for name in ("_TILE_OF_16", "_TILE_OF_16_UNFUSED", "_TILE_OF_32"):
        tile = getattr(registers, name)
        monkeypatch.setattr(registers, name, replace(tile, rows=dict.fromkeys(tile.rows, (16, 1))))
    assert any("stack" in line for line in complaints_of_products(planted(processor, *PRODUCTS), fuses=False))


def test_a_product_that_is_not_fused_is_seen(processor: Processor, monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(a: Any, b: Any, c: Any) -> Any:
        builder = a.builder
        return a._with(builder.fadd(builder.fmul(a.value, b.value), c))

    monkeypatch.setattr(tiles, "fused", apart)
    found = complaints_of_products(planted(processor, *PRODUCTS), fuses=True)
    assert any("does not fuse" in line for line in found)


def test_a_call_of_the_mathematical_library_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exact fused multiply-add, where the processor has none."""

    def exactly(a: Any, b: Any, c: Any) -> Any:
        return a._with(tiles.intrinsic_call(a.builder, f"fma.{a.kind.suffix}", a.value, b.value, c))

    monkeypatch.setattr(tiles, "fused", exactly)
    (processor,) = (each for each in PROCESSORS if not each.fuses)
    functions = planted(processor, *PRODUCTS)
    assert any("calls fma" in line for line in complaints_of_products(functions, fuses=False))
    assert any("calls fma" in line for line in complaints_of_calls(functions))


def test_arithmetic_in_float64_is_seen(processor: Processor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an untyped constant does: a product that is widened, multiplied and rounded again."""

    def body(code: Code, x: Any, y: Any, out: Any, n: Any) -> None:
        wide, builder = ir.VectorType(ir.DoubleType(), code.kind.lanes), code.builder
        with code.loop(n, code.kind.lanes) as i:
            a, b = (builder.fpext(code.load(each, i).value, wide) for each in (x, y))
            code.store(code.lanes(builder.fptrunc(builder.fadd(builder.fmul(a, b), a), code.kind.vector)), out, i)

    monkeypatch.setitem(LEAVES, "multiply", Leaf("multiply", "vvvi", "", body))
    assert complaints_of_doubles(planted(processor, "multiply"))


def test_a_copy_that_became_a_call_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(code: Code, out: Any, n: Any, value: Any) -> None:  # noqa: ARG001  zeros alone, whatever it is given
        with code.loop(n) as i:
            code.builder.store(ir.Constant(code.kind.scalar, 0.0), code.at(out, i))

    monkeypatch.setitem(LEAVES, "fill", Leaf("fill", "vif", "", body))
    assert any("memset" in line for line in complaints_of_calls(planted(PROCESSORS[0], "fill")))
