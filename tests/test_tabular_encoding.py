"""How tables become arrays: which columns are categories, what becomes of numbers, and what is refused."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from fastmlp.estimators.encoding import Encoder
from fastmlp.estimators.tables import FROM_DTYPE, categorical_mask, check_table, columns_of
from tests import bounds

NAN = math.nan


def encoded(X: Any, further: Any = None, categories: Any = FROM_DTYPE, weights: Any = None) -> np.ndarray:
    """Return a table, or further rows of it, as the encoder that is made of the first gives them."""
    table = check_table(X, has_categories=not isinstance(categories, str))
    mask = categorical_mask(table, categories)
    encoder = Encoder.of(columns_of(table, mask), None if weights is None else np.array(weights, np.float64))
    more = table if further is None else check_table(further, has_categories=bool(mask.any()))
    return encoder.apply(columns_of(more, mask), "float64")


def clipped(z: list[float]) -> np.ndarray:
    """Return z as it is clipped, written again."""
    return np.array([[3.0 * t / math.hypot(3.0, t)] for t in z])


def same(ours: np.ndarray, expected: np.ndarray) -> bool:
    u = bounds.UNIT_ROUNDOFF["float64"]
    return ours.shape == expected.shape and bool((np.abs(ours - expected) <= bounds.ROUNDINGS_OF_STEP * u * 3.0).all())


# --- numbers ---


def test_numbers_are_scaled_by_median_and_quartiles() -> None:
    x = np.array([[3.0], [100.0], [1.0], [0.0], [2.0]])
    assert same(encoded(x), clipped([0.5, 49.0, -0.5, -1.0, 0.0]))
    assert same(encoded(x, [[-2.0], [6.0]]), clipped([-2.0, 2.0]))


def test_a_quarter_that_ends_between_two_samples_is_their_mean() -> None:
    x = np.array([[0.0], [1.0], [3.0], [7.0]])  # 0.5, 2, 5
    assert same(encoded(x), clipped([-2 / 4.5, -1 / 4.5, 1 / 4.5, 5 / 4.5]))


def test_where_the_quartiles_are_one_the_range_scales() -> None:
    x = np.array([[0.0]] * 7 + [[8.0]])
    assert same(encoded(x), clipped([0.0] * 7 + [2.0]))


def test_a_constant_is_nothing_whatever_comes_later() -> None:
    x = np.array([[5.0], [5.0], [5.0]])
    assert not encoded(x).any()
    assert not encoded(x, [[6.0], [NAN]]).any()


def test_a_missing_number_is_the_median() -> None:
    x = np.array([[NAN], [3.0], [1.0], [2.0], [NAN]])
    assert same(encoded(x), clipped([0.0, 0.5, -0.5, 0.0, 0.0]))
    assert not encoded([[NAN], [NAN]]).any()
    assert not encoded([[NAN], [NAN]], [[1.0]]).any()


def test_numbers_of_any_size_stay_within_the_bound() -> None:
    x = np.array([[-1e308], [-1e-308], [0.0], [5e-324], [1e308]])
    assert (np.abs(encoded(x)) <= 3.0).all()
    tiny = np.array([[0.0], [1e-310], [2e-310], [3e-310]])
    assert (np.abs(encoded(tiny, [[1e300], [-1e300]])) > 2.9).all()


def test_a_weight_of_two_is_the_sample_twice() -> None:
    generator = np.random.default_rng(0)
    X = np.column_stack([generator.normal(size=31), generator.integers(0, 3, 31)])
    weights = np.where(X[:, 0] > 0.0, 4, 1)
    repeated = np.repeat(X, weights, axis=0)
    np.testing.assert_array_equal(encoded(X, X, [1], weights), encoded(repeated, X, [1]))
    assert (encoded(X, X, [1]) != encoded(repeated, X, [1])).any()


# --- categories ---


def test_three_categories_are_three_columns() -> None:
    X = [["b"], ["a"], ["c"], ["a"], ["a"], ["a"], ["a"], ["a"]]
    one = clipped([2.0])[0, 0]  # the quartiles are one, so half of the range scales
    expected = np.zeros((8, 3))
    expected[0, 1] = expected[2, 2] = one
    expected[[0, 2], 0] = -one  # most are "a": the median is 1
    assert same(encoded(X, categories=[0]), expected)


def test_two_categories_are_one_column() -> None:
    X = [["no"], ["yes"], ["no"], ["yes"]]
    assert same(encoded(X, categories=[0]), clipped([0.5, -0.5, 0.5, -0.5]))


MISSING = (None, NAN, np.float64("nan"), pd.NA, pd.NaT)


@pytest.mark.parametrize("value", [*MISSING, "never seen", 7], ids=repr)
def test_a_category_that_is_missing_or_unknown_is_between_two(value: object) -> None:
    X = np.array([["no"], ["yes"], ["no"], ["yes"]], object)
    assert encoded(X, np.array([[value]], object), categories=[0]).tolist() == [[0.0]]


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_what_is_missing_is_no_category(value: object) -> None:
    X = np.array([["a"], ["b"], ["c"]] * 3 + [[value]] * 9, object)  # of which three are seldom: the medians are 0
    assert encoded(X, categories=[0]).shape == (18, 3)
    assert not encoded(X, np.array([[value]], object), categories=[0]).any()


def test_a_column_without_any_category_is_there_all_the_same() -> None:
    assert encoded(np.array([[None], [None]], object), categories=[0]).tolist() == [[0.0], [0.0]]


def test_the_order_of_samples_does_not_matter() -> None:
    X = np.array([["b"], ["a"], [3], ["c"], [1.5], [True]], object)
    np.testing.assert_array_equal(encoded(X, X, [0]), encoded(X[::-1], X, [0]))


# --- which columns are categories ---

PANDAS_CATEGORIES = ("category", "object", "str", "string", "bool", "boolean")
PANDAS_NUMBERS = ("int8", "uint32", "int64", "float32", "float64", "Int64", "UInt8", "Float32", "Sparse[float64]")
POLARS_CATEGORIES = (pl.String, pl.Categorical, pl.Enum(["0", "1"]), pl.Boolean, pl.Object)
POLARS_NUMBERS = (pl.Int8, pl.UInt64, pl.Float32, pl.Float64, pl.Decimal(10, 2))


def test_dtypes_of_pandas_say_what_is_a_category() -> None:
    frame = pd.DataFrame({dtype: pd.Series([0, 1, 1]).astype(dtype) for dtype in PANDAS_CATEGORIES + PANDAS_NUMBERS})
    mask = categorical_mask(frame, FROM_DTYPE)
    assert dict(zip(frame.columns, mask.tolist(), strict=True)) == {
        **dict.fromkeys(PANDAS_CATEGORIES, True),
        **dict.fromkeys(PANDAS_NUMBERS, False),
    }
    columns = columns_of(frame, mask)
    assert all(isinstance(column, list) == is_category for column, is_category in zip(columns, mask, strict=True))
    assert all(column.tolist() == [0.0, 1.0, 1.0] for column in columns[len(PANDAS_CATEGORIES) :])


def test_dtypes_of_polars_say_what_is_a_category() -> None:
    zeros_and_ones = {pl.Boolean: [False, True]}
    frame = pl.DataFrame(
        [pl.Series(str(dtype), zeros_and_ones.get(dtype, ["0", "1"]), dtype=dtype) for dtype in POLARS_CATEGORIES]
        + [pl.Series(str(dtype), [0, 1]).cast(dtype) for dtype in POLARS_NUMBERS]
    )
    mask = categorical_mask(frame, FROM_DTYPE)
    assert mask.tolist() == [True] * len(POLARS_CATEGORIES) + [False] * len(POLARS_NUMBERS)
    columns = columns_of(frame, mask)
    assert columns[:4] == [["0", "1"]] * 3 + [[False, True]]
    assert all(column.tolist() == [0.0, 1.0] for column in columns[len(POLARS_CATEGORIES) :])


def test_what_is_missing_in_frames() -> None:
    tall = {"a": [1, None, 3], "b": ["x", None, "y"], "c": [None, None, None], "d": [True, None, False]}
    pandas = pd.DataFrame(tall).astype({"a": "Int64", "d": "boolean"})
    polars = pl.DataFrame(tall)
    expected = encoded(np.array(list(zip(*tall.values(), strict=True)), object), categories=[1, 2, 3])
    np.testing.assert_array_equal(encoded(pandas), expected)
    np.testing.assert_array_equal(encoded(polars), expected)
    assert expected[1].tolist() == [0.0] * expected.shape[1]


def test_decimals_are_numbers() -> None:
    frame = pl.DataFrame({"a": [decimal.Decimal("1.5"), None, decimal.Decimal("2.5")]})
    assert categorical_mask(frame, FROM_DTYPE).tolist() == [False]
    np.testing.assert_array_equal(columns_of(frame, np.array([False]))[0], [1.5, NAN, 2.5])


FRAME = pd.DataFrame({"size": [1.0, 2.0], "color": ["red", "blue"], "shape": [0, 1]})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (FROM_DTYPE, [False, True, False]),
        (None, [False, False, False]),
        ([], [False, False, False]),
        ([1, -1], [False, True, True]),
        ([True, False, True], [True, False, True]),
        (["shape", "color"], [False, True, True]),
        (np.array([2]), [False, False, True]),
        (pd.Index(["size"]), [True, False, False]),
    ],
)
def test_categories_may_be_named(given: Any, expected: list[bool]) -> None:
    assert categorical_mask(FRAME, given).tolist() == expected


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ([3], ValueError, "categorical_features has 3; expected places of columns, below 3"),
        ([-4], ValueError, "categorical_features has -4; expected places of columns, below 3"),
        ([True, False], ValueError, "categorical_features is a mask of shape (2,); expected (3,), one for each column"),
        (["colour"], ValueError, "categorical_features has 'colour'; expected names of columns of X, which are "),
        ([0.5], TypeError, "categorical_features is [0.5]; expected 'from_dtype', None, or columns' places, mask or "),
    ],
)
def test_columns_that_are_not_there(given: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        categorical_mask(FRAME, given)


def test_an_array_has_no_names_and_no_categories_of_its_own() -> None:
    X = np.array([["a", 1.0]], object)
    assert categorical_mask(X, FROM_DTYPE).tolist() == [False, False]
    with pytest.raises(
        ValueError, match=r"^categorical_features has 'a'; expected names of columns of X, which are \["
    ):
        categorical_mask(X, ["a"])


# --- what is refused ---


def read(X: Any, categories: Any = FROM_DTYPE) -> list[Any]:
    table = check_table(X, has_categories=not isinstance(categories, str))
    return columns_of(table, categorical_mask(table, categories))


def test_dates_are_neither_numbers_nor_categories() -> None:
    message = "of X has dtype .*; expected numbers, or categories .*: make numbers or categories of it$"
    day = dt.datetime(2024, 1, 1)  # noqa: DTZ001  without a zone is what most are
    for frame in (pd.DataFrame({"day": [day]}), pl.DataFrame({"day": [day]}), pd.DataFrame({"day": [day - day]})):
        with pytest.raises(TypeError, match=f"^Column 'day' {message}"):
            read(frame)


def test_text_is_no_number() -> None:
    with pytest.raises(TypeError, match=r"^Column 'color' of X has dtype .*; expected numbers, or categories"):
        read(FRAME, [0])
    with pytest.raises(ValueError, match=r"^Column 1 of X holds something else than numbers \(.*'red'\); name it in"):
        read(np.array([[1.0, "red"]], object), [0])
    with pytest.raises(ValueError, match="could not convert"):
        read([["red"]])


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_infinity_is_no_number(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"^Column 'a' of X holds infinity; expected finite numbers, or NaN"):
        read(kind({"a": [1.0, math.inf]}))


def test_infinity_in_an_array_is_no_number() -> None:
    with pytest.raises(ValueError, match="infinity"):
        read([[1.0], [math.inf]])
    with pytest.raises(ValueError, match=r"^Column 1 of X holds infinity"):
        read([[1.0, -math.inf]], [0])


def test_a_category_is_something_that_can_be_looked_up() -> None:
    X = np.empty((2, 1), object)
    X[:, 0] = [{"a": 1}, {"b": 2}]
    with pytest.raises(TypeError, match=r"^X has a category that is no string, number or the like: .*unhashable"):
        encoded(X, categories=[0])


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_an_empty_frame_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"^Found array with 0 sample\(s\) and 1 feature\(s\) \(shape=\(0, 1\)\)"):
        read(kind({"a": []}))
    with pytest.raises(ValueError, match=r"0 feature\(s\)"):
        read(kind())
