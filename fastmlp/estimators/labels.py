"""Labels: what scikit-learn would learn of them, sooner."""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from fastmlp.parameters import Array


def are_plain(y: Array) -> bool:
    """Return whether targets are labels, whatever their values."""
    return y.ndim == 1 and y.dtype.kind in "biuU"


def binarizer_of(y: Array) -> LabelBinarizer:
    """Return what `LabelBinarizer` learns of targets: of numbers it is put together here, for `fit` takes 0.6 ms."""
    binarizer = LabelBinarizer()
    if not are_plain(y) or y.dtype.kind == "U":  # whose classes have strings as short as may be
        return binarizer.fit(y)
    classes = np.unique(y)
    binarizer.classes_, binarizer.sparse_input_ = classes, False
    binarizer.y_type_ = "multiclass" if classes.size > 2 else "binary"  # noqa: PLR2004
    return binarizer
