"""Plain text for reports: tables, and numbers of things."""

from __future__ import annotations

from collections.abc import Sequence


def counted(n: int, noun: str) -> str:
    """Return a number of things, such as "1 sample" and "2 samples"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows below the head, the columns aligned: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for first, *others in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)
