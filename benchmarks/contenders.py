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


def training(case: Case, backend: str) -> Contender:
    """Return `MLP.fit` of a case on a backend.

    Raises
    ------
    WrongResultError
        If the backend computes what it should not.
    """
    net, (X, Y) = case.network(backend), case.data()
    verify.check_predictions(net, *case.batch())
    verify.check_gradient(net, *case.batch())
    verify.check_training(case, net)
    start = net.parameters.flat.copy()

    def prepare(epochs: int) -> Call:
        net.parameters.flat[...] = start
        return lambda: net.fit(X, Y, optimizer=verify.OPTIMIZER, epochs=epochs, batch_size=case.batch_size)

    return _filling_time(backend, prepare, case.n_batches)


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

    return _filling_time(HANDWRITTEN, prepare, DIGITS.n_batches)


def _filling_time(name: str, prepare: Callable[[int], Call], n_batches: int) -> Contender:
    """Return a contender with so many epochs a run that it takes some `_RUN_SECONDS`."""
    seconds = min(seconds_of(prepare(1)) for _ in range(2))
    epochs = max(1, min(_MOST_EPOCHS, round(_RUN_SECONDS / seconds)))
    return Contender(name, lambda: prepare(epochs), epochs * n_batches)
