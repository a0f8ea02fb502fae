"""What early stopping watches: accuracy or R², from a network's outputs and its targets as they were trained on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fastmlp import metrics
from fastmlp.backends.base import Floats
from fastmlp.parameters import Array

Score = Callable[[Array, Array, Floats | None], float]
"""Of outputs (n, n_out), targets as in `fastmlp.backends.base.Batch`, and weights (n,); NaN for outputs that are."""

_HALF = 0.5


def accuracy(A: Array, Y: Array, weights: Floats | None) -> float:
    """Return the share of samples that are right in all their labels; class indices stand for a single one."""
    if not np.isfinite(A).all():
        return math.nan
    right = A.argmax(axis=1) == Y if Y.ndim == 1 else ((A > _HALF) == (Y > _HALF)).all(axis=1)
    return float(np.average(right, weights=weights))


def r2(A: Array, Y: Array, weights: Floats | None) -> float:
    """Return the mean of R² over outputs."""
    return metrics.compute("r2", A, Y, weights) if np.isfinite(A).all() else math.nan
