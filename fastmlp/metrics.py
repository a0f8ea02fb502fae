"""How good predictions are, in numbers that people quote.

A metric is a row of the table `METRICS`, at the end; `compute` checks arrays and calls it. All sums are in
float64, whatever the dtype of the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp._names import check_name

Floats = NDArray[np.float64]
Metric = Callable[[NDArray[Any], NDArray[Any], Floats], float]


def check(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of metrics as a tuple, each once.

    Raises
    ------
    TypeError
        If `names` is a single string, or holds something that is none.
    ValueError
        If a name is none of `METRICS`.
    """
    if isinstance(names, str):
        raise TypeError(f"metrics is the string {names!r}; expected a tuple of names: write ({names!r},)")
    return tuple(dict.fromkeys(check_name("metric", name, METRICS) for name in names))


def compute(name: str, Y_pred: ArrayLike, Y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return one metric of predictions.

    Parameters
    ----------
    name : str
        "rmse", "mae", "r2" or "accuracy".
    Y_pred : array_like of shape (n_samples, n_outputs)
        What a network predicts.
    Y : array_like of shape (n_samples, n_outputs) or (n_samples,)
        What is true: rows, or class indices, which stand for their one-hot rows. With a single output, shape
        (n_samples,) holds its values.
    sample_weight : array_like of shape (n_samples,), optional
        Finite weights from 0 up, not all of them 0; by default all are 1.

    Returns
    -------
    float
        With predictions a, truth y and weights w over samples:

        - "rmse": the root of the weighted mean of the samples' mean (a − y)² over outputs;
        - "mae": the weighted mean of the samples' mean absolute a − y over outputs;
        - "r2": the plain mean over outputs of 1 − Σw(a − y)² / Σw(y − m)², m the output's weighted mean of y.
          An output with a constant truth counts 1 where it is predicted exactly, 0 where not;
        - "accuracy": the part of all weight that is on samples whose class is right. A row's class is the
          place of its largest entry, the first of equals; a single output's, whether it is above 0.5. A
          predicted row with a NaN is wrong.

    Raises
    ------
    ValueError
        If the name is unknown, the shapes do not fit together, or class indices or weights are not as above.

    Notes
    -----
    r2 is scikit-learn's, averaged uniformly over outputs, except that a single sample is a constant truth
    here, not NaN. rmse is the root of the loss "mse"; scikit-learn's is the mean of the outputs' own roots.

    Examples
    --------
    >>> compute("accuracy", [[0.9, 0.1], [0.2, 0.8]], [0, 0])
    0.5
    >>> compute("rmse", [[1.0], [5.0]], [[1.0], [1.0]], sample_weight=[3.0, 1.0])
    2.0
    """
    (name,) = check((name,))
    rows, truth, weight = _fit_together(np.asarray(Y_pred), np.asarray(Y), sample_weight)
    # Predictions that overflowed give infinity or NaN, which says enough.
    with np.errstate(over="ignore", invalid="ignore"):
        return METRICS[name](rows, truth, weight)


def _fit_together(
    Y_pred: NDArray[Any], Y: NDArray[Any], sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], Floats]:
    """Return predictions (n, n_outputs), truth (n, n_outputs) or class indices (n,), and weights (n,)."""
    if Y_pred.ndim != 2 or Y_pred.size == 0:  # noqa: PLR2004  rows and columns
        raise ValueError(f"Y_pred has shape {Y_pred.shape}; expected (n_samples, n_outputs) with no 0 in it")
    n, n_outputs = Y_pred.shape
    if Y.shape == (n,):
        Y = Y[:, np.newaxis] if n_outputs == 1 else _class_indices(Y, n_outputs)
    elif Y.shape != Y_pred.shape:
        raise ValueError(
            f"Y has shape {Y.shape}; expected {Y_pred.shape} like Y_pred"
            + (f", or ({n},)" if n_outputs == 1 else f", or class indices of shape ({n},)")
        )
    weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n,):
        raise ValueError(f"sample_weight has shape {weight.shape}; expected ({n},), one weight a sample")
    _refuse("sample_weight", weight, ~((weight >= 0.0) & (weight < np.inf)), "a finite weight, not below 0")
    _refuse("sample_weight", weight, np.full(n, not weight.any()), "a weight above 0 somewhere")
    return Y_pred, Y, weight


def _class_indices(Y: NDArray[Any], n_outputs: int) -> NDArray[np.intp]:
    valid = np.isin(Y, np.arange(n_outputs))
    _refuse("Y", Y, ~valid, f"a class index from 0 to {n_outputs - 1}")
    return Y.astype(np.intp)


def _refuse(what: str, values: NDArray[Any], bad: NDArray[np.bool_], expected: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{what} is {values[row]} in row {row}; expected {expected}")


def _rmse(Y_pred: NDArray[Any], Y: NDArray[Any], weight: Floats) -> float:
    return math.sqrt(np.average(np.square(_errors(Y_pred, Y)).mean(axis=1), weights=weight))


def _mae(Y_pred: NDArray[Any], Y: NDArray[Any], weight: Floats) -> float:
    return float(np.average(np.abs(_errors(Y_pred, Y)).mean(axis=1), weights=weight))


def _r2(Y_pred: NDArray[Any], Y: NDArray[Any], weight: Floats) -> float:
    rows = _rows(Y, Y_pred.shape[1])
    # A constant differs by exact zeros from any of its entries, but not always from its rounded mean.
    deviations = rows - rows[weight.argmax()]
    deviations -= np.average(deviations, axis=0, weights=weight)
    variation = np.average(np.square(deviations), axis=0, weights=weight)
    unexplained = np.average(np.square(_errors(Y_pred, Y)), axis=0, weights=weight)
    ratio = np.sign(unexplained)
    np.divide(unexplained, variation, out=ratio, where=variation > 0.0)
    return float(np.mean(1.0 - ratio))


def _accuracy(Y_pred: NDArray[Any], Y: NDArray[Any], weight: Floats) -> float:
    truth = Y if Y.ndim == 1 else _classes(Y)
    is_right = (_classes(Y_pred) == truth) & ~np.isnan(Y_pred).any(axis=1)
    return float(np.average(is_right, weights=weight))


def _errors(Y_pred: NDArray[Any], Y: NDArray[Any]) -> Floats:
    return Y_pred.astype(np.float64) - _rows(Y, Y_pred.shape[1])


def _rows(Y: NDArray[Any], n_outputs: int) -> Floats:
    """Return the truth as rows (n, n_outputs): those of class indices are one-hot."""
    if Y.ndim > 1:
        return Y.astype(np.float64)
    rows = np.zeros((len(Y), n_outputs))
    rows[np.arange(len(Y)), Y] = 1.0
    return rows


def _classes(rows: NDArray[Any]) -> NDArray[Any]:
    return rows.argmax(axis=1) if rows.shape[1] > 1 else rows[:, 0] > 0.5  # noqa: PLR2004  half of 0 to 1


METRICS: dict[str, Metric] = {"rmse": _rmse, "mae": _mae, "r2": _r2, "accuracy": _accuracy}
"""Every metric by name, as a function of what `compute` has checked: predictions, truth, weights."""
