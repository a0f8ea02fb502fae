"""Threads that live for one call: the same kernel on each, and how many are worth it."""

from __future__ import annotations

import math
import os
import threading
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


def run(task: Task, n_threads: int, give_up: Callable[[], None] = lambda: None) -> int:
    """Run a task on this thread and, beside it, on as many more as could be started; return its result here.

    Where it raises on one of them, or this one is interrupted, `give_up` is called, so that the others do not wait, and
    the error is raised here when all have ended.
    """
    if n_threads == 1:
        return task(0, 1)
    helpers: list[threading.Thread] = []
    errors: list[BaseException] = []
    begin, crew = threading.Event(), [0]

    def help_out(number: int) -> None:
        begin.wait()
        try:
            if number < crew[0]:
                task(number, crew[0])
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
        begin.set()
        result = task(0, crew[0])
    except BaseException:
        give_up()
        raise
    finally:
        begin.set()
        for helper in helpers:
            helper.join()
    if errors:
        raise errors[0]
    return result
