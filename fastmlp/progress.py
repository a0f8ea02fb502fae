"""Telling how a fit goes: a bar in a terminal, plain lines elsewhere, nothing unless asked.

`display` chooses. It returns a context manager for the time of the fit, which shows epochs no faster than one
can read and the last of them always, and which leaves the terminal in order when the fit raises.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from fastmlp.history import EpochInfo

if TYPE_CHECKING:
    from rich.console import Console

_SECONDS_A_LINE = 1.0
_SECONDS_A_FRAME = 0.1
_WIDE_TERMINAL = 140


def display(verbose: bool, n_epochs: int, stream: TextIO | None = None) -> Display:  # noqa: FBT001
    """Return what shows the progress of a fit.

    Parameters
    ----------
    verbose : bool
        If False, nothing is shown, and rich is not imported.
    n_epochs : int
        How many epochs the fit has at most.
    stream : text file, optional
        Where to write; by default `sys.stderr`. A terminal gets a bar if rich is installed, and everything
        else plain lines.

    Returns
    -------
    Display
        A context manager with ``epoch(info)`` and ``note(text)``.
    """
    if stream is None:
        stream = getattr(sys, "stderr", None)  # None in a program without a console
    if not verbose or stream is None:
        return Display(_Nothing(), math.inf)
    console = _rich_console(stream) if stream.isatty() else None
    if console is None:
        return Display(_Lines(stream), _SECONDS_A_LINE)
    return Display(_Bar(console, n_epochs), _SECONDS_A_FRAME)


class Display:
    """Shows how a fit goes, while it is entered.

    Parameters
    ----------
    view : View
        What epochs and notes are shown on.
    interval : float
        Seconds between two epochs shown, at least. Those between are left out, except the very last.
    clock : callable, optional
        Gives the time in seconds.
    """

    def __init__(self, view: View, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._interval = interval
        self._clock = clock
        self._shown_at = -math.inf
        self._left_out: EpochInfo | None = None

    def __enter__(self) -> Self:
        self._view.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            try:
                self._catch_up()
            finally:
                self._view.close()
        except (OSError, ValueError):  # a broken pipe, a closed file
            if error is None:
                raise  # otherwise the fit's own error is the one to hear of

    def epoch(self, info: EpochInfo) -> None:
        """Tell that an epoch is over."""
        self._left_out = info
        if self._clock() - self._shown_at >= self._interval:
            self._catch_up()

    def note(self, text: str) -> None:
        """Tell something else, in a line of its own."""
        self._catch_up()
        self._view.note(text)

    def _catch_up(self) -> None:
        info, self._left_out = self._left_out, None
        if info is not None:
            self._view.show(info)
            self._shown_at = self._clock()


class View(Protocol):
    """What a `Display` shows epochs and notes on."""

    def open(self) -> None:
        """Begin."""

    def show(self, info: EpochInfo) -> None:
        """Show an epoch that is over."""

    def note(self, text: str) -> None:
        """Show a line of text."""

    def close(self) -> None:
        """End, and leave the terminal as it was."""


class _Nothing:
    """Shows nothing."""

    def open(self) -> None:
        pass

    def show(self, info: EpochInfo) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class _Lines:
    """A line an epoch, for files, pipes and terminals without rich."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def open(self) -> None:
        pass

    def show(self, info: EpochInfo) -> None:
        width = len(str(info.n_epochs))
        parts = [f"epoch {info.epoch + 1:{width}}/{info.n_epochs}", *_facts(info), f"{info.seconds:.3g} s"]
        self.note("  ".join(parts))

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        pass


class _Bar:
    """rich's bar: epochs done, how good, how long still."""

    def __init__(self, console: Console, n_epochs: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        bar_width = 30 if console.width >= _WIDE_TERMINAL else 10
        self._facts_at = len(f"epoch {n_epochs}/{n_epochs} ") + bar_width + len(" -:--:-- ")
        self._progress = Progress(
            TextColumn("epoch {task.completed}/{task.total}"),
            BarColumn(bar_width),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.description}", markup=False),
            console=console,
            # Without a thread that draws: nothing of the bar outlives the fit, or fails where nobody listens.
            auto_refresh=False,
            # What callbacks print goes above the bar, but only what is bound for a terminal anyway.
            redirect_stdout=_is_terminal("stdout"),
            redirect_stderr=_is_terminal("stderr"),
        )
        self._task = self._progress.add_task("", total=n_epochs)

    def open(self) -> None:
        self._progress.start()

    def show(self, info: EpochInfo) -> None:
        facts = _facts(info)
        while facts and len("  ".join(facts)) > self._progress.console.width - self._facts_at:
            facts.pop()  # rather than have rich squeeze the bar
        self._progress.update(self._task, completed=info.epoch + 1, description="  ".join(facts), refresh=True)

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._progress.stop()


def _rich_console(stream: TextIO) -> Console | None:
    """Return rich's hold on a terminal, or None where there is no rich, or no cursor to move."""
    try:
        from rich.console import Console  # noqa: PLC0415  an extra, and only a terminal needs it
    except ImportError:
        return None

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704  the error that rich is handling, where it would end the program

    console = Terminal(file=stream)
    return console if console.is_terminal and not console.is_dumb_terminal else None


def _is_terminal(name: str) -> bool:
    stream = getattr(sys, name, None)
    return stream is not None and stream.isatty()


def _facts(info: EpochInfo) -> list[str]:
    """Return for instance ``["loss 0.1234 (validation 0.2345)", "accuracy 0.9000 (validation 0.8000)"]``."""
    facts = [_fact("loss", info.loss, info.validation_loss)]
    facts += [_fact(name, value, info.validation_metrics.get(name)) for name, value in info.metrics.items()]
    return facts


def _fact(name: str, value: float, on_validation: float | None) -> str:
    # "#" keeps trailing zeros, so that columns stay under each other.
    text = f"{name} {value:#.4g}"
    return text if on_validation is None else f"{text} (validation {on_validation:#.4g})"
