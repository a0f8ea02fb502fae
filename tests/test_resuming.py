"""A fit goes on exactly where another stopped: the same bits as one that was never stopped."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp import MLP, SGD, Adam, AdamW, EarlyStopping, History, PerLayer, RMSprop, TrainingState, schedules
from tests import checkers

GENERATOR = np.random.default_rng(21)
N, BATCH_SIZE, EPOCHS = 11, 4, 6
X, LABELS, WEIGHTS = GENERATOR.normal(size=(N, 3)), GENERATOR.integers(0, 3, N), GENERATOR.random(N)
STEPS = EPOCHS * 3

OPTIMIZERS = {
    "sgd": SGD(0.1),
    "nesterov": SGD(0.1, momentum=0.75, nesterov=True),
    "adam": Adam(0.05),
    "adamw": AdamW(0.05),
    "rmsprop": RMSprop(0.05),
    "cosine": Adam(schedules.Cosine(0.05, n_steps=STEPS)),
    "by layers": PerLayer(AdamW(schedules.Cosine(0.05, n_steps=STEPS)), (1.0, 0.5), 0.1, "ntk"),
    "one cycle": SGD(schedules.OneCycle(0.1, n_steps=STEPS), momentum=0.5),
}


def network(backend: str, dtype: str = "float32") -> MLP:
    return MLP(
        (3, 5, 3), "tanh", "softmax", "cross_entropy", backend=backend, dtype=dtype, seed=6, dropout=0.25, l2=0.01
    )


def fit(net: MLP, epochs: int, optimizer: fastmlp.Optimizer, **options: Any) -> History:
    return net.fit(
        X, LABELS, sample_weight=WEIGHTS, epochs=epochs, batch_size=BATCH_SIZE, optimizer=optimizer, **options
    )


def fit_in_parts(net: MLP, parts: list[int], optimizer: fastmlp.Optimizer, **options: Any) -> list[History]:
    histories: list[History] = []
    for epochs in parts:
        state = histories[-1].state if histories else None
        histories.append(fit(net, epochs, optimizer, state=state, **options))
    return histories


def end_of(net: MLP) -> tuple[str, Any]:
    """Return everything that a next fit depends on: parameters, optimizer states, and what else there is."""
    state = net.history.state
    arrays = [net.parameters.flat, *state.states]
    numbers = (state.step, state.epoch, state.losses, state.powers, state.seed, state.generator)
    return checkers.digest(arrays), (*numbers, net.generator.bit_generator.state)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("parts", [[2, 4], [1] * EPOCHS, [0, 5, 0, 1]], ids=str)
def test_parts_are_the_whole(parts: list[int], name: str, backend: str) -> None:
    whole, in_parts = network(backend), network(backend)
    history = fit(whole, EPOCHS, OPTIMIZERS[name])
    histories = fit_in_parts(in_parts, parts, OPTIMIZERS[name])
    assert end_of(in_parts) == end_of(whole)
    assert [loss for part in histories for loss in part.loss] == history.loss
    assert [rate for part in histories for rate in part.learning_rate] == history.learning_rate


def test_without_the_state_parts_are_not_the_whole(backend: str) -> None:
    """Optimizer state, masks and schedule begin anew: the comparison sees it."""
    whole, in_parts = network(backend), network(backend)
    fit(whole, 4, Adam(0.05))
    fit(in_parts, 2, Adam(0.05))
    fit(in_parts, 2, Adam(0.05))
    assert end_of(in_parts)[0] != end_of(whole)[0]


@pytest.mark.parametrize("restore_best", [False, True])
def test_early_stopping_waits_across_parts(backend: str, *, restore_best: bool) -> None:
    """The best epoch lies in the middle of the parts, and some of them end while patience is running."""
    stopping = EarlyStopping(patience=4, restore_best=restore_best)
    other_X = X + np.random.default_rng(1).normal(size=X.shape)
    options: dict[str, Any] = {"early_stopping": stopping, "validation_data": (other_X, LABELS)}
    whole, in_parts = network(backend), network(backend)
    history = fit(whole, 50, Adam(0.02), **options)
    assert history.stopped == "early stopping"
    assert 2 < history.best_epoch < history.n_epochs - 1 - 2
    histories = fit_in_parts(in_parts, [2] * ((history.n_epochs - 1) // 2) + [50], Adam(0.02), **options)
    assert [loss for part in histories for loss in part.validation_loss] == history.validation_loss
    assert histories[-1].stopped == "early stopping"
    assert end_of(in_parts) == end_of(whole)
    best = [2 * i + part.best_epoch for i, part in enumerate(histories) if part.best_epoch is not None]
    assert best[-1] == history.best_epoch


def test_a_pickled_pair_of_network_and_state_goes_on_elsewhere(backend: str) -> None:
    whole, first = network(backend), network(backend)
    fit(whole, EPOCHS, Adam(0.05))
    history = fit(first, 2, Adam(0.05))
    elsewhere, state = pickle.loads(pickle.dumps((first, history.state)))  # noqa: S301  our own bytes
    fit(elsewhere, 4, Adam(0.05), state=state)
    assert end_of(elsewhere) == end_of(whole)


def test_another_backend_goes_on_in_strict_mode() -> None:
    nets = {name: network("naive", "float64").with_backend(name, strict=True) for name in fastmlp.available_backends()}
    for net in nets.values():
        fit(net, 4, Adam(0.05))
    relay = network("naive", "float64")
    state = None
    for name in ("numba", "naive", "numpy", "numba"):
        relay = relay.with_backend(name, strict=True)
        state = fit(relay, 1, Adam(0.05), state=state).state
    assert {end_of(net)[0] for net in (*nets.values(), relay)} == {end_of(relay)[0]}


def test_a_state_can_be_used_twice(backend: str) -> None:
    """A fit works on a copy of the state that it gets."""
    net = network(backend)
    state = fit(net, 2, Adam(0.05)).state
    snapshot, ends = copy.deepcopy(net), []
    for _ in range(2):
        again = copy.deepcopy(snapshot)
        fit(again, 2, Adam(0.05), state=state)
        ends.append(end_of(again))
    assert ends[0] == ends[1]


def test_a_state_tells_how_far_it_is() -> None:
    state = fit(network("numpy"), 2, Adam(0.05)).state
    assert isinstance(state, TrainingState)
    assert (state.step, state.epoch, state.losses) == (2 * 3, 2, [])


# --- states that do not belong here ---


def test_the_state_of_another_optimizer_is_refused() -> None:
    net = network("numpy")
    state = fit(net, 1, Adam(0.05)).state
    for other in (Adam(0.06), AdamW(0.05), SGD(0.05)):
        message = f"state belongs to {Adam(0.05)}, but this fit has optimizer {other}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            fit(net, 1, other, state=state)


OTHERS: dict[str, dict[str, Any]] = {
    "layer_sizes": {"layer_sizes": (3, 6, 3)},
    "activations": {"activation": "relu"},
    "dtype": {"dtype": "float64"},
    "l2": {"l2": 0.5},
    "dropout": {"dropout": 0.5},
    "input_scale": {"input_scale": True},
}


@pytest.mark.parametrize("field", OTHERS)
def test_the_state_of_another_network_is_refused_and_the_field_named(field: str) -> None:
    state = fit(network("numpy"), 1, Adam(0.05)).state
    options = {"layer_sizes": (3, 5, 3), "activation": "tanh", "dropout": 0.25, "l2": 0.01} | OTHERS[field]
    other = MLP(**options, output_activation="softmax", loss="cross_entropy", seed=0)
    before = other.parameters.flat.copy(), other.generator.bit_generator.state
    with pytest.raises(ValueError, match=rf"^state .*{field}"):
        fit(other, 1, Adam(0.05), state=state)
    np.testing.assert_array_equal(other.parameters.flat, before[0])
    assert (other.generator.bit_generator.state, other.history) == (before[1], None)


def test_a_state_from_the_middle_of_an_epoch_needs_the_same_batches() -> None:
    net = network("numpy")
    state = dataclasses.replace(fit(net, 1, Adam(0.05)).state, losses=[0.5])
    for batch_size in (N, 1):
        with pytest.raises(ValueError, match=r"^state "):
            net.fit(X, LABELS, sample_weight=WEIGHTS, optimizer=Adam(0.05), batch_size=batch_size, state=state)
