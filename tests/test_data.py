"""The door: bad data is refused with a message that names shapes, places and the remedy, and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from fastmlp import MLP
from tests import checkers

GOOD_X = np.array([[0.5, -1.0, 2.0], [1.0, 0.25, -3.0]])
GOOD_Y = np.array([[1.0, 0.0], [0.5, -2.0]])


def regressor(**options: Any) -> MLP:
    return MLP((3, 4, 2), "tanh", seed=1, **options)


def classifier(**options: Any) -> MLP:
    return MLP((3, 4, 3), "tanh", "softmax", "cross_entropy", seed=1, **options)


def state_of(net: MLP) -> tuple[str, object, object]:
    """All that a call could change."""
    return checkers.digest([net.parameters.flat]), net.generator.bit_generator.state, net.history


def assert_refused(net: MLP, call: Callable[[], object], kind: type[Exception], message: str) -> None:
    before = state_of(net)
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        call()
    assert state_of(net) == before


DOORS: dict[str, Callable[[MLP, Any, Any, Any], object]] = {
    "loss": lambda net, X, Y, w: net.loss(X, Y, w),
    "loss_and_gradient": lambda net, X, Y, w: net.loss_and_gradient(X, Y, w),
    "input_gradient": lambda net, X, Y, w: net.input_gradient(X, Y, w),
    "fit": lambda net, X, Y, w: net.fit(X, Y, sample_weight=w),
    "validation_data": lambda net, X, Y, w: net.fit(
        X_OF[net.spec.n_outputs], Y_OF[net.spec.n_outputs], validation_data=(X, Y, w)
    ),
}
X_OF = {2: GOOD_X, 3: GOOD_X}
Y_OF = {2: GOOD_Y, 3: [0, 2]}
X_DOORS = DOORS | {
    "predict": lambda net, X, _, __: net.predict(X),
    "hidden_activations": lambda net, X, _, __: net.hidden_activations(X),
}


def said_at(door: str, message: str) -> str:
    return f"validation_data: {message}" if door == "validation_data" else message


# --- X ---

NUMBERS = "expected real numbers"
BAD_X: dict[str, tuple[Any, type[Exception], str]] = {
    "one sample, flat": (
        [1.0, 2.0, 3.0],
        ValueError,
        "X has shape (3,), but expected two dimensions, (n_samples, 3); for one sample use X.reshape(1, -1)",
    ),
    "three dimensions": (np.ones((2, 3, 1)), ValueError, "X has shape (2, 3, 1), but expected two dimensions"),
    "a number": (3.0, ValueError, "X has shape (), but expected two dimensions"),
    "too many features": (
        np.ones((2, 5)),
        ValueError,
        "X has 5 features (shape (2, 5)), but this network takes 3 inputs (layer_sizes=(3, 4, ",
    ),
    "no columns": (np.ones((2, 0)), ValueError, "X has 0 features (shape (2, 0)), but this network takes 3 inputs"),
    "no rows": (np.ones((0, 3)), ValueError, "X has no rows (shape (0, 3)); expected at least one sample"),
    "no rows, of the dtype": (np.ones((0, 3), np.float32), ValueError, "X has no rows (shape (0, 3)); expected at"),
    "nothing": ([], ValueError, "X has shape (0,), but expected two dimensions"),
    "ragged lists": ([[1, 2, 3], [4, 5]], ValueError, "X is a ragged sequence; expected rows of equal length"),
    "ragged deeper": ([[1, [2], 3], [4, 5, 6]], ValueError, "X is a ragged sequence; expected rows of equal length"),
    "complex": (np.ones((2, 3), complex), TypeError, f"X has dtype complex128 (shape (2, 3)); {NUMBERS}"),
    "objects": (np.ones((2, 3), object), TypeError, f"X has dtype object (shape (2, 3)); {NUMBERS}"),
    "integers beyond 64 bits": ([[10**400, 0, 0]], TypeError, f"X has dtype object (shape (1, 3)); {NUMBERS}"),
    "missing": ([[1.0, None, 2.0]], TypeError, f"X has dtype object (shape (1, 3)); {NUMBERS}"),
    "None": (None, TypeError, f"X has dtype object (shape ()); {NUMBERS}"),
    "strings": ([["1", "2", "3"]], TypeError, f"X has dtype <U1 (shape (1, 3)); {NUMBERS}"),
    "bytes": (np.zeros((2, 3), "S3"), TypeError, f"X has dtype |S3 (shape (2, 3)); {NUMBERS}"),
    "dates": (np.zeros((2, 3), "M8[s]"), TypeError, f"X has dtype datetime64[s] (shape (2, 3)); {NUMBERS}"),
    "durations": (np.zeros((2, 3), "m8[s]"), TypeError, f"X has dtype timedelta64[s] (shape (2, 3)); {NUMBERS}"),
    "records": (np.zeros((2, 3), [("a", "f4")]), TypeError, "X has dtype [('a', '<f4')] (shape (2, 3)); "),
    "sparse matrix": (
        sparse.csr_matrix(GOOD_X),
        TypeError,
        "X is a csr_matrix; expected a dense array, so use X.toarray()",
    ),
    "sparse array": (sparse.coo_array(GOOD_X), TypeError, "X is a coo_array; expected a dense array"),
    "masked": (np.ma.masked_array(GOOD_X, GOOD_X > 1.0), ValueError, "X is a masked array"),
    "NaN": ([[1, 2, 3], [4, np.nan, 6]], ValueError, "X[1, 1] is nan; expected finite numbers, so drop or fill such"),
    "infinity": ([[1, 2, -np.inf]], ValueError, "X[0, 2] is -inf; expected finite numbers, so drop or fill such"),
    "too large for float32": (
        [[1, 2, 3], [-1e39, 5, 6]],
        ValueError,
        "X[1, 0] is -1e+39, too large for float32; scale the data or use dtype='float64'",
    ),
}


@pytest.mark.parametrize("door", X_DOORS)
@pytest.mark.parametrize("name", BAD_X)
def test_bad_x_is_refused(name: str, door: str) -> None:
    X, kind, message = BAD_X[name]
    net = regressor()
    assert_refused(net, lambda: X_DOORS[door](net, X, GOOD_Y, None), kind, said_at(door, message))


def test_the_first_bad_place_is_named() -> None:
    X = np.ones((100, 3))
    X[70, 2] = X[70, 1] = X[90, 0] = np.nan
    with pytest.raises(ValueError, match=r"^X\[70, 1\] is nan"):
        regressor().predict(X)


def test_float64_takes_what_is_too_large_for_float32() -> None:
    assert np.isfinite(regressor(dtype="float64").predict(GOOD_X * 1e39)).all()


def test_the_largest_float32_is_not_too_large() -> None:
    largest = float(np.finfo(np.float32).max)
    assert regressor().predict([[largest, 0, 0]]).shape == (1, 2)
    with pytest.raises(ValueError, match="too large for float32"):
        regressor().predict([[2.0 * largest, 0, 0]])


# --- Y ---

BAD_Y: dict[str, tuple[Any, type[Exception], str]] = {
    "four targets for two samples": (
        np.ones(4),
        ValueError,
        "Y has shape (4,), but 2 samples of X and 2 outputs (layer_sizes=(3, 4, 2)) need shape (2, 2)",
    ),
    "one row for all": (np.ones((1, 2)), ValueError, "Y has shape (1, 2), but 2 samples of X and 2 outputs"),
    "one column for all": (np.ones((2, 1)), ValueError, "Y has shape (2, 1), but 2 samples of X and 2 outputs"),
    "one number for all": (1.0, ValueError, "Y has shape (), but 2 samples of X and 2 outputs"),
    "the other way round": (np.ones((2, 2, 1)), ValueError, "Y has shape (2, 2, 1), but 2 samples of X and 2 outputs"),
    "ragged": ([[1, 2], [3]], ValueError, "Y is a ragged sequence; expected rows of equal length"),
    "complex": (GOOD_Y + 0j, TypeError, f"Y has dtype complex128 (shape (2, 2)); {NUMBERS}"),
    "strings": ([["a", "b"]] * 2, TypeError, f"Y has dtype <U1 (shape (2, 2)); {NUMBERS}"),
    "sparse": (sparse.csr_matrix(GOOD_Y), TypeError, "Y is a csr_matrix; expected a dense array, so use Y.toarray()"),
    "NaN": ([[1, 2], [3, np.nan]], ValueError, "Y[1, 1] is nan; expected finite numbers"),
    "too large for float32": ([[1, 1e39], [3, 4]], ValueError, "Y[0, 1] is 1e+39, too large for float32; scale"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", BAD_Y)
def test_bad_y_is_refused(name: str, door: str) -> None:
    Y, kind, message = BAD_Y[name]
    net = regressor()
    assert_refused(net, lambda: DOORS[door](net, GOOD_X, Y, None), kind, said_at(door, message))


BAD_CLASSES: dict[str, tuple[Any, type[Exception], str]] = {
    "out of range": ([2, 3], ValueError, "Y[1] is 3; expected class indices, whole numbers from 0 to 2 for 3 outputs"),
    "negative": ([-1, 0], ValueError, "Y[0] is -1; expected class indices, whole numbers from 0 to 2 for 3 outputs"),
    "no integer": ([0.0, 1.5], ValueError, "Y[1] is 1.5; expected class indices, whole numbers from 0 to 2 for 3"),
    "NaN": ([np.nan, 0.0], ValueError, "Y[0] is nan; expected class indices, whole numbers from 0 to 2 for 3"),
    "infinite": ([0.0, np.inf], ValueError, "Y[1] is inf; expected class indices, whole numbers from 0 to 2 for 3"),
    "beyond int64": ([0.0, 1e300], ValueError, "Y[1] is 1e+300; expected class indices"),
    "beyond int64, unsigned": (
        np.array([0, 2**64 - 1], np.uint64),
        ValueError,
        "Y[1] is 18446744073709551615; expected class indices, whole numbers",
    ),
    "names": (["cat", "dog"], TypeError, f"Y has dtype <U3 (shape (2,)); {NUMBERS}"),
    "too few": ([0], ValueError, "Y has shape (1,), but 2 samples of X and 3 outputs (layer_sizes=(3, 4, 3)) need"),
    "a column": (
        [[0], [1]],
        ValueError,
        "Y has shape (2, 1), but 2 samples of X and 3 outputs (layer_sizes=(3, 4, 3)) need shape (2, 3) or class",
    ),
    "rows that sum to more": (
        [[0, 1, 0], [0.5, 0.5, 0.5]],
        ValueError,
        "Y[1] is [0.5 0.5 0.5]; loss 'cross_entropy' expects class indices, or rows that sum to one",
    ),
    "rows of many digits": (
        [[0, 1, 0], [1 / 3, 1 / 3, 1 / 2]],
        ValueError,
        "Y[1] is [0.3333 0.3333 0.5   ]; loss 'cross_entropy' expects",
    ),
    "rows that sum to less": ([[0, 0, 0], [0, 1, 0]], ValueError, "Y[0] is [0. 0. 0.]; loss 'cross_entropy' expects"),
    "negative probability": ([[0, 1, 0], [2, -1, 0]], ValueError, "Y[1] is [ 2. -1.  0.]; loss 'cross_entropy'"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", BAD_CLASSES)
def test_bad_classes_are_refused_with_the_first_offending_row(name: str, door: str) -> None:
    Y, kind, message = BAD_CLASSES[name]
    net = classifier()
    assert_refused(net, lambda: DOORS[door](net, GOOD_X, Y, None), kind, said_at(door, message))


@pytest.mark.parametrize(
    ("loss", "output", "Y", "message"),
    [
        ("binary_cross_entropy", "sigmoid", [[0, 1], [0.5, 1.25]], "Y[1] is [0.5  1.25]; loss 'binary_cross_entropy'"),
        ("binary_cross_entropy", "sigmoid", [[-0.5, 1], [0, 0]], "Y[0] is [-0.5  1. ]; loss 'binary_cross_entropy'"),
        ("poisson", "exp", [[0, 7], [3, -1]], "Y[1] is [ 3. -1.]; loss 'poisson' expects numbers not below 0"),
    ],
)
def test_targets_outside_of_a_losss_domain_are_refused(loss: str, output: str, Y: Any, message: str) -> None:
    net = MLP((3, 2), "tanh", output, loss)
    assert_refused(net, lambda: net.loss(GOOD_X, Y), ValueError, message)


@pytest.mark.parametrize(("n", "shown"), [(6, "[1. 1. 1. 1. 1. 1.]"), (7, "[1. 1. 1. ... 1. 1. 1.]")])
def test_a_long_row_is_shown_by_its_ends(n: int, shown: str) -> None:
    net = MLP((3, n), (), "softmax", "cross_entropy")
    assert_refused(net, lambda: net.loss(GOOD_X[:1], np.ones((1, n))), ValueError, f"Y[0] is {shown}; loss")


def test_the_edges_of_a_domain_belong_to_it() -> None:
    assert MLP((3, 2), "tanh", "sigmoid", "binary_cross_entropy").loss(GOOD_X, [[0, 1], [1, 0.5]]) > 0.0
    assert np.isfinite(MLP((3, 2), "tanh", "exp", "poisson").loss(GOOD_X, [[0, 0], [0, 1e6]]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_classes", [2, 3, 10, 1000])
def test_rows_may_have_been_rounded_to_float32(n_classes: int, dtype: str) -> None:
    generator = np.random.default_rng(n_classes)
    powers = generator.random((20, n_classes)) + 0.01
    rows = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    net = MLP((3, n_classes), (), "softmax", "cross_entropy", dtype=dtype)
    assert np.isfinite(net.loss(generator.random((20, 3)), rows))


def test_a_vector_is_a_column_where_there_is_one_output() -> None:
    net = MLP((3, 4, 1), "tanh", seed=1)
    assert net.loss(GOOD_X, [1.0, 2.0]) == net.loss(GOOD_X, [[1.0], [2.0]])
    with pytest.raises(
        ValueError, match=r"^Y has shape \(4,\), but 2 samples of X and 1 output \(.*\) need shape \(2, 1\) or \(2,\)"
    ):
        net.loss(GOOD_X, [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match=r"^Y has shape \(2, 2\), but .* need shape \(2, 1\) or \(2,\)"):
        net.loss(GOOD_X, GOOD_Y)


@pytest.mark.parametrize("labels", [[2, 0], [2.0, 0.0], np.array([2, 0], np.uint8), np.array([2, 0], ">i4")])
def test_class_indices_are_one_hot_rows(labels: Any) -> None:
    net = classifier(dtype="float64", strict=True)
    assert net.loss(GOOD_X, labels) == net.loss(GOOD_X, [[0, 0, 1], [1, 0, 0]])


# --- sample weights ---

BAD_WEIGHTS: dict[str, tuple[Any, type[Exception], str]] = {
    "negative": ([1.0, -0.5], ValueError, "sample_weight[1] is -0.5; expected weights not below 0"),
    "NaN": ([np.nan, 1.0], ValueError, "sample_weight[0] is nan; expected finite numbers"),
    "infinite": ([1.0, np.inf], ValueError, "sample_weight[1] is inf; expected finite numbers"),
    "all zero": ([0.0, 0.0], ValueError, "sample_weight sums to 0; expected a positive, finite sum"),
    "a sum that overflows": ([1e308, 1e308], ValueError, "sample_weight sums to inf; expected a positive, finite sum"),
    "too few": ([1.0], ValueError, "sample_weight has shape (1,), but X has 2 samples; give one weight a sample"),
    "none": ([], ValueError, "sample_weight has shape (0,), but X has 2 samples; give one weight a sample"),
    "a column": (
        [[1.0], [2.0]],
        ValueError,
        "sample_weight has shape (2, 1), but expected one weight a sample, shape (2,)",
    ),
    "one for all": (1.0, ValueError, "sample_weight has shape (), but expected one weight a sample, shape (2,)"),
    "complex": ([1.0, 1j], TypeError, f"sample_weight has dtype complex128 (shape (2,)); {NUMBERS}"),
    "strings": (["1", "2"], TypeError, f"sample_weight has dtype <U1 (shape (2,)); {NUMBERS}"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights_are_refused(name: str, door: str) -> None:
    weights, kind, message = BAD_WEIGHTS[name]
    net = regressor()
    assert_refused(net, lambda: DOORS[door](net, GOOD_X, GOOD_Y, weights), kind, said_at(door, message))


@pytest.mark.parametrize("entries", [0, 1, 4])
def test_validation_data_are_two_or_three_things(entries: int) -> None:
    net = regressor()
    message = f"validation_data has {entries} entries; expected (X, Y) or (X, Y, sample_weight)"
    assert_refused(net, lambda: net.fit(GOOD_X, GOOD_Y, validation_data=(GOOD_X,) * entries), ValueError, message)
