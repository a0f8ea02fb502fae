"""Threads that live for one call: how many there are, and that none is left behind whatever goes wrong."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP
from fastmlp.backends.numba import crew, fast
from fastmlp.backends.numba.fast import entries
from tests import processes

# --- how many processors there are


@pytest.fixture
def three_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("three_processors")
@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", 3),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("250000 100000", 2),
        ("800000 100000", 3),
        ("", 3),
        ("many", 3),
        (None, 3),
    ],
)
def test_processors_are_those_of_affinity_and_quota(
    quota: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpu.max"
    if quota is not None:
        path.write_text(f"{quota}\n", encoding="utf-8")
    monkeypatch.setattr(crew, "_QUOTA", path)
    assert crew.available_processors() == expected


@pytest.mark.usefixtures("three_processors")
@pytest.mark.parametrize("name", ["NUMBA_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize(
    ("value", "expected"), [("1", 1), ("2", 2), ("8", 3), ("0", 3), ("", 3), ("-1", 3), ("4,2", 3)]
)
def test_the_environment_may_ask_for_fewer(
    name: str, value: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "_QUOTA", tmp_path / "none")
    monkeypatch.setenv(name, value)
    assert crew.available_processors() == expected


# --- who runs


def workers(before: set[threading.Thread]) -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("fastmlp")}


def never() -> None:
    pytest.fail("nobody failed")


@pytest.mark.parametrize("n", [1, 2, 5])
def test_each_number_runs_once_and_all_have_ended(n: int) -> None:
    before, seen = set(threading.enumerate()), []

    def task(number: int, n_threads: int) -> int:
        seen.append((number, n_threads, threading.get_ident()))
        return 10 + number

    assert crew.run(task, n) == 10
    assert sorted(each[:2] for each in seen) == [(number, n) for number in range(n)]
    assert len({ident for _, _, ident in seen}) == n
    assert (0, n, threading.get_ident()) in seen
    assert not workers(before)


def refuse_after(n: int, refusal: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all threads after the n-th refuse to start."""
    genuine, started = threading.Thread.start, []

    def start(self: threading.Thread) -> None:
        if len(started) == n:
            raise refusal
        started.append(self)
        genuine(self)

    monkeypatch.setattr(threading.Thread, "start", start)


def test_fewer_threads_where_no_more_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_after(1, RuntimeError("can't start new thread"), monkeypatch)
    seen = []
    crew.run(lambda number, n: seen.append((number, n)) or 0, 4)
    assert sorted(seen) == [(0, 2), (1, 2)]


# --- what goes wrong


def within(seconds: float, function: Callable[[], Any]) -> Any:
    """Return what a function returns or raises; in a daemon thread, so that one that hangs ends with the process."""
    found: list[Any] = []

    def call() -> None:
        try:
            found.append(function())
        except BaseException as error:  # noqa: BLE001  it is what the test asks for
            found.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else "it hangs"


def test_an_interrupt_while_threads_start_leaves_none_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    refuse_after(2, KeyboardInterrupt(), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        crew.run(lambda *_: pytest.fail("it began"), 5)
    for thread in workers(before):
        thread.join(10.0)
    assert not workers(before)


def gradient_with_failing(failing: int) -> list[Any]:
    """Fail on one of two threads before its kernel runs, as an interrupt does that comes then.

    Return what came of it, whether a thread is left, and whether the next call is right.
    """
    before = set(threading.enumerate())
    fast._STEP_WORTH_THREADS = fast._RUN_WORTH_THREADS = 0
    crew.Pace.limit = lambda _, n_threads: n_threads  # type: ignore[method-assign]
    net = MLP((64, 256, 64), "tanh", backend="numba", threads=2, seed=1)
    X, Y = np.ones((512, 64), "float32"), np.zeros((512, 64), "float32")
    expected = net.loss_and_gradient(X, Y)[1].flat.copy()
    genuine, numbers = entries.train("float32"), []

    def train(*arguments: Any) -> Any:
        number, n_threads = arguments[-1]
        numbers.append((number, n_threads))
        if number == failing:
            raise KeyboardInterrupt
        return genuine(*arguments)

    entries.train._loaded["float32"] = train
    found = within(20.0, lambda: net.loss_and_gradient(X, Y))
    entries.train._loaded["float32"] = genuine
    for thread in workers(before):
        thread.join(10.0)
    same = bool(np.array_equal(net.loss_and_gradient(X, Y)[1].flat, expected))
    return [repr(found), sorted(numbers), len(workers(before)), same]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_thread_that_fails_before_its_kernel_holds_nobody_up(failing: int) -> None:
    """Threads wait for one another in machine code, out of the reach of Ctrl-C."""
    found, numbers, left, same = processes.call(gradient_with_failing, failing)
    assert numbers == [[0, 2], [1, 2]], numbers
    assert found == "KeyboardInterrupt()"
    assert left == 0
    assert same


# --- next to other processes


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        clocks = {name: getattr(crew.time, name) for name in ("perf_counter", "thread_time")}
        monkeypatch.setattr(crew, "time", SimpleNamespace(monotonic=lambda: self.now, **clocks))


def test_threads_that_had_to_share_are_fewer_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pace = Clock(monkeypatch), crew.Pace()
    assert pace.limit(8) == 8
    pace.note(8, used=7.1, passed=1.0)
    assert [pace.limit(n) for n in (8, 7, 2)] == [7, 7, 2]
    clock.now += crew.Pace._FIRST_WHILE
    assert pace.limit(8) == 8


def test_the_while_grows_until_threads_have_processors_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pace = Clock(monkeypatch), crew.Pace()
    whiles = []
    for _ in range(8):
        pace.note(2, used=1.3, passed=1.0)
        began = clock.now
        while pace.limit(2) == 1:
            clock.now += 0.125
        whiles.append(clock.now - began)
    assert whiles == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]
    pace.note(2, used=1.9, passed=1.0)
    assert pace.limit(2) == 2
    pace.note(2, used=1.0, passed=1.0)
    clock.now += 0.25
    assert pace.limit(2) == 2


def test_short_calls_are_judged_together(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    pace = crew.Pace()
    for _ in range(4):
        pace.note(2, used=0.011, passed=0.0105)
        assert pace.limit(2) == 2
    pace.note(2, used=0.011, passed=0.0105)
    assert pace.limit(2) == 1


def test_a_run_takes_down_what_its_threads_used() -> None:
    """Threads that work use a processor each, or what they get of one; threads that sleep use none."""
    noted: list[tuple[int, float, float]] = []
    pace = crew.Pace()
    pace.note = lambda n, used, passed: noted.append((n, used, passed))  # type: ignore[method-assign]

    def sleep(number: int, n: int) -> int:
        time.sleep(0.2)
        return number + n

    crew.run(sleep, 3, pace=pace)
    ((n, used, passed),) = noted
    assert n == 3
    assert passed >= 0.2
    assert 0.0 <= used < 0.1
    crew.run(sleep, 1, pace=pace)
    assert len(noted) == 1


def test_a_training_may_change_its_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each of its pieces; the bits do not."""
    monkeypatch.setattr(fast, "_STEP_WORTH_THREADS", 0)
    monkeypatch.setattr(fast, "_RUN_WORTH_THREADS", 0)
    X = np.random.default_rng(0).standard_normal((600, 5))
    numbers: list[int] = []

    def limit(_: crew.Pace, n_threads: int) -> int:
        numbers.append(len(numbers) % n_threads + 1)
        return numbers[-1]

    nets = [MLP((5, 9, 2), "tanh", backend="numba", threads=n, seed=0) for n in (1, 3)]
    nets[0].fit(X, X[:, :2], epochs=4, batch_size=300)
    monkeypatch.setattr(crew.Pace, "limit", limit)
    nets[1].fit(X, X[:, :2], epochs=4, batch_size=300)
    assert set(numbers) == {1, 2, 3}
    assert (nets[0].parameters.flat == nets[1].parameters.flat).all()
