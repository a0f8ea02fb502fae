"""Targets that are several columns of classes: a network for each column, behind the one estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.multiclass import type_of_target

from fastmlp.parameters import Array

if TYPE_CHECKING:
    from fastmlp.estimators.base import Extras
    from fastmlp.estimators.classifier import MLPClassifier

_MATRIX = 2  # dimensions, and columns at least
_CLASSES = ("binary", "multiclass")


def are_classes(y: Any) -> bool:  # noqa: ANN401
    """Return whether targets are columns of classes, of which one at least is not plain labels, 0 or 1."""
    columns = columns_of(y)
    if len(columns) < _MATRIX or any(type_of_target(column) not in _CLASSES for column in columns):
        return False
    return any(map(_is_text, columns)) or type_of_target(y) != "multilabel-indicator"


def columns_of(y: Any) -> list[Any]:  # noqa: ANN401
    """Return the columns of an array, a frame or a list of rows, each as it is; nothing for what has none."""
    if isinstance(y, list | tuple):
        try:
            y = np.asarray(y)
        except ValueError:  # rows of several lengths, which others refuse in better words
            return []
    if issparse(y) or len(getattr(y, "shape", ())) != _MATRIX or len(y) == 0:
        return []
    rows = getattr(y, "iloc", y)
    return [rows[:, k] for k in range(y.shape[1])]


def _is_text(column: Any) -> bool:  # noqa: ANN401
    return isinstance(np.asarray(column)[0], str)


def side_by_side(columns: Sequence[Array]) -> Array:
    """Return predictions (n_samples, n_outputs), as objects where the columns are of several kinds."""
    kinds = {column.dtype.kind for column in columns}
    return np.stack([column.astype(object) if len(kinds) > 1 else column for column in columns], axis=1)


class Networks:
    """The estimators of the columns, in training.

    Parameters
    ----------
    outer : MLPClassifier
        Whose parameters they have.
    y_columns : list
        The targets of each.
    go_on : bool
        Whether with those that there are, or else with new ones.

    Raises
    ------
    ValueError
        If there are others than there are columns.
    """

    def __init__(self, outer: MLPClassifier, y_columns: list[Any], *, go_on: bool) -> None:
        self._columns = y_columns
        there: list[Any] | None = vars(outer).get("estimators_") if go_on else None
        self._are_new = there is None
        n_outputs = len(self._columns) if there is None else len(there)
        _check_number("y", self._columns, n_outputs)
        self.estimators = [type(outer)() for _ in self._columns] if there is None else there
        weights = _each("class_weight", outer.class_weight, n_outputs)
        for estimator, class_weight in zip(self.estimators, weights, strict=True):
            estimator.set_params(**outer.get_params(deep=False) | {"class_weight": class_weight})

    def build(self, n_features: Any, classes: Any, dtype: Any, extras: Extras) -> None:  # noqa: ANN401
        """Make each without data; `classes` has the classes of each column."""
        n_outputs = len(self.estimators)
        coefs = _each("coef_init", extras.coefs, n_outputs)
        intercepts = _each("intercept_init", extras.intercepts, n_outputs)
        for estimator, of_column, W, b in zip(self.estimators, classes, coefs, intercepts, strict=True):
            estimator.build(n_features, of_column, dtype=dtype, coef_init=W, intercept_init=b)

    def fit(self, X: Any, sample_weight: Any, extras: Extras) -> None:  # noqa: ANN401
        """Fit each to its column."""
        self._check(X)
        n_outputs = len(self.estimators)
        y_val = [None] * n_outputs if extras.y_val is None else columns_of(extras.y_val)
        _check_number("y_val", y_val, n_outputs)
        coefs = _each("coef_init", extras.coefs, n_outputs)
        intercepts = _each("intercept_init", extras.intercepts, n_outputs)
        for estimator, y, *begin in zip(self.estimators, self._columns, y_val, coefs, intercepts, strict=True):
            names = ("y_val", "coef_init", "intercept_init")
            estimator.fit(X, y, sample_weight, X_val=extras.X_val, **dict(zip(names, begin, strict=True)))

    def partial_fit(self, X: Any, sample_weight: Any, classes: Any) -> None:  # noqa: ANN401
        """Train each for an epoch; `classes` has the classes of each column."""
        self._check(X)
        known = _each("classes", classes, len(self.estimators))
        for estimator, y, of_column in zip(self.estimators, self._columns, known, strict=True):
            estimator.partial_fit(X, y, sample_weight, of_column)

    def _check(self, X: Any) -> None:  # noqa: ANN401
        """Look at all columns before any is trained on, so that a wrong one changes nothing."""
        if self._are_new:
            return
        for estimator, y in zip(self.estimators, self._columns, strict=True):
            estimator._validated_more(X, y)  # noqa: SLF001


def _each(name: str, given: Any, n_outputs: int) -> list[Any]:  # noqa: ANN401
    """Return what each column has of something: its own entry of a list, or the one for all."""
    if not isinstance(given, list | tuple):
        return [given] * n_outputs
    _check_number(name, given, n_outputs)
    return list(given)


def _check_number(name: str, given: Sequence[Any], n_outputs: int) -> None:
    if len(given) != n_outputs:
        msg = f"{name} is for {len(given)} columns of classes; expected {n_outputs}, one for each"
        raise ValueError(msg)


def forget_network(estimator: MLPClassifier) -> None:
    """Take from an estimator what a network of its own has left."""
    for name in list(vars(estimator)):
        if name in {"_made_of", "_engine"} or (name.endswith("_") and not name.startswith("__")):
            delattr(estimator, name)
