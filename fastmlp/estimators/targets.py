"""What a tabular network is trained on, and how its outputs are judged: classes, or numbers."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from fastmlp import metrics
from fastmlp.backends.base import Floats, Indices
from fastmlp.estimators.scaling import Scaling
from fastmlp.parameters import Array

_FEWEST_CLASSES = 2
_MATRIX = 2


class Classes(NamedTuple):
    """Classes, as distributions that are smoothed.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted.
    smoothing : float
        The part of a sample that belongs to all classes alike.
    """

    classes: Array
    smoothing: float

    @classmethod
    def of(cls, y: Any, smoothing: float) -> tuple[Self, Indices]:  # noqa: ANN401
        """Return what these classes are, and y as their places.

        Raises
        ------
        ValueError
            If `y` holds no classes, or just one.
        """
        classes, places = np.unique(_checked_classes(y), return_inverse=True)
        if classes.size < _FEWEST_CLASSES:
            msg = f"y has a single class, {classes.tolist()}; expected two classes or more to tell apart"
            raise ValueError(msg)
        return cls(classes, smoothing), places

    def places(self, y: Any) -> Indices:  # noqa: ANN401
        """Return further classes as their places among these.

        Raises
        ------
        ValueError
            If one is new.
        """
        y = _checked_classes(y)
        unknown = np.setdiff1d(y, self.classes)
        if unknown.size:
            msg = f"y_val has classes that y has not, {unknown.tolist()}; expected some of {self.classes.tolist()}"
            raise ValueError(msg)
        return np.searchsorted(self.classes, y)

    def rows(self, places: Indices, dtype: str) -> Array:
        """Return the distribution of each sample."""
        n_classes = self.classes.size
        rows = np.full((places.size, n_classes), self.smoothing / n_classes, dtype)
        rows[np.arange(places.size), places] += 1.0 - self.smoothing
        return rows

    def error(self, A: Array, places: Indices, weights: Floats | None) -> float:
        """Return the part of all weight whose class is wrong."""
        return 1.0 - metrics.compute("accuracy", A, places, weights)


class Numbers(NamedTuple):
    """Numbers, of mean 0 and variance 1 for the network, and within the range there was when they come back.

    Attributes
    ----------
    scaling : Scaling
    low, high : ndarray of shape (n_outputs,)
        The smallest and the largest.
    """

    scaling: Scaling
    low: Array
    high: Array

    @classmethod
    def of(cls, Y: Array, weights: Floats | None) -> Self:
        """Return what these numbers are."""
        return cls(Scaling.of(Y, weights, "float64"), Y.min(axis=0), Y.max(axis=0))

    def rows(self, Y: Array, dtype: str) -> Array:
        """Return the numbers with mean 0 and variance 1."""
        return self.scaling.apply(Y).astype(dtype, copy=False)

    def error(self, A: Array, Y: Array, weights: Floats | None) -> float:
        """Return the root mean squared error, in standard deviations of the numbers."""
        return metrics.compute("rmse", A, self.scaling.apply(Y), weights)

    def predictions(self, A: Array) -> Array:
        """Return outputs as numbers within the range."""
        return np.clip(self.scaling.undo(A.astype(np.float64)), self.low, self.high)


def checked_numbers(y: Any) -> Array:  # noqa: ANN401
    """Return y as float64, of shape (n_samples,) or (n_samples, n_outputs).

    Raises
    ------
    ValueError
        If it holds something else.
    """
    y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    return column_or_1d(y, warn=True) if y.ndim == _MATRIX and y.shape[1] == 1 else y


def _checked_classes(y: Any) -> Array:  # noqa: ANN401
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    return np.asarray(y)
