"""Scaling columns to mean 0 and variance 1, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.sparsefuncs import mean_variance_axis

from fastmlp.backends.base import Floats
from fastmlp.parameters import Array


class Scaling(NamedTuple):
    """A column's mean, and what its deviations are divided by; 1 where it is constant.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_columns,)
    """

    mean: Array
    scale: Array

    @classmethod
    def of(cls, X: Any, weights: Floats | None, dtype: str) -> Scaling:  # noqa: ANN401  an array or a sparse matrix
        """Return the scaling of some samples, which weigh what they weigh in the loss."""
        if issparse(X):
            mean, variance = mean_variance_axis(X.tocsr().astype(np.float64), 0, weights=weights)
        else:
            mean = np.average(X, axis=0, weights=weights)
            variance = np.average(np.square(X - mean), axis=0, weights=weights)
        scale = np.sqrt(variance)
        # Of a constant the variance is what rounding leaves of it.
        scale[scale <= 10 * np.finfo(dtype).eps * np.abs(mean)] = 1.0
        return cls(mean.astype(dtype), scale.astype(dtype))

    def apply(self, X: Array) -> Array:
        """Return columns with mean 0 and variance 1."""
        return (X - self.mean) / self.scale

    def undo(self, A: Array) -> Array:
        """Return columns as they were."""
        return A * self.scale + self.mean
