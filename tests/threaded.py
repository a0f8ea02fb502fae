"""Work worth no threads, done by several: what the fast Numba backend computes then, and how it ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, Adam, EpochInfo
from fastmlp.backends.numba import crew, fast
from fastmlp.backends.numba.fast import layout
from fastmlp.spec import NetworkSpec
from tests.networks import Case
from tests.test_concurrency import exit_code

STRIPE, BLOCK = 5, 23
CASE = Case(
    (9, 33, 17, 3),
    ("tanh", "gelu"),
    "softmax",
    "cross_entropy",
    l2=0.125,
    weighted=True,
    targets="vector",
    n_samples=64,
)


def use_threads_for_everything(patch: pytest.MonkeyPatch, rows: tuple[int, int] = (STRIPE, BLOCK)) -> list[int]:
    """Have threads used however little there is to do, in stripes and blocks of few rows; return a list of crews.

    And whatever else this machine has to do.
    """
    patch.setattr(fast, "_STEP_WORTH_THREADS", 0)
    patch.setattr(fast, "_RUN_WORTH_THREADS", 0)

    def rows_at_once(_: NetworkSpec, n_rows: int, *, training: bool) -> tuple[int, int]:
        return min(rows[0], n_rows), min(rows[1] if training else rows[0], n_rows)

    patch.setattr(layout, "_rows_at_once", rows_at_once)
    genuine, seen = crew.run, []

    def run(task: Any, n_threads: int, give_up: Callable[[], None], pace: crew.Pace) -> int:
        seen.append(n_threads)
        return genuine(task, n_threads, give_up, pace)

    patch.setattr(crew.Pace, "limit", lambda _, n_threads: n_threads)

    patch.setattr(crew, "run", run)
    return seen


def fit(threads: int, **options: Any) -> MLP:
    """Train with all that a training may have."""
    net = CASE.build("numba", threads=threads, dropout=0.25, seed=7)
    _, X, Y, w = CASE.data
    net.fit(X, Y, sample_weight=w, **{"optimizer": Adam(0.01), "epochs": 3, "batch_size": 49} | options)
    return net


def compare_with_children() -> list[int]:
    """Fit with threads, fork, and return the exit codes of a child and a grandchild that fit with threads, too."""
    with pytest.MonkeyPatch.context() as patch:
        seen = use_threads_for_everything(patch)
        expected = fit(2).parameters.flat.tobytes()

        def check() -> int:
            return 0 if fit(2).parameters.flat.tobytes() == expected else 1

        def check_with_a_child() -> int:
            return 10 * exit_code(check) + check()

        return [exit_code(check), exit_code(check_with_a_child), max(seen)]


def train_until_told() -> dict[str, Any]:
    """Train for ever with two threads; when Ctrl-C comes, tell how things are and go on for a few epochs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process started in the background may ignore it
    with pytest.MonkeyPatch.context() as patch:
        seen = use_threads_for_everything(patch)

        def tell(_: MLP, info: EpochInfo) -> None:
            if info.epoch == 2:
                print("ready", flush=True)  # noqa: T201  to the parent

        _, X, Y, w = CASE.data
        options: dict[str, Any] = {"sample_weight": w, "optimizer": Adam(1e-3), "batch_size": 49}
        net, whole = (CASE.build("numba", threads=threads, dropout=0.25, seed=7) for threads in (2, 1))
        try:
            net.fit(X, Y, epochs=10**9, callbacks=[tell], **options)
        except KeyboardInterrupt:
            history = net.history
            net.fit(X, Y, epochs=3, state=history.state, **options)
            whole.fit(X, Y, epochs=history.n_epochs + 3, **options)
            same = net.parameters.flat.tobytes() == whole.parameters.flat.tobytes()
            finite = bool(np.isfinite(net.parameters.flat).all())
            return {"stopped": history.stopped, "finite": finite, "same": same, "threads": max(seen)}
    return {}
