"""Every checker refuses wrong implementations, and accepts a right one.

A checker is code too. Each is shown the wrong implementations of `tests.planted` and must refuse every one that it
can see: on at least one of its cases. What it cannot see, such as a wrong derivative of an activation in networks
without one, is listed with the reason. And it must accept the textbook from which they are all derived, so that
what it refuses is the bug.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import bounds, checkers, integers, metamorphic, networks, planted, primitives, statistic
from tests.networks import Case
from tests.textbook import Textbook

Implementation = type[Textbook]

BUGS = planted.SLIPS + planted.PUBLISHED

BATTERY = tuple(
    Case(
        *(sizes, (activation,) * (len(sizes) - 2), output, loss, dtype),
        l2=l2,
        weighted=weighted,
        n_samples=n,
        seed=seed,
        input_scale=n in (5, 7),
    )
    for dtype in ("float64", "float32")
    for seed, (sizes, activation, output, loss, l2, weighted, n) in enumerate(
        [
            ((3, 4, 2), "sigmoid", "sigmoid", "squared_error", 0.0, False, 4),
            ((9, 11, 3), "relu", "softmax", "cross_entropy", 0.125, True, 7),
            ((2, 3, 3, 1), "leaky_relu", "tanh", "mse", 0.0, True, 5),
            ((5, 9, 9, 2), "elu", "sigmoid", "binary_cross_entropy", 0.125, False, 3),
            ((4, 6, 2), "gelu", "identity", "huber", 0.0, False, 8),
        ]
    )
)
"""Cases for the two checkers of whole networks: with derivatives, remainders, weights, l2 and scaled inputs."""


def by_complex_step(implementation: Implementation) -> list[str]:
    """Show the battery's float64 part to the complex step."""
    chosen = [case for case in BATTERY if case.dtype == "float64"]
    return [line for case in chosen for line in checkers.complex_step(case, made(implementation, case))]


def by_statistic(implementation: Implementation) -> list[str]:
    """Show the battery to the whole-network statistic."""
    return [line for case in BATTERY for line in checkers.whole_network(case, made(implementation, case))]


def by_integers(implementation: Implementation) -> list[str]:
    """Show the integer cases to the exact comparison."""
    return [line for case in integers.cover() for line in checkers.exact(case, made(implementation, case))]


def by_inner_products(implementation: Implementation) -> list[str]:
    """Show one-layer networks to the rigorous bounds."""
    return primitives.inner_products(implementation, "float64")


def made(implementation: Implementation, case: Case) -> Textbook:
    """Return the implementation with the parameters of a case."""
    return implementation(case.network, case.data.flat, case.dtype)


NO_HIDDEN_LAYER = "one layer and identity output: nothing goes back through an activation"
PLAIN_LOSS = "without l2 and sample weights"
NO_SCALE = "without an input scale"

BLIND: dict[Callable[..., list[str]], dict[Any, str]] = {
    by_complex_step: {},
    by_statistic: {},
    by_integers: {},
    by_inner_products: {
        planted.MissingDerivative: NO_HIDDEN_LAYER,
        planted.SwallowedNegatives: NO_HIDDEN_LAYER,
        planted.MissingRegularisation: PLAIN_LOSS,
        planted.RegularisedBiases: PLAIN_LOSS,
        planted.IgnoredSampleWeights: PLAIN_LOSS,
        **dict.fromkeys(planted.SCALES, NO_SCALE),
        **{bug: NO_HIDDEN_LAYER for bug in planted.PUBLISHED if bug is not planted.RateInPropagatedError},
    },
}
"""What a checker of gradients cannot see, and why."""

SEEN = [(checker, bug) for checker, blind in BLIND.items() for bug in BUGS if bug not in blind]


def name_of(thing: Any) -> str:
    return thing.__name__


@pytest.mark.parametrize(("checker", "bug"), SEEN, ids=name_of)
def test_checker_refuses_bug(checker: Callable[..., list[str]], bug: Implementation) -> None:
    assert checker(bug)


@pytest.mark.parametrize(
    ("checker", "bug"), [(checker, bug) for checker, blind in BLIND.items() for bug in blind], ids=name_of
)
def test_blind_spots_are_as_listed(checker: Callable[..., list[str]], bug: Implementation) -> None:
    assert not checker(bug)


@pytest.mark.parametrize("checker", BLIND, ids=name_of)
def test_checker_accepts_the_textbook(checker: Callable[..., list[str]]) -> None:
    assert not checker(Textbook)


def test_every_bug_is_wrong_by_more_than_a_factor() -> None:
    """The smallest bug is the factor of 1 + 1e-6, which binary64 sees and float32 at 16 sigma does not."""
    small = [case for case in BATTERY if case.dtype == "float32"]
    assert not [line for case in small for line in checkers.whole_network(case, made(planted.ScaledGradient, case))]


WITNESSES = {
    metamorphic.batch_permuted: planted.LastSampleLeftOut,
    metamorphic.duplicate_is_weight_two: planted.IgnoredSampleWeights,
    metamorphic.equal_weights_are_none: planted.WeightsCountedBySample,
    metamorphic.zero_weight_removed: planted.WeightsCountedBySample,
    metamorphic.batch_split: planted.MissingMean,
    metamorphic.hidden_units_permuted: planted.SkippedRemainderColumns,
    metamorphic.unit_without_outgoing_weights_removed: planted.SkippedRemainderRows,
    metamorphic.labels_are_one_hot_rows: planted.LabelsOffByOne,
    metamorphic.relu_layer_scaled: planted.ReluWithThreshold,
    metamorphic.tanh_signs_flipped: planted.OneSidedTanh,
}
"""A relation holds for many a wrong gradient; each gets one that breaks it."""

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@both_dtypes
@pytest.mark.parametrize("relation", metamorphic.RELATIONS, ids=name_of)
def test_relation_refuses_its_bug(relation: Callable[..., list[str]], dtype: str) -> None:
    assert relation(WITNESSES[relation], dtype)
    assert not relation(Textbook, dtype)


@both_dtypes
@pytest.mark.parametrize("name", bounds.ACTIVATION_ULPS)
def test_wrong_activation_is_refused(name: str, dtype: str) -> None:
    assert primitives.activation(name, planted.TutorialFormulas, dtype)
    assert not primitives.activation(name, Textbook, dtype)


@both_dtypes
@pytest.mark.parametrize("name", networks.HIDDEN)
def test_wrong_derivative_is_refused(name: str, dtype: str) -> None:
    assert primitives.slope(name, planted.TutorialFormulas, dtype)
    assert not primitives.slope(name, Textbook, dtype)


@both_dtypes
def test_wrong_softmax_is_refused(dtype: str) -> None:
    assert primitives.softmax(planted.TutorialFormulas, dtype)
    assert not primitives.softmax(Textbook, dtype)


def one_ulp(results: dict[str, np.ndarray]) -> None:
    """Change one number by its last bit."""
    array = results["weights[0]"]
    array[0] = np.nextafter(array[0], np.inf)


def negative_zero(results: dict[str, np.ndarray]) -> None:
    """Change the sign of a zero."""
    results["biases[0]"][0] = -results["biases[0]"][0]


def other_dtype(results: dict[str, np.ndarray]) -> None:
    """Return the same values in more digits."""
    results["outputs"] = results["outputs"].astype(np.float64)


def transposed(results: dict[str, np.ndarray]) -> None:
    """Give the same numbers another shape."""
    results["input gradient"] = results["input gradient"].reshape(results["input gradient"].shape[::-1])


def swapped(results: dict[str, np.ndarray]) -> None:
    """Let two entries change places."""
    results["weights[1]"][:2] = results["weights[1]"][1::-1].copy()


@pytest.mark.parametrize("change", [one_ulp, negative_zero, other_dtype, transposed, swapped], ids=name_of)
def test_hashes_see_every_change(change: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Strict mode is compared by hash: of values, signs of zeros, shapes and dtypes."""
    case = Case((3, 4, 2), ("relu",), "identity", "mse", "float32", seed=1)
    computed = statistic.results(made(Textbook, case), case.sizes, case.data)
    results = {name: np.copy(array) for name, array in computed.items()}
    results["biases[0]"][0] = 0.0
    before = checkers.digest(results.values())
    assert not checkers.same_bits({"a": before, "b": checkers.digest(results.values())})
    change(results)
    assert checkers.same_bits({"a": before, "b": checkers.digest(results.values())})


def test_nan_is_a_complaint() -> None:
    case = BATTERY[0]
    net = Textbook(case.network, np.where(np.arange(case.data.flat.size) == 0, np.nan, case.data.flat))
    assert checkers.whole_network(case, net)
    assert checkers.complex_step(case, net)
