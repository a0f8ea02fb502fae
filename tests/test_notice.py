"""A user at a terminal sees that kernels are being compiled, once; nobody else sees anything.

A process of its own for each case, whose stderr is a pseudo-terminal. As in `tests.test_cache`, two small kernels stand
for the library's, but where it is about what those do.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from fastmlp import MLP
from fastmlp.backends.numba import notice
from fastmlp.backends.numba.calls import Numbers1
from fastmlp.backends.numba.fast import entries
from fastmlp.backends.numba.simd import library
from tests import processes, small_kernels

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")

SECONDS = r"\d+\.\d s"


class Shown(NamedTuple):
    """What a process returned, what its terminal showed, and when each part of that came."""

    answer: str
    text: str
    times: list[float]


def on_a_terminal(function: Callable[..., Any], folder: Path, **environment: str) -> Shown:
    """Call a function in a process whose stderr is a terminal, and whose cache is in a folder."""
    reading, writing = pty.openpty()
    parts: list[bytes] = []
    times: list[float] = []

    def read() -> None:
        try:
            while part := os.read(reading, 1000):
                parts.append(part)
                times.append(time.perf_counter())
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with subprocess.Popen(
        processes.command(function),
        cwd=processes.ROOT,
        env=os.environ | {"FASTMLP_CACHE_DIR": str(folder), "PYTHONUNBUFFERED": ""} | environment,
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
    ) as process:
        os.close(writing)
        answer, _ = process.communicate(timeout=processes.SECONDS)
    reader.join()
    os.close(reading)
    text = b"".join(parts).decode().replace("\r\n", "\n")
    assert process.returncode == 0, text
    return Shown(answer, text, times)


def line(dtype: str, place: object, kind: str = "kernels") -> str:
    """Return the pattern of a line that was said."""
    return rf"fastmlp: compiling {kind} for {dtype} \({re.escape(str(place))}\) \.\.\. {SECONDS}\n"


def test_one_line_a_dtype_and_none_when_kernels_are_loaded(tmp_path: Path) -> None:
    """Two kernels for each dtype, and the second is not told."""
    first = on_a_terminal(small_kernels.use_all, tmp_path)
    place = f"once; kept in {tmp_path}"
    assert '"compiled": 4' in first.answer
    assert re.fullmatch(line("float64", place) + line("float32", place), first.text)
    second = on_a_terminal(small_kernels.use_all, tmp_path)
    assert '"loaded": 4' in second.answer
    assert second.text == ""


def test_nothing_is_said_where_stderr_is_no_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        processes.command(small_kernels.use_all),
        cwd=processes.ROOT,
        env=os.environ | {"FASTMLP_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"compiled": 4' in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("condition", ["closed", "missing"])
def test_without_a_stderr_all_goes_on(condition: str, tmp_path: Path) -> None:
    end = "sys.stderr.close()" if condition == "closed" else "sys.stderr = None"
    # NumPy 2.0's f2py, which Numba imports, cannot be imported without one: that is not what is tested.
    program = f"import os, sys, numpy.f2py; os.environ['FASTMLP_CACHE_DIR'] = {str(tmp_path)!r}; {end}; "
    program += "from tests.small_kernels import use_all; print(use_all()['compiled'])"
    assert processes.run(program) == "4\n"


def test_a_folder_at_home_is_told_as_such(tmp_path: Path) -> None:
    if sys.platform == "darwin":
        pytest.skip("other systems have other places")
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": "", "FASTMLP_CACHE_DIR": ""}
    shown = on_a_terminal(use_one, tmp_path, **environment)
    assert re.fullmatch(line("float64", "once; kept in ~/.cache/fastmlp"), shown.text)


def use_one() -> Any:
    """Use one small kernel for one dtype."""
    return small_kernels.use((small_kernels.halve, "float64"))


def test_what_cannot_be_kept_is_not_said_to_be(tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("not a folder", encoding="utf-8")
    shown = on_a_terminal(small_kernels.use_all, occupied)
    place = "they cannot be kept"
    assert re.fullmatch(line("float64", place) + line("float32", place), shown.text)
    assert shown.answer.count("RuntimeWarning") == 1


def test_the_line_lasts_as_long_as_all_that_the_library_compiles(tmp_path: Path) -> None:
    """Leaves, the function that is called, and all those within it: one line, which begins before them."""
    shown = on_a_terminal(fit, tmp_path)
    assert re.fullmatch(line("float32", f"once; kept in {tmp_path}"), shown.text)
    took, told = float(shown.answer), float(shown.text.split()[-2])
    assert 0.5 * took < told < took + 0.1
    assert 0.5 * told < shown.times[-1] - shown.times[0]


def fit() -> float:
    """Return how long a fit takes."""
    net = MLP((3, 4, 2), backend="numba", seed=0)
    begun = time.perf_counter()
    net.fit(np.eye(3), np.ones((3, 2)), epochs=1)
    return time.perf_counter() - begun


def test_strict_kernels_are_told_as_such(tmp_path: Path) -> None:
    shown = on_a_terminal(use_a_strict_one, tmp_path)
    assert re.fullmatch(line("float64", f"once; kept in {tmp_path}", "strict kernels"), shown.text)


def use_a_strict_one() -> None:
    """Use a small kernel that is an entry point as the strict ones are."""
    small_kernels.entry_of(small_kernels.halve, kind="strict kernels")("float64")(np.ones(3))


def test_threads_that_compile_at_once_say_it_once(tmp_path: Path) -> None:
    shown = on_a_terminal(use_in_threads, tmp_path)
    place = f"once; kept in {tmp_path}"
    lines = sorted(shown.text.splitlines(keepends=True))
    assert re.fullmatch(line("float32", place) + line("float64", place), "".join(lines))


def use_in_threads() -> None:
    """Have threads use two kernels for both dtypes, all at the same time."""
    kernels = [small_kernels.entry_of(function) for function in small_kernels.FACTORS]
    barrier = threading.Barrier(8)

    def use(number: int) -> None:
        barrier.wait()
        dtype = ("float32", "float64")[number // 2 % 2]
        kernels[number % 2](dtype)(np.ones(3, dtype))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_line_ends_where_compiling_fails(tmp_path: Path) -> None:
    """In the function, and in the leaves that it calls."""
    shown = on_a_terminal(fail_twice, tmp_path)
    place = f"once; kept in {tmp_path}"
    assert shown.answer == '["TypingError", "KeyboardInterrupt"]\n'
    assert re.fullmatch(line("float64", place) + line("float32", place), shown.text)


def fail_twice() -> list[str]:
    """Return the errors of kernels that cannot be compiled."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    library.load = interrupt  # type: ignore[assignment]
    errors = []
    cases = ((small_kernels.entry_of(impossible, module=__name__), "float64"), (entries.train, "float32"))
    for kernel, dtype in cases:
        try:
            kernel(dtype)
        except BaseException as error:  # noqa: BLE001  it is what is asked for
            errors.append(type(error).__name__)
    return errors


def impossible(values: Numbers1) -> Any:
    """Ask for what no array has."""
    return values.nothing


# --- streams ---


class Terminal(StringIO):
    """What stands in for a terminal, as rich's stream does while it shows a bar."""

    def isatty(self) -> bool:
        return True


class Gone(Terminal):
    """A terminal whose window was closed."""

    def write(self, _text: str) -> int:
        raise OSError(5, "Input/output error")


@pytest.fixture
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing be said yet."""
    monkeypatch.setattr(notice, "_said", set())


@pytest.mark.usefixtures("nothing_said")
def test_a_stream_that_stands_in_for_the_terminal_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with notice.said("kernels for float32", lambda: Path("/a/place/of-this-version")):
        begin = "fastmlp: compiling kernels for float32 (once; kept in /a/place) ...\n"
        assert sys.stderr.getvalue() == begin
        for within in ("kernels for float32", "kernels for float64"):
            with notice.said(within, lambda: None):
                pass
        assert sys.stderr.getvalue() == begin
    lines = sys.stderr.getvalue().splitlines(keepends=True)
    assert len(lines) == 2
    assert re.fullmatch(rf"fastmlp: compiled kernels for float32: {SECONDS}\n", lines[1])


@pytest.mark.usefixtures("nothing_said")
def test_a_notebook_is_told_in_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = type("OutStream", (StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stderr", cell)
    with notice.said("kernels for float32", lambda: None):
        pass
    begun, ended = cell.getvalue().splitlines()
    assert begun == "fastmlp: compiling kernels for float32 (they cannot be kept) ..."
    assert re.fullmatch(rf"fastmlp: compiled kernels for float32: {SECONDS}", ended)


@pytest.mark.usefixtures("nothing_said")
def test_what_is_neither_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", StringIO())
    with notice.said("kernels for float32", lambda: None):
        pass
    assert sys.stderr.getvalue() == ""


@pytest.mark.usefixtures("nothing_said")
def test_a_terminal_that_is_gone_keeps_nothing_from_being_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Gone())
    with notice.said("kernels for float32", lambda: None):
        pass
