"""No tolerance stands in a test: each is in `tests.bounds`, with where it comes from."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULES = sorted(path for path in HERE.glob("*.py") if path.name != "bounds.py")
CLOSENESS = {"allclose", "approx", "assert_allclose", "assert_almost_equal", "assert_array_almost_equal", "isclose"}
RELATIVE_AND_ABSOLUTE = {"rtol", "atol", "rel", "abs"}
ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
SMALL = 2.0**-8
"""A positive literal below this that something is compared with is a tolerance; numbers in data may be as small."""


def literals(node: ast.AST) -> Iterator[float]:
    """Yield the small positive numbers written in an expression."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, float) and 0.0 < part.value < SMALL:
            yield part.value


def tolerances(source: str) -> list[str]:
    """Name the comparisons of a module that hold a tolerance, and the calls that bring one of their own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(isinstance(op, ORDER) for op in node.ops) and any(literals(node)):
            found.append(f"line {node.lineno} compares with a literal")
        name = called(node)
        if name in CLOSENESS:
            given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg in RELATIVE_AND_ABSOLUTE}
            if not given or any(any(literals(value)) for value in given.values()):
                found.append(f"line {node.lineno} calls {name} with a tolerance of its own")
    return found


def called(node: ast.AST) -> str:
    """Return the name of the function that a node calls, if it calls one."""
    function = node.func if isinstance(node, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_tolerance_literal(path: Path) -> None:
    assert not tolerances(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "line",
    [
        "assert abs(a - b) < 1e-9",
        "assert np.allclose(a, b)",
        "assert a == pytest.approx(b, rel=1e-6)",
        "assert error <= 3 * 1e-7 * size",
    ],
)
def test_tolerances_are_found(line: str) -> None:
    assert tolerances(line)


@pytest.mark.parametrize("line", ["assert a == 1e-3", "assert error <= bounds.GRADIENT * size", "fit(lr=1e-3)"])
def test_other_numbers_are_not(line: str) -> None:
    assert not tolerances(line)
