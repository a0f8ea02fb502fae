"""Metrics: by hand, against scikit-learn where it defines the same, and what does not fit is refused.

The numbers are small integers and fractions of two, and weights add up to powers of two, so that nothing
rounds and every result is exact.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from fastmlp import metrics

Y_PRED = np.array([[1.0, 2.0], [3.0, 0.0], [0.0, 5.0], [2.0, 2.0]])
Y = np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 1.0], [2.0, 0.0]])
WEIGHT = np.array([2.0, 1.0, 1.0, 4.0])


def drawn(n_outputs: int, seed: int) -> tuple[NDArray[np.float64], ...]:
    """Return integer predictions, truths of which mean and weighted mean are integers, and weights."""
    generator = np.random.default_rng(seed)
    Y_pred = generator.integers(-8, 9, (16, n_outputs)).astype(np.float64)
    half = generator.integers(-8, 9, (8, n_outputs)).astype(np.float64)
    weight = np.array([1.0, 2.0, 1.0, 4.0, 0.0, 4.0, 2.0, 2.0])
    return Y_pred, np.concatenate([half, 6.0 - half]), np.concatenate([weight, weight])


def test_rmse() -> None:
    # squared errors 0 4, 4 0, 4 16, 0 4: means over outputs 2, 2, 10, 2
    assert metrics.compute("rmse", Y_PRED, Y) == 2.0
    assert metrics.compute("rmse", Y_PRED, Y, [1.0, 1.0, 0.0, 2.0]) == math.sqrt(2.0)
    assert metrics.compute("rmse", Y_PRED, Y, [0.0, 7.0, 1.0, 0.0]) == math.sqrt(3.0)


def test_mae() -> None:
    # absolute errors 0 2, 2 0, 2 4, 0 2: means over outputs 1, 1, 3, 1
    assert metrics.compute("mae", Y_PRED, Y) == 1.5
    assert metrics.compute("mae", Y_PRED, Y, WEIGHT) == 1.25


def test_r2() -> None:
    # squared errors 8 and 24; the truths' squared deviations 1 and 0.75
    assert metrics.compute("r2", Y_PRED, Y) == ((1.0 - 8.0 / 1.0) + (1.0 - 24.0 / 0.75)) / 2.0
    assert metrics.compute("r2", Y, Y) == 1.0
    assert metrics.compute("r2", Y.mean(axis=0) + 0.0 * Y, Y) == 0.0


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_r2_and_mae_are_scikit_learns(n_outputs: int, seed: int) -> None:
    Y_pred, truth, weight = drawn(n_outputs, seed)
    for sample_weight in (None, weight):
        for name, theirs in (
            ("r2", sklearn_metrics.r2_score),
            ("mae", sklearn_metrics.mean_absolute_error),
        ):
            expected = theirs(truth, Y_pred, sample_weight=sample_weight)
            assert metrics.compute(name, Y_pred, truth, sample_weight) == expected


@pytest.mark.parametrize("seed", range(5))
def test_rmse_of_one_output_is_scikit_learns(seed: int) -> None:
    Y_pred, truth, weight = drawn(1, seed)
    for sample_weight in (None, weight):
        expected = sklearn_metrics.root_mean_squared_error(truth, Y_pred, sample_weight=sample_weight)
        assert metrics.compute("rmse", Y_pred, truth, sample_weight) == expected


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e-30, -1e30])  # the mean of three 0.1 is not 0.1
@pytest.mark.parametrize("sample_weight", [None, [0.1, 0.2, 0.7], [0.3, 0.0, 0.3]])
def test_r2_of_a_constant_truth(constant: float, sample_weight: list[float] | None) -> None:
    truth = np.full((3, 1), constant)
    assert metrics.compute("r2", truth, truth, sample_weight) == 1.0
    assert metrics.compute("r2", 2.0 * truth + 1e-100, truth, sample_weight) == 0.0
    assert math.isnan(metrics.compute("r2", truth * np.nan, truth, sample_weight))


def test_r2_of_a_constant_truth_beside_another_is_averaged() -> None:
    truth = np.array([[5.0, 0.0], [5.0, 2.0]])
    assert metrics.compute("r2", truth, truth) == 1.0
    assert metrics.compute("r2", [[5.0, 0.0], [4.0, 2.0]], truth) == 0.5
    assert metrics.compute("r2", [[5.0, 1.0], [5.0, 1.0]], truth) == 0.5


def test_r2_of_a_truth_that_is_constant_where_it_weighs() -> None:
    truth, weight = [[5.5], [0.1], [0.1], [0.1]], [0.0, 0.1, 0.2, 0.3]
    assert metrics.compute("r2", [[0.0], [0.1], [0.1], [0.1]], truth, weight) == 1.0
    assert metrics.compute("r2", [[5.5], [0.2], [0.2], [0.2]], truth, weight) == 0.0


def test_r2_of_a_single_sample() -> None:
    assert metrics.compute("r2", [[2.0]], [[2.0]]) == 1.0
    assert metrics.compute("r2", [[3.0]], [[2.0]]) == 0.0


def test_accuracy_of_labels_and_of_rows() -> None:
    labels = [1, 0, 1, 1]  # predicted: 1, 0, 1, 0 (the first of equals)
    assert metrics.compute("accuracy", Y_PRED, labels) == 0.75
    assert metrics.compute("accuracy", Y_PRED, np.eye(2)[labels]) == 0.75
    assert metrics.compute("accuracy", Y_PRED, labels, WEIGHT) == 0.5
    assert metrics.compute("accuracy", Y_PRED, np.eye(2)[labels], WEIGHT) == 0.5


def test_accuracy_of_a_single_output() -> None:
    Y_pred = [[0.5], [0.75], [0.25], [1.0]]
    for truth in ([[0], [1], [1], [1]], [0, 1, 1, 1], [False, True, True, True], [0.5, 0.75, 1.0, 1.0]):
        assert metrics.compute("accuracy", Y_pred, truth) == 0.75
        assert metrics.compute("accuracy", Y_pred, truth, WEIGHT) == 0.875


def test_a_nan_is_never_right() -> None:
    nan = math.nan
    assert metrics.compute("accuracy", [[nan, 0.0], [1.0, 0.0]], [0, 0]) == 0.5
    assert metrics.compute("accuracy", [[1.0, nan], [1.0, 0.0]], [0, 0]) == 0.5
    assert metrics.compute("accuracy", [[nan], [0.0]], [0, 0]) == 0.5


@pytest.mark.parametrize("name", ["rmse", "mae", "r2"])
def test_class_indices_stand_for_one_hot_rows(name: str) -> None:
    labels = np.array([1, 0, 1, 1])
    expected = metrics.compute(name, Y_PRED, np.eye(2)[labels], WEIGHT)
    for truth in (labels, labels.astype(np.uint8), labels.astype(np.float32), labels.tolist()):
        assert metrics.compute(name, Y_PRED, truth, WEIGHT) == expected


@pytest.mark.parametrize("name", metrics.METRICS)
def test_a_single_output_may_have_a_flat_truth(name: str) -> None:
    Y_pred, truth = Y_PRED[:, :1], Y[:, :1]
    assert metrics.compute(name, Y_pred, truth[:, 0], WEIGHT) == metrics.compute(name, Y_pred, truth, WEIGHT)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_a_weight_of_2_is_the_sample_twice_and_0_is_none(name: str) -> None:
    rows = [0, 0, 2, 3, 3, 3, 3, 3]
    weighted = metrics.compute(name, Y_PRED, Y, [2.0, 0.0, 1.0, 5.0])
    assert weighted == metrics.compute(name, Y_PRED[rows], Y[rows])


@pytest.mark.parametrize("name", metrics.METRICS)
def test_a_metric_is_a_float_and_leaves_its_arguments_alone(name: str) -> None:
    arguments = [Y_PRED.astype(np.float32), Y.astype(np.float32), WEIGHT.astype(np.float32)]
    before = [argument.copy() for argument in arguments]
    for argument in arguments:
        argument.flags.writeable = False
    value = metrics.compute(name, *arguments)
    assert type(value) is float
    assert value == metrics.compute(name, Y_PRED, Y, WEIGHT)
    assert all(np.array_equal(now, then) for now, then in zip(arguments, before, strict=True))


def test_float32_is_summed_in_float64() -> None:
    def float32(*values: float) -> NDArray[np.float32]:
        return np.array(values, dtype=np.float32)[:, np.newaxis]

    # In float32 the ones are lost beside 2**24, and the square of 2**100 is infinite.
    assert metrics.compute("mae", float32(2.0**24, *[1.0] * 7), np.zeros(8)) == (2.0**24 + 7.0) / 8.0
    assert metrics.compute("rmse", float32(2.0**100, 2.0**100), np.zeros(2)) == 2.0**100
    assert metrics.compute("rmse", float32(1.0), [[1.0 + 2.0**-52]]) == 2.0**-52


@pytest.mark.parametrize("name", metrics.METRICS)
def test_float32_gives_what_its_values_give_in_float64(name: str) -> None:
    generator = np.random.default_rng(0)
    Y_pred, truth = generator.standard_normal((2, 50, 3)).astype(np.float32)
    weight = generator.random(50)
    expected = metrics.compute(name, Y_pred.astype(np.float64), truth.astype(np.float64), weight)
    assert metrics.compute(name, Y_pred, truth, weight) == expected


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e200])
def test_an_overflow_is_infinite_without_a_warning(value: float) -> None:
    assert metrics.compute("rmse", [[value], [1.0]], [[0.0], [1.0]]) == math.inf
    assert metrics.compute("r2", [[value], [1.0]], [[0.0], [1.0]]) == -math.inf
    assert math.isnan(metrics.compute("mae", [[math.inf], [1.0]], [[0.0], [1.0]], [0.0, 1.0]))


def test_check_gives_each_name_once() -> None:
    assert metrics.check(["r2", "accuracy", "r2"]) == ("r2", "accuracy")
    assert metrics.check(()) == ()
    assert metrics.check(metrics.METRICS) == ("rmse", "mae", "r2", "accuracy")


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"^metric is 'acc'; expected one of rmse, mae, r2, accuracy$"):
        metrics.check(("r2", "acc"))
    with pytest.raises(ValueError, match=r"^metric is 'acc'; expected one of"):
        metrics.compute("acc", Y_PRED, Y)
    with pytest.raises(TypeError, match=r"^metric is 3; expected a name"):
        metrics.check((3,))  # type: ignore[arg-type]


def test_a_single_string_is_no_tuple_of_names() -> None:
    message = "metrics is the string 'r2'; expected a tuple of names: write ('r2',)"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        metrics.check("r2")


@pytest.mark.parametrize("shape", [(4,), (0, 2), (2, 0), (2, 2, 1), ()])
def test_predictions_are_rows(shape: tuple[int, ...]) -> None:
    message = f"Y_pred has shape {shape}; expected (n_samples, n_outputs) with no 0 in it"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        metrics.compute("mae", np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize(
    ("of_Y_pred", "of_Y", "expected"),
    [
        ((4, 2), (4, 1), "(4, 2) like Y_pred, or class indices of shape (4,)"),
        ((4, 2), (1, 2), "(4, 2) like Y_pred, or class indices of shape (4,)"),
        ((4, 2), (2,), "(4, 2) like Y_pred, or class indices of shape (4,)"),
        ((4, 2), (3, 2), "(4, 2) like Y_pred, or class indices of shape (4,)"),
        ((4, 1), (4, 4), "(4, 1) like Y_pred, or (4,)"),
        ((4, 1), (1,), "(4, 1) like Y_pred, or (4,)"),
        ((4, 1), (), "(4, 1) like Y_pred, or (4,)"),
    ],
)
def test_nothing_is_broadcast(of_Y_pred: tuple[int, int], of_Y: tuple[int, ...], expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'Y has shape {of_Y}; expected {expected}')}$"):
        metrics.compute("mae", np.zeros(of_Y_pred), np.zeros(of_Y))


@pytest.mark.parametrize("bad", [2, -1, 0.5, math.nan])
@pytest.mark.parametrize("name", metrics.METRICS)
def test_what_is_no_class_index_is_refused(name: str, bad: float) -> None:
    message = f"Y is {np.asarray([1, bad])[1]} in row 2; expected a class index from 0 to 1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        metrics.compute(name, Y_PRED, [0, 1, bad, bad])


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", metrics.METRICS)
def test_what_is_no_weight_is_refused(name: str, bad: float) -> None:
    message = f"sample_weight is {bad} in row 1; expected a finite weight, not below 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        metrics.compute(name, Y_PRED, Y, [1.0, bad, 1.0, bad])


def test_weights_are_not_all_zero_and_one_a_sample() -> None:
    message = "sample_weight is 0.0 in row 0; expected a weight above 0 somewhere"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        metrics.compute("mae", Y_PRED, Y, np.zeros(4))
    for shape in ((3,), (4, 1), ()):
        message = f"sample_weight has shape {shape}; expected (4,), one weight a sample"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            metrics.compute("mae", Y_PRED, Y, np.ones(shape))
