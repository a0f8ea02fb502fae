"""Schedules: rates at steps where they are known exactly, lengths, and what is refused.

Most rates here are exact in binary. Those that go through a transcendental function are compared after
rounding to float32: an error of a few units in the last place of float64 disappears in it, any other shows.
"""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from fastmlp.schedules import (
    Constant,
    Cosine,
    CosLog,
    InverseScaling,
    OneCycle,
    Schedule,
    Step,
    Warmup,
    as_schedule,
)

ONE_OF_EACH = (
    Constant(0.5),
    Step(1.0, every=3, factor=0.5),
    Cosine(0.5, n_steps=7, final=0.25),
    CosLog(0.5, n_steps=7),
    OneCycle(2.0, n_steps=9),
    InverseScaling(0.5, power=0.75),
    Warmup(Cosine(0.5, n_steps=5), n_steps=3),
)
each = pytest.mark.parametrize("schedule", ONE_OF_EACH, ids=lambda schedule: type(schedule).__name__)


def rates(schedule: Schedule, n_steps: int) -> list[float]:
    return [schedule(step) for step in range(n_steps)]


def rounded(values: list[float]) -> list[float]:
    return [float(np.float32(value)) for value in values]


@each
def test_a_schedule_gives_floats_is_a_value_and_can_be_pickled(schedule: Schedule) -> None:
    copy = pickle.loads(pickle.dumps(schedule))  # noqa: S301  our own bytes
    assert copy == schedule
    assert hash(copy) == hash(schedule)
    assert rates(copy, 12) == rates(schedule, 12)
    assert all(type(rate) is float and 0.0 <= rate < math.inf for rate in rates(schedule, 12))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, dataclasses.fields(schedule)[0].name, 1.0)  # type: ignore[arg-type]


@each
def test_a_length_that_was_given_stays(schedule: Schedule) -> None:
    assert rates(schedule.over(1000), 12) == rates(schedule, 12)


def test_constant() -> None:
    assert rates(Constant(0.75), 3) == [0.75, 0.75, 0.75]


def test_step() -> None:
    assert rates(Step(2.0, every=3, factor=0.5), 8) == [2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.5, 0.5]
    assert rates(Step(1.0, every=1, factor=2.0), 4) == [1.0, 2.0, 4.0, 8.0]
    assert Step(1.0, every=1, factor=3.0)(29) == 3.0**29  # exact: below 2**53
    assert Step(1.0, every=1, factor=0.5)(10**9) == 0.0  # at once, and without an error
    assert Step(1.0, every=1).factor == 0.1


def test_cosine() -> None:
    expected = [4.0 * (1.0 + math.cos(math.pi * step / 12)) for step in range(12)]
    assert rounded(rates(Cosine(8.0, n_steps=12), 12)) == rounded(expected)
    assert rounded(rates(Cosine(8.0, n_steps=3, final=0.25), 4)) == [8.0, 6.5, 3.5, 2.0]
    assert rates(Cosine(1.0, n_steps=2, final=0.5), 5) == [1.0, 0.75, 0.5, 0.5, 0.5]
    assert rates(Cosine(1.0, n_steps=2), 4) == [1.0, 0.5, 0.0, 0.0]


def test_cosine_takes_its_length_from_the_fit() -> None:
    assert Cosine(1.0, final=0.5).over(4) == Cosine(1.0, n_steps=4, final=0.5)
    assert Cosine(1.0).over(4).over(8) == Cosine(1.0, n_steps=4)


def test_cosine_falls_at_every_step() -> None:
    falling = rates(Cosine(0.1, n_steps=1000, final=0.01), 1001)
    assert all(later < earlier for earlier, later in pairwise(falling))
    assert falling[0] == 0.1
    assert falling[-1] == 0.1 * 0.01


def test_cos_log() -> None:
    expected = [2.0 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + 15.0 * step / 77))) for step in range(77)]
    assert rounded(rates(CosLog(4.0, n_steps=77), 77)) == rounded(expected)
    assert rates(CosLog(4.0, n_steps=1), 3) == [0.0, 0.0, 0.0]


def test_cos_log_has_four_waves_each_twice_as_long_as_the_one_before() -> None:
    values = rates(CosLog(0.5).over(15 * 1024), 15 * 1024 + 2)
    ends = [1024 * (2**wave - 1) for wave in range(5)]
    assert [values[end] for end in ends] == [0.0] * 5
    assert values[-2:] == [0.0, 0.0]
    for start, stop in pairwise(ends):
        wave = values[start : stop + 1]
        top = wave.index(max(wave))
        assert 0.49999 < wave[top] <= 0.5
        assert all(later > earlier for earlier, later in pairwise(wave[: top + 1]))
        assert all(later < earlier for earlier, later in pairwise(wave[top:]))
        assert abs(start + top - 1024 * (2 ** (ends.index(start) + 0.5) - 1)) < 1.0


def test_cos_log_takes_its_length_from_the_fit() -> None:
    assert CosLog(1.0).over(4) == CosLog(1.0, n_steps=4)
    assert CosLog(1.0).over(4).over(8) == CosLog(1.0, n_steps=4)


def test_one_cycle() -> None:
    cycle = OneCycle(2.0, n_steps=8, warmup=0.25, start=0.5, final=0.25)
    assert rounded(rates(cycle, 10)) == [
        *(1.0, 1.5),  # the rise
        *rounded([1.25 + 0.75 * math.cos(math.pi * step / 6) for step in range(6)]),
        *(0.5, 0.5),  # beyond the end
    ]
    assert cycle(2) == 2.0


def test_one_cycle_has_its_peak_once_and_starts_and_ends_where_it_should() -> None:
    cycle = OneCycle(0.1).over(99)
    values = rates(cycle, 100)
    assert values[0] == 0.1 * (1 / 25)
    assert values.index(max(values)) == 29
    assert [step for step, rate in enumerate(values) if rate >= 0.1] == [29]
    assert values[-1] == 0.1 * 1e-4


@pytest.mark.parametrize(
    ("warmup", "n_steps", "expected"),
    [
        (0.0, 2, [1.0, 0.75, 0.5]),  # no rise
        (1.0, 2, [0.25, 1.0, 0.5]),  # the last step is the peak
        (0.5, 1, [1.0, 0.5, 0.5]),  # a cycle of one step
    ],
)
def test_one_cycle_at_the_edges(warmup: float, n_steps: int, expected: list[float]) -> None:
    cycle = OneCycle(1.0, n_steps=n_steps, warmup=warmup, start=0.25, final=0.5)
    assert rates(cycle, 3) == expected


def test_one_cycle_takes_its_length_from_the_fit() -> None:
    assert OneCycle(1.0, warmup=0.5).over(4) == OneCycle(1.0, n_steps=4, warmup=0.5)
    assert OneCycle(1.0).over(4).over(8) == OneCycle(1.0, n_steps=4)


def test_inverse_scaling() -> None:
    steps = (0, 3, 15, 255, 2**20 - 1)
    assert rounded([InverseScaling(4.0)(step) for step in steps]) == [4.0, 2.0, 1.0, 0.25, 2.0**-8]
    assert rounded([InverseScaling(1.0, power=2.0)(step) for step in (0, 1, 3)]) == [1.0, 0.25, 0.0625]
    assert InverseScaling(0.1)(0) == 0.1
    assert rates(InverseScaling(0.1, power=0.0), 3) == [0.1, 0.1, 0.1]
    assert InverseScaling(1.0).power == 0.5


def test_warmup() -> None:
    assert rates(Warmup(Step(4.0, every=1, factor=0.5), n_steps=4), 7) == [1.0, 2.0, 3.0, 4.0, 4.0, 2.0, 1.0]
    assert rates(Warmup(Constant(4.0), n_steps=1), 2) == [4.0, 4.0]


def test_warmup_takes_a_number() -> None:
    assert Warmup(4.0, n_steps=2) == Warmup(Constant(4.0), n_steps=2)
    assert rates(Warmup(4.0, n_steps=2), 3) == [2.0, 4.0, 4.0]


def test_warmup_leaves_its_schedule_the_rest_of_the_fit() -> None:
    warm = Warmup(Cosine(1.0), n_steps=2)
    assert warm.over(6) == Warmup(Cosine(1.0, n_steps=4), n_steps=2)
    assert rates(warm.over(4), 5) == [0.5, 1.0, 1.0, 0.5, 0.0]
    assert rates(warm.over(1), 1) == [0.5]  # a fit that is over before the rise is


def test_as_schedule() -> None:
    assert as_schedule(0.5) == Constant(0.5)
    assert as_schedule(1) == Constant(1.0)
    assert as_schedule(np.float32(0.5)) == Constant(0.5)
    for schedule in ONE_OF_EACH:
        assert as_schedule(schedule) is schedule


def test_a_users_own_schedule_is_one() -> None:
    class Saw:
        def __call__(self, step: int) -> float:
            return 1.0 + step % 2

        def over(self, n_steps: int) -> Saw:  # noqa: ARG002
            return self

    saw = Saw()
    assert as_schedule(saw) is saw
    assert rates(Warmup(saw, n_steps=2), 4) == [0.5, 1.0, 1.0, 2.0]


def test_numbers_of_numpy_become_pythons() -> None:
    schedule = OneCycle(np.float32(0.5), n_steps=np.int64(3), warmup=np.float64(0.5))  # type: ignore[arg-type]
    assert schedule == OneCycle(0.5, n_steps=3, warmup=0.5)
    assert (type(schedule.peak), type(schedule.n_steps), type(schedule.warmup)) == (float, int, float)


@pytest.mark.parametrize("unknown", [Cosine(0.1), CosLog(0.1), OneCycle(0.1), Warmup(Cosine(0.1), 1)])
def test_a_missing_length_is_an_error_that_says_what_to_do(unknown: Schedule) -> None:
    with pytest.raises(ValueError, match=r"^n_steps of .* is None; expected a number: give it, or call over"):
        unknown(0)


@pytest.mark.parametrize("value", [0.0, -0.5, math.inf, math.nan])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Constant, "lr of Constant"),
        (lambda lr: Step(lr, every=1), "lr of Step"),
        (lambda factor: Step(1.0, every=1, factor=factor), "factor of Step"),
        (Cosine, "lr of Cosine"),
        (CosLog, "lr of CosLog"),
        (OneCycle, "peak of OneCycle"),
        (InverseScaling, "lr of InverseScaling"),
        (lambda lr: Warmup(lr, 1), "lr of Constant"),
        (as_schedule, "lr of Constant"),
    ],
)
def test_rates_and_factors_are_positive_and_finite(make: Callable[[float], Schedule], name: str, value: float) -> None:
    message = f"{name} is {value!r}; expected a positive finite number such as 0.01"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(value)


@pytest.mark.parametrize("value", [-0.25, 1.25, math.nan])
@pytest.mark.parametrize(
    ("kind", "name"), [(Cosine, "final"), (OneCycle, "warmup"), (OneCycle, "start"), (OneCycle, "final")]
)
def test_fractions_lie_between_0_and_1(kind: type, name: str, value: float) -> None:
    message = f"{name} of {kind.__name__} is {value!r}; expected a fraction, from 0 to 1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(0.1, **{name: value})
    for edge in (0, 1):
        assert getattr(kind(0.1, **{name: edge}), name) == edge


@pytest.mark.parametrize("value", [-0.5, math.inf, math.nan])
def test_a_power_is_not_negative(value: float) -> None:
    message = f"power of InverseScaling is {value!r}; expected a finite number from 0 up"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        InverseScaling(0.1, power=value)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-2, ValueError), (2.0, TypeError), (True, TypeError)])
@pytest.mark.parametrize(
    ("kind", "name"),
    [(Step, "every"), (Cosine, "n_steps"), (CosLog, "n_steps"), (OneCycle, "n_steps"), (Warmup, "n_steps")],
)
def test_counts_are_whole_numbers_from_1(kind: type, name: str, value: float, error: type[Exception]) -> None:
    message = f"{name} of {kind.__name__} is {value!r}; expected a whole number of steps from 1 up"
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        kind(0.1, **{name: value})
    assert getattr(kind(0.1, **{name: 1}), name) == 1


@pytest.mark.parametrize("kind", [Step, Warmup])
def test_only_a_length_that_the_fit_has_may_be_missing(kind: type) -> None:
    with pytest.raises(TypeError, match="is None; expected a whole number"):
        kind(0.1, None)


@pytest.mark.parametrize("value", ["0.1", None, [0.1], math.sqrt, Cosine])
def test_what_is_no_learning_rate_is_refused(value: object) -> None:
    message = f"lr is {value!r}; expected a positive number, or a schedule such as Cosine(0.001)"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        as_schedule(value)


@pytest.mark.parametrize("value", [True, "0.1", 0.1j])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=re.escape(f"lr of Cosine is {value!r}; expected a positive")):
        Cosine(value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=re.escape(f"lr of Constant is {value!r}; expected a positive")):
        Constant(value)  # type: ignore[arg-type]


def test_true_is_no_learning_rate() -> None:
    with pytest.raises(TypeError, match=r"^lr of Constant is True; expected a positive"):
        as_schedule(True)  # noqa: FBT003
