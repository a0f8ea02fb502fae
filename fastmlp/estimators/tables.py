"""Tables column by column: frames of pandas and polars, and arrays, in which some columns may be categories.

A column comes out as a float64 array, NaN where a value is missing, or as a list, where it is of categories.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from fastmlp.parameters import Array

FROM_DTYPE = "from_dtype"
Column = Array | list[Any]
Mask = NDArray[np.bool_]

# As pandas (with NumPy's, its own and Arrow's types) and polars write them.
_CATEGORIES = re.compile(r"(category|categorical|enum|object|string|str|bool|boolean|dictionary|null)\b", re.IGNORECASE)
_NUMBERS = re.compile(r"(u?int|float|double|decimal|sparse)", re.IGNORECASE)


def is_frame(X: Any) -> bool:  # noqa: ANN401
    """Return whether X is a frame: a table whose columns have names and dtypes."""
    return all(hasattr(type(X), name) for name in ("columns", "dtypes", "shape"))


def check_table(X: Any, *, has_categories: bool, fewest: int = 1) -> Any:  # noqa: ANN401
    """Return X as a frame, or as an array of numbers, or of whatever there is where some columns are categories.

    Raises
    ------
    TypeError, ValueError
        If it has no rows or columns, or fewer than `fewest` rows, is sparse, or not of two dimensions; if an array of
        numbers holds something else, or infinity.
    """
    if not is_frame(X):
        dtype, finite = (None, False) if has_categories else (np.float64, "allow-nan")
        return check_array(X, dtype=dtype, ensure_all_finite=finite, ensure_min_samples=fewest, input_name="X")
    n_rows, n_columns = X.shape
    if n_rows < fewest or not n_columns:
        msg = f"Found array with {n_rows} sample(s) and {n_columns} feature(s) (shape={X.shape}) while a minimum of "
        raise ValueError(f"{msg}{fewest} sample(s) and 1 feature is required.")
    return X


def categorical_mask(X: Any, given: Any) -> Mask:  # noqa: ANN401
    """Return which columns are categories.

    Parameters
    ----------
    X : frame or ndarray
    given : "from_dtype", None, or array-like of int, bool or str
        By their dtypes in a frame, and none in an array; none; the columns' places, a mask, or their names.

    Raises
    ------
    TypeError, ValueError
        If these are no columns of X.
    """
    n_columns = X.shape[1]
    mask = np.zeros(n_columns, bool)
    if given is None:
        return mask
    if isinstance(given, str) and given == FROM_DTYPE:
        return np.array([bool(_CATEGORIES.match(dtype)) for dtype in _dtypes(X)]) if is_frame(X) else mask
    which = np.asarray(given)
    if which.dtype == bool:
        if which.shape != (n_columns,):
            msg = f"categorical_features is a mask of shape {which.shape}; expected ({n_columns},), one for each column"
            raise ValueError(msg)
        return which
    if which.dtype.kind in "OU":
        names = list(X.columns) if is_frame(X) else []
        unknown = [name for name in which.tolist() if name not in names]
        if unknown:
            msg = f"categorical_features has {unknown[0]!r}; expected names of columns of X, which are {names}"
            raise ValueError(msg)
        mask[[names.index(name) for name in which.tolist()]] = True
        return mask
    if which.dtype.kind not in "iu" and which.size:
        msg = f"categorical_features is {given!r}; expected 'from_dtype', None, or columns' places, mask or names"
        raise TypeError(msg)
    outside = [int(place) for place in which if not -n_columns <= place < n_columns]
    if outside:
        msg = f"categorical_features has {outside[0]}; expected places of columns, below {n_columns}"
        raise ValueError(msg)
    mask[which.astype(np.intp)] = True
    return mask


def columns_of(X: Any, mask: Mask) -> list[Column]:  # noqa: ANN401
    """Return the columns of a frame or an array; those of the mask as lists.

    Raises
    ------
    TypeError, ValueError
        If another column holds anything but numbers, or infinity.
    """
    if not is_frame(X):
        return [X[:, i].tolist() if mask[i] else _array_numbers(X[:, i], i) for i in range(X.shape[1])]
    found: list[Column] = []
    for i, (name, dtype) in enumerate(zip(X.columns, _dtypes(X), strict=True)):
        column = X.iloc[:, i] if hasattr(X, "iloc") else X.to_series(i)
        if mask[i]:
            found.append(column.to_list())
        elif _NUMBERS.match(dtype):
            found.append(_finite(_frame_numbers(column), name))
        else:
            msg = f"Column {name!r} of X has dtype {dtype}; expected numbers, or categories (name them in "
            raise TypeError(f"{msg}categorical_features): make numbers or categories of it")
    return found


def _dtypes(X: Any) -> list[str]:  # noqa: ANN401
    return [str(dtype) for dtype in X.dtypes]


def _frame_numbers(column: Any) -> Array:  # noqa: ANN401
    """Return a frame's numbers, NaN where one is missing."""
    if hasattr(column, "iloc"):
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(column.to_numpy(), np.float64)


def _array_numbers(column: Array, place: int) -> Array:
    try:
        return _finite(column.astype(np.float64), place)
    except (TypeError, ValueError) as error:
        if "infinity" in str(error):
            raise
        msg = f"Column {place} of X holds something else than numbers ({error}); name it in categorical_features"
        raise ValueError(msg) from None


def _finite(values: Array, name: object) -> Array:
    if np.isinf(values).any():
        msg = f"Column {name!r} of X holds infinity; expected finite numbers, or NaN where one is missing"
        raise ValueError(msg)
    return values
