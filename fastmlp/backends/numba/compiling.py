"""Telling a user at a terminal that kernels are being compiled: one line, once for what is compiled.

Compiling takes seconds, and nothing else would say why a fit does not begin. The line begins when the cache does not
have what is needed, and ends, whatever else is compiled in between, when Numba tells that it has compiled the function
that was asked for. All this happens under Numba's lock for compilers, so no two lines mix. Where stderr is no
terminal, nothing is written.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from numba.core import event


class _Line(NamedTuple):
    """A line that has begun: of what, where, when, and the function after whose compilation it ends."""

    what: str
    stream: TextIO
    begun: float
    until: Any


_said: set[str] = set()
_open: list[_Line] = []


def begin(what: str, kept_in: Callable[[], Path | None], *, until: Any = None) -> bool:
    """Say that something is being compiled, and return whether that was still to be said.

    Parameters
    ----------
    what : str
        Such as "kernels for float32".
    kept_in : callable
        Returns the folder in which it will be kept, or None.
    until : function, optional
        Where Numba compiles this next, the line ends when it has; else `end` is to be called.
    """
    stream = _terminal()
    if stream is None or _open or what in _said:
        return False
    folder = kept_in()
    place = "they cannot be kept" if folder is None else f"once; kept in {_short(folder.parent)}"
    _said.add(what)
    _listen()
    _write(stream, f"fastmlp: compiling {what} ({place}) ...{_break(stream)}")
    _open.append(_Line(what, stream, time.perf_counter(), until))
    return True


def end() -> None:
    """Say how long it took, where a line has begun."""
    while _open:
        line = _open.pop()
        took = f"{time.perf_counter() - line.begun:.1f} s"
        _write(line.stream, f"fastmlp: compiled {line.what}: {took}\n" if _break(line.stream) else f" {took}\n")


@contextmanager
def said(what: str, kept_in: Callable[[], Path | None]) -> Iterator[None]:
    """Say that something is being compiled, while it is; nothing within a line that has begun already."""
    begun = begin(what, kept_in)
    try:
        yield
    finally:
        if begun:
            end()


class _Ends(event.Listener):
    """Hears of every function that Numba compiles, of those within others too."""

    def on_start(self, event: Any) -> None:
        pass

    def on_end(self, event: Any) -> None:
        """End the line of a function, also of one that could not be compiled."""
        if _open and event.data["dispatcher"].py_func is _open[-1].until:
            end()


@cache
def _listen() -> None:
    event.register("numba:compile", _Ends())


def _terminal() -> TextIO | None:
    stream = getattr(sys, "stderr", None)  # None in a program without a console
    try:
        return stream if stream is not None and stream.isatty() else None
    except ValueError:  # it is closed
        return None


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
