"""Holding samples out: for early stopping drawn as scikit-learn draws them, or of each class its share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
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


def hold_out_of_each(labels: Indices, fraction: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return which samples are held out: of each label its share, to one sample, but never all.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
    fraction : float
        Of all samples, from 0 to below 1; above 0, at least one is drawn.
    generator : numpy.random.Generator
    """
    is_held = np.zeros(labels.size, bool)
    if not fraction:
        return is_held
    order = generator.permutation(labels.size)
    order = order[np.argsort(labels[order], kind="stable")]
    n_held = max(1, round(fraction * labels.size))
    places = (np.arange(n_held) + generator.random()) * (labels.size / n_held)  # evenly spaced over the labels
    is_held[order[places.astype(np.intp)]] = True
    _, first = np.unique(labels[order], return_index=True)
    is_held[order[first]] = False
    return is_held
