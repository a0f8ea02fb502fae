"""A table becomes a problem: what is predicted, by which loss, scaled by the training rows alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastmlp import MLP
from fastmlp.cli.problem import digits, from_csv
from tests import bounds

Write = Callable[[str, str], Path]

# Some twenty training rows are added for the mean, and their squares for the deviation, which is then divided by:
# fewer than 64 roundings of numbers that are of the order of the deviation.
SCALING = bounds.gamma(64, "float64")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a table with features a, b, c and a target."""

    def write_table(header: str, rows: str) -> Path:
        path = tmp_path / "data.csv"
        path.write_text(f"{header}\n{rows}\n", encoding="utf-8")
        return path

    return write_table


NUMBERS = "\n".join(f"{i},{i * i},7,{3 * i + 100}.5" for i in range(20))
CLASSES = "\n".join(f"{i},{i * i},7,{'ab'[i % 2]}" for i in range(20))


def test_digits_are_pixels_from_0_to_1_and_ten_classes() -> None:
    problem = digits()
    assert (problem.data.X_train.min(), problem.data.X_train.max()) == (0.0, 1.0)
    assert problem.layer_ends == (64, 10)
    assert (problem.loss, problem.output_activation, problem.metric) == (
        "cross_entropy",
        "softmax",
        "accuracy",
    )


def test_numbers_give_a_regression_in_the_targets_unit(write: Write) -> None:
    problem = from_csv(write("a,b,c,y", NUMBERS), "y")
    assert (problem.loss, problem.output_activation, problem.metric) == ("mse", "identity", "rmse")
    assert problem.layer_ends == (3, 1)
    # y runs in steps of 3, so a prediction that is one unit of the scaled target too high is off by unit.
    off_by_one = problem.data.Y_test + 1.0
    assert problem.score(off_by_one, problem.data.Y_test) == problem.target_unit
    steps = np.diff(np.sort(np.concatenate([problem.data.Y_train, problem.data.Y_test]), axis=0), axis=0)
    np.testing.assert_allclose(steps * problem.target_unit, 3.0, rtol=SCALING)


def test_scaling_looks_at_the_training_rows_alone(write: Write) -> None:
    data = from_csv(write("a,b,c,y", NUMBERS), "y").data
    for values in (data.X_train[:, :2], data.Y_train):
        np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=SCALING)
        np.testing.assert_allclose(values.std(axis=0), 1.0, rtol=SCALING)
    assert np.abs(data.X_test[:, :2].mean(axis=0)).min() > SCALING


def test_a_constant_column_becomes_zero(write: Write) -> None:
    rows = "\n".join(f"0.1,{i}.5" for i in range(25))  # the mean of 20 times 0.1 is not quite 0.1
    data = from_csv(write("a,y", rows), "y").data
    assert np.abs(np.concatenate([data.X_train, data.X_test])).max() <= SCALING


def test_classes_give_a_classification(write: Write) -> None:
    problem = from_csv(write("a,b,c,y", CLASSES), "y")
    assert (problem.loss, problem.output_activation) == ("cross_entropy", "softmax")
    assert (problem.metric, problem.class_names, problem.layer_ends) == ("accuracy", ("a", "b"), (3, 2))
    right = np.eye(2)[problem.data.Y_test]
    assert problem.score(right, problem.data.Y_test) == 1.0
    assert problem.score(1.0 - right, problem.data.Y_test) == 0.0


def test_two_classes_suit_one_output(write: Write) -> None:
    problem = from_csv(write("a,b,c,y", CLASSES), "y", loss="binary_cross_entropy")
    assert (problem.output_activation, problem.layer_ends) == ("sigmoid", (3, 1))
    assert set(problem.data.Y_train) == {0.0, 1.0}
    assert problem.score(problem.data.Y_test[:, None], problem.data.Y_test) == 1.0


@pytest.mark.parametrize(
    ("loss", "output"),
    [
        ("mse", "identity"),
        ("squared_error", "identity"),
        ("mae", "identity"),
        ("huber", "identity"),
        ("poisson", "exp"),
    ],
)
def test_other_losses_take_numbers_and_their_link(write: Write, loss: str, output: str) -> None:
    rows = "\n".join(f"{i},{i % 3}" for i in range(20))  # whole numbers, few: classes, were it not for the loss
    problem = from_csv(write("a,y", rows), "y", loss=loss)
    assert (problem.output_activation, problem.metric) == (output, "rmse")
    scaled = output == "identity"
    assert (problem.target_unit != 1.0) == scaled
    assert (set(problem.data.Y_train.ravel()) == {0.0, 1.0, 2.0}) == (not scaled)


def test_what_comes_out_trains(write: Write) -> None:
    for rows, target in ((NUMBERS, "y"), (CLASSES, "y")):
        problem = from_csv(write("a,b,c,y", rows), target)
        net = MLP((3, 4, problem.n_outputs), "tanh", problem.output_activation, problem.loss, seed=0)
        net.fit(problem.data.X_train, problem.data.Y_train, epochs=1)
        assert np.isfinite(problem.score(net.predict(problem.data.X_test), problem.data.Y_test))


@pytest.mark.parametrize(
    ("rows", "loss", "message"),
    [
        (CLASSES, "binary", "loss is 'binary'; expected one of mse"),
        (CLASSES, "mse", ":2: 'a' is not a number"),
        (CLASSES.replace("b", "c", 1), "binary_cross_entropy", "takes two classes, but column 'y' has 3"),
        ("1e200,0,0,1\n-1e200,0,0,2\n1e200,0,0,3.5", None, "column 'a' is too large"),
        ("1,0,0,1e200\n2,0,0,-1e200\n3,0,0,1e200", None, "column 'y' is too large"),
    ],
)
def test_refuses_what_does_not_suit(write: Write, rows: str, loss: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_csv(write("a,b,c,y", rows), "y", loss=loss)
