"""Numbers in a SIMD register, as values whose arithmetic writes LLVM instructions.

The functions of the package's tables are plain arithmetic. Called with `Lanes` they leave the instructions that compute
them for a whole register: no second definition, and nothing for a compiler to vectorise. Products and sums may be
fused; nothing else is relaxed, so NaN, infinities and signed zeros come through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from fastmlp.backends.numba.simd.registers import Kind

_FUSED = ("contract",)


@dataclass(frozen=True, eq=False)
class Choice:
    """A truth value for each lane."""

    builder: ir.IRBuilder
    kind: Kind
    value: Any

    def __and__(self, other: Choice) -> Choice:
        return Choice(self.builder, self.kind, self.builder.and_(self.value, other.value))


@dataclass(frozen=True, eq=False)
class Lanes:
    """A number for each lane."""

    builder: ir.IRBuilder
    kind: Kind
    value: Any

    def _with(self, value: Any) -> Lanes:
        return Lanes(self.builder, self.kind, value)

    def _other(self, other: Any) -> Any:
        return other.value if isinstance(other, Lanes) else constant(self.kind, other)

    def _binary(self, instruction: Callable[..., Any], left: Any, right: Any) -> Lanes:
        return self._with(instruction(left, right, flags=_FUSED))

    def __add__(self, other: Any) -> Lanes:
        return self._binary(self.builder.fadd, self.value, self._other(other))

    def __radd__(self, other: Any) -> Lanes:
        return self._binary(self.builder.fadd, self._other(other), self.value)

    def __sub__(self, other: Any) -> Lanes:
        return self._binary(self.builder.fsub, self.value, self._other(other))

    def __rsub__(self, other: Any) -> Lanes:
        return self._binary(self.builder.fsub, self._other(other), self.value)

    def __mul__(self, other: Any) -> Lanes:
        return self._binary(self.builder.fmul, self.value, self._other(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Lanes:
        return self._binary(self.builder.fdiv, self.value, self._other(other))

    def __rtruediv__(self, other: Any) -> Lanes:
        return self._binary(self.builder.fdiv, self._other(other), self.value)

    def __neg__(self) -> Lanes:
        return self._with(self.builder.fneg(self.value))

    def _compared(self, sign: str, other: Any) -> Choice:
        return Choice(self.builder, self.kind, self.builder.fcmp_ordered(sign, self.value, self._other(other)))

    def __lt__(self, other: Any) -> Choice:
        return self._compared("<", other)

    def __le__(self, other: Any) -> Choice:
        return self._compared("<=", other)

    def __gt__(self, other: Any) -> Choice:
        return self._compared(">", other)

    def __ge__(self, other: Any) -> Choice:
        return self._compared(">=", other)

    def __eq__(self, other: object) -> Any:
        return self._compared("==", other)

    __hash__ = None  # type: ignore[assignment]

    # ---- bits

    @property
    def bits(self) -> Any:
        """The numbers' bits, as integers."""
        return self.builder.bitcast(self.value, self.kind.integers)

    def from_bits(self, bits: Any) -> Lanes:
        """Return the numbers with these bits."""
        return self._with(self.builder.bitcast(bits, self.kind.vector))

    # ---- across lanes, and LLVM's own functions

    def call(self, name: str, *others: Lanes) -> Lanes:
        """Apply one of LLVM's functions, such as "sqrt", lane by lane."""
        return self._with(intrinsic_call(self.builder, f"{name}.{self.kind.suffix}", self.value, *_values(others)))

    def sum(self) -> Any:
        """Return the sum of all lanes, a scalar, in whatever order is fastest."""
        function = f"llvm.vector.reduce.fadd.{self.kind.suffix}"
        start = ir.Constant(self.kind.scalar, -0.0)
        typed = ir.FunctionType(self.kind.scalar, [self.kind.scalar, self.kind.vector])
        return self.builder.call(_declared(self.builder, function, typed), [start, self.value], fastmath=["reassoc"])

    def maximum(self) -> Lanes:
        """Return the largest lane in all of them, by exchanges of ever larger parts; what NaN does is not said."""
        found, step = self, 1
        while step < self.kind.lanes:
            other = found.shuffled(found, [lane ^ step for lane in range(self.kind.lanes)])
            found, step = where(other > found, other, found), 2 * step
        return found

    def shuffled(self, other: Lanes, chosen: list[int]) -> Lanes:
        """Return chosen lanes of two registers, those of the other counted on from this one's."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(chosen)), chosen)
        return self._with(self.builder.shuffle_vector(self.value, other.value, mask))

    def splat(self, scalar: Any) -> Lanes:
        """Return a scalar in all lanes."""
        return self._with(splat(self.builder, self.kind.vector, scalar))


@dataclass(frozen=True, eq=False)
class Whole:
    """A whole number, or one for each lane, of which the lowest bits are kept; shifts bring in zeros."""

    builder: ir.IRBuilder
    value: Any

    def _other(self, other: Any) -> Any:
        if isinstance(other, Whole):
            return other.value
        vector = isinstance(self.value.type, ir.VectorType)
        bits = (self.value.type.element if vector else self.value.type).width
        signed = (other + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))
        return ir.Constant(self.value.type, [signed] * self.value.type.count if vector else signed)

    def _with(self, instruction: Callable[..., Any], other: Any) -> Whole:
        return Whole(self.builder, instruction(self.value, self._other(other)))

    def __xor__(self, other: Any) -> Whole:
        return self._with(self.builder.xor, other)

    def __and__(self, other: Any) -> Whole:
        return self._with(self.builder.and_, other)

    def __rshift__(self, other: int) -> Whole:
        return self._with(self.builder.lshr, other)

    def __mul__(self, other: Any) -> Whole:
        return self._with(self.builder.mul, other)


def _values(many: tuple[Lanes, ...]) -> list[Any]:
    return [each.value for each in many]


def constant(kind: Kind, value: float) -> Any:
    """Return a number in all lanes, as a constant."""
    return ir.Constant(kind.vector, [ir.Constant(kind.scalar, float(value))] * kind.lanes)


def integers(kind: Kind, value: int) -> Any:
    """Return an integer in all lanes, as a constant."""
    return ir.Constant(kind.integers, [value] * kind.lanes)


def splat(builder: ir.IRBuilder, vector: ir.VectorType, scalar: Any) -> Any:
    """Return a scalar in all lanes of a vector."""
    nothing, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(builder.insert_element(nothing, scalar, first), nothing, lanes)


def _declared(builder: ir.IRBuilder, name: str, typed: ir.FunctionType) -> ir.Function:
    found = builder.module.globals.get(name)
    return found if found is not None else ir.Function(builder.module, typed, name)


def intrinsic_call(builder: ir.IRBuilder, name: str, *values: Any) -> Any:
    """Call one of LLVM's functions whose arguments and result are of one type."""
    kind = values[0].type
    return builder.call(_declared(builder, f"llvm.{name}", ir.FunctionType(kind, [kind] * len(values))), values)


def where(condition: Choice, yes: Any, no: Any) -> Lanes:
    """Choose lane by lane; see `fastmlp.elementary.where`."""
    like = Lanes(condition.builder, condition.kind, None)
    return like._with(condition.builder.select(condition.value, like._other(yes), like._other(no)))  # noqa: SLF001


def sqrt(x: Lanes) -> Lanes:
    """See `fastmlp.elementary.sqrt`."""
    return x.call("sqrt")


# Between numbers and integers there are instructions for every register in AVX-512 alone: adding 2**mantissa_bits, or
# half as much again where the integer may be negative, leaves it in the lowest bits.


def power_of_two(k: Lanes) -> Lanes:
    """See `fastmlp.elementary.power_of_two`: the exponent's bits, with no others."""
    kind, builder = k.kind, k.builder
    exponent = builder.shl((k + 1.5 * 2.0**kind.mantissa_bits).bits, integers(kind, kind.mantissa_bits))
    return k.from_bits(builder.add(exponent, integers(kind, kind.bias << kind.mantissa_bits)))


def split(x: Lanes) -> tuple[Lanes, Lanes]:
    """See `fastmlp.elementary.split`; subnormal numbers are made normal first."""
    kind, builder = x.kind, x.builder
    shift, unit = kind.mantissa_bits + 1, 2.0**kind.mantissa_bits
    is_small = x < 2.0 ** (1 - kind.bias)
    bits = where(is_small, x * 2.0**shift, x).bits
    stored = builder.lshr(bits, integers(kind, kind.mantissa_bits))
    above_unit = builder.or_(stored, integers(kind, (kind.bias + kind.mantissa_bits) << kind.mantissa_bits))
    exponent = x.from_bits(above_unit) - (unit + kind.bias - 1.0)
    mantissa = builder.and_(bits, integers(kind, (1 << kind.mantissa_bits) - 1))
    half = integers(kind, (kind.bias - 1) << kind.mantissa_bits)
    return x.from_bits(builder.or_(mantissa, half)), exponent - where(is_small, float(shift), 0.0)
