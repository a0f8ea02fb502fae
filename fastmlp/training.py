"""Training: batches, epochs, early stopping, callbacks. It knows no backend by name.

An epoch is a run of steps (`fastmlp.backends.base.Run`). What varies from step to step is laid out in arrays
beforehand, and the backend gets the run in chunks of some 0.2 s: between them Python sees to Ctrl-C. Where nobody
looks in between, several short epochs are one run. How steps are cut into runs and chunks changes no bit of the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import metrics as metric_table
from fastmlp import progress
from fastmlp.backends.base import Backend, Batch, Floats, Indices, Run, some_of, sum_in_order
from fastmlp.epochs import Ahead, Steps
from fastmlp.errors import DivergedError
from fastmlp.history import EarlyStopping, EpochInfo, History
from fastmlp.interrupts import DeferredInterrupt
from fastmlp.optimizers import Optimizer, Powers
from fastmlp.parameters import Array
from fastmlp.training_state import TrainingState, copy_of, fresh_state

if TYPE_CHECKING:
    from fastmlp.network import MLP

Callback = Callable[["MLP", EpochInfo], Any]
MeanLoss = Callable[[Run], float]
Figures = tuple[float, float]  # of an epoch: its loss, and its last learning rate

_NO_STATES: tuple[Array, Array] = (np.empty(0), np.empty(0))
_CHUNK_SECONDS = 0.2  # a chunk that took less than half of it is doubled, one that took over twice is halved


@dataclass(frozen=True)
class Plan:
    """How to fit: the arguments of `MLP.fit` but for the data, checked, and what other front ends do their own way.

    Attributes
    ----------
    optimizer, epochs, batch_size, shuffle, validation, metrics, early_stopping, callbacks, verbose
        As for `MLP.fit`.
    order : callable or None
        Returns the order of an epoch's samples, in place of a permutation drawn from the network's generator, or those
        of several passes, one behind the other: they are one epoch then, and cost Python no more than one. A state
        within an epoch cannot be gone on from, since its order could not be asked for again.
    shared_l2 : float
        An l2 that a batch divides by its weight, beside that of the spec.
    mean_loss : callable or None
        Returns an epoch's loss from its run, in place of the weighted mean of its batches' losses.
    """

    optimizer: Optimizer
    epochs: int
    batch_size: int
    shuffle: bool
    validation: Batch | None
    metrics: tuple[str, ...]
    early_stopping: EarlyStopping | None
    callbacks: tuple[Callback, ...]
    verbose: bool
    order: Callable[[], Indices] | None = None
    shared_l2: float = 0.0
    mean_loss: MeanLoss | None = None

    @property
    def is_watched(self) -> bool:
        """Whether anything happens after each epoch that needs the network, or has a say in the next one."""
        own = self.order is not None or self.mean_loss is not None or self.early_stopping is not None
        return own or self.validation is not None or bool(self.metrics or self.callbacks)


def fit(net: MLP, backend: Backend, data: Batch, plan: Plan, state: TrainingState | None = None) -> History:
    """Train a network; `MLP.fit` says what happens. Its history is `net.history` from the start."""
    net.parameters.check_writable()
    history = History(backend=backend.name)
    training = _Training(net, backend, data, plan, history, state)
    net.history = history
    with progress.display(plan.verbose, plan.epochs) as display:
        training.run(display)
    return history


class _Training:
    """A fit under way."""

    def __init__(
        self, net: MLP, backend: Backend, data: Batch, plan: Plan, history: History, state: TrainingState | None
    ) -> None:
        self.net, self.backend, self.data, self.plan, self.history = net, backend, data, plan, history
        self.groups = plan.optimizer.groups(net.spec)
        self.state = fresh_state(net, data, plan) if state is None else copy_of(state, net, data, plan)
        self.first_epoch = self.state.epoch
        self.steps = Steps.of(len(data.X), plan.batch_size)
        self.ahead = Ahead(self.steps, net.spec.n_params)
        if plan.is_watched or data.weights is not None:  # with weights each epoch has steps of its own
            self.ahead.stop()
        self.steps_of_passes = {1: self.steps}  # the last number of passes that made a run, beside one
        self.optimizer = plan.optimizer.over((self.state.epoch + plan.epochs) * self.steps.starts.size)
        self.backup = net.parameters.flat.copy()
        self.last_run: Run | None = None  # until the next is there: freed sooner, its memory goes to the system
        self.chunk = 1
        self.is_whole = True  # False while a step is half done, and for good where it went wrong

    def run(self, display: progress.Display) -> None:
        """Train epoch by epoch until all are done, or something ends it."""
        self._take_states()
        try:
            with DeferredInterrupt() as interrupt:
                self.history.stopped = self._run_epochs(display, interrupt)
        finally:
            if self.is_whole:
                self._give_states_back()
                self.history.state = self.state
        early = self.plan.early_stopping
        if early is not None and early.restore_best and self.state.best is not None:
            self.state.last = self.net.parameters.flat.copy()
            self.net.parameters.flat[...] = self.state.best

    def _take_states(self) -> None:
        """Have the backend lay out the optimizer's states; until the end there are no others."""
        first, second = map(self.backend.pack_state, self.state.states)
        self.states = first, second
        self.state.states = _NO_STATES

    def _give_states_back(self) -> None:
        """Put the states into the order of the parameters: one goes before the next one comes."""
        first, second = self.states
        del self.states
        first = self.backend.unpack_state(first)
        self.state.states = first, self.backend.unpack_state(second)

    def _run_epochs(self, display: progress.Display, interrupt: DeferredInterrupt) -> str:
        number = 0
        while number < self.plan.epochs:
            started = time.perf_counter()
            figures = self._train_epochs(number, interrupt)
            n = len(figures)
            infos = [self._look(number + i, loss, rate, started, n) for i, (loss, rate) in enumerate(figures)]
            for info in infos:
                self.history.append(info)
            for info in infos:  # more than one only where nothing that follows could end the fit
                display.epoch(info)
                is_over = self._is_over(info)
                wishes = [callback(self.net, info) for callback in self.plan.callbacks]
                if any(isinstance(wish, bool | np.bool_) and wish for wish in wishes):
                    return "callback"
                if is_over:
                    return "early stopping"
            number += n
            interrupt.check()
        return "epochs"

    def _train_epochs(self, number: int, interrupt: DeferredInterrupt) -> list[Figures]:
        """Train an epoch, or several where nobody looks in between; return their figures."""
        n_epochs = self.ahead.epochs(self.plan.epochs - number)  # the first one, of which a part may be done, is single
        started = time.perf_counter()
        figures = self._train_at_once(n_epochs) if n_epochs > 1 else []
        figures = figures or [self._train_epoch(number, interrupt)]
        self.ahead.adapt(len(figures), time.perf_counter() - started)
        return figures

    def _train_at_once(self, n_epochs: int) -> list[Figures]:
        """Do the steps of some epochs as one run; return their figures.

        Where something is not finite there are none, and all is as it was: one epoch after the other, which has the
        same bits, will then tell where.
        """
        state, net = self.state, self.net
        state.generator = net.generator.bit_generator.state
        try:
            order = np.concatenate([self._order() for _ in range(n_epochs)])
            run, rates, powers = self._lay_out(order, self._steps_of(order))
        except Exception:  # noqa: BLE001  of a schedule: it is asked again, epoch by epoch, and then it is told
            self.ahead.stop()
            net.generator.bit_generator.state = state.generator
            return []
        n_steps, states = rates.size, [values.copy() for values in self.states]
        self.backup[...] = net.parameters.flat
        self.is_whole = False
        if self.backend.train(run, 0, n_steps) < n_steps or not np.isfinite(net.parameters.flat).all():
            self.ahead.stop()
            net.parameters.flat[...], net.generator.bit_generator.state = self.backup, state.generator
            for own, before in zip(self.states, states, strict=True):
                own[...] = before
            self.is_whole = True
            return []
        self._note(n_epochs, n_steps, powers)
        self.is_whole = True
        self.last_run = run
        losses = run.losses.reshape(n_epochs, -1) * self.steps.totals
        means = [sum_in_order(own) / self.steps.total for own in losses]
        return list(zip(means, rates.reshape(n_epochs, -1)[:, -1].tolist(), strict=True))

    # ---- one epoch

    def _train_epoch(self, number: int, interrupt: DeferredInterrupt) -> Figures:
        """Do the steps of an epoch that are still to do; return its figures."""
        state, net = self.state, self.net
        if not state.losses:
            state.generator = net.generator.bit_generator.state
        order = self._order()
        steps = self._steps_of(order)
        run, rates, powers = self._lay_out(order, steps)
        run.losses[: len(state.losses)] = state.losses
        self.backup[...] = net.parameters.flat
        self._do_steps(run, number, interrupt)
        self._note(1, rates.size, powers)
        return self._mean_loss(run, steps), float(rates[-1])

    def _note(self, n_epochs: int, n_steps: int, powers: Powers) -> None:
        """Note that epochs are done."""
        state = self.state
        state.powers, state.step, state.epoch, state.losses = powers, state.step + n_steps, state.epoch + n_epochs, []
        state.generator = self.net.generator.bit_generator.state

    def _order(self) -> Indices:
        n_samples = len(self.data.X)
        if self.plan.order is not None:
            return self.plan.order()
        return self.net.generator.permutation(n_samples) if self.plan.shuffle else np.arange(n_samples)

    def _steps_of(self, order: Indices) -> Steps:
        passes = order.size // len(self.data.X)
        if passes not in self.steps_of_passes:
            self.steps_of_passes = {1: self.steps, passes: self.steps.repeated(passes)}
        steps = self.steps_of_passes[passes]
        return steps if self.data.weights is None else steps.weighted(self.data.weights, order)

    def _mean_loss(self, run: Run, steps: Steps) -> float:
        if self.plan.mean_loss is not None:
            return self.plan.mean_loss(run)
        return sum_in_order(run.losses * steps.totals) / steps.total

    def _lay_out(self, order: Indices, steps: Steps) -> tuple[Run, Floats, Powers]:
        """Return the run of whole epochs, the rate of each step, and the optimizer's powers after it."""
        rates = self.optimizer.rates(self.state.step, steps.starts.size)
        numbers = self.optimizer.numbers(self.groups, rates, self.state.powers)
        run = Run(
            parameters=self.net.parameters,
            states=self.states,
            rule=self.optimizer.rule,
            X=self.data.X,
            Y=self.data.Y,
            weights=self.data.weights,
            order=order,
            starts=steps.starts,
            stops=steps.stops,
            totals=steps.totals,
            coefficients=numbers.coefficients,
            decay=numbers.decay,
            l2=self.data.l2 + self.plan.shared_l2 / steps.totals,
            losses=np.empty(steps.starts.size),
            penalties=np.empty(steps.starts.size),
            seed=self.state.seed,
            first_step=self.state.step,
            groups=self.groups,
        )
        return run, rates, numbers.powers

    def _do_steps(self, run: Run, number: int, interrupt: DeferredInterrupt) -> None:
        n_steps, done = run.starts.size, len(self.state.losses)
        while done < n_steps:
            stop = min(done + self.chunk, n_steps)
            started = time.perf_counter()
            self.is_whole = False
            done = self.backend.train(run, done, stop)
            if done < stop:
                self._give_up(run, number, done)
            self.is_whole = True
            self.state.losses = run.losses[:done].tolist()
            self._adapt_chunk(time.perf_counter() - started)
            interrupt.check()
        if not np.isfinite(run.parameters.flat).all():
            self._give_up(run, number, n_steps - 1)

    def _adapt_chunk(self, seconds: float) -> None:
        if seconds < _CHUNK_SECONDS / 2:
            self.chunk *= 2
        elif seconds > 2 * _CHUNK_SECONDS:
            self.chunk = max(1, self.chunk // 2)

    def _give_up(self, run: Run, number: int, step: int) -> None:
        """Go back to the start of the epoch and say where it went wrong."""
        self.is_whole = False
        layer = _first_bad_layer(self.backend, run, step)
        self.net.parameters.flat[...] = self.backup
        raise DivergedError(number, step, layer)

    # ---- after an epoch

    def _look(self, number: int, loss: float, rate: float, started: float, n_epochs: int) -> EpochInfo:
        """Return the figures of an epoch, one of some that have begun at a time."""
        plan, validation = self.plan, self.plan.validation
        return EpochInfo(
            epoch=number,
            n_epochs=plan.epochs,
            loss=loss,
            validation_loss=None if validation is None else self.backend.loss(self.net.parameters, validation),
            metrics=self._metrics(self.data),
            validation_metrics={} if validation is None else self._metrics(validation),
            seconds=(time.perf_counter() - started) / n_epochs,
            learning_rate=rate,
        )

    def _metrics(self, data: Batch) -> dict[str, float]:
        if not self.plan.metrics:
            return {}
        A = self.backend.predict(self.net.parameters, data.X)
        return {name: metric_table.compute(name, A, data.Y, data.weights) for name in self.plan.metrics}

    def _is_over(self, info: EpochInfo) -> bool:
        """Keep early stopping's books and return whether it ends the fit."""
        early, state = self.plan.early_stopping, self.state
        if early is None:
            return False
        watched = info.loss if info.validation_loss is None else info.validation_loss
        epoch = self.first_epoch + info.epoch
        state.early_stopping = state.early_stopping.update(early, epoch, watched)
        if state.early_stopping.best_epoch == epoch:
            self.history.best_epoch = info.epoch
            if early.restore_best:
                state.best = np.empty_like(self.backup) if state.best is None else state.best
                state.best[...] = self.net.parameters.flat
        return state.early_stopping.is_over(early)


def _first_bad_layer(backend: Backend, run: Run, step: int) -> int | None:
    """Return the first layer with a parameter, else with an output for the step's batch, that is not finite."""
    for layer, (W, b) in enumerate(zip(run.parameters.weights, run.parameters.biases, strict=True)):
        if not (np.isfinite(W).all() and np.isfinite(b).all()):
            return layer
    scale = run.parameters.input_scale
    if scale is not None and not np.isfinite(scale).all():
        return 0
    X = some_of(run.X, run.rows(step))
    outputs = [*backend.hidden_activations(run.parameters, X), backend.predict(run.parameters, X)]
    return next((layer for layer, A in enumerate(outputs) if not np.isfinite(A).all()), None)
