"""Short epochs that nobody looks at in between are one run: faster, and else as if each had been one of its own."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, SGD, Adam, DivergedError, EarlyStopping, EpochInfo, History, epochs, progress, schedules
from fastmlp.backends import make_backend
from fastmlp.backends.base import Run
from fastmlp.epochs import Ahead, Steps
from tests import checkers

GENERATOR = np.random.default_rng(35)
N, EPOCHS = 11, 23
X, Y = GENERATOR.normal(size=(N, 3)), GENERATOR.uniform(-0.9, 0.9, (N, 2))
WEIGHTS = GENERATOR.uniform(0.5, 1.0, N)
WATCHED: dict[str, Any] = {"callbacks": [lambda _net, _info: None]}


pytestmark = pytest.mark.usefixtures("pythons_own_handler")


@pytest.fixture
def runs(backend: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give all the time of the world to runs, and return how many samples an epoch has, or some at once."""
    monkeypatch.setattr(epochs, "_SECONDS_AT_ONCE", 1000.0)
    kind, done = type(make_backend(backend, network(backend).spec, strict=False, threads=None)), []
    train = kind.train

    def train_and_note(self: Any, run: Run, start: int, stop: int) -> int:
        n_steps = np.flatnonzero(run.stops % N == 0)[0] + 1  # of an epoch: those that are laid out may be of many
        if start % n_steps == 0:
            done.append(run.order.size)
        return train(self, run, start, stop)

    monkeypatch.setattr(kind, "train", train_and_note)
    return done


def network(backend: str, **options: Any) -> MLP:
    return MLP((3, 5, 2), "tanh", backend=backend, seed=6, **options)


def end_of(net: MLP) -> tuple[Any, ...]:
    """Return all that a fit leaves behind, but for how long it took."""
    history, state = net.history, net.history.state
    return (
        *(history.loss, history.learning_rate, history.stopped, history.n_epochs),
        *(state.step, state.epoch, state.losses, state.powers, state.generator, state.seed),
        checkers.digest([net.parameters.flat, *state.states]),
        net.generator.bit_generator.state,
    )


@pytest.mark.parametrize("batch_size", [1, 4, N])
@pytest.mark.parametrize("optimizer", [SGD(0.05, momentum=0.9), Adam(schedules.Cosine(0.05))])
@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("shuffle", [True, False])
def test_epochs_at_once_leave_what_single_ones_do(
    backend: str, runs: list[int], batch_size: int, optimizer: Any, dropout: float, *, shuffle: bool
) -> None:
    ends = []
    for watched in (WATCHED, {}):
        runs.clear()
        net = network(backend, dropout=dropout, l2=0.01)
        options = {"optimizer": optimizer, "batch_size": batch_size, "shuffle": shuffle, **watched}
        first = net.fit(X, Y, epochs=EPOCHS, **options)
        ends.append(end_of(net))
        assert runs == ([N] * EPOCHS if watched else [N, 8 * N, 14 * N])
        net.fit(X, Y, epochs=3, state=first.state, **options)
        ends.append(end_of(net))
    assert ends[:2] == ends[2:]


@pytest.mark.parametrize(
    "options",
    [
        {"validation_data": (X, Y)},
        {"metrics": ["rmse"]},
        {"early_stopping": EarlyStopping(patience=100)},
        {"sample_weight": WEIGHTS},
        WATCHED,
    ],
    ids=lambda options: next(iter(options)),
)
def test_epochs_that_something_looks_at_are_single(backend: str, runs: list[int], options: dict[str, Any]) -> None:
    network(backend).fit(X, Y, epochs=5, **options)
    assert runs == [N] * 5


def test_progress_is_shown_all_the_same(backend: str, runs: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    network(backend).fit(X, Y, epochs=EPOCHS, verbose=True)
    assert len(runs) == 3
    assert f"epoch {EPOCHS}/{EPOCHS}" in capsys.readouterr().err


@dataclass(frozen=True)
class Leap:
    """A learning rate that is too large at one step."""

    step: int

    def over(self, n_steps: int) -> Leap:  # noqa: ARG002  it has no end
        return self

    def __call__(self, step: int) -> float:
        return 3e38 if step == self.step else 1e-6


DIVERGING = {
    "the loss of the next step": (Leap(3 * 5), "identity", 1),
    "parameters, with which the next loss may be finite": (Leap(3 * 5 + 2), "tanh", 2),
    "parameters, at the end of a run": (Leap(3 * 8 + 2), "tanh", 2),
}


@pytest.mark.parametrize("what", list(DIVERGING))
def test_where_it_diverges_is_told_as_by_single_epochs(backend: str, runs: list[int], what: str) -> None:
    """The epoch and the step, the parameters that it began with, and the generator, which the next fit draws from."""
    leap, activation, batch = DIVERGING[what]
    ends = []
    for watched in (WATCHED, {}):
        runs.clear()
        net = MLP((3, 5, 2), activation, activation, "mse", backend=backend, seed=6)
        with pytest.raises(DivergedError) as caught:
            net.fit(X, 1e3 * Y, epochs=100, batch_size=4, optimizer=SGD(leap, momentum=0.5), **watched)
        history = net.history
        assert history.state is None
        figures = (history.loss, history.learning_rate, history.stopped)
        ends.append((str(caught.value), figures, checkers.digest([net.parameters.flat])))
        ends.append((net.generator.bit_generator.state,))
    assert ends[:2] == ends[2:]
    epoch = leap.step // 3
    assert (caught.value.epoch, caught.value.batch) == (epoch, batch)
    assert runs == [N, 8 * N] + [N] * epoch  # from the second epoch on again


@dataclass(frozen=True)
class Failing(Leap):
    """A schedule with a mistake at one step."""

    def __call__(self, step: int) -> float:
        if step == self.step:
            raise ZeroDivisionError
        return 0.01


def test_a_schedule_that_fails_does_so_in_its_own_epoch(backend: str, runs: list[int]) -> None:
    ends = []
    for watched in (WATCHED, {}):
        net = network(backend)
        with pytest.raises(ZeroDivisionError):
            net.fit(X, Y, epochs=100, batch_size=4, optimizer=SGD(Failing(3 * 6 + 1)), **watched)
        ends.append(end_of(net))
    assert ends[0] == ends[1]
    assert ends[0][3] == 6
    assert runs


def test_a_display_that_fails_leaves_history_and_state_alike(
    backend: str, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_display: object, info: EpochInfo) -> None:
        if info.epoch == 4:
            raise BrokenPipeError

    monkeypatch.setattr(progress.Display, "epoch", fail)
    net = network(backend)
    with pytest.raises(BrokenPipeError):
        net.fit(X, Y, epochs=EPOCHS)
    assert net.history.n_epochs == net.history.state.epoch == 9
    assert runs


def test_ctrl_c_waits_for_the_end_of_them(backend: str, runs: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, net = network(backend), network(backend)
    whole.fit(X, Y, epochs=EPOCHS)
    kind = type(make_backend(backend, net.spec, strict=False, threads=None))
    train = kind.train

    def train_and_press(self: Any, run: Run, start: int, stop: int) -> int:
        if run.order.size > N:
            signal.raise_signal(signal.SIGINT)
        return train(self, run, start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "train", train_and_press)
        with pytest.raises(KeyboardInterrupt):
            net.fit(X, Y, epochs=EPOCHS)
    history: History = net.history
    assert (history.stopped, history.n_epochs, history.state.epoch) == ("interrupted", 9, 9)
    rest = net.fit(X, Y, epochs=EPOCHS - 9, state=history.state)
    assert history.loss + rest.loss == whole.history.loss
    assert checkers.digest([net.parameters.flat]) == checkers.digest([whole.parameters.flat])
    assert runs


STEPS = Steps.of(64, 8)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1.0, 1), (0.02, 1), (0.0101, 1), (0.005, 4), (0.0025, 8), (1e-9, 8), (0.0, 8)]
)
def test_as_many_epochs_go_at_once_as_a_fiftieth_of_a_second_takes(seconds: float, expected: int) -> None:
    ahead = Ahead(STEPS, 100)
    assert ahead.epochs(1000) == 1
    ahead.adapt(1, seconds)
    assert ahead.epochs(1000) == expected
    assert ahead.epochs(3) == min(3, expected)
    ahead.stop()
    assert ahead.epochs(1000) == 1


def test_epochs_at_once_take_little_memory() -> None:
    """However short they are; and of many parameters, which are copied meanwhile, none go together."""
    for n_samples, batch_size in ((4, 4), (4, 1), (1000, 1), (1000, 1000), (10**6, 32)):
        steps = Steps.of(n_samples, batch_size)
        ahead = Ahead(steps, 100)
        for _ in range(20):
            ahead.adapt(ahead.epochs(10**9), 0.0)
        most = ahead.epochs(10**9)
        assert most == 1 or most * n_samples <= 1 << 17
        assert most == 1 or most * steps.starts.size <= 1 << 14
    large = Ahead(STEPS, 100_001)
    large.adapt(1, 0.0)
    assert large.epochs(1000) == 1


def test_each_epoch_is_told_its_share_of_the_time(backend: str, runs: list[int]) -> None:
    started = time.perf_counter()
    history = network(backend).fit(X, Y, epochs=EPOCHS)
    assert sum(history.seconds) <= time.perf_counter() - started
    assert len(history.seconds) == EPOCHS
    assert len(runs) == 3
