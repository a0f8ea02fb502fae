"""What a benchmark ran on: the processor, versions, and the cores that it was held to."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

import fastmlp

_TASKS = Path("/proc/self/task")


def record(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Return processor, system and versions, for a file of results.

    Parameters
    ----------
    packages : iterable of str
        Distributions whose versions are told beside those of fastmlp, Python, NumPy and Numba.
    """
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "fastmlp": fastmlp.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "numba", "llvmlite", *packages)},
        },
    }


def processor() -> str:
    """Return the processor's name, and what LLVM calls its kind, which says more than many names do."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({llvm.get_host_cpu_name()})"


class Cores:
    """The cores that this process may run on, to be held to some of them.

    A library that pays no heed to a limit of threads still has no more than one thread's worth of a processor on
    one core.

    Attributes
    ----------
    n : int
        How many there are.
    can_hold : bool
        Whether the system lets a process choose its cores (Linux does).
    """

    def __init__(self) -> None:
        self.can_hold = hasattr(os, "sched_setaffinity") and _TASKS.exists()
        self._all = _affinity() if self.can_hold else frozenset(range(os.cpu_count() or 1))
        self.n = len(self._all)

    @contextmanager
    def held(self, n: int) -> Iterator[None]:
        """Hold the process to `n` cores, or to all if there are fewer; where that cannot be, do nothing."""
        if not self.can_hold:
            yield
            return
        before = _affinity()
        _hold(frozenset(sorted(self._all)[-n:]))  # the first core is where systems serve their interrupts
        try:
            yield
        finally:
            _hold(before)


def _affinity() -> frozenset[int]:
    return frozenset(os.sched_getaffinity(0))


def _hold(cores: frozenset[int]) -> None:
    """Hold every thread that there is; those to come inherit it from the thread that starts them."""
    for task in _TASKS.iterdir():
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setaffinity(int(task.name), cores)
