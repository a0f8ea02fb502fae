"""Training: batches, epochs, early stopping, callbacks. It knows no backend by name.

An epoch is a run of steps (`fastmlp.backends.base.Run`). What varies from step to step is laid out in arrays
beforehand, and the backend gets the run in chunks of some 0.2 s: between them Python sees to Ctrl-C. Where nobody
looks in between, several short epochs are one run; where somebody does, the steps of several may still be laid out at
once, and each epoch takes the next of them. How steps are cut into runs and chunks changes no bit of the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import metrics as metric_table
from fastmlp import progress
from fastmlp.backends.base import Backend, Batch, Indices, Run, some_of, sum_in_order
from fastmlp.epochs import Ahead, Steps, Stretch
from fastmlp.errors import DivergedError
from fastmlp.history import EarlyStopping, EpochInfo, History
from fastmlp.interrupts import DeferredInterrupt
from fastmlp.optimizers import Optimizer
from fastmlp.parameters import Array
from fastmlp.training_state import TrainingState, copy_of, fresh_state

if TYPE_CHECKING:
    from fastmlp.network import MLP

Callback = Callable[["MLP", EpochInfo], Any]
MeanLoss = Callable[[Run, int, int], float]
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
        Returns an epoch's loss from a run, the first of its own steps there and the one after the last, in place of the
        weighted mean of its batches' losses.
    is_steady : bool
        Whether nothing that comes between epochs changes what the optimizer says of the steps after them. Then all but
        the order of the samples is laid out for many epochs at once.
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
    is_steady: bool = False

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
        is_known = plan.is_steady and data.weights is None and self.ahead.passes(2) > 1
        self.is_steady = is_known and plan.is_watched  # other epochs are trained at once, steps and all
        self.first_step = self.state.step
        if plan.is_watched or data.weights is not None:  # with weights each epoch has steps of its own
            self.ahead.stop()
        self.steps_of_passes = {1: self.steps}  # the last number of passes that made a run, beside one
        self.optimizer = plan.optimizer.over((self.state.epoch + plan.epochs) * self.steps.starts.size)
        self.backup = net.parameters.flat.copy()
        self.stretch: Stretch | None = None  # until the next is there: freed sooner, its memory goes to the system
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
                self._drop_stretch()
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
            stretch = self._lay_out(order, self._steps_of(n_epochs, order))
        except Exception:  # noqa: BLE001  of a schedule: it is asked again, epoch by epoch, and then it is told
            self.ahead.stop()
            net.generator.bit_generator.state = state.generator
            return []
        run, n_steps, states = stretch.run, stretch.rates.size, [values.copy() for values in self.states]
        self.backup[...] = net.parameters.flat
        self.is_whole = False
        if self.backend.train(run, 0, n_steps) < n_steps or not np.isfinite(net.parameters.flat).all():
            self.ahead.stop()
            net.parameters.flat[...], net.generator.bit_generator.state = self.backup, state.generator
            for own, before in zip(self.states, states, strict=True):
                own[...] = before
            self.is_whole = True
            return []
        self._note(n_epochs, n_steps, stretch)
        self.is_whole = True
        losses = run.losses.reshape(n_epochs, -1) * self.steps.totals
        means = [sum_in_order(own) / self.steps.total for own in losses]
        return list(zip(means, stretch.rates.reshape(n_epochs, -1)[:, -1].tolist(), strict=True))

    # ---- one epoch

    def _train_epoch(self, number: int, interrupt: DeferredInterrupt) -> Figures:
        """Do the steps of an epoch that are still to do; return its figures."""
        state, net = self.state, self.net
        if not state.losses:
            self._note_generator()
        order = self._order()
        passes = order.size // len(self.data.X)
        steps = self._steps_of(passes, order)
        stretch = self._stretch_of(passes, order, steps)
        run, first = stretch.run, stretch.done
        run.losses[first : first + len(state.losses)] = state.losses
        self.backup[...] = net.parameters.flat
        self._do_steps(run, first, first + steps.totals.size, number, interrupt)
        self._note(1, steps.totals.size, stretch)
        figures = self._mean_loss(run, first, steps), float(stretch.rates[stretch.done - 1])
        if not self.is_steady:  # its order may be large
            self._drop_stretch()
        return figures

    def _note(self, n_epochs: int, n_steps: int, stretch: Stretch) -> None:
        """Note that epochs are done, with the next steps of a stretch."""
        state = self.state
        state.step, state.epoch, state.losses = state.step + n_steps, state.epoch + n_epochs, []
        stretch.done += n_steps
        self.stretch = stretch
        self._note_generator()

    def _note_generator(self) -> None:
        """Note where the generator stands, unless another one draws the orders."""
        if self.plan.order is None:
            self.state.generator = self.net.generator.bit_generator.state

    def _note_powers(self) -> None:
        """Note the optimizer's running products, which nobody asks for within a stretch."""
        if self.stretch is not None:
            self.state.powers = self.stretch.powers(self.optimizer)

    def _drop_stretch(self) -> None:
        """Free the memory of the steps that were laid out last."""
        self._note_powers()
        self.stretch = None

    def _order(self) -> Indices:
        n_samples = len(self.data.X)
        if self.plan.order is not None:
            return self.plan.order()
        return self.net.generator.permutation(n_samples) if self.plan.shuffle else np.arange(n_samples)

    def _steps_of(self, passes: int, order: Indices) -> Steps:
        if passes not in self.steps_of_passes:
            self.steps_of_passes = {1: self.steps, passes: self.steps.repeated(passes)}
        steps = self.steps_of_passes[passes]
        return steps if self.data.weights is None else steps.weighted(self.data.weights, order)

    def _stretch_of(self, passes: int, order: Indices, steps: Steps) -> Stretch:
        """Return a stretch whose next steps are those of some passes in this order."""
        if not self.is_steady:
            return self._lay_out(order, steps)
        stretch, n_samples = self.stretch, len(self.data.X)
        if stretch is None or not stretch.has_room(steps.totals.size, order.size):
            left = self.plan.epochs - (self.state.step - self.first_step) // self.steps.totals.size
            n_passes = max(passes, self.ahead.passes(left))
            stretch = self._lay_out(order.copy(), self.steps.repeated(n_passes, passes))
        else:
            orders = stretch.run.order.reshape(-1, n_samples)
            begin = stretch.done // self.steps.totals.size
            orders[np.arange(begin, begin + passes) % len(orders)] = order.reshape(passes, n_samples)
        return stretch

    def _mean_loss(self, run: Run, first: int, steps: Steps) -> float:
        stop = first + steps.totals.size
        if self.plan.mean_loss is not None:
            return self.plan.mean_loss(run, first, stop)
        return sum_in_order(run.losses[first:stop] * steps.totals) / steps.total

    def _lay_out(self, order: Indices, steps: Steps) -> Stretch:
        """Return the run of whole epochs, and what else belongs to it."""
        self._note_powers()
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
        return Stretch(run, rates, self.state.powers, numbers.powers)

    def _do_steps(self, run: Run, first: int, end: int, number: int, interrupt: DeferredInterrupt) -> None:
        done = first + len(self.state.losses)
        while done < end:
            stop = min(done + self.chunk, end)
            started = time.perf_counter()
            self.is_whole = False
            done = self.backend.train(run, done, stop)
            if done < stop:
                self._give_up(run, number, done, first)
            self.is_whole = True
            self.state.losses = run.losses[first:done].tolist()
            self._adapt_chunk(time.perf_counter() - started)
            interrupt.check()
        if not np.isfinite(run.parameters.flat).all():
            self._give_up(run, number, end - 1, first)

    def _adapt_chunk(self, seconds: float) -> None:
        if seconds < _CHUNK_SECONDS / 2:
            self.chunk *= 2
        elif seconds > 2 * _CHUNK_SECONDS:
            self.chunk = max(1, self.chunk // 2)

    def _give_up(self, run: Run, number: int, step: int, first: int) -> None:
        """Go back to the start of the epoch and say where it went wrong."""
        self.is_whole = False
        layer = _first_bad_layer(self.backend, run, step)
        self.net.parameters.flat[...] = self.backup
        raise DivergedError(number, step - first, layer)

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
