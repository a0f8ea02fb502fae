"""Threads that live for one call: the same kernel on each, and how many are worth it."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")

Task = Callable[[int, int], int]
"""A kernel's part for one thread, from its number and how many there are; returns what the kernel does."""


def available_processors() -> int:
    """Return how many processors this process may use at once: by its affinity and its control group's quota."""
    has_affinity = hasattr(os, "sched_getaffinity")
    number = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
    except (OSError, ValueError):
        return number
    return number if quota == "max" else max(1, min(number, math.floor(int(quota) / int(period))))


def run(task: Task, n_threads: int) -> int:
    """Run a task on this thread and, beside it, on as many more as could be started; return its result here."""
    if n_threads == 1:
        return task(0, 1)
    helpers: list[threading.Thread] = []
    begin, crew = threading.Event(), [1]

    def help_out(number: int) -> None:
        begin.wait()
        if number < crew[0]:
            task(number, crew[0])

    try:
        for number in range(1, n_threads):
            helper = threading.Thread(target=help_out, args=(number,), name=f"fastmlp-{number}", daemon=True)
            helper.start()
            helpers.append(helper)
    except RuntimeError:  # the system has no more threads to give: fewer compute the same
        pass
    crew[0] = len(helpers) + 1
    begin.set()
    try:
        return task(0, crew[0])
    finally:
        for helper in helpers:
            helper.join()
