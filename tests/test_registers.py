"""Registers narrower than this processor's, and none at all: the same results, from other code.

The width is read once a process, so each has a process of its own.
"""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest

from fastmlp.backends.numba.simd import registers, tiles
from fastmlp.backends.numba.simd.registers import Registers
from tests import narrow, processes
from tests.test_conformance import report

WIDTHS = ("0", "16", "32", "64")
KNOWN = llvm.get_host_cpu_features()


def can_have(width: int) -> bool:
    """Tell whether this processor has registers of so many bytes; LLVM makes wider ones of several, but slowly."""
    return width <= max((bytes_ for name, bytes_ in registers._FEATURES.items() if KNOWN.get(name)), default=0)


@pytest.mark.parametrize("width", WIDTHS)
def test_results_do_not_depend_on_the_registers(width: str) -> None:
    if not can_have(int(width)):
        pytest.skip(f"this processor has no registers of {width} bytes")
    answer = processes.call(narrow.complaints, FASTMLP_REGISTER_BYTES=width)
    assert answer["width"] == int(width)
    assert not answer["found"], report(answer["found"])


@pytest.mark.parametrize("wrong", ["8", "128", "-16", "wide", "16.0", " 16"])
def test_a_wrong_width_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registers.ENVIRONMENT, wrong)
    with pytest.raises(ValueError, match="expected 0, 16, 32 or 64") as refusal:
        registers.register_bytes()
    assert str(refusal.value) == f"the environment's FASTMLP_REGISTER_BYTES is {wrong!r}; expected 0, 16, 32 or 64"


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(registers.ENVIRONMENT, raising=False)
    own = registers.register_bytes()
    monkeypatch.setenv(registers.ENVIRONMENT, "")
    assert registers.register_bytes() == own


@pytest.mark.parametrize("width", [0, 16, 32, 64])
@pytest.mark.parametrize("number", [16, 32])
def test_tiles_fit_their_registers(width: int, number: int) -> None:
    """The sums and, beside them, the vectors of a row of B and one number of A; every height can be made of tiles."""
    for vectors, heights in Registers(width, number).tile.rows.items():
        assert vectors * heights[0] + vectors + 1 <= number
        assert sorted(heights, reverse=True) == list(heights)
        assert heights[-1] == 1


@pytest.mark.parametrize("width", [0, 16, 32, 64])
@pytest.mark.parametrize("number", [16, 32])
def test_no_panel_has_one_register_beside_wider_ones(width: int, number: int) -> None:
    tile = Registers(width, number).tile
    for vectors in range(1, 40):
        panels = tile.panels(vectors)
        assert sum(panels) == vectors
        assert set(panels) <= set(tile.rows)
        assert set(panels[:-2]) <= {tile.vectors}
        assert len(panels) == 1 or panels[-1] > 1 or width == 0
        assert len(panels) <= -(-vectors // tile.vectors)


def test_panels_of_some_rows() -> None:
    """25 registers are 100 numbers of float64 with AVX2, 200 with AVX-512."""
    assert Registers(32, 16).tile.panels(25) == [2] * 11 + [3]
    assert Registers(32, 16).tile.panels(8) == [2] * 4
    assert Registers(64, 32).tile.panels(25) == [4] * 5 + [3, 2]
    assert [Registers(64, 32).tile.panels(n) for n in (1, 5, 6, 7)] == [[1], [3, 2], [4, 2], [4, 3]]
    assert Registers(0, 16).tile.panels(3) == [2, 1]


def test_a_tile_that_is_packed_too_high_is_done_in_even_parts() -> None:
    """Each row once: where a gradient is added to what is there, twice would be too often."""
    parts = {height: list(tiles._parts(height, 4)) for height in (1, 4, 5, 6)}
    assert parts == {1: [(0, 1)], 4: [(0, 4)], 5: [(0, 3), (3, 2)], 6: [(0, 3), (3, 3)]}
