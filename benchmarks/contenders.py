"""The trainings that are timed: a case on a backend, and the digits by hand. Verified when they are made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks import verify
from benchmarks.cases import DIGITS, SEED, Case
from benchmarks.handwritten_numpy import Handwritten
from benchmarks.measure import Call, Contender, seconds_of
from fastmlp.backends import REFERENCE

HANDWRITTEN = "handwritten"

_RUN_SECONDS = 0.05  # long beside what a fit does but once, short beside what else a machine is up to
_MOST_EPOCHS = 200


def training(
    case: Case, backend: str, threads: int | None = None, run_seconds: float = _RUN_SECONDS, fewest_epochs: int = 1
) -> Contender:
    """Return `MLP.fit` of a case on a backend.

    Parameters
    ----------
    case : Case
    backend : str
    threads : int, optional
        At most so many threads; None leaves it to the backend.
    run_seconds : float
        About what a timed run takes.
    fewest_epochs : int
        Of a run, however long they take.

    Raises
    ------
    WrongResultError
        If the backend computes what it should not.
    """
    net, (X, Y) = case.network(backend, threads), case.data()
    verify.check_predictions(net, *case.batch())
    verify.check_gradient(net, *case.batch())
    verify.check_training(case, net)
    start = net.parameters.flat.copy()

    def prepare(epochs: int) -> Call:
        net.parameters.flat[...] = start
        return lambda: net.fit(X, Y, optimizer=verify.OPTIMIZER, epochs=epochs, batch_size=case.batch_size)

    return filling_time(backend, prepare, case.n_batches, run_seconds, fewest_rounds=fewest_epochs)


def on_one_thread(case: Case, backend: str) -> Contender:
    """Return the same on one thread: BLAS is held to it by `measure.one_thread`, kernels have threads of their own."""
    return training(case, backend, 1 if backend == "numba" else None)


def handwritten() -> Contender:
    """Return the hand-written training of the digits.

    Raises
    ------
    WrongResultError
        If it computes what it should not.
    """
    X, labels = DIGITS.data()
    start = DIGITS.network(REFERENCE).parameters.flat
    first = Handwritten(*verify.training_data(DIGITS), start)
    verify.check_losses(DIGITS, first.fit(verify.EPOCHS), HANDWRITTEN)

    def prepare(epochs: int) -> Call:
        model = Handwritten(X, labels, start)
        return lambda: model.fit(epochs, np.random.default_rng(SEED).permutation)

    return filling_time(HANDWRITTEN, prepare, DIGITS.n_batches)


def filling_time(
    name: str,
    prepare: Callable[[int], Call],
    n_steps: int,
    run_seconds: float = _RUN_SECONDS,
    most_rounds: int = _MOST_EPOCHS,
    fewest_rounds: int = 1,
) -> Contender:
    """Return a contender with so many rounds a run that it takes about `run_seconds`.

    Parameters
    ----------
    name : str
    prepare : callable
        Takes the number of rounds (epochs) and returns the call to time.
    n_steps : int
        Steps of a round.
    run_seconds : float
    most_rounds, fewest_rounds : int
    """
    seconds = min(seconds_of(prepare(1)) for _ in range(2))
    rounds = max(fewest_rounds, min(most_rounds, round(run_seconds / seconds)))
    return Contender(name, lambda: prepare(rounds), rounds * n_steps)
