"""How wide the processor's registers are, and how numbers lie in them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm
from llvmlite import ir

ENVIRONMENT = "FASTMLP_REGISTER_BYTES"

_FEATURES = {"avx512f": 64, "avx": 32, "sse2": 16, "neon": 16, "asimd": 16}  # the widest first
_SCALAR = 0
_FEW, _MANY = 16, 32
_ARM_WITH_VECTORS = ("aarch64", "arm64")  # whose vectors are part of the architecture, and so of no feature


def register_bytes() -> int:
    """Return the width of a vector register in bytes; 0 for a processor of which none is known.

    The environment's FASTMLP_REGISTER_BYTES overrides it: 0, 16, 32 or 64.

    Raises
    ------
    ValueError
        If that is none of these.
    """
    if chosen := os.environ.get(ENVIRONMENT):
        if chosen not in {"0", "16", "32", "64"}:
            msg = f"the environment's {ENVIRONMENT} is {chosen!r}; expected 0, 16, 32 or 64"
            raise ValueError(msg)
        return int(chosen)
    if llvm.get_process_triple().startswith(_ARM_WITH_VECTORS):
        return 16
    features = llvm.get_host_cpu_features()
    return next((width for name, width in _FEATURES.items() if features.get(name)), _SCALAR)


_FORMATS = {"float32": (32, 23), "float64": (64, 52)}


@dataclass(frozen=True)
class Kind:
    """A dtype in registers.

    Attributes
    ----------
    dtype : str
    bits, mantissa_bits : int
        Of a number, and of its mantissa without the leading one.
    lanes : int
        Numbers in a register.
    """

    dtype: str
    bits: int
    mantissa_bits: int
    lanes: int

    @property
    def bias(self) -> int:
        """What is added to an exponent where it is stored."""
        return (1 << (self.bits - self.mantissa_bits - 2)) - 1

    @property
    def scalar(self) -> ir.Type:
        """One number."""
        return ir.FloatType() if self.dtype == "float32" else ir.DoubleType()

    @property
    def vector(self) -> ir.Type:
        """A register of numbers."""
        return ir.VectorType(self.scalar, self.lanes)

    @property
    def integers(self) -> ir.Type:
        """A register of integers as wide as the numbers."""
        return ir.VectorType(ir.IntType(self.bits), self.lanes)

    @property
    def suffix(self) -> str:
        """What LLVM's names of functions on such registers end in."""
        return f"v{self.lanes}f{self.bits}"


@dataclass(frozen=True)
class Tile:
    """The shape of a micro-kernel: rows for each number of vectors in a row.

    Attributes
    ----------
    vectors : int
        The vectors in a row of the panels in which weights are stored.
    rows : dict of int to tuple of int
        For each number of vectors, the heights of the kernels, in falling order down to 1. If the second is one less
        than the first, rows are shared out between these two where that leaves none over.
    """

    vectors: int
    rows: dict[int, tuple[int, ...]]

    @property
    def most_vectors(self) -> int:
        """The most vectors in a row."""
        return max(self.rows)

    def panels(self, vectors: int) -> list[int]:
        """Return how many vectors each panel of a row of so many has.

        None has one beside others that have more: for each product its tiles would read a number and a bit.
        """
        panels = [self.vectors] * (vectors // self.vectors)
        if rest := vectors % self.vectors:
            panels.append(rest)
        if len(panels) > 1 and panels[-1] == 1:
            last = self.vectors + 1
            panels[-2:] = [last] if last <= self.most_vectors else [last - last // 2, last // 2]
        return panels


# 24 of 32 registers hold sums, or 12 of 16: the others the vectors of B and, where the processor cannot multiply with
# a number in memory, one of A. With fewer sums than 8 the units would wait for one another's results.
_TILE_OF_32 = Tile(4, {1: (8, 4, 2, 1), 2: (8, 4, 2, 1), 3: (8, 4, 2, 1), 4: (6, 4, 2, 1)})
_TILE_OF_16 = Tile(2, {1: (8, 4, 2, 1), 2: (6, 5, 4, 2, 1), 3: (4, 3, 2, 1)})
# Without fused multiply-adds, which came with wider registers, a product takes one more.
_TILE_OF_16_UNFUSED = Tile(2, _TILE_OF_16.rows | {3: (3, 2, 1)})
_TILE_OF_SCALARS = Tile(2, {1: (4, 2, 1), 2: (4, 2, 1)})


@dataclass(frozen=True)
class Registers:
    """A processor's vector registers.

    Attributes
    ----------
    width : int
        Bytes of one; 0 where there are none.
    number : int
        16 or 32.
    """

    width: int
    number: int

    def kind(self, dtype: str) -> Kind:
        """Return how numbers of a dtype lie in them."""
        bits, mantissa_bits = _FORMATS[dtype]
        return Kind(dtype, bits, mantissa_bits, max(1, self.width * 8 // bits))

    @property
    def tile(self) -> Tile:
        """The shape of tiles that fits them."""
        if self.width == _SCALAR:
            return _TILE_OF_SCALARS
        if self.number == _MANY:
            return _TILE_OF_32
        return _TILE_OF_16 if self.width > _FEATURES["sse2"] else _TILE_OF_16_UNFUSED


@cache
def host() -> Registers:
    """Return the registers of this processor."""
    width = register_bytes()
    has_many = width == _FEATURES["avx512f"] or llvm.get_process_triple().startswith(_ARM_WITH_VECTORS)
    return Registers(width, _MANY if has_many else _FEW)


def lanes(dtype: str) -> int:
    """Return how many numbers of a dtype a register of this processor holds."""
    return host().kind(dtype).lanes


_MOST_COLUMNS = 4  # beyond them tiles are as fast


def columns_at_most(lanes: int) -> int:
    """Return how many columns a narrow matrix has at most: their sums are the lanes of one register."""
    return min(_MOST_COLUMNS, lanes) if lanes > 1 else 0
