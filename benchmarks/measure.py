"""How time is taken: one thread, two contenders in turns, and a measured peak to hold speeds against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from time import perf_counter, process_time

import numpy as np
from threadpoolctl import threadpool_limits

Call = Callable[[], object]
Clock = Callable[[], float]

_PEAK_SIZE = 768  # three float64 matrices of this size fit a level-3 cache, and BLAS is at its best
_PEAK_CALLS = 20


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS to one thread, so that all backends have one."""
    with threadpool_limits(1, user_api="blas"):
        yield


def seconds_of(call: Call, clock: Clock = perf_counter) -> float:
    """Return what one call takes."""
    start = clock()
    call()
    return clock() - start


@lru_cache
def matmul_peak(dtype: str) -> float:
    """Return the most GFLOP/s that a matrix product reaches on one thread, measured now, in processor time."""
    A, B = np.random.default_rng(0).standard_normal((2, _PEAK_SIZE, _PEAK_SIZE)).astype(dtype)
    out = np.empty_like(A)
    with one_thread():
        fastest = min(seconds_of(lambda: np.dot(A, B, out=out), process_time) for _ in range(_PEAK_CALLS))
    return 2.0 * _PEAK_SIZE**3 / fastest / 1e9


@dataclass(frozen=True)
class Contender:
    """What is timed.

    Attributes
    ----------
    name : str
    prepare : callable
        Puts everything at its beginning, untimed, and returns the call to time. A training that went on from
        run to run would become another one: units die, and their states decay into slow denormal numbers.
    n_steps : int
        Steps that the call does.
    """

    name: str
    prepare: Callable[[], Call]
    n_steps: int

    def seconds_a_step(self, clock: Clock) -> float:
        """Return what one step of a run takes."""
        return seconds_of(self.prepare(), clock) / self.n_steps


@dataclass(frozen=True)
class Pairs:
    """Seconds a step of two contenders, timed in turns: what slows the machine down slows both.

    Attributes
    ----------
    a, b : tuple of float
        One entry a pair.
    """

    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Seconds of `a` over seconds of `b`, pair by pair."""
        return [x / y for x, y in zip(self.a, self.b, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios: not the ratio of the medians, which pairing would not help."""
        return median(self.ratios)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between which the middle half of the ratios lies."""
        low, high = np.quantile(self.ratios, (0.25, 0.75))
        return float(low), float(high)


def timed_in_pairs(a: Contender, b: Contender, n_pairs: int, clock: Clock = perf_counter) -> Pairs:
    """Time two contenders in turns; who goes first changes from pair to pair.

    Each makes one run before, which does not count: its caches are cold.

    Parameters
    ----------
    a, b : Contender
    n_pairs : int
    clock : callable
        `time.process_time` leaves out the time in which other processes have the core: with one thread the same
        as `time.perf_counter` on an idle machine, and far steadier on a busy one.
    """
    for contender in (a, b):
        contender.seconds_a_step(clock)
    seconds: list[tuple[float, float]] = []
    for i in range(n_pairs):
        if i % 2:
            second = b.seconds_a_step(clock)
            seconds.append((a.seconds_a_step(clock), second))
        else:
            first = a.seconds_a_step(clock)
            seconds.append((first, b.seconds_a_step(clock)))
    of_a, of_b = zip(*seconds, strict=True)
    return Pairs(of_a, of_b)
