"""Quantiles of a distribution: several of one target, each an output of the network, that do not cross."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastmlp.backends.base import Floats
from fastmlp.parameters import Array


def as_several(quantile: Any) -> Floats | None:  # noqa: ANN401
    """Return a sequence of quantiles as an array; None for a single number.

    Raises
    ------
    ValueError
        If one of them is not between 0 and 1, or there is none.
    """
    if not isinstance(quantile, Iterable):
        return None
    several: Floats = np.asarray(quantile, np.float64)
    if several.ndim != 1 or not several.size or not ((several > 0) & (several < 1)).all():
        msg = f"quantile is {quantile!r}; expected a number between 0 and 1, or a sequence of them"
        raise ValueError(msg)
    return several


def rearranged(A: Array, quantiles: Floats) -> Array:
    """Return rows in which a larger quantile never lies below a smaller one: sorted, in the order of the quantiles.

    Sorting brings a row nearer to the true quantiles, whatever they are, and leaves one that does not cross as it is.

    References
    ----------
    V. Chernozhukov, I. Fernández-Val and A. Galichon, *Quantile and Probability Curves Without Crossing*,
    Econometrica 78, 2010.
    """
    ranks = np.argsort(np.argsort(quantiles, kind="stable"))
    return np.sort(A, axis=1)[:, ranks]
