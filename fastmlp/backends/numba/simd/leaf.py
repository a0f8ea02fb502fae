"""Leaves: functions written in LLVM instructions that jitted code calls, and the pointers that they take.

Their code is compiled once for a dtype, as a library of its own (`library`): kernels know only their names, so that
no kernel is compiled with their code in it again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastmlp.backends.numba.simd.lanes import Choice, Lanes, constant, splat
from fastmlp.backends.numba.simd.registers import Kind, Registers, Tile, host

INT = ir.IntType(64)
Cases = dict[int, Callable[[], None]]


@dataclass(frozen=True)
class Code:
    """Where instructions go, the kind of numbers that they work on, and the shape of tiles."""

    builder: ir.IRBuilder
    kind: Kind
    tile: Tile

    # ---- integers

    def whole(self, value: Any) -> Any:
        """Return a 64-bit integer."""
        return value if isinstance(value, ir.Value) else ir.Constant(INT, value)

    def add(self, a: Any, b: Any) -> Any:
        """Return a + b."""
        return self.builder.add(self.whole(a), self.whole(b))

    def sub(self, a: Any, b: Any) -> Any:
        """Return a - b."""
        return self.builder.sub(self.whole(a), self.whole(b))

    def mul(self, a: Any, b: Any) -> Any:
        """Return a * b."""
        return self.builder.mul(self.whole(a), self.whole(b))

    def least(self, a: Any, b: Any) -> Any:
        """Return the smaller one."""
        a, b = self.whole(a), self.whole(b)
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    # ---- flow

    @contextmanager
    def loop(self, stop: Any, step: int = 1, start: Any = 0) -> Iterator[Any]:
        """Yield i from `start` while i < stop, in steps."""
        with cgutils.for_range_slice(self.builder, self.whole(start), self.whole(stop), self.whole(step), INT) as (
            i,
            _,
        ):
            yield i

    def keep_rolled(self, branch: Any) -> None:
        """Keep LLVM from unrolling the loop that a branch closes: it would run out of registers."""
        module = self.builder.module
        disable = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
        loop = module.add_metadata([ir.MetaDataString(module, f"loop {len(module.metadata)}"), disable])
        loop.operands = (loop, disable)  # a loop is named by a node that begins with itself
        branch.set_metadata("llvm.loop", loop)

    def switch(self, code: Any, cases: Cases) -> None:
        """Run the case of a code; none of an unknown one."""
        function = self.builder.function
        end = function.append_basic_block("end")
        choice = self.builder.switch(self.whole(code), end)
        for value, case in cases.items():
            block = function.append_basic_block(f"case{value}")
            choice.add_case(ir.Constant(INT, value), block)
            self.builder.position_at_end(block)
            case()
            self.builder.branch(end)
        self.builder.position_at_end(end)

    def call(self, name: str, body: Callable[..., None], *values: Any) -> None:
        """Call a function of its own, written by `body` from a `Code` and these values."""
        module = self.builder.module
        typed = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        function = ir.Function(module, typed, f"{self.builder.function.name}_{name}")
        function.linkage = "internal"
        function.attributes.add("noinline")
        inner = Code(ir.IRBuilder(function.append_basic_block("entry")), self.kind, self.tile)
        body(inner, *function.args)
        inner.builder.ret_void()
        self.builder.call(function, values)

    # ---- numbers

    def at(self, pointer: Any, offset: Any) -> Any:
        """Return the pointer so many numbers further on."""
        return self.builder.gep(pointer, [self.whole(offset)])

    def scalar(self, pointer: Any, offset: Any = 0) -> Any:
        """Return the number at a place."""
        return self.builder.load(self.at(pointer, offset))

    def lanes(self, value: Any) -> Lanes:
        """Return a register of LLVM's as `Lanes`, or a Python number in all of them."""
        return Lanes(self.builder, self.kind, value if isinstance(value, ir.Value) else constant(self.kind, value))

    def splat(self, scalar: Any) -> Lanes:
        """Return a scalar in all lanes; one of float64 is rounded to the kind."""
        if scalar.type != self.kind.scalar:
            scalar = self.builder.fptrunc(scalar, self.kind.scalar)
        return self.lanes(splat(self.builder, self.kind.vector, scalar))

    def _place(self, pointer: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.at(pointer, offset), self.kind.vector.as_pointer())

    def load(self, pointer: Any, offset: Any = 0) -> Lanes:
        """Return the numbers from a place on."""
        return self.lanes(self.builder.load(self._place(pointer, offset), align=self.kind.bits // 8))

    def store(self, lanes: Lanes, pointer: Any, offset: Any = 0) -> None:
        """Write numbers to a place."""
        self.builder.store(lanes.value, self._place(pointer, offset), align=self.kind.bits // 8)

    def store_part(self, lanes: Lanes, chosen: range, pointer: Any, offset: Any = 0) -> None:
        """Write neighbouring lanes to a place, and nothing beyond them."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(chosen)), list(chosen))
        part = self.builder.shuffle_vector(lanes.value, lanes.value, mask)
        place = self.builder.bitcast(self.at(pointer, offset), part.type.as_pointer())
        self.builder.store(part, place, align=self.kind.bits // 8)

    def load_some(self, pointer: Any, offset: Any, there: Choice) -> Lanes:
        """Return the numbers from a place on in the lanes that are there, zeros in the others, whose are not read."""
        kind, place = self.kind, self._place(pointer, offset)
        alignment, mask = ir.IntType(32), ir.VectorType(ir.IntType(1), self.kind.lanes)
        typed = ir.FunctionType(kind.vector, [place.type, alignment, mask, kind.vector])
        function = cgutils.get_or_insert_function(self.builder.module, typed, f"llvm.masked.load.{kind.suffix}.p0")
        values = [place, ir.Constant(alignment, kind.bits // 8), there.value, constant(kind, 0.0)]
        return self.lanes(self.builder.call(function, values))

    def below(self, n: Any) -> Choice:
        """Return whether a lane's number, from 0 up, is below n."""
        integers = ir.VectorType(INT, self.kind.lanes)
        limit = splat(self.builder, integers, self.whole(n))
        own = ir.Constant(integers, list(range(self.kind.lanes)))
        return Choice(self.builder, self.kind, self.builder.icmp_signed("<", own, limit))

    def lane_is(self, n: Any) -> Choice:
        """Return whether a lane's number is n."""
        integers = ir.VectorType(INT, self.kind.lanes)
        own = ir.Constant(integers, list(range(self.kind.lanes)))
        wanted = splat(self.builder, integers, self.whole(n))
        return Choice(self.builder, self.kind, self.builder.icmp_signed("==", own, wanted))


Body = Callable[..., Any]


@dataclass(frozen=True)
class Leaf:
    """A function in LLVM instructions.

    Attributes
    ----------
    name : str
    arguments : str
        A letter each: "v" a pointer to numbers of the dtype that it is compiled for, "d" to float64, "q" to integers,
        "h" to integers of 32 bits; "i" an integer, "f" a float64.
    returns : str
        "f", or nothing.
    body : callable
        Called with a `Code` and the arguments, writes the instructions.
    """

    name: str
    arguments: str
    returns: str
    body: Body

    def symbol(self, dtype: str) -> str:
        """Return its name in compiled code; one that takes no numbers is the same for both dtypes."""
        return f"fastmlp_{self.name}_{dtype}" if "v" in self.arguments else f"fastmlp_{self.name}"

    def type(self, dtype: str) -> ir.FunctionType:
        """Return its type in LLVM."""
        kinds = {"v": _SCALARS[dtype].as_pointer(), "d": _SCALARS["float64"].as_pointer(), "q": INT.as_pointer()}
        kinds |= {"h": ir.IntType(32).as_pointer()}
        kinds |= {"i": INT, "f": _SCALARS["float64"], "": ir.VoidType()}
        return ir.FunctionType(kinds[self.returns], [kinds[letter] for letter in self.arguments])

    def declare(self, module: ir.Module, dtype: str) -> ir.Function:
        """Return the function in a module, which may as yet only know its name."""
        found = module.globals.get(self.symbol(dtype))
        return found if found is not None else ir.Function(module, self.type(dtype), self.symbol(dtype))

    def define(self, module: ir.Module, registers: Registers, dtype: str) -> None:
        """Write it into a module."""
        function = self.declare(module, dtype)
        function.linkage = "weak_odr"
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        result = self.body(Code(builder, registers.kind(dtype), registers.tile), *function.args)
        _ = builder.ret(result) if self.returns else builder.ret_void()


_SCALARS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
LEAVES: dict[str, Leaf] = {}


def leaf(arguments: str, *, returns: str = "") -> Callable[[Body], Any]:
    """Make a leaf of its body: what jitted code calls by the same name, with the arguments after the `Code`.

    Which dtype it is called for, the first pointer to numbers says.
    """

    def register(body: Body) -> Any:
        own = Leaf(body.__name__, arguments.replace(" ", ""), returns, body)
        LEAVES[own.name] = own

        def definition(typing_context: Any, *given: Any) -> Any:  # noqa: ARG001  Numba passes it
            pointers = (kind.dtype for kind, letter in zip(given, own.arguments, strict=True) if letter == "v")
            dtype = str(next(pointers, types.float64))
            letters = {"i": types.int64, "f": types.float64}
            taken = (letters.get(letter, kind) for kind, letter in zip(given, own.arguments, strict=True))

            def generate(context: Any, builder: ir.IRBuilder, _: Any, values: Any) -> Any:
                result = builder.call(own.declare(builder.module, dtype), values)
                return result if own.returns else context.get_dummy_value()

            return letters.get(own.returns, types.void)(*taken), generate

        names = ["typing_context", *(f"x{i}" for i in range(len(own.arguments)))]
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        definition.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        definition.__name__, definition.__doc__ = body.__name__, body.__doc__
        return intrinsic(definition)

    return register


@intrinsic
def pointer(typing_context: Any, array: Any) -> Any:  # noqa: ARG001  Numba passes it
    """Return where an array's numbers begin."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, values[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def ahead(typing_context: Any, start: Any, n: Any) -> Any:  # noqa: ARG001
    """Return the pointer n numbers further on."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ARG001
        return builder.gep(values[0], [values[1]])

    return start(start, types.intp), generate


@intrinsic
def lanes_of(typing_context: Any, start: Any) -> Any:  # noqa: ARG001
    """Return how many of the numbers that a pointer points to are in a register."""
    n = host().kind(str(start.dtype)).lanes

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ARG001
        return ir.Constant(INT, n)

    return types.intp(start), generate
