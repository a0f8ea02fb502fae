"""The main job: the same network, from the same seed, trained by each backend, side by side.

What is timed is training after compilation: each backend first trains a throw-away network for one batch, and
the seconds of that are reported apart. A backend whose epochs are short trains more throw-away networks, so that
its median is one over a second or so. Each backend has one thread.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from fastmlp import progress
from fastmlp._names import check_name
from fastmlp.backends import REFERENCE, available_backends
from fastmlp.cli.problem import Problem
from fastmlp.gradcheck import BackendReport, BackendRow, compare_backends
from fastmlp.history import History
from fastmlp.network import MLP
from fastmlp.optimizers import Adam
from fastmlp.parameters import Array
from fastmlp.training import Callback

GRADIENT_ROWS = 128
TIMED_SECONDS = 1.0


@dataclass(frozen=True)
class Settings:
    """The network and its training.

    Attributes
    ----------
    hidden : tuple of int
        Sizes of the hidden layers.
    activation : str
        Of the hidden layers.
    epochs, batch_size : int
        Of each training.
    learning_rate : float
        Adam's.
    dtype : str
        "float32" or "float64".
    seed : int
        Of the initial parameters and of the order of the samples.
    """

    hidden: tuple[int, ...] = (32,)
    activation: str = "relu"
    epochs: int = 15
    batch_size: int = 32
    learning_rate: float = 3e-3
    dtype: str = "float32"
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """What one backend did.

    Attributes
    ----------
    backend : str
        Its name.
    first_seconds : float
        What a throw-away training of one batch took before: nearly all of it is compilation.
    epoch_seconds : float
        Median over the epochs, those of throw-away networks included.
    samples_per_second : float
        Training samples over `epoch_seconds`.
    losses : tuple of float
        The training loss of each epoch.
    score : float
        Of the test rows.
    """

    backend: str
    first_seconds: float
    epoch_seconds: float
    samples_per_second: float
    losses: tuple[float, ...]
    score: float


@dataclass(frozen=True)
class Comparison:
    """The result.

    Attributes
    ----------
    problem : Problem
        What was trained on.
    network : str
        The network in one line.
    settings : Settings
        How it was trained.
    rows : tuple of Row
        The backends, in the registry's order.
    gradients : BackendReport
        The gradients at the initial parameters, over the first training rows.
    """

    problem: Problem
    network: str
    settings: Settings
    rows: tuple[Row, ...]
    gradients: BackendReport

    def speed_up(self, row: Row) -> float | None:
        """Return how many times as fast as the reference; None when that was not run."""
        reference = self.rows[0]
        return row.samples_per_second / reference.samples_per_second if reference.backend == REFERENCE else None

    def gradient(self, row: Row) -> BackendRow:
        """Return how the gradient of a row's backend compares with the reference's."""
        return next(found for found in self.gradients.rows if found.backend == row.backend)

    @property
    def conclusion(self) -> str:
        """One line: how fast, and whether the gradients are the same."""
        fastest = max(self.rows, key=lambda row: row.samples_per_second)
        speeds = [
            f"{shown_ratio(fastest.samples_per_second / row.samples_per_second)} x {row.backend}"
            for row in self.rows
            if row is not fastest
        ] or [f"{fastest.samples_per_second:,.0f} samples a second"]
        agreed = "agree, strict ones bit for bit" if self.gradients else "DO NOT AGREE"
        return f"{fastest.backend} leads: {', '.join(speeds)}; gradients {agreed}."


def compare(
    problem: Problem,
    settings: Settings | None = None,
    backends: Sequence[str] = (),
    *,
    verbose: bool = False,
) -> Comparison:
    """Train the same network with each backend.

    Parameters
    ----------
    problem : Problem
        What to learn.
    settings : Settings, optional
        The network and its training.
    backends : sequence of str
        Names, in any order; all by default.
    verbose : bool
        Whether progress is shown on stderr.

    Returns
    -------
    Comparison
        A row for each backend.

    Raises
    ------
    TypeError, ValueError
        If settings, data or a backend's name make no sense.
    DivergedError
        If training diverges.
    """
    settings = settings or Settings()
    for name in backends:
        check_name("backend", name, available_backends())
    names = [name for name in available_backends() if not backends or name in backends]
    rows = tuple(_row(problem, settings, name, verbose=verbose) for name in names)
    net = _network(problem, settings, REFERENCE)
    X, Y = problem.data.X_train[:GRADIENT_ROWS], problem.data.Y_train[:GRADIENT_ROWS]
    gradients = compare_backends(net, X, Y, backends=names)
    return Comparison(problem, net.spec.describe(), settings, rows, gradients)


def describe(problem: Problem, settings: Settings) -> str:
    """Return the network and its training in one line."""
    network = _network(problem, settings, REFERENCE).spec.describe()
    return f"{network}; Adam, {settings.epochs} epochs, batches of {settings.batch_size}, one thread"


def _network(problem: Problem, settings: Settings, backend: str) -> MLP:
    n_inputs, n_outputs = problem.layer_ends
    return MLP(
        (n_inputs, *settings.hidden, n_outputs),
        settings.activation,
        problem.output_activation,
        problem.loss,
        backend=backend,
        dtype=settings.dtype,
        threads=1,
        seed=settings.seed,
    )


def _row(problem: Problem, settings: Settings, name: str, *, verbose: bool) -> Row:
    """Train with one backend, after a throw-away training that compiles."""
    data, few = problem.data, slice(settings.batch_size)
    with progress.display(verbose, settings.epochs) as display:
        display.note(f"{name}: a first batch, then {settings.epochs} epochs")
        started = time.perf_counter()
        _fit(_network(problem, settings, name), data.X_train[few], data.Y_train[few], replace(settings, epochs=1))
        first_seconds = time.perf_counter() - started
        net = _network(problem, settings, name)
        history = _fit(net, data.X_train, data.Y_train, settings, lambda _net, info: display.epoch(info))
    seconds = list(history.seconds)
    while sum(seconds) < TIMED_SECONDS:
        throw_away = _network(problem, settings, name)
        seconds += _fit(throw_away, data.X_train, data.Y_train, settings).seconds
    epoch_seconds = median(seconds)
    return Row(
        backend=name,
        first_seconds=first_seconds,
        epoch_seconds=epoch_seconds,
        samples_per_second=len(data.X_train) / epoch_seconds,
        losses=tuple(history.loss),
        score=problem.score(net.predict(data.X_test), data.Y_test),
    )


def _fit(net: MLP, X: Array, Y: Array, settings: Settings, *callbacks: Callback) -> History:
    return net.fit(
        X,
        Y,
        optimizer=Adam(lr=settings.learning_rate),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        callbacks=callbacks,
    )


def shown_ratio(ratio: float) -> str:
    """Return "1.2" or "1,234"."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"  # noqa: PLR2004  two digits at least
