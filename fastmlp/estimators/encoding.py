"""A table as a network likes it: categories one-hot, all columns scaled by their quartiles and clipped smoothly.

References
----------
D. Holzmüller, L. Grinsztajn and I. Steinwart, *Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on Tabular
Data*, 2024, arXiv:2407.04491.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastmlp.backends.base import Floats
from fastmlp.estimators.tables import Column
from fastmlp.parameters import Array

Codes = dict[Any, int]

_PAIR = 2
_QUARTILES = np.array([0.25, 0.5, 0.75])
_BOUND = 3.0  # of what is clipped
_FAR = 1e9  # beyond it the clipped is the bound, to float32 and nearly to float64


class Encoder(NamedTuple):
    """How a table becomes an array.

    Attributes
    ----------
    codes : list of dict or None
        Of each column of categories, the place of each; None for numbers.
    center, scale : ndarray of shape (n_encoded,)
        Of the columns that come out: what is subtracted, and what the rest is divided by; infinite for a constant.
    """

    codes: list[Codes | None]
    center: Array
    scale: Array

    @classmethod
    def of(cls, columns: Sequence[Column], weights: Floats | None) -> Encoder:
        """Return the encoder for these samples, of which each weighs what it weighs in the loss, more than 0.

        Raises
        ------
        TypeError
            If a category cannot be hashed.
        """
        codes = [_codes_of(column) if isinstance(column, list) else None for column in columns]
        spreads = np.array([_spread(column, weights) for column in _expanded(columns, codes).T])
        return cls(codes, spreads[:, 0], spreads[:, 1])

    def apply(self, columns: Sequence[Column], dtype: str) -> Array:
        """Return the samples, of shape (n_samples, n_encoded): z / sqrt(1 + (z/3)**2), 0 where z is missing."""
        with np.errstate(over="ignore", invalid="ignore"):
            z = (_expanded(columns, self.codes) - self.center) / self.scale
        z = np.clip(z, -_FAR, _FAR)
        z /= np.sqrt(1.0 + np.square(z / _BOUND))
        return np.nan_to_num(z, copy=False, nan=0.0).astype(dtype, copy=False)


def _is_missing(value: Any) -> bool:  # noqa: ANN401
    """Return whether a category is None, NaN or what pandas has in their place."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ in {"NAType", "NaTType"}


def _codes_of(values: list[Any]) -> Codes:
    """Return the place of each category, whatever the order of the samples."""
    try:
        found = [value for value in dict.fromkeys(values) if not _is_missing(value)]
    except TypeError as error:
        raise TypeError(f"X has a category that is no string, number or the like: {error}") from None
    return {value: code for code, value in enumerate(sorted(found, key=str))}


def _expanded(columns: Sequence[Column], codes: Sequence[Codes | None]) -> Array:
    """Return numbers as they are and categories one-hot."""
    blocks = [
        _one_hot(list(column), own) if own is not None else np.asarray(column)[:, np.newaxis]
        for column, own in zip(columns, codes, strict=True)
    ]
    return np.concatenate(blocks, axis=1)


def _one_hot(values: list[Any], codes: Codes) -> Array:
    """Return a column for each category, or one of 1 and -1 for two; what is missing or unknown is 0 in all."""
    numbers = np.array([codes.get(value, -1) for value in values])
    block = np.zeros((numbers.size, max(1, len(codes))))
    known = np.flatnonzero(numbers >= 0)
    block[known, numbers[known]] = 1.0
    return block[:, :1] - block[:, 1:] if len(codes) == _PAIR else block


def _spread(column: Array, weights: Floats | None) -> tuple[float, float]:
    """Return the median of what is there, and the distance of the quartiles.

    Where the quartiles are one, it is half that of the smallest and the largest instead. Where a quarter of all weight
    ends between two samples, the quartile is their mean: a sample of weight 2 is the sample twice.
    """
    is_there = ~np.isnan(column)
    x = column[is_there]
    if not x.size:
        return 0.0, np.inf
    order = np.argsort(x)
    x, steps = x[order], np.ones(x.size) if weights is None else weights[is_there][order]
    reached = np.cumsum(steps)
    goals = _QUARTILES * reached[-1]
    last = x.size - 1
    at, after = (np.minimum(np.searchsorted(reached, goals, side), last) for side in ("left", "right"))
    low, median, high = 0.5 * x[at] + 0.5 * x[after]
    return float(median), float(high - low or 0.5 * (x[-1] - x[0]) or np.inf)
