"""What happened in a fit, epoch by epoch, and the rule that ends one early."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastmlp.training_state import TrainingState


@dataclass(frozen=True, slots=True)
class EpochInfo:
    """One epoch of a fit, as callbacks get it.

    Attributes
    ----------
    epoch : int
        Its number in this fit, from 0.
    n_epochs : int
        How many epochs were asked for.
    loss : float
        Training loss: the weighted mean of the batches' losses, each before its update.
    validation_loss : float or None
        Loss on the validation data after the epoch; None without validation data.
    metrics, validation_metrics : dict of str to float
        The metrics asked for, after the epoch, on the training and on the validation data.
    seconds : float
        Wall time of the epoch.
    learning_rate : float
        That of the epoch's last step.
    """

    epoch: int
    n_epochs: int
    loss: float
    validation_loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    validation_metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    learning_rate: float = 0.0


@dataclass(eq=False, repr=False)
class History:
    """What happened in a fit: lists with one entry an epoch.

    Attributes
    ----------
    loss, validation_loss : list of float
        See `EpochInfo`; validation_loss is empty without validation data.
    metrics, validation_metrics : dict of str to list of float
        A list for each metric asked for.
    seconds, learning_rate : list of float
        See `EpochInfo`.
    backend : str
        Name of the backend that computed the fit.
    stopped : str
        What ended the fit: "epochs" (all were done), "early stopping", "callback" or "interrupted", which is
        also what stands here until the fit has ended.
    best_epoch : int or None
        The epoch, from 0, that early stopping found best; None without it.
    state : TrainingState or None
        Where the fit stopped: ``fit(..., state=history.state)`` goes on from there.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    validation_metrics: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    backend: str = ""
    stopped: str = "interrupted"
    best_epoch: int | None = None
    state: TrainingState | None = None

    def __repr__(self) -> str:
        parts = [f"{self.n_epochs} epochs" if self.n_epochs != 1 else "1 epoch"]
        for what, values in (("loss", self.loss), ("validation_loss", self.validation_loss)):
            if values:
                parts.append(f"{what} {values[0]:.4g} to {values[-1]:.4g}")
        parts += [f"{sum(self.seconds):.3g} s", f"backend={self.backend!r}", f"stopped={self.stopped!r}"]
        return f"History({', '.join(parts)})"

    @property
    def n_epochs(self) -> int:
        """Number of epochs done."""
        return len(self.loss)

    def append(self, info: EpochInfo) -> None:
        """Add an epoch."""
        self.loss.append(info.loss)
        if info.validation_loss is not None:
            self.validation_loss.append(info.validation_loss)
        for name, value in info.metrics.items():
            self.metrics.setdefault(name, []).append(value)
        for name, value in info.validation_metrics.items():
            self.validation_metrics.setdefault(name, []).append(value)
        self.seconds.append(info.seconds)
        self.learning_rate.append(info.learning_rate)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but `state` in lists, dicts, numbers and strings, as JSON has them.

        JSON knows neither NaN nor infinity: a value that is not finite becomes None.
        """
        return {
            "loss": _finite_or_none(self.loss),
            "validation_loss": _finite_or_none(self.validation_loss),
            "metrics": {name: _finite_or_none(values) for name, values in self.metrics.items()},
            "validation_metrics": {name: _finite_or_none(values) for name, values in self.validation_metrics.items()},
            "seconds": _finite_or_none(self.seconds),
            "learning_rate": _finite_or_none(self.learning_rate),
            "backend": self.backend,
            "stopped": self.stopped,
            "best_epoch": self.best_epoch,
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the loss curves, on a log axis where all losses are positive.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default in a new figure of pyplot's.

        Returns
        -------
        matplotlib.axes.Axes
            Where the curves are: `ax`, or that of the new figure (``ax.figure.savefig("loss.png")``).

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no epoch to draw.
        """
        if not self.loss:
            raise ValueError("History has 0 epochs; expected at least one to plot: fit the network first")
        if ax is None:
            ax = _new_axes()
        _draw(ax, "training", self.loss, _BLUE)
        if self.validation_loss:
            _draw(ax, "validation", self.validation_loss, _ORANGE)
        if self.best_epoch is not None:
            values, color = (self.validation_loss, _ORANGE) if self.validation_loss else (self.loss, _BLUE)
            _mark(ax, f"best: epoch {self.best_epoch + 1}", self.best_epoch, values[self.best_epoch], color)
        _dress(ax, [value for value in self.loss + self.validation_loss if math.isfinite(value)])
        return ax


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """End a fit when the loss has stopped falling.

    The validation loss is watched where there is one, else the training loss.

    Parameters
    ----------
    patience : int, default=10
        So many epochs in a row without improvement end the fit; at least 1.
    min_delta : float, default=0.0
        What an improvement has to exceed: finite, from 0 up. Smaller gains add up over epochs until they do.
    restore_best : bool, default=True
        Whether the network ends with the parameters of the best epoch, rather than those of the last.

    Raises
    ------
    TypeError, ValueError
        If a field is not as described.
    """

    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        _check("patience", self.patience, Integral, 1, "a whole number of epochs from 1 up")
        _check("min_delta", self.min_delta, Real, 0, "a finite number from 0 up")


@dataclass(frozen=True, slots=True)
class EarlyStoppingState:
    """Where early stopping stands after some epochs.

    Attributes
    ----------
    best : float
        The lowest loss, in the sense of `EarlyStopping`.min_delta; infinity before the first.
    best_epoch : int
        The epoch that had it, from 0; -1 before the first.
    waited : int
        Epochs since then.
    """

    best: float = math.inf
    best_epoch: int = -1
    waited: int = 0

    def update(self, config: EarlyStopping, epoch: int, loss: float) -> EarlyStoppingState:
        """Return the state after an epoch; a loss that is NaN is no improvement."""
        if loss < self.best - config.min_delta:
            return EarlyStoppingState(loss, epoch, 0)
        return EarlyStoppingState(self.best, self.best_epoch, self.waited + 1)

    def is_over(self, config: EarlyStopping) -> bool:
        """Return whether patience is at its end."""
        return self.waited >= config.patience


def _check(name: str, value: Any, kind: Any, low: int, expected: str) -> None:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r}; expected {expected}")
    if not low <= value < math.inf:
        raise ValueError(f"{name} is {value!r}; expected {expected}")


def _finite_or_none(values: list[float]) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]


_BLUE, _ORANGE, _GREY = "#2563a8", "#d9622b", "#6b7280"


def _new_axes() -> Axes:
    try:
        from matplotlib import pyplot as plt  # noqa: PLC0415  an extra that plot alone needs
    except ImportError:
        raise ImportError("plot needs matplotlib: install it with pip install 'fastmlp[plot]'") from None
    _, ax = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    return ax


def _draw(ax: Axes, label: str, values: list[float], color: str) -> None:
    marker = "o" if len(values) == 1 else ""  # a single point has no line that shows it
    ax.plot(range(1, len(values) + 1), values, color=color, linewidth=1.8, marker=marker, label=label)


def _mark(ax: Axes, label: str, epoch: int, value: float, color: str) -> None:
    ax.plot(epoch + 1, value, "o", color=color, markerfacecolor="white", markersize=8, label=label)


def _dress(ax: Axes, values: list[float]) -> None:
    """Name and scale the axes for these values, and leave no more ink than reading takes."""
    from matplotlib.ticker import AutoLocator, MaxNLocator, NullLocator, ScalarFormatter  # noqa: PLC0415

    if values and min(values) > 0.0:
        ax.set_yscale("log")
        if max(values) < 10.0 * min(values):  # too few powers of ten to read values from
            ax.yaxis.set_major_locator(AutoLocator())
            ax.yaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(_GREY)
    ax.tick_params(which="both", color=_GREY, labelcolor=_GREY)
    ax.grid(visible=True, which="major", alpha=0.25)
    ax.legend(frameon=False)
