"""Steps of many epochs are laid out at once where only the order of the samples comes later: nothing else changes."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, SGD, Adam, AdamW, DivergedError, PerLayer, RMSprop, epochs, training
from fastmlp.backends import make_backend
from fastmlp.backends.base import Batch, Run
from fastmlp.epochs import Steps
from fastmlp.optimizers import Optimizer
from fastmlp.schedules import Constant, Cosine
from fastmlp.training import Plan
from tests import checkers

GENERATOR = np.random.default_rng(41)
N, BATCH_SIZE = 11, 4
X, Y = GENERATOR.normal(size=(N, 3)), GENERATOR.uniform(-0.9, 0.9, (N, 2))
PASSES = (2, 4, 1, 1, 4, 3, 5, 2)  # of each epoch: the second and the seventh have more than there is room for


class Unsteady(Adam):
    """An optimizer of one's own that says so."""

    has_constant_rate = False


OPTIMIZERS = [SGD(0.05, momentum=0.9), Adam(0.02), AdamW(0.02, weight_decay=0.1), RMSprop(0.01)]


pytestmark = pytest.mark.usefixtures("pythons_own_handler")


@pytest.fixture
def laid_out(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many steps were laid out each time."""
    done: list[int] = []
    usual = training._Training._lay_out

    def noting(self: Any, order: Any, steps: Steps) -> Any:
        done.append(steps.totals.size)
        return usual(self, order, steps)

    monkeypatch.setattr(training._Training, "_lay_out", noting)
    return done


def network(backend: str, **options: Any) -> MLP:
    return MLP((3, 5, 2), "tanh", backend=backend, dtype="float64", seed=6, dropout=0.25, l2=0.01, **options)


def told_by(run: Run, first: int, stop: int) -> float:
    """Return a loss that tells of every sample of the steps, and of where they are."""
    sums = [float(run.losses[step] * X[run.rows(step)].sum()) for step in range(first, stop)]
    return sum(sums) + float(run.penalties[first:stop].sum())


def end_of(net: MLP) -> tuple[Any, ...]:
    """Return all that a fit leaves behind, but for how long it took."""
    history, state = net.history, net.history.state
    figures = (history.loss, history.learning_rate, history.stopped)
    state_now = (state.step, state.epoch, state.losses, state.powers, state.generator, state.seed)
    return *figures, *state_now, checkers.digest([net.parameters.flat, *state.states])


def fit(net: MLP, optimizer: Optimizer, passes: tuple[int, ...], *, is_steady: bool, state: Any = None) -> None:
    """Train, some passes an epoch, in orders of one's own, which belong to whoever gives them."""
    generator, coming = np.random.default_rng(7), iter(passes)
    orders = generator.permuted(np.tile(np.arange(N), (5, 1)), axis=1).reshape(-1)
    plan = Plan(
        *(optimizer, sum(passes), BATCH_SIZE),
        shuffle=True,
        validation=None,
        metrics=(),
        early_stopping=None,
        callbacks=(lambda _net, info: info.epoch == len(passes) - 1,),
        verbose=False,
        order=lambda: orders[: next(coming) * N],
        mean_loss=told_by,
        is_steady=is_steady,
    )
    backend = make_backend(net.backend, net.spec, strict=net.strict, threads=None)
    training.fit(net, backend, Batch(X, Y, None, N, net.spec.l2), plan, state)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_steps_that_are_laid_out_at_once_are_those_of_single_epochs(
    backend: str, laid_out: list[int], optimizer: Optimizer, *, strict: bool
) -> None:
    """Parameters, losses, states and what a further fit goes on from, wherever the last one ended."""
    ends = []
    for is_steady in (False, True):
        laid_out.clear()
        net = network(backend, strict=strict)
        for passes in (PASSES, (3, 3), (1,)):
            state = None if net.history is None else net.history.state
            fit(net, optimizer, passes, is_steady=is_steady, state=state)
            ends.append(end_of(net))
        if is_steady:  # the room of two passes, of four, of five; then of three, and of one
            assert laid_out == [3 * n for n in (22, 20, 7, 6, 1)]
        else:
            assert laid_out == [3 * n for n in (*PASSES, 3, 3, 1)]
    assert ends[:3] == ends[3:]


def test_few_steps_are_left_where_the_next_epoch_needs_more(
    backend: str, laid_out: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are laid out again, from where the training stands."""
    monkeypatch.setattr(epochs, "_LAID_OUT", 3 * 5)
    ends = []
    for is_steady in (False, True):
        laid_out.clear()
        net = network(backend)
        fit(net, Adam(0.02), (3, 1, 3, 2, 2, 2), is_steady=is_steady)
        ends.append(end_of(net))
    assert laid_out == [15, 15, 12]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_watched_fits_with_a_constant_rate_are_laid_out_at_once(
    backend: str, laid_out: list[int], optimizer: Optimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = []
    for steady in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(Optimizer, "has_constant_rate", steady)
            laid_out.clear()
            net = network(backend)
            net.fit(X, Y, epochs=9, batch_size=BATCH_SIZE, optimizer=optimizer, validation_data=(X, Y))
            ends.append(end_of(net))
            assert laid_out == ([27] if steady else [3] * 9)
            assert optimizer.has_constant_rate == steady
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("optimizer", "is_constant"),
    [
        *((Adam(), True), (SGD(0.1), True), (Adam(Constant(0.1)), True), (Adam(Cosine(0.1)), False)),
        *((PerLayer(Adam()), True), (PerLayer(Adam(Cosine(0.1))), False), (PerLayer(Unsteady()), False)),
    ],
)
def test_a_rate_is_constant_where_no_schedule_changes_it(optimizer: Optimizer, *, is_constant: bool) -> None:
    assert optimizer.has_constant_rate == is_constant


@pytest.mark.parametrize(
    "options", [{"optimizer": Adam(Cosine(0.02))}, {"sample_weight": GENERATOR.random(N)}], ids=str
)
def test_what_is_not_known_beforehand_is_laid_out_for_an_epoch(laid_out: list[int], options: dict[str, Any]) -> None:
    """The rates of a schedule, which a callback may change; what the samples of a batch weigh together."""
    network("numpy").fit(X, Y, epochs=5, batch_size=BATCH_SIZE, validation_data=(X, Y), **options)
    assert laid_out == [3] * 5


def test_long_epochs_are_laid_out_one_by_one(laid_out: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What laying out takes is nothing beside them, and their orders are large."""
    monkeypatch.setattr(epochs, "_SHORT", N - 1)
    network("numpy").fit(X, Y, epochs=5, batch_size=BATCH_SIZE, validation_data=(X, Y), optimizer="adam")
    assert laid_out == [3] * 5


def test_epochs_that_nobody_looks_at_are_not_laid_out_twice(
    laid_out: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first they are trained at once."""
    monkeypatch.setattr(epochs, "_SECONDS_AT_ONCE", 1000.0)
    network("numpy").fit(X, Y, epochs=9, batch_size=BATCH_SIZE, optimizer="adam")
    assert laid_out == [3, 24]


def test_a_thousand_steps_are_laid_out_at_once(laid_out: list[int]) -> None:
    """However many there may be: a callback may end the fit any time."""
    is_over: Any = [lambda _net, info: info.epoch == 400]
    network("numpy").fit(X, Y, epochs=10**6, batch_size=BATCH_SIZE, optimizer="adam", callbacks=is_over)
    assert laid_out == [1023, 1023]


@pytest.mark.parametrize("step", [1, 5, 8])
def test_ctrl_c_within_what_is_laid_out_leaves_a_state_to_go_on_from(
    backend: str, laid_out: list[int], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"batch_size": BATCH_SIZE, "optimizer": Adam(0.02), "validation_data": (X, Y)}
    whole, net = network(backend), network(backend)
    whole.fit(X, Y, epochs=5, **options)
    kind = type(make_backend(backend, net.spec, strict=False, threads=None))
    train, done = kind.train, []

    def train_and_press(self: Any, run: Run, start: int, stop: int) -> int:
        done.append(start)
        if len(done) == step:
            signal.raise_signal(signal.SIGINT)
        return train(self, run, start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_CHUNK_SECONDS", 0.0)  # each step is a call of its own
        patch.setattr(kind, "train", train_and_press)
        with pytest.raises(KeyboardInterrupt):
            net.fit(X, Y, epochs=5, **options)
    state = net.history.state
    assert (state.epoch, len(state.losses)) == ((step - 1) // 3, step % 3)
    assert done == list(range(step))
    rest = net.fit(X, Y, epochs=5 - net.history.n_epochs, state=state, **options)
    assert (net.history.loss, rest.state.powers) == (whole.history.loss[-rest.n_epochs :], whole.history.state.powers)
    assert checkers.digest([net.parameters.flat]) == checkers.digest([whole.parameters.flat])
    assert laid_out


def test_where_it_diverges_is_told_as_by_single_epochs(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for steady in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(Optimizer, "has_constant_rate", steady)
            net = MLP((3, 5, 2), "identity", "identity", "mse", backend=backend, seed=6)
            with pytest.raises(DivergedError) as caught:
                net.fit(X, Y, epochs=100, batch_size=BATCH_SIZE, optimizer=SGD(0.6), validation_data=(X, Y))
            told.append((str(caught.value), net.history.loss, checkers.digest([net.parameters.flat])))
    assert told[0] == told[1]
    assert caught.value.epoch > 2


def test_orders_go_round_in_fewer_places_than_there_are_passes() -> None:
    steps = Steps.of(N, BATCH_SIZE)
    repeated = steps.repeated(5, 2)
    assert repeated.starts.tolist() == [0, 4, 8, 11, 15, 19] * 2 + [0, 4, 8]
    assert repeated.stops.tolist() == [4, 8, 11, 15, 19, 22] * 2 + [4, 8, 11]
    assert repeated.totals.tolist() == [4, 4, 3] * 5
    assert steps.repeated(2).starts.tolist() == [0, 4, 8, 11, 15, 19]
