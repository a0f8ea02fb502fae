"""Learning rate as a function of the step.

A schedule is a small immutable value that is called with the number of a training step, counted from 0, and
answers with that step's learning rate. Every optimizer takes one in the place of its ``lr``.

Some schedules stretch over a whole fit and need to know how many steps that is. Their ``n_steps=None`` means
"the length of the fit", and `over` fills it in; a length that was given is never changed.

Rates are made of ``+ - * /`` and `fastmlp.elementary` alone: a schedule has the same bits on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor, inf, pi, ulp
from numbers import Integral, Real
from sys import float_info
from typing import Any, NamedTuple, Protocol, Self, cast, runtime_checkable

from fastmlp.elementary import cos, exp, log

__all__ = ["Constant", "CosLog", "Cosine", "InverseScaling", "OneCycle", "Schedule", "Step", "Warmup", "as_schedule"]

_LOG_2 = log(2.0)


@runtime_checkable
class Schedule(Protocol):
    """What an optimizer asks of its learning rate; any object with these two methods is a schedule."""

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0. It is asked ahead of the steps, of whole epochs."""
        ...

    def over(self, n_steps: int) -> Schedule:
        """Return the schedule of a fit of `n_steps` steps: a length that is missing is filled in."""
        ...


def as_schedule(lr: object) -> Schedule:
    """Return `lr` if it is a schedule, and the constant one if it is a number.

    Parameters
    ----------
    lr : float or schedule
        A number that is positive and finite, or an object with the methods of `Schedule`.

    Raises
    ------
    TypeError, ValueError
        If `lr` is neither a schedule nor a number, or a number that is not positive and finite.
    """
    if isinstance(lr, Constant):  # what most are; and a check of a protocol's methods takes 20 µs
        return lr
    if isinstance(lr, Real):
        return Constant(cast("float", lr))
    # A class has the methods of its instances, so Cosine without its parentheses would pass for a schedule.
    if isinstance(lr, Schedule) and not isinstance(lr, type):
        return lr
    raise TypeError(f"lr is {lr!r}; expected a positive number, or a schedule such as Cosine(0.001)")


class _Endless:
    """A schedule that has no length."""

    __slots__ = ()

    def over(self, n_steps: int) -> Self:  # noqa: ARG002  there is nothing to fill in
        """Return the schedule itself: it has no length."""
        return self


@dataclass(frozen=True, slots=True)
class Constant(_Endless):
    """The same rate at every step.

    Parameters
    ----------
    lr : float
        The rate, positive and finite.
    """

    lr: float

    def __post_init__(self) -> None:
        _check(self, lr=_POSITIVE)

    def __call__(self, step: int) -> float:  # noqa: ARG002  the same at every step
        """Return `lr`."""
        return self.lr


@dataclass(frozen=True, slots=True)
class Step(_Endless):
    """Stairs: the rate is multiplied by `factor` once every `every` steps.

    Parameters
    ----------
    lr : float
        The rate of the first stair, positive and finite.
    every : int
        Length of a stair in steps, at least 1.
    factor : float, default=0.1
        From one stair to the next, positive and finite; above 1 the stairs lead up.

    Examples
    --------
    >>> [Step(1.0, every=2, factor=0.5)(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check(self, lr=_POSITIVE, every=_COUNT, factor=_POSITIVE)

    def __call__(self, step: int) -> float:
        """Return ``lr * factor ** (step // every)``."""
        return self.lr * _power(self.factor, step // self.every)


@dataclass(frozen=True, slots=True)
class Cosine:
    """Half a cosine wave, from `lr` down to ``final * lr``.

    Parameters
    ----------
    lr : float
        The rate of step 0, positive and finite.
    n_steps : int, optional
        Number of steps on the way down, at least 1; by default the length of the fit.
    final : float, default=0.0
        Where the way ends, as a fraction of `lr`, from 0 to 1. It is reached at step `n_steps`.
    """

    lr: float
    n_steps: int | None = None
    final: float = 0.0

    def __post_init__(self) -> None:
        _check(self, lr=_POSITIVE, n_steps=_LENGTH, final=_FRACTION)

    def __call__(self, step: int) -> float:
        """Return the rate of a step: on the way down, or `final` after it."""
        return self.lr * _glide(1.0, self.final, step, _length(self))

    def over(self, n_steps: int) -> Self:
        """Return the schedule of a fit of `n_steps` steps: a length that is missing is filled in."""
        return self if self.n_steps is not None else replace(self, n_steps=n_steps)


@dataclass(frozen=True, slots=True)
class CosLog:
    """Four whole cosine waves from 0 up to `lr` and back, each twice as long as the one before.

    The rate is 0 between the waves too, so that the parameters come to rest four times in a fit, ever later.

    Parameters
    ----------
    lr : float
        The top of each wave, positive and finite.
    n_steps : int, optional
        Number of steps of all four, at least 1; by default the length of the fit. After them the rate is 0.

    References
    ----------
    "coslog4" of D. Holzmüller, L. Grinsztajn and I. Steinwart, *Better by Default: Strong Pre-Tuned MLPs and Boosted
    Trees on Tabular Data*, 2024.

    Examples
    --------
    >>> [round(CosLog(1.0, n_steps=30)(step), 3) for step in (0, 2, 6, 14)]  # each the end of a wave
    [0.0, 0.0, 0.0, 0.0]
    >>> round(max(CosLog(1.0, n_steps=30)(step) for step in range(30)), 3)
    0.995
    """

    lr: float
    n_steps: int | None = None

    def __post_init__(self) -> None:
        _check(self, lr=_POSITIVE, n_steps=_LENGTH)

    def __call__(self, step: int) -> float:
        """Return ``lr * (1 - cos(2 * pi * log2(1 + 15 * step / n_steps))) / 2``."""
        n_steps = _length(self)
        if step >= n_steps:
            return 0.0
        waves = log(1.0 + 15.0 * (step / n_steps)) / _LOG_2
        share = waves - floor(waves)
        return self.lr * (0.5 * (1.0 - cos(2.0 * pi * min(share, 1.0 - share))))

    def over(self, n_steps: int) -> Self:
        """Return the schedule of a fit of `n_steps` steps: a length that is missing is filled in."""
        return self if self.n_steps is not None else replace(self, n_steps=n_steps)


@dataclass(frozen=True, slots=True)
class OneCycle:
    """One rise and one long descent, each half a cosine wave (L. N. Smith and N. Topin, 2018).

    Parameters
    ----------
    peak : float
        The highest rate, positive and finite. One step has exactly this rate.
    n_steps : int, optional
        Number of steps of the whole cycle, at least 1; by default the length of the fit.
    warmup : float, default=0.3
        Part of the cycle that is the rise, from 0 to 1, in whole steps; a cycle's last step is not in it.
    start : float, default=1/25
        The rate of step 0, as a fraction of `peak`, from 0 to 1; without a rise step 0 has the peak.
    final : float, default=1e-4
        Where the descent ends, as a fraction of `peak`, from 0 to 1. It is reached at step `n_steps`.
    """

    peak: float
    n_steps: int | None = None
    warmup: float = 0.3
    start: float = 1 / 25
    final: float = 1e-4

    def __post_init__(self) -> None:
        _check(self, peak=_POSITIVE, n_steps=_LENGTH, warmup=_FRACTION, start=_FRACTION, final=_FRACTION)

    def __call__(self, step: int) -> float:
        """Return the rate of a step: of the rise, of the descent, or `final` after them."""
        n_steps = _length(self)
        top = min(int(self.warmup * n_steps), n_steps - 1)
        if step < top:
            return self.peak * _glide(self.start, 1.0, step, top)
        return self.peak * _glide(1.0, self.final, step - top, n_steps - top)

    def over(self, n_steps: int) -> Self:
        """Return the schedule of a fit of `n_steps` steps: a length that is missing is filled in."""
        return self if self.n_steps is not None else replace(self, n_steps=n_steps)


@dataclass(frozen=True, slots=True)
class InverseScaling(_Endless):
    """The rate ``lr / (step + 1) ** power``, which keeps falling and never arrives.

    Parameters
    ----------
    lr : float
        The rate of step 0, positive and finite.
    power : float, default=0.5
        How fast it falls: finite, from 0 up.
    """

    lr: float
    power: float = 0.5

    def __post_init__(self) -> None:
        _check(self, lr=_POSITIVE, power=_FROM_ZERO)

    def __call__(self, step: int) -> float:
        """Return ``lr / (step + 1) ** power``."""
        return self.lr * exp(-self.power * log(step + 1.0))


@dataclass(frozen=True, slots=True)
class Warmup:
    """A straight rise to the first rate of another schedule, which then takes its course.

    Parameters
    ----------
    schedule : float or Schedule
        What follows the rise; its step 0 is step `n_steps` of the whole.
    n_steps : int
        Number of steps of the rise, at least 1; the first has ``1 / n_steps`` of its goal, the last all of it.

    Examples
    --------
    >>> [Warmup(Step(1.0, every=2, factor=0.5), n_steps=4)(step) for step in range(8)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5, 0.5]
    """

    schedule: float | Schedule
    n_steps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedule", as_schedule(self.schedule))
        _check(self, n_steps=_COUNT)

    def __call__(self, step: int) -> float:
        """Return the rate of a step: of the rise, or of the schedule after it."""
        inner = as_schedule(self.schedule)
        if step < self.n_steps:
            return inner(0) * ((step + 1) / self.n_steps)
        return inner(step - self.n_steps)

    def over(self, n_steps: int) -> Self:
        """Return the schedule of a fit of `n_steps` steps: the inner one gets those after the rise."""
        # A fit that ends within the rise leaves none, but the rise still asks for the inner's first rate.
        return replace(self, schedule=as_schedule(self.schedule).over(max(1, n_steps - self.n_steps)))


def _glide(start: float, end: float, step: int, n_steps: int) -> float:
    """Go from `start` at step 0 to `end` at step `n_steps` along half a cosine wave, and stay there."""
    if step >= n_steps:
        return end
    share = 0.5 * (1.0 + cos(pi * (step / n_steps)))
    return share * start + (1.0 - share) * end  # and not end + share * (start - end): exact at step 0


def _power(base: float, exponent: int) -> float:
    """Return ``base ** exponent`` from products alone, one or two for each binary digit of the exponent."""
    result = 1.0
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def _length(schedule: Cosine | CosLog | OneCycle) -> int:
    if schedule.n_steps is None:
        raise ValueError(f"n_steps of {schedule} is None; expected a number: give it, or call over(n_steps)")
    return schedule.n_steps


class _Rule(NamedTuple):
    """What a field has to be: a number of a kind from `low` to `high`."""

    kind: Any
    low: float
    high: float
    expected: str
    optional: bool = False


_POSITIVE = _Rule(Real, ulp(0.0), float_info.max, "a positive finite number such as 0.01")
_FROM_ZERO = _Rule(Real, 0.0, float_info.max, "a finite number from 0 up")
_FRACTION = _Rule(Real, 0.0, 1.0, "a fraction, from 0 to 1")
_COUNT = _Rule(Integral, 1, inf, "a whole number of steps from 1 up")
_LENGTH = _Rule(Integral, 1, inf, "a whole number of steps from 1 up, or None for the fit's", optional=True)


def _check(schedule: object, **rules: _Rule) -> None:
    """Hold the fields of a schedule in the making against their rules, and keep them as float and int."""
    for name, rule in rules.items():
        value = getattr(schedule, name)
        if value is None and rule.optional:
            continue
        msg = f"{name} of {type(schedule).__name__} is {value!r}; expected {rule.expected}"
        if isinstance(value, bool) or not isinstance(value, rule.kind):
            raise TypeError(msg)
        number = int(value) if rule.kind is Integral else float(value)
        if not rule.low <= number <= rule.high:
            raise ValueError(msg)
        object.__setattr__(schedule, name, number)
