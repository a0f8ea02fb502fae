"""Ctrl-C: a fit ends between two steps, nothing is half updated, and it can go on exactly there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, Adam, EpochInfo, History, epochs, schedules, training
from fastmlp.backends import make_backend
from tests import checkers, processes

GENERATOR = np.random.default_rng(22)
N, BATCH_SIZE, EPOCHS = 11, 4, 4
X, Y, WEIGHTS = GENERATOR.normal(size=(N, 3)), GENERATOR.normal(size=(N, 2)), GENERATOR.random(N)
WEIGHTS[4:8] = 0.0  # without shuffling, the second of three batches is skipped
OPTIMIZER = Adam(schedules.Cosine(0.05))


pytestmark = pytest.mark.usefixtures("pythons_own_handler")


def network(backend: str) -> MLP:
    return MLP((3, 5, 2), "tanh", backend=backend, seed=6, dropout=0.25)


def fit(net: MLP, epochs: int = EPOCHS, **options: Any) -> History:
    return net.fit(X, Y, epochs=epochs, batch_size=BATCH_SIZE, optimizer=OPTIMIZER, **options)


def press_after(patch: pytest.MonkeyPatch, net: MLP, step: int, press: Callable[[], object]) -> None:
    """Have a backend press Ctrl-C at the end of its `step`-th step, counted from one, each step a call of its own."""
    kind = type(make_backend(net.backend, net.spec, strict=net.strict, threads=None))
    train, done = kind.train, []

    def train_and_press(self: Any, run: Any, start: int, stop: int) -> int:
        ended = train(self, run, start, stop)
        done.append(start)
        if len(done) == step:
            press()
        return ended

    patch.setattr(kind, "train", train_and_press)
    patch.setattr(training, "_CHUNK_SECONDS", 0.0)
    patch.setattr(epochs, "_SECONDS_AT_ONCE", 0.0)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def interrupt(net: MLP, step: int, press: Callable[[], object] = ctrl_c, **options: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        press_after(patch, net, step, press)
        with pytest.raises(KeyboardInterrupt):
            fit(net, **options)


def end_of(net: MLP) -> tuple[str, Any]:
    state = net.history.state
    return checkers.digest([net.parameters.flat, *state.states]), (state.step, state.epoch, state.losses, state.powers)


@pytest.mark.parametrize("step", range(1, 3 * EPOCHS + 1))
def test_a_fit_goes_on_after_any_step_as_if_nothing_had_been(step: int, backend: str) -> None:
    whole, net = network(backend), network(backend)
    complete = fit(whole)
    interrupt(net, step)
    history = net.history
    assert history.stopped == "interrupted"
    assert history.n_epochs == history.state.epoch == (step - 1) // 3
    assert len(history.state.losses) == (step - 1) % 3 + 1
    rest = fit(net, EPOCHS - history.n_epochs, state=history.state)
    assert end_of(net) == end_of(whole)
    assert history.loss + rest.loss == complete.loss
    assert history.learning_rate + rest.learning_rate == complete.learning_rate


@pytest.mark.parametrize("step", range(1, 2 * EPOCHS + 1))
def test_skipped_batches_are_skipped_again(step: int) -> None:
    options = {"shuffle": False, "sample_weight": WEIGHTS}
    whole, net = network("numpy"), network("numpy")
    fit(whole, **options)
    interrupt(net, step, **options)
    fit(net, EPOCHS - net.history.n_epochs, state=net.history.state, **options)
    assert end_of(net) == end_of(whole)


def test_parameters_are_those_after_the_steps_that_were_done(backend: str) -> None:
    """Interrupted after four steps of three: the same as one epoch and, going on from it, one step."""
    net, other = network(backend), network(backend)
    interrupt(net, 4)
    assert np.isfinite(net.parameters.flat).all()
    interrupt(other, 3)
    interrupt(other, 1, epochs=EPOCHS, state=other.history.state)
    assert end_of(net)[0] == end_of(other)[0]


def test_ctrl_c_in_a_callback_lets_the_epoch_end(backend: str) -> None:
    def press(_: MLP, info: EpochInfo) -> None:
        if info.epoch == 1:
            ctrl_c()

    whole, net = network(backend), network(backend)
    complete = fit(whole)
    heard: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        fit(net, callbacks=[press, lambda _, info: heard.append(info.epoch)])
    assert heard == [0, 1]
    history = net.history
    assert (history.n_epochs, history.state.epoch, history.state.losses) == (2, 2, [])
    rest = fit(net, EPOCHS - 2, state=history.state)
    assert history.loss + rest.loss == complete.loss
    assert end_of(net) == end_of(whole)


def test_a_second_ctrl_c_does_not_wait(backend: str) -> None:
    """It comes out of the step itself; where a step may be half done there is no state to go on from."""
    reached = []

    def press_twice() -> None:
        ctrl_c()
        reached.append("after the first")
        ctrl_c()
        reached.append("after the second")

    net = network(backend)
    interrupt(net, 2, press_twice)
    assert reached == ["after the first"]
    assert (net.history.stopped, net.history.state) == ("interrupted", None)


def test_pythons_handler_is_back_afterwards(backend: str) -> None:
    net = network(backend)
    fit(net, 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    interrupt(net, 2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ValueError, match="X has"):
        net.fit(X[:, :2], Y)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_ones_own_is_left_alone(backend: str) -> None:
    heard = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    net = network(backend)
    with pytest.MonkeyPatch.context() as patch:
        press_after(patch, net, 2, ctrl_c)
        try:
            fit(net)
        except KeyboardInterrupt:
            pytest.fail("the fit put its own handler in the place of the user's")
    assert net.history.stopped == "epochs"
    assert heard == [signal.SIGINT]


def test_a_fit_outside_of_the_main_thread_is_not_concerned(backend: str) -> None:
    nets = [network(backend), network(backend)]
    fit(nets[0])
    thread = threading.Thread(target=fit, args=(nets[1],))
    thread.start()
    thread.join()
    assert end_of(nets[1]) == end_of(nets[0])


# --- a real Ctrl-C, from outside ---


def train_until_told(backend: str) -> dict[str, Any]:
    """Train for ever; when Ctrl-C comes, tell how things are and go on for a few epochs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process started in the background may ignore it
    net = network(backend)

    def tell(_: MLP, info: EpochInfo) -> None:
        if info.epoch == 2:
            print("ready", flush=True)  # noqa: T201  to the parent

    options: dict[str, Any] = {"batch_size": BATCH_SIZE, "optimizer": Adam(1e-3)}
    try:
        net.fit(X, Y, epochs=10**9, callbacks=[tell], **options)
    except KeyboardInterrupt:
        history = net.history
        rest = net.fit(X, Y, epochs=3, state=history.state, **options)
        whole = network(backend)
        complete = whole.fit(X, Y, epochs=history.n_epochs + 3, **options)
        return {
            "stopped": history.stopped,
            "epochs": history.n_epochs,
            "finite": bool(np.isfinite(net.parameters.flat).all()),
            "same losses": history.loss + rest.loss == complete.loss,
            "same parameters": net.parameters.flat.tobytes() == whole.parameters.flat.tobytes(),
        }
    return {}


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to a single process there")
def test_ctrl_c_from_outside(backend: str) -> None:
    child = subprocess.Popen(
        processes.command(train_until_told, backend),
        cwd=processes.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        answer = json.loads(child.stdout.readline())
        assert child.wait(processes.SECONDS) == 0
    assert answer.pop("epochs") >= 3
    assert answer == {"stopped": "interrupted", "finite": True, "same losses": True, "same parameters": True}


def test_a_run_that_was_interrupted_does_not_hold_its_data() -> None:
    """The kernels' backend knows what it is made of while it lasts: the data, and the states of the optimizer."""
    net = network("numba")
    interrupt(net, 4)
    assert net._only._known is None


@pytest.mark.parametrize("seconds", [0.001, 0.036, 0.06, 0.09, 3.0])
def test_pieces_of_a_run_are_long_beside_what_each_of_them_costs(seconds: float) -> None:
    """A tenth of a second at least, whatever a step takes, and not much longer, for Ctrl-C waits for their end."""
    own = object.__new__(training._Training)
    own.chunk = 1
    for _ in range(20):
        own._adapt_chunk(own.chunk * seconds)
    assert own.chunk == 1 or own.chunk * seconds <= 0.4
    assert own.chunk * seconds >= 0.1
