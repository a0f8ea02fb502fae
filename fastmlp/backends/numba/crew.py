"""Threads that live for one call: the same kernel on each, and how many are worth it."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_LIMITS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")  # what joblib, for one, tells its workers

Task = Callable[[int, int], int]
"""A kernel's part for one thread, from its number and how many there are; returns what the kernel does."""


def available_processors() -> int:
    """Return how many processors this process may use at once.

    That is by its affinity, its control group's quota, and what the environment says to libraries with threads.
    """
    return min([_processors(), *_limits()])


def _limits() -> list[int]:
    values = (os.environ.get(name, "") for name in _LIMITS)
    return [int(value) for value in values if value.isdecimal() and int(value) > 0]


def _processors() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")
    number = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
    except (OSError, ValueError):
        return number
    return number if quota == "max" else max(1, min(number, math.floor(int(quota) / int(period))))


class Pace:
    """How many threads are worth having next to other processes, from how many had a processor to themselves.

    Threads that meet wait for whichever does not run, so beside a busy process two of them may take twice as long as
    one. What they compute is the same for any number of them, so it may change within a training: for a while there are
    no more than had a processor, then all are tried again, ever more seldom while that does not go well.
    """

    _LOOK = 0.05  # seconds of work between two looks
    _TOLERANCE = 0.4  # of a processor: next to a busy process two threads get 1.0 to 1.5, and alone seldom below 1.7
    _FIRST_WHILE, _LONGEST_WHILE = 0.25, 4.0

    def __init__(self) -> None:
        self._alone, self._until, self._while = 1, -math.inf, self._FIRST_WHILE
        self._used = self._passed = 0.0

    def limit(self, n_threads: int) -> int:
        """Return how many of so many threads to have now."""
        return n_threads if time.monotonic() >= self._until else min(n_threads, self._alone)

    def note(self, n_threads: int, used: float, passed: float) -> None:
        """Take down the processor's seconds that some threads used together, of seconds that passed."""
        self._used, self._passed = self._used + used, self._passed + passed
        if self._passed < self._LOOK:
            return
        alone = max(1, math.floor(self._used / self._passed + self._TOLERANCE))
        self._used = self._passed = 0.0
        if alone >= n_threads:
            self._while = self._FIRST_WHILE
            return
        self._alone, self._until = alone, time.monotonic() + self._while
        self._while = min(2.0 * self._while, self._LONGEST_WHILE)


def run(task: Task, n_threads: int, give_up: Callable[[], None] = lambda: None, pace: Pace | None = None) -> int:
    """Run a task on this thread and, beside it, on as many more as could be started; return its result here.

    Where it raises on one of them, or this one is interrupted, `give_up` is called, so that the others do not wait, and
    the error is raised here when all have ended. How it went is noted in `pace`.
    """
    if n_threads == 1:
        return task(0, 1)
    helpers: list[threading.Thread] = []
    errors: list[BaseException] = []
    used: list[float] = []
    begin, crew = threading.Event(), [0]

    def timed(number: int) -> int:
        before = time.thread_time()
        result = task(number, crew[0])
        used.append(time.thread_time() - before)
        return result

    def help_out(number: int) -> None:
        begin.wait()
        try:
            if number < crew[0]:
                timed(number)
        except BaseException as error:  # noqa: BLE001  raised again on the thread that called
            errors.append(error)
            give_up()

    try:
        with suppress(RuntimeError):  # the system has no more threads to give: fewer compute the same
            for number in range(1, n_threads):
                helper = threading.Thread(target=help_out, args=(number,), name=f"fastmlp-{number}", daemon=True)
                helper.start()
                helpers.append(helper)
        crew[0] = len(helpers) + 1
        began = time.perf_counter()
        begin.set()
        result = timed(0)
    except BaseException:
        give_up()
        raise
    finally:
        begin.set()
        for helper in helpers:
            helper.join()
    if errors:
        raise errors[0]
    if pace is not None:
        pace.note(crew[0], sum(used), time.perf_counter() - began)
    return result
