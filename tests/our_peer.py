"""What the tests of the comparison with other libraries share: a peer over fastmlp itself, and rows of results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from benchmarks import machine, verify
from benchmarks.cases import Case
from benchmarks.peers import measuring
from benchmarks.peers.base import ADAM, PEERS, Problem
from benchmarks.peers.results import Rival, Row
from benchmarks.peers.workloads import WORKLOADS, Bar, Workload
from fastmlp.optimizers import Optimizer
from fastmlp.training_state import TrainingState

TINY = Workload(Case("tiny", (3, 4, 3), "relu", batch_size=8, n_batches=4), Bar(1e-9, 1e9))


class WatchedCores:
    """Cores that a process is not really held to; `now` says to how many it would be."""

    n = 2
    can_hold = True

    def __init__(self) -> None:
        self.now = 2

    @contextmanager
    def held(self, n: int) -> Iterator[None]:
        before, self.now = self.now, n
        yield
        self.now = before


ONE_CORE: Any = SimpleNamespace(n=1, can_hold=False, held=machine.Cores().held)


class Ours:
    """A peer's module over fastmlp's NumPy backend, with places to plant bugs."""

    def __init__(
        self,
        optimizer: Optimizer = ADAM,
        loss_factor: float = 1.0,
        gradient_factor: float = 1.0,
        order: slice = slice(None),
        outputs: Callable[[Any], Any] = lambda A: A,
        *,
        begins_anew: bool = True,
    ) -> None:
        self.optimizer, self.loss_factor, self.gradient_factor = optimizer, loss_factor, gradient_factor
        self.order, self.outputs, self.begins_anew = order, outputs, begins_anew
        self.trainers: list[OurTrainer] = []

    def trainer(self, problem: Problem) -> Any:
        self.trainers.append(OurTrainer(self, problem))
        return self.trainers[-1]

    def predictor(self, problem: Problem) -> Any:
        net = problem.case.network("numpy")
        net.parameters.flat[...] = problem.start
        return lambda X: self.outputs(net.predict(X))


class OurTrainer:
    """Its network."""

    definition = verify.OURS

    def __init__(self, module: Ours, problem: Problem) -> None:
        self.module, self.problem = module, problem
        self.state: TrainingState | None = None
        self.shuffled: set[bool] = set()
        self.net = problem.case.network("numpy")

    def reset(self) -> None:
        self.net.parameters.flat[...] = self.problem.start
        if self.module.begins_anew:
            self.state = None

    def gradient(self, X: Any, Y: Any) -> tuple[float, Any]:
        loss, gradient = self.net.loss_and_gradient(X, Y)
        return loss * self.module.loss_factor, gradient.flat * self.module.gradient_factor

    def train(self, epochs: int, *, shuffle: bool) -> list[float]:
        self.shuffled.add(shuffle)
        X, Y = self.problem.X[self.module.order], self.problem.Y[self.module.order]
        history = self.net.fit(
            X,
            Y,
            optimizer=self.module.optimizer,
            epochs=epochs,
            batch_size=self.problem.case.batch_size,
            shuffle=shuffle,
            state=self.state,
        )
        self.state = history.state
        return [loss * self.module.loss_factor for loss in history.loss]


def peers(**modules: Any) -> measuring.Loaded:
    return {name: (PEERS[name], module) for name, module in modules.items()}


def rival(peer: str, ratio: float, threads: int = 1, seconds: float = 1e-5) -> Rival:
    return Rival(peer, threads, seconds, ratio, (ratio - 1.0, ratio + 1.0))


def row(*rivals: Rival, bar: Bar | None = None, **changes: Any) -> Row:
    workload = Workload(WORKLOADS["tab"].case, bar)
    return replace(measuring.row_of(workload, 2e-6, rivals, {}, {}), **changes)
