"""What ends a fit: early stopping, which may restore the best parameters, and callbacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, SGD, EarlyStopping, EpochInfo, schedules

GENERATOR = np.random.default_rng(8)
X, Y = GENERATOR.normal(size=(10, 3)), GENERATOR.normal(size=(10, 2))


def network(backend: str = "numpy") -> MLP:
    return MLP((3, 4, 2), "tanh", backend=backend, dtype="float64", seed=2)


def fit_and_watch(net: MLP, **options: Any) -> list[np.ndarray]:
    """Fit; return the parameters after each epoch."""
    seen: list[np.ndarray] = []
    net.fit(
        X,
        Y,
        optimizer=SGD(0.125),
        batch_size=4,
        callbacks=[lambda net, _: seen.append(net.parameters.flat.copy())],
        **options,
    )
    return seen


# --- early stopping ---

AWAY = {"validation_data": (X, -Y)}
"""Training towards Y soon leads away from -Y, while the training loss goes on falling."""


def test_early_stopping_watches_the_validation_loss_and_restores_the_best(backend: str) -> None:
    net = network(backend)
    seen = fit_and_watch(net, epochs=50, early_stopping=EarlyStopping(patience=3), **AWAY)
    history, best = net.history, int(np.argmin(net.history.validation_loss))
    assert int(np.argmin(history.loss)) == history.n_epochs - 1
    assert (history.best_epoch, history.n_epochs, history.stopped) == (best, best + 1 + 3, "early stopping")
    np.testing.assert_array_equal(net.parameters.flat, seen[best])


def test_early_stopping_without_validation_data_watches_the_training_loss(backend: str) -> None:
    """The rate rises until steps overshoot: the loss falls, and then rises for good."""
    net = MLP((1, 1), loss="squared_error", backend=backend, dtype="float64", seed=0)
    net.parameters.flat[...] = [8.0, 0.0]
    seen: list[list[float]] = []
    history = net.fit(
        [[1.0]],
        [[0.0]],
        optimizer=SGD(schedules.Step(0.3, every=1, factor=2.0)),
        epochs=50,
        early_stopping=EarlyStopping(patience=2),
        callbacks=[lambda net, _: seen.append(net.parameters.flat.tolist())],
    )
    best = int(np.argmin(history.loss))
    assert 0 < best < history.n_epochs - 1
    assert (history.best_epoch, history.n_epochs, history.stopped) == (best, best + 1 + 2, "early stopping")
    assert net.parameters.flat.tolist() == seen[best] != seen[-1]


def test_the_last_parameters_stay_where_the_best_are_not_wanted(backend: str) -> None:
    net = network(backend)
    seen = fit_and_watch(net, epochs=50, early_stopping=EarlyStopping(patience=3, restore_best=False), **AWAY)
    assert net.history.best_epoch == net.history.n_epochs - 1 - 3
    np.testing.assert_array_equal(net.parameters.flat, seen[-1])


def test_the_best_are_restored_also_where_patience_lasts() -> None:
    net = network()
    seen = fit_and_watch(net, epochs=5, early_stopping=EarlyStopping(patience=10), **AWAY)
    best = net.history.best_epoch
    assert (net.history.n_epochs, net.history.stopped) == (5, "epochs")
    assert best < 4
    np.testing.assert_array_equal(net.parameters.flat, seen[best])


def test_gains_below_min_delta_do_not_count() -> None:
    net = network()
    history = net.fit(X, Y, epochs=50, early_stopping=EarlyStopping(patience=2, min_delta=1e6))
    assert (history.n_epochs, history.best_epoch) == (3, 0)


# --- callbacks ---


@pytest.mark.parametrize("wish", [True, np.True_])
def test_a_callback_ends_the_fit_by_returning_true(wish: object, backend: str) -> None:
    net = network(backend)
    called = []
    history = net.fit(
        X, Y, epochs=9, callbacks=[lambda _, info: wish if info.epoch == 1 else False, lambda *_: called.append(1)]
    )
    assert (history.n_epochs, history.stopped) == (2, "callback")
    assert len(called) == 2  # those after it are heard too


@pytest.mark.parametrize("wish", [None, False, 1, "yes", np.False_])
def test_nothing_else_does(wish: object) -> None:
    assert network().fit(X, Y, epochs=3, callbacks=[lambda *_: wish]).stopped == "epochs"


def test_one_callback_needs_no_list() -> None:
    assert network().fit(X, Y, epochs=9, callbacks=lambda *_: True).n_epochs == 1


def test_an_error_in_a_callback_comes_out_with_the_history_up_to_there(backend: str) -> None:
    def fail(_: MLP, info: EpochInfo) -> None:
        if info.epoch == 1:
            raise OSError("no space left")

    net = network(backend)
    with pytest.raises(OSError, match="no space left"):
        net.fit(X, Y, epochs=9, callbacks=[fail])
    assert (net.history.n_epochs, net.history.stopped, net.history.state.epoch) == (2, "interrupted", 2)
