"""The digits are those that scikit-learn distributes; a split keeps every row, once."""

from importlib.resources import files

import numpy as np
import pytest

from fastmlp.datasets import load_digits, split

MOST_BYTES = 100_000


def test_digits_are_scikit_learns() -> None:
    theirs = pytest.importorskip("sklearn.datasets").load_digits()
    X, y = load_digits()
    np.testing.assert_array_equal(X, theirs.data)
    np.testing.assert_array_equal(y, theirs.target)
    assert (X.dtype, y.dtype) == (np.float64, np.int64)


def test_digits_are_small() -> None:
    assert len((files("fastmlp.datasets") / "digits.npz").read_bytes()) < MOST_BYTES


def test_each_call_gives_arrays_of_its_own() -> None:
    load_digits()[0][:] = -1.0
    assert load_digits()[0].min() == 0.0


@pytest.mark.parametrize(
    ("n_samples", "fraction", "n_test"),
    [(2, 0.001, 1), (2, 0.999, 1), (10, 0.25, 2), (11, 0.5, 6), (101, 0.2, 20)],
)
def test_split_keeps_every_row_once_beside_its_target(n_samples: int, fraction: float, n_test: int) -> None:
    X = np.arange(n_samples, dtype=np.float64)[:, None]
    parts = split(X, X[:, 0] * 2, test_fraction=fraction)
    assert len(parts.X_test) == n_test
    rows = np.concatenate([parts.X_train, parts.X_test])
    np.testing.assert_array_equal(np.sort(rows, axis=0), X)
    np.testing.assert_array_equal(np.concatenate([parts.Y_train, parts.Y_test]), rows[:, 0] * 2)


def test_split_depends_on_the_seed_alone() -> None:
    X, y = load_digits()
    first, again, other = split(X, y, seed=3), split(X, y, seed=3), split(X, y, seed=4)
    np.testing.assert_array_equal(first.X_test, again.X_test)
    assert not np.array_equal(first.X_test, other.X_test)
    assert not np.array_equal(first.Y_test, y[: len(first.Y_test)])  # shuffled


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_split_refuses_a_fraction_that_leaves_a_side_empty(fraction: float) -> None:
    with pytest.raises(ValueError, match="test_fraction"):
        split(*load_digits(), test_fraction=fraction)


@pytest.mark.parametrize(("n_x", "n_y"), [(1, 1), (0, 0), (3, 2)])
def test_split_refuses_too_few_and_unequal_rows(n_x: int, n_y: int) -> None:
    with pytest.raises(ValueError, match=f"X has {n_x} rows and Y has {n_y}"):
        split(np.zeros((n_x, 1)), np.zeros(n_y))
