"""Reading a table of numbers from a CSV file, for the command.

The format is a strict one, so that a file is either understood or refused with the line at fault: UTF-8
without a byte order mark, fields separated by commas, a header of distinct names, one line a row, every row
as long as the header, decimal points, no missing values. Features are numbers; the target is numbers or
classes.
"""

from __future__ import annotations

import csv
import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

TargetKind = Literal["classes", "numbers"]

MAX_LINE_BYTES = 1 << 20
MOST_WHOLE_NUMBER_CLASSES = 20

_BYTE_ORDER_MARK = "\ufeff"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE_NUMBER = re.compile(r"[+-]?\d+", re.ASCII)
_SHOWN_LENGTH = 40
_SHOWN_NAMES = 8


class TableError(ValueError):
    """A file is not the table it should be; the message is one line with file and line number.

    Parameters
    ----------
    path : Path
        The file.
    line : int
        The line at fault, from 1.
    problem : str
        What is wrong with it.
    """

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{_one_line(str(path))}:{line}: {problem}")


@dataclass(frozen=True)
class Table:
    """The content of a file.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features), float64
        The features, in the file's order of columns.
    Y : ndarray of shape (n_samples,), float64 or int64
        The target: numbers (float64), or indices into `class_names` (int64).
    feature_names : tuple of str
        The names of X's columns.
    target_name : str
        The name of the target's column.
    class_names : tuple of str
        The classes, whole numbers in their order, text by the alphabet; empty when the target is numbers.
    """

    X: npt.NDArray[np.float64]
    Y: npt.NDArray[np.float64] | npt.NDArray[np.int64]
    feature_names: tuple[str, ...]
    target_name: str
    class_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """The fields of a line, and where it stands, for messages."""

    path: Path
    line: int
    fields: list[str]

    def error(self, problem: str) -> TableError:
        return TableError(self.path, self.line, problem)


def read_csv(path: str | Path, target: str, kind: TargetKind | None = None) -> Table:
    """Read features and target.

    Parameters
    ----------
    path : str or Path
        The file.
    target : str
        Name of the target's column; all others are features.
    kind : {"classes", "numbers"}, optional
        How the target is taken. By default text is classes, and so are whole numbers with at most
        20 different values; other numbers stay numbers. The first row tells text from numbers.

    Returns
    -------
    Table
        All rows.

    Raises
    ------
    TableError
        If the file is no such table; nothing is guessed or skipped but empty lines.
    OSError
        If it cannot be read.
    """
    rows = _rows(Path(path))
    header = _header(rows, Path(path))
    position = _target_position(header, target)
    names = header.fields
    values = array("d")
    cells: list[_Row] = []
    for row in rows:
        if len(row.fields) != len(names):
            raise row.error(f"{len(row.fields)} fields, but the header has {len(names)}")
        cells.append(_Row(row.path, row.line, [row.fields.pop(position)]))
        values.extend(_number(row, text) for text in row.fields)
    if not cells:
        raise header.error("a header, but no rows")
    Y, class_names = _target(cells, kind)
    X = np.array(values).reshape(len(cells), len(names) - 1)
    return Table(X, Y, (*names[:position], *names[position + 1 :]), target, class_names)


def _rows(path: Path) -> Iterator[_Row]:
    """Yield the lines that are not empty, split into fields without the white space around them."""
    with path.open("rb") as file:
        line = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            line += 1
            text = _decode(raw, path, line)
            try:
                fields = next(csv.reader([text], strict=True, skipinitialspace=True), [])
            except csv.Error as error:
                problem = f"not a line of CSV ({error}); a quoted field must end on the line it starts on"
                raise TableError(path, line, problem) from None
            if fields:
                yield _Row(path, line, [field.strip() for field in fields])


def _decode(raw: bytes, path: Path, line: int) -> str:
    if len(raw) > MAX_LINE_BYTES:
        raise TableError(path, line, f"longer than {MAX_LINE_BYTES} bytes")
    if b"\0" in raw:
        raise TableError(path, line, "a NUL byte; expected text in UTF-8")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8"
        raise TableError(path, line, problem) from None
    if line == 1 and text.startswith(_BYTE_ORDER_MARK):
        raise TableError(path, line, "starts with a byte order mark; save the file as UTF-8 without one")
    text = text.removesuffix("\n").removesuffix("\r")
    if "\r" in text:
        raise TableError(path, line, "a carriage return inside the line; expected LF or CRLF at its end")
    return text


def _header(rows: Iterator[_Row], path: Path) -> _Row:
    header = next(rows, None)
    if header is None:
        raise TableError(path, 1, "the file is empty; expected a header and rows")
    names = header.fields
    if len(names) == 1:
        raise header.error(f"one column, {_shown(names[0])}; expected two or more, separated by commas")
    for position, name in enumerate(names):
        if not name:
            raise header.error(f"column {position + 1} has no name")
        if name in names[:position]:
            raise header.error(f"two columns are named {_shown(name)}")
    return header


def _target_position(header: _Row, target: str) -> int:
    names = header.fields
    if target in names:
        return names.index(target)
    more = ", ..." if len(names) > _SHOWN_NAMES else ""
    known = ", ".join(_shown(name) for name in names[:_SHOWN_NAMES])
    raise header.error(f"no column {_shown(target)}; the columns are {known}{more}")


def _number(row: _Row, text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        found = f"{_shown(text)} is not a number" if text else "a field is empty; expected a number"
        comma = "; write decimals with a point" if _NUMBER.fullmatch(text.replace(",", ".")) else ""
        raise row.error(found + comma)
    value = float(text)
    if math.isinf(value):
        raise row.error(f"{_shown(text)} is beyond the range of float64")
    return value


def _target(
    cells: list[_Row], kind: TargetKind | None
) -> tuple[npt.NDArray[np.float64] | npt.NDArray[np.int64], tuple[str, ...]]:
    """Return the target column as numbers with no classes, or as indices with the classes."""
    texts = [cell.fields[0] for cell in cells]
    for cell in cells:
        if not cell.fields[0]:
            raise cell.error("the target is empty")
    if (kind or _guessed_kind(texts)) == "numbers":
        return np.array([_number(cell, cell.fields[0]) for cell in cells]), ()
    if all(_WHOLE_NUMBER.fullmatch(text) for text in texts):
        texts = [str(int(text)) for text in texts]
        class_names = sorted(set(texts), key=int)
    else:
        class_names = sorted(set(texts))
    if len(class_names) == 1:
        raise cells[-1].error(f"the target is {_shown(class_names[0])} in every row; expected two classes")
    index = {name: position for position, name in enumerate(class_names)}
    return np.array([index[text] for text in texts], dtype=np.int64), tuple(class_names)


def _guessed_kind(texts: list[str]) -> TargetKind:
    if _NUMBER.fullmatch(texts[0]) is None:
        return "classes"
    whole = all(_WHOLE_NUMBER.fullmatch(text) for text in texts)
    return "classes" if whole and len(set(texts)) <= MOST_WHOLE_NUMBER_CLASSES else "numbers"


def _shown(text: str) -> str:
    """Return the text in quotes, short and without control characters."""
    return repr(text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 3] + "...")


def _one_line(text: str) -> str:
    """Return the text with its control characters escaped."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
