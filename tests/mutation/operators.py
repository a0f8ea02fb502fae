"""Mutations of our own, beside those of Cosmic Ray, whose operators do not touch calls: NumPy code is calls.

Each is an operator of Cosmic Ray's: it names the places in a node of the syntax tree that it can change, and
returns the changed node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import parso
from cosmic_ray.operators.operator import Example, Operator
from parso.python.tree import Name, Number, PythonNode

Places = Iterator[tuple[tuple[int, int], tuple[int, int]]]


class StatementDeletion(Operator):
    """Leave out a call whose result is not used, a raise, or an assignment to something that is there already."""

    def mutation_positions(self, node: Any) -> Places:
        """Name a statement that can be left out without a NameError."""
        if node.type == "simple_stmt" and self._is_optional(node.children[0]):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002  one place a node
        """Put `pass` in its place."""
        return parso.parse(node.get_first_leaf().prefix + "pass\n").children[0]

    @staticmethod
    def _is_optional(statement: Any) -> bool:
        if statement.type == "expr_stmt":
            target, sign = statement.children[:2]
            return target.type != "name" or (sign.type == "operator" and sign.value != "=")
        return statement.type in ("atom_expr", "raise_stmt")

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Show what it does."""
        return (Example("f(x)\n", "pass\n"), Example("x[0] = 1\n", "pass\n"))


class FunctionExchange(Operator):
    """Call a function's neighbour: ``np.add`` for ``np.subtract``, ``maximum`` for ``minimum``, and so on."""

    NEIGHBOURS: ClassVar[dict[str, str]] = {
        "absolute": "positive",
        "add": "subtract",
        "any": "all",
        "argmax": "argmin",
        "divide": "multiply",
        "exp": "expm1",
        "expm1": "exp",
        "greater": "greater_equal",
        "less_equal": "less",
        "log": "log1p",
        "log1p": "log",
        "logaddexp": "maximum",
        "max": "min",
        "maximum": "minimum",
        "min": "max",
        "minimum": "maximum",
        "multiply": "add",
        "negative": "positive",
        "ones": "zeros",
        "reciprocal": "negative",
        "rint": "floor",
        "sign": "positive",
        "sqrt": "abs",
        "subtract": "add",
        "tanh": "sin",
        "zeros": "ones",
    }

    def mutation_positions(self, node: Any) -> Places:
        """Name an attribute that is called, or whose method is."""
        if node.type == "name" and node.value in self.NEIGHBOURS and self._is_attribute(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002  one place a node
        """Put the neighbour in its place."""
        return Name(self.NEIGHBOURS[node.value], node.start_pos, node.prefix)

    @staticmethod
    def _is_attribute(node: Any) -> bool:
        return node.parent.type == "trailer" and node.parent.children[0].value == "."

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Show what it does."""
        return (Example("np.add(x, y)", "np.subtract(x, y)"),)


class ArgumentExchange(Operator):
    """Swap the first two positional arguments of a call, where their order matters.

    ``do(f, x, y)`` is the call of ``f(x, y)`` that the NumPy backend makes at once or records.
    """

    COMMUTATIVE = ("add", "equal", "logaddexp", "maximum", "minimum", "multiply")

    def mutation_positions(self, node: Any) -> Places:
        """Name the arguments of a call that has two."""
        if node.type == "arglist" and len(self._positional(node)) > 1 and not self._commutes(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002  one place a node
        """Swap them."""
        first, second = self._positional(node)[:2]
        children = list(node.children)
        children[first], children[second] = children[second], children[first]
        return PythonNode("arglist", children)

    @classmethod
    def _commutes(cls, node: Any) -> bool:
        function = node.children[0] if cls._is_told(node) else node.parent.get_previous_sibling()
        name = function.get_last_leaf() if function is not None else None
        return name is not None and name.value in cls.COMMUTATIVE

    @staticmethod
    def _is_told(node: Any) -> bool:
        called = node.parent.get_previous_sibling()
        return called is not None and called.get_last_leaf().value == "do"

    @classmethod
    def _positional(cls, node: Any) -> list[int]:
        places = range(2 if cls._is_told(node) else 0, len(node.children), 2)
        return [i for i in places if node.children[i].type != "argument"]

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Show what it does."""
        return (Example("f(x, y)", "f( y,x)"), Example("do(f, x, y)", "do(f, y, x)"))


class NumberScaling(Operator):
    """Make a constant that is no integer wrong by a thousandth, where Cosmic Ray's own operator adds 1."""

    def mutation_positions(self, node: Any) -> Places:
        """Name a floating-point number other than zero."""
        if node.type == "number" and isinstance(value := parse_number(node.value), float) and value:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002  one place a node
        """Scale it."""
        return Number(repr(parse_number(node.value) * 1.001), node.start_pos, node.prefix)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Show what it does."""
        return (Example("x = 2.0", "x = 2.002"),)


def parse_number(text: str) -> int | float:
    """Return the value of a number as it stands in the source."""
    try:
        return int(text, 0)
    except ValueError:
        return float(text)


OURS: tuple[type[Operator], ...] = (StatementDeletion, FunctionExchange, ArgumentExchange, NumberScaling)
