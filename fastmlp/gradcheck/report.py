"""What `check_gradients` found: a table with a row for each tensor, and where to look."""

from __future__ import annotations

from dataclasses import dataclass

from fastmlp._text import text_table

BEFORE_LAYERS = -1  # where the input scale is


@dataclass(frozen=True)
class TensorCheck:
    """The check of one tensor of a gradient: a row of the table.

    Attributes
    ----------
    name : str
        Such as "weights[0]".
    shape : tuple of int
    n_checked : int
        Parameters checked.
    worst : str
        The parameter that uses most of its bound, such as "weights[0][3, 0]"; the next four are of it.
    value, expected : float
        Its gradient, and what that should be.
    difference, bound : float
        How far apart they are, and may be.
    relative_error : float
        The difference as a part of the largest entry of the tensor.
    ok : bool
        Whether all parameters checked are within their bounds.
    layer : int
        -1 for the input scale.
    """

    name: str
    shape: tuple[int, ...]
    n_checked: int
    worst: str
    value: float
    expected: float
    difference: float
    bound: float
    relative_error: float
    ok: bool
    layer: int


@dataclass(frozen=True)
class GradientReport:
    """What `check_gradients` found. True when the gradient is right.

    Attributes
    ----------
    title : str
        What was checked against what.
    table : tuple of TensorCheck
        One a tensor, in the order W0, b0, W1, b1, ..., the input scale.
    explanation : str
        What the first wrong tensor is in place of the gradient, where a simple mistake explains it.
    note : str
        About derivatives that jump within rounding, where there are any.
    """

    title: str
    table: tuple[TensorCheck, ...]
    explanation: str = ""
    note: str = ""

    def __bool__(self) -> bool:
        return all(row.ok for row in self.table)

    @property
    def max_relative_error(self) -> float:
        """The largest relative error of a tensor."""
        return max(row.relative_error for row in self.table)

    @property
    def first_wrong(self) -> TensorCheck:
        """Where to look first: the worst tensor of the wrong layer that is nearest to the output.

        On the way back from the output a mistake enters there; the layers below may only have inherited it.
        The worst tensor of all, when none is wrong.
        """
        wrong = [row for row in self.table if not row.ok] or list(self.table)
        layer = max(row.layer for row in wrong) if not self else None
        return max((row for row in wrong if layer in (None, row.layer)), key=lambda row: row.relative_error)

    @property
    def worst(self) -> str:
        """The worst parameter of `first_wrong`, such as "weights[1][3, 0]"."""
        return self.first_wrong.worst

    def __str__(self) -> str:
        head = ("gradient of", "shape", "checked", "difference", "relative", "allowed", "")
        rows = [
            (
                row.name,
                " x ".join(map(str, row.shape)),
                f"{row.n_checked:,}",
                f"{row.difference:.2g}",
                f"{row.relative_error:.2g}",
                f"{row.bound:.2g}",
                "ok" if row.ok else "WRONG",
            )
            for row in self.table
        ]
        parts = [self.title, text_table(head, rows), self.note, self._conclusion()]
        return "\n".join(part for part in parts if part)

    def _conclusion(self) -> str:
        row = self.first_wrong
        if self:
            return (
                f"The gradient is right: the worst parameter, {row.worst}, is {row.value:.9g}, "
                f"{row.difference:.2g} from what is expected."
            )
        below = " and below" if any(not other.ok for other in self.table if other.layer < row.layer) else ""
        found = f"{row.worst} is {row.value:.9g}, expected {row.expected:.9g}"
        explanation = f"; {self.explanation}" if self.explanation else "."
        where = "the input scale" if row.layer == BEFORE_LAYERS else f"layer {row.layer}"
        return f"The gradient is wrong in {where}{below}: {found}{explanation}"
