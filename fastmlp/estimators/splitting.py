"""Holding samples out for early stopping, drawn as scikit-learn draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from fastmlp.backends.base import Floats
from fastmlp.parameters import Array

Data = tuple[Any, Array, Floats | None]
"""X, Y and weights."""

_FEWEST = 2


def hold_out(
    data: Data, fraction: float, random_state: np.random.RandomState, stratify: Array | None
) -> tuple[Data, Data]:
    """Return the data to train on, and that held out.

    Raises
    ------
    ValueError
        If a class has too few samples, or too few are held out.
    """
    X, Y, weights = data
    rows = np.arange(X.shape[0])
    parts = train_test_split(rows, random_state=random_state, test_size=fraction, stratify=stratify)
    if len(parts[1]) < _FEWEST:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    train, held_out = ((X[rows], Y[rows], None if weights is None else weights[rows]) for rows in parts)
    return train, held_out
