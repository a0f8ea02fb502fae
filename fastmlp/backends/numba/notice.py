"""Telling a user at a terminal that kernels are being compiled: one line, once for what is compiled.

Compiling takes seconds, and nothing else would say why a fit does not begin. The line begins where the cache does not
have what is needed, and ends when it is there. All this happens under the lock of entry points, so no two lines mix.
Where stderr is neither a terminal nor a notebook, nothing is written.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

_said: set[str] = set()
_is_open = False


@contextmanager
def said(what: str, kept_in: Callable[[], Path | None]) -> Iterator[None]:
    """Say that something is being compiled, while it is, and how long it took.

    Nothing is said within a line that has begun already, nor a second time.

    Parameters
    ----------
    what : str
        Such as "kernels for float32".
    kept_in : callable
        Returns the folder in which it will be kept, or None.
    """
    global _is_open  # noqa: PLW0603  there is one terminal
    stream = _terminal()
    if stream is None or _is_open or what in _said:
        yield
        return
    folder = kept_in()
    place = "they cannot be kept" if folder is None else f"once; kept in {_short(folder.parent)}"
    _write(stream, f"fastmlp: compiling {what} ({place}) ...{_break(stream)}")
    _said.add(what)
    _is_open, begun = True, time.perf_counter()
    try:
        yield
    finally:
        _is_open = False
        took = f"{time.perf_counter() - begun:.1f} s"
        _write(stream, f"fastmlp: compiled {what}: {took}\n" if _break(stream) else f" {took}\n")


def _terminal() -> TextIO | None:
    """Return what a user looks at, if that can be told."""
    stream = getattr(sys, "stderr", None)  # None in a program without a console
    try:
        return stream if stream is not None and (stream.isatty() or _is_of_notebook(stream)) else None
    except ValueError:  # it is closed
        return None


def _is_of_notebook(stream: TextIO) -> bool:
    return type(stream).__module__.partition(".")[0] == "ipykernel"


def _break(stream: TextIO) -> str:
    """Return what ends the first part: what stands in for the terminal, as a bar that is shown, takes whole lines."""
    return "" if stream is sys.__stderr__ else "\n"


def _write(stream: TextIO, text: str) -> None:
    with suppress(OSError, ValueError):  # a terminal that is gone is nobody to tell
        stream.write(text)
        stream.flush()


def _short(folder: Path) -> str:
    with suppress(RuntimeError, ValueError):  # there is no home, or it is elsewhere
        return str(Path("~") / folder.relative_to(Path.home()))
    return str(folder)
