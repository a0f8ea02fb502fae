"""Holding samples out for early stopping, drawn as scikit-learn draws them."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import train_test_split

from fastmlp.backends.base import Indices
from fastmlp.parameters import Array

_FEWEST = 2


def hold_out(
    n_samples: int, fraction: float, random_state: np.random.RandomState, stratify: Array | None
) -> tuple[Indices, Indices]:
    """Return the rows to train on, and those held out.

    Raises
    ------
    ValueError
        If a class has too few samples, or too few are held out.
    """
    rows = np.arange(n_samples)
    train, held_out = train_test_split(rows, random_state=random_state, test_size=fraction, stratify=stratify)
    if len(held_out) < _FEWEST:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return train, held_out
