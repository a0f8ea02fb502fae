"""A data set made ready for a network: split, scaled, with the loss, output and score that suit it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastmlp import metrics
from fastmlp._names import check_name
from fastmlp.cli.tables import Table, TargetKind, read_csv
from fastmlp.datasets import Split, load_digits, split
from fastmlp.losses import LOSSES

_KINDS: dict[str, TargetKind] = {
    "real": "numbers",
    "nonnegative": "numbers",
    "unit": "classes",
    "distribution": "classes",
}


@dataclass(frozen=True)
class Problem:
    """What a network is trained on and judged by.

    Attributes
    ----------
    name : str
        The data set's name.
    data : Split
        Features, of mean 0 and standard deviation 1 over the training rows (the digits: from 0 to 1), and
        targets.
    class_names : tuple of str
        The classes; empty when the target is a number.
    n_outputs : int
        Outputs that the target needs.
    loss, output_activation : str
        What suits the target, or was asked for.
    target_unit : float
        A difference of 1 between two predictions is this much in the target's own unit.
    """

    name: str
    data: Split
    class_names: tuple[str, ...]
    n_outputs: int
    loss: str
    output_activation: str
    target_unit: float = 1.0

    @property
    def metric(self) -> str:
        """The score's name: "accuracy" of classes, "rmse" of numbers."""
        return "accuracy" if self.class_names else "rmse"

    @property
    def layer_ends(self) -> tuple[int, int]:
        """Number of inputs and of outputs."""
        return self.data.X_train.shape[1], self.n_outputs

    def score(self, Y_pred: npt.NDArray[Any], Y: npt.NDArray[Any]) -> float:
        """Return the score of predictions, in the target's own unit.

        Parameters
        ----------
        Y_pred : ndarray of shape (n, n_outputs)
            What a network predicts.
        Y : ndarray of shape (n,) or (n, n_outputs)
            The targets of the same rows, as in `data`.

        Returns
        -------
        float
            Accuracy or root mean squared error.
        """
        score = metrics.compute(self.metric, Y_pred, Y)
        return score if self.class_names else score * self.target_unit


def digits() -> Problem:
    """Return the handwritten digits: pixels from 0 to 1, ten classes, a fifth of the rows to test with."""
    X, y = load_digits()
    names = tuple(str(digit) for digit in range(10))
    return Problem("digits", split(X / 16.0, y), names, len(names), "cross_entropy", "softmax")


def from_csv(
    path: str | Path,
    target: str,
    *,
    loss: str | None = None,
    output_activation: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Problem:
    """Read a table and return it as a problem.

    Parameters
    ----------
    path : str or Path
        A CSV file, as `fastmlp.cli.tables` describes it.
    target : str
        Name of the target's column.
    loss : str, optional
        By default "cross_entropy" for classes, "mse" for numbers. "binary_cross_entropy" takes two classes.
    output_activation : str, optional
        By default the loss's natural link, else "identity". With "identity" a target of numbers is scaled
        like the features.
    test_fraction : float
        Share of the rows to test with.
    seed : int
        Of the split.

    Returns
    -------
    Problem
        Features, and with "identity" the target, scaled by the training rows alone.

    Raises
    ------
    TableError, ValueError
        If the file is no such table, the target does not suit the loss, or there is no such loss.
    OSError
        If the file cannot be read.
    """
    if loss is not None:
        check_name("loss", loss, LOSSES)
    table = read_csv(path, target, None if loss is None else _KINDS[LOSSES[loss].domain])
    loss = loss or ("cross_entropy" if table.class_names else "mse")
    output = output_activation or LOSSES[loss].link or "identity"
    Y, n_outputs = _targets(table, loss)
    parts = split(table.X, Y, test_fraction=test_fraction, seed=seed)
    X_train, X_test, _ = _scaled(parts.X_train, parts.X_test, table.feature_names)
    Y_train, Y_test, unit = parts.Y_train, parts.Y_test, 1.0
    if output == "identity" and not table.class_names:
        Y_train, Y_test, units = _scaled(Y_train[:, None], Y_test[:, None], (target,))
        unit = float(units[0])
    data = Split(X_train, Y_train, X_test, Y_test)
    return Problem(Path(path).name, data, table.class_names, n_outputs, loss, output, unit)


def _targets(table: Table, loss: str) -> tuple[npt.NDArray[Any], int]:
    """Return the targets in the form that the loss takes, and the number of outputs."""
    n_classes = len(table.class_names)
    if LOSSES[loss].domain != "unit":
        return table.Y, max(n_classes, 1)
    if n_classes != 2:  # noqa: PLR2004  no and yes
        raise ValueError(f"loss {loss} takes two classes, but column {table.target_name!r} has {n_classes}")
    return table.Y.astype(np.float64), 1


def _scaled(
    train: npt.NDArray[np.float64], test: npt.NDArray[np.float64], names: tuple[str, ...]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return both with the training rows' mean taken off, divided by their deviation, and the deviation."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = train.mean(axis=0), train.std(axis=0)
    usable = np.isfinite(deviation)
    if not usable.all():
        name = names[int(usable.argmin())]
        raise ValueError(f"column {name!r} is too large to be scaled: its variance is not finite in float64")
    # A constant column is only shifted: its deviation is 0, or what rounding the mean left over.
    deviation[(deviation == 0.0) | (train.max(axis=0) == train.min(axis=0))] = 1.0
    return (train - mean) / deviation, (test - mean) / deviation, deviation
