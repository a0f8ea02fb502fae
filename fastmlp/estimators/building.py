"""What an estimator is told where there are no data to see it from."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from fastmlp._names import check_name
from fastmlp.parameters import Array
from fastmlp.spec import DTYPES


class Columns(NamedTuple):
    """The columns of an X to come: how many, and their names, where they have some."""

    n: int
    names: Array | None = None


def read_features(n_features: Any) -> Columns:  # noqa: ANN401
    """Return what was said of the columns of X.

    Raises
    ------
    TypeError, ValueError
        If it is neither a number of them, nor names.
    """
    msg = f"n_features is {n_features!r}; expected the number of X's columns, at least 1, or a sequence of their names"
    if isinstance(n_features, Integral) and not isinstance(n_features, bool):
        if n_features < 1:
            raise ValueError(msg)
        return Columns(int(n_features))
    if isinstance(n_features, str) or not isinstance(n_features, Iterable):
        raise TypeError(msg)
    names = list(n_features)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(msg)
    if not names:
        raise ValueError(msg)
    return Columns(len(names), np.array(names, object))


def read_dtype(dtype: Any) -> np.dtype[Any]:  # noqa: ANN401
    """Return the dtype of a network.

    Raises
    ------
    TypeError, ValueError
        If it is none that a network may have.
    """
    return np.dtype(check_name("dtype", dtype if isinstance(dtype, str) else np.dtype(dtype).name, DTYPES))
