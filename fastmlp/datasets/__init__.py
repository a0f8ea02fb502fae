"""Data that ships with the package, and the split of a data set into what is trained on and what is not.

The handwritten digits are the 1,797 images of the test part of *Optical Recognition of Handwritten Digits*
by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, doi:10.24432/C50P49, under the licence
CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), in the order in which scikit-learn distributes them.
Their values are unchanged. The file was made by::

    digits = sklearn.datasets.load_digits()
    numpy.savez_compressed("digits.npz", X=digits.data.astype("u1"), y=digits.target.astype("u1"))
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Split(NamedTuple):
    """Rows to train on and rows to test with.

    Attributes
    ----------
    X_train, X_test : ndarray of shape (n, n_features)
        Features.
    Y_train, Y_test : ndarray of shape (n,) or (n, n_outputs)
        Targets of the same rows.
    """

    X_train: npt.NDArray[np.float64]
    Y_train: npt.NDArray[Any]
    X_test: npt.NDArray[np.float64]
    Y_test: npt.NDArray[Any]


def load_digits() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the 1,797 handwritten digits.

    Returns
    -------
    X : ndarray of shape (1797, 64), float64
        An image of 8 × 8 pixels a row, row by row from the top; a pixel is an integer from 0 (empty) to 16.
    y : ndarray of shape (1797,), int64
        The digit, from 0 to 9.

    Examples
    --------
    >>> X, y = load_digits()
    >>> X.shape, y[:5].tolist()
    ((1797, 64), [0, 1, 2, 3, 4])
    """
    with (files(__name__) / "digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return arrays["X"].astype(np.float64), arrays["y"].astype(np.int64)


def split(X: npt.NDArray[np.float64], Y: npt.NDArray[Any], *, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """Divide the rows at random, the same way for the same seed.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features.
    Y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    test_fraction : float
        Share of the rows to test with, in (0, 1); rounded to whole rows, at least one on either side.
    seed : int
        Of the generator that shuffles the rows.

    Returns
    -------
    Split
        Copies of the rows.

    Raises
    ------
    ValueError
        If the fraction is not inside (0, 1), the numbers of rows differ, or there are fewer than two.

    Notes
    -----
    Every row is drawn alike; the classes are not balanced. The digits were written by thirteen people whose
    names are not in the data, so each of them is on both sides of a split: accuracy is that on known hands.

    Examples
    --------
    >>> parts = split(*load_digits())
    >>> parts.X_train.shape, parts.X_test.shape
    ((1438, 64), (359, 64))
    """
    if not 0 < test_fraction < 1:
        msg = f"test_fraction is {test_fraction!r}; expected a number inside (0, 1)"
        raise ValueError(msg)
    n_samples = len(X)
    if len(Y) != n_samples or n_samples < 2:  # noqa: PLR2004  one row for either side
        msg = f"X has {n_samples} rows and Y has {len(Y)}; expected the same number, at least 2"
        raise ValueError(msg)
    n_test = min(max(round(n_samples * test_fraction), 1), n_samples - 1)
    order = np.random.default_rng(seed).permutation(n_samples)
    test, train = order[:n_test], order[n_test:]
    return Split(X[train], Y[train], X[test], Y[test])
