"""What a fit shows: nothing, plain lines, or a bar that leaves the terminal in order whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from fastmlp import progress
from fastmlp.history import EpochInfo

MakeDisplay = Callable[[io.StringIO], progress.Display]

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"

# What `with_everything` says of its seventh epoch.
LOSS = "loss 0.1429 (validation 0.1250)"
ACCURACY = "accuracy 0.9000 (validation 0.7500)"
R2 = "r2 -3.000 (validation 1.000e-09)"


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class BrokenPipe(Terminal):
    """A terminal that is gone once `is_broken` is set."""

    is_broken = False

    def write(self, text: str) -> int:
        if self.is_broken:
            raise BrokenPipeError
        return super().write(text)


class Clock:
    """A clock that stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _an_ordinary_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")


def an_epoch(epoch: int, n_epochs: int = 100, **fields: object) -> EpochInfo:
    return EpochInfo(epoch, n_epochs, 1.0 / (epoch + 1), seconds=0.25, **fields)  # type: ignore[arg-type]


def with_everything(epoch: int) -> EpochInfo:
    return an_epoch(
        epoch,
        validation_loss=0.125,
        metrics={"accuracy": 0.9, "r2": -3.0},
        validation_metrics={"accuracy": 0.75, "r2": 1e-9},
    )


def lines(stream: io.StringIO, clock: Callable[[], float] | None = None) -> progress.Display:
    return progress.Display(progress._Lines(stream), 1.0, clock or Clock())


def bar(file: io.StringIO, n_epochs: int = 100) -> progress.Display:
    console = progress._rich_console(file)
    assert console is not None
    return progress.Display(progress._Bar(console, n_epochs), 0.0)


each_display = pytest.mark.parametrize("make", [lines, bar])


def shown(stream: io.StringIO) -> list[int]:
    """Return the numbers, from 1, of the epochs that have a line."""
    return [int(number) for number in re.findall(r"^epoch +(\d+)/", stream.getvalue(), re.MULTILINE)]


def on_screen(file: io.StringIO) -> list[str]:
    """Return what a terminal shows: lines, each as it is after its last carriage return."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    return [line.rsplit("\r", 1)[-1].rstrip() for line in plain.split("\n")]


# What is chosen.


def test_without_verbose_nothing_is_shown() -> None:
    for stream in (io.StringIO(), Terminal()):
        with progress.display(False, 3, stream) as display:  # noqa: FBT003
            for epoch in range(3):
                display.epoch(an_epoch(epoch, 3))
            display.note("done")
        assert stream.getvalue() == ""


def test_without_verbose_rich_is_not_imported() -> None:
    program = """
import sys
from fastmlp import progress
from fastmlp.history import EpochInfo
with progress.display(False, 1) as display:
    display.epoch(EpochInfo(0, 1, 0.5))
    display.note("done")
sys.exit("rich" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_file_gets_lines() -> None:
    stream = io.StringIO()
    with progress.display(True, 2, stream) as display:  # noqa: FBT003
        display.epoch(an_epoch(0, 2))
        display.epoch(an_epoch(1, 2))
    assert stream.getvalue() == "epoch 1/2  loss 1.000  0.25 s\nepoch 2/2  loss 0.5000  0.25 s\n"


def test_a_file_stays_a_file_where_colours_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    with progress.display(True, 2, stream) as display:  # noqa: FBT003
        display.epoch(an_epoch(0, 2))
    assert stream.getvalue() == "epoch 1/2  loss 1.000  0.25 s\n"


def test_a_terminal_gets_a_bar() -> None:
    file = Terminal()
    with progress.display(True, 2, file) as display:  # noqa: FBT003
        display.epoch(an_epoch(0, 2))
        display.epoch(an_epoch(1, 2))
    assert on_screen(file)[0].startswith("epoch 2/2 ━")


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.display(True, 2) as display:  # noqa: FBT003
        display.epoch(an_epoch(0, 2))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "epoch 1/2  loss 1.000  0.25 s\n")


def test_a_program_without_standard_error_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with progress.display(True, 2) as display:  # noqa: FBT003
        display.epoch(an_epoch(0, 2))
        display.note("done")


def test_a_terminal_without_rich_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    file = Terminal()
    with progress.display(True, 2, file) as display:  # noqa: FBT003
        display.epoch(an_epoch(0, 2))
    assert file.getvalue() == "epoch 1/2  loss 1.000  0.25 s\n"


@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("TTY_COMPATIBLE", "0")])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    file = Terminal()
    with progress.display(True, 2, file) as display:  # noqa: FBT003
        display.epoch(an_epoch(0, 2))
    assert file.getvalue() == "epoch 1/2  loss 1.000  0.25 s\n"


def test_lines_come_once_a_second_and_a_bar_moves_ten_times(monkeypatch: pytest.MonkeyPatch) -> None:
    intervals: list[float] = []
    monkeypatch.setattr(progress, "Display", lambda _, interval: intervals.append(interval))
    progress.display(True, 2, io.StringIO())  # noqa: FBT003
    progress.display(True, 2, Terminal())  # noqa: FBT003
    assert intervals == [1.0, 0.1]


# Lines.


def test_a_line_has_everything() -> None:
    stream = io.StringIO()
    with lines(stream) as display:
        display.epoch(with_everything(6))
    assert stream.getvalue() == f"epoch   7/100  {LOSS}  {ACCURACY}  {R2}  0.25 s\n"


def test_a_line_has_metrics_without_validation_data() -> None:
    stream = io.StringIO()
    with lines(stream) as display:
        display.epoch(an_epoch(0, 9, metrics={"mae": 0.5}))
    assert stream.getvalue() == "epoch 1/9  loss 1.000  mae 0.5000  0.25 s\n"


def test_a_line_has_a_validation_loss_of_0() -> None:
    stream = io.StringIO()
    with lines(stream) as display:
        display.epoch(an_epoch(0, 9, validation_loss=0.0))
    assert stream.getvalue() == "epoch 1/9  loss 1.000 (validation 0.000)  0.25 s\n"


def test_epochs_between_are_left_out_but_never_the_last() -> None:
    stream, clock = io.StringIO(), Clock()
    with lines(stream, clock) as display:
        for epoch in range(12):
            display.epoch(an_epoch(epoch))
            clock.now += 0.25
        assert shown(stream) == [1, 5, 9]
    assert shown(stream) == [1, 5, 9, 12]


def test_a_note_comes_after_the_epochs_before_it_and_repeats_none() -> None:
    stream = io.StringIO()
    with lines(stream) as display:
        for epoch in range(3):
            display.epoch(an_epoch(epoch))
        display.note("a [bold]note[/bold]")
    assert stream.getvalue().splitlines()[2:] == ["a [bold]note[/bold]"]
    assert shown(stream) == [1, 3]


def test_a_line_is_written_at_once() -> None:
    written = io.BytesIO()
    with progress.Display(progress._Lines(io.TextIOWrapper(written)), 0.0) as display:
        display.epoch(an_epoch(0))
        assert written.getvalue().startswith(b"epoch   1/100")


# The bar.


def test_a_bar_has_everything() -> None:
    file = Terminal()
    with bar(file) as display:
        for epoch in range(7):
            display.epoch(with_everything(epoch))
    last, after_it = on_screen(file)
    assert re.match(r"epoch 7/100 ━━╸?[━╺]* (-:--:--|\d:\d\d:\d\d) loss", last)
    assert last.endswith(f" {LOSS}  {ACCURACY}  {R2}")
    assert after_it == ""


def test_a_bar_is_there_from_the_start() -> None:
    file = Terminal()
    with bar(file):
        assert on_screen(file)[0].startswith("epoch 0/100 ━")


def test_a_bar_shows_an_epoch_at_once() -> None:
    file = Terminal()
    with bar(file) as display:
        display.epoch(an_epoch(0))
        assert on_screen(file)[0].startswith("epoch 1/100 ━")


def test_a_bar_is_full_at_the_end_and_says_how_long_it_took() -> None:
    file, clock = Terminal(), Clock()
    console = progress._rich_console(file)
    assert console is not None
    console.get_time = clock
    with progress.Display(progress._Bar(console, 2), 0.0) as display:
        for epoch in range(2):
            clock.now += 75.0
            display.epoch(an_epoch(epoch, 2))
    assert on_screen(file)[0] == f"epoch 2/2 {'━' * 30} 0:02:30 loss 0.5000"


@pytest.mark.parametrize(
    ("width", "facts"),
    [
        (200, [LOSS, ACCURACY, R2]),
        (139, [LOSS, ACCURACY, R2]),
        (101, [LOSS, ACCURACY]),
        (100, [LOSS]),
        (40, []),
    ],
)
def test_a_narrow_terminal_loses_facts_and_not_the_bar(
    monkeypatch: pytest.MonkeyPatch, width: int, facts: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    file = Terminal()
    with bar(file) as display:
        display.epoch(with_everything(6))
    line, _ = on_screen(file)
    assert len(line) <= width
    expected = re.escape("  ".join(facts))
    assert re.fullmatch(rf"epoch 7/100 [━╸╺]{{10,30}} -:--:-- ?{expected}", line)


def test_a_terminal_too_narrow_for_a_bar_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    file = Terminal()
    with bar(file) as display:
        display.epoch(with_everything(6))
    assert all(len(line) <= 20 for line in on_screen(file))


def test_a_bar_keeps_its_line_and_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "101")  # just wide enough for this
    file = Terminal()
    with bar(file) as display:
        for _ in range(99):
            display.epoch(with_everything(6))
        display.epoch(dataclasses.replace(with_everything(6), epoch=99))
    assert file.getvalue().count("\n") == 1
    assert re.fullmatch(rf"epoch 100/100 ━{{10}} \d:\d\d:\d\d {re.escape(f'{LOSS}  {ACCURACY}')}", on_screen(file)[0])


def test_a_note_stands_above_the_bar_as_it_is() -> None:
    file = Terminal()
    with bar(file) as display:
        display.epoch(an_epoch(0))
        display.note("a [bold]note[/bold]")
        display.epoch(an_epoch(1))
    note, last, _ = on_screen(file)
    assert note == "a [bold]note[/bold]"
    assert last.startswith("epoch 2/100 ")


def test_what_callbacks_print_goes_where_it_is_bound(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Terminal()
    with bar(file):
        print("to a file")  # noqa: T201
        print("to another", file=sys.stderr)  # noqa: T201
    assert capsys.readouterr() == ("to a file\n", "to another\n")

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    with bar(file):
        print("to a terminal")  # noqa: T201
        print("to the same", file=sys.stderr)  # noqa: T201
    assert {"to a terminal", "to the same"} < set(on_screen(file))


# The end, whatever it is.

ERRORS = (None, RuntimeError("diverged"), KeyboardInterrupt(), SystemExit(3))
each_end = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


def fit(display: progress.Display, n_done: int, error: BaseException | None, file: io.StringIO) -> None:
    """Show epochs, lose the terminal if it can be lost, and raise."""
    with display:
        for epoch in range(n_done):
            display.epoch(an_epoch(epoch))
        if isinstance(file, BrokenPipe):
            file.is_broken = True
        if error is not None:
            raise error


@each_end
@each_display
def test_a_fits_error_comes_through(make: MakeDisplay, error: BaseException | None) -> None:
    file, caught = Terminal(), None
    try:
        fit(make(file), 3, error, file)
    except BaseException as raised:  # noqa: BLE001  whatever it is
        caught = raised
    assert caught is error


@each_end
@pytest.mark.parametrize("n_done", [0, 1, 3])
def test_a_bar_leaves_the_terminal_in_order(error: BaseException | None, n_done: int) -> None:
    file = Terminal()
    before = sys.stdout, sys.stderr, threading.active_count()
    with contextlib.suppress(RuntimeError, KeyboardInterrupt, SystemExit):
        fit(bar(file), n_done, error, file)
    assert (sys.stdout, sys.stderr, threading.active_count()) == before
    assert file.getvalue().count(HIDE_CURSOR) == 1
    assert file.getvalue().endswith("\n" + SHOW_CURSOR)
    assert on_screen(file)[0].startswith(f"epoch {n_done}/100 ")


@each_end
def test_lines_end_with_the_last_epoch(error: BaseException | None) -> None:
    stream = io.StringIO()
    with contextlib.suppress(RuntimeError, KeyboardInterrupt, SystemExit):
        fit(lines(stream), 5, error, stream)
    assert shown(stream) == [1, 5]


@each_display
def test_a_fits_own_error_is_heard_over_a_broken_pipe(monkeypatch: pytest.MonkeyPatch, make: MakeDisplay) -> None:
    terminals = Terminal(), Terminal()  # so that a bar redirects them
    monkeypatch.setattr(sys, "stdout", terminals[0])
    monkeypatch.setattr(sys, "stderr", terminals[1])
    file = BrokenPipe()
    with pytest.raises(RuntimeError, match="diverged"):
        fit(make(file), 2, RuntimeError("diverged"), file)
    assert (sys.stdout, sys.stderr) == terminals


@each_display
def test_a_broken_pipe_is_heard_of_where_the_fit_went_well(make: MakeDisplay) -> None:
    file = BrokenPipe()
    with pytest.raises(BrokenPipeError):
        fit(make(file), 2, None, file)


def test_a_fits_own_error_is_heard_over_a_closed_file() -> None:
    stream = io.StringIO()
    display = lines(stream)
    display.epoch(an_epoch(0))
    display.epoch(an_epoch(1))
    stream.close()
    with pytest.raises(RuntimeError, match="diverged"):
        fit(display, 0, RuntimeError("diverged"), stream)


def test_a_view_is_closed_even_where_it_cannot_show_the_last_epoch() -> None:
    class View(progress._Lines):
        is_closed = False

        def close(self) -> None:
            self.is_closed = True

    file = BrokenPipe()
    view = View(file)
    with pytest.raises(BrokenPipeError):
        fit(progress.Display(view, 1.0, Clock()), 2, None, file)
    assert view.is_closed
