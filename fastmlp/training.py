"""Training: batches, epochs, early stopping, callbacks. It knows no backend by name.

An epoch is a run of steps (`fastmlp.backends.base.Run`). What varies from step to step is laid out in arrays
beforehand, and the backend gets the run in chunks of some 0.2 s: between them Python sees to Ctrl-C. How a
run is cut into chunks changes no bit of the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import metrics as metric_table
from fastmlp import progress
from fastmlp.backends.base import Backend, Batch, Floats, Indices, Run, empty_states, sum_in_order
from fastmlp.errors import DivergedError
from fastmlp.history import EarlyStopping, EarlyStoppingState, EpochInfo, History
from fastmlp.interrupts import DeferredInterrupt
from fastmlp.optimizers import Numbers, Optimizer, Powers
from fastmlp.parameters import Array
from fastmlp.spec import NetworkSpec

if TYPE_CHECKING:
    from fastmlp.network import MLP

Callback = Callable[["MLP", EpochInfo], Any]
MeanLoss = Callable[[Run], float]

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


@dataclass
class TrainingState:
    """Where a training stands, besides the parameters: with them, all that it takes to go on exactly there.

    Attributes
    ----------
    spec : NetworkSpec
    optimizer : Optimizer
    batches : tuple
        (n_samples, batch_size, whether they are shuffled): what an epoch under way consists of.
    states : tuple of ndarray
        What the optimizer keeps for every parameter, now.
    generator : dict
        State of the random generator at the start of the epoch under way.
    powers : tuple of float
        Running products of the optimizer's, at the start of that epoch.
    step, epoch : int
        Steps and epochs done before that epoch.
    losses : list of float
        Losses of the steps done in it: none between epochs.
    seed : int
        Of the dropout masks.
    early_stopping : EarlyStoppingState
    best : ndarray or None
        Parameters of the best epoch, where early stopping keeps them.
    last : ndarray or None
        Parameters of the last epoch, where the best were put into the network in their place: a fit that goes on
        from here goes on from these.
    """

    spec: NetworkSpec
    optimizer: Optimizer
    batches: tuple[int, int, bool]
    states: tuple[Array, Array]
    generator: Mapping[str, Any]
    seed: int
    powers: Powers = (1.0, 1.0)
    step: int = 0
    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    early_stopping: EarlyStoppingState = field(default_factory=EarlyStoppingState)
    best: Array | None = None
    last: Array | None = None


@dataclass(frozen=True)
class Steps:
    """How an epoch's samples fall into steps; batches whose weights are all zero are left out.

    Attributes
    ----------
    starts, stops : ndarray of shape (n_steps,), int64
    totals : ndarray of shape (n_steps,), float64
        Weight sum of each step's samples.
    total : float
        Their sum.
    """

    starts: Indices
    stops: Indices
    totals: Floats
    total: float

    @classmethod
    def of(cls, n_samples: int, batch_size: int) -> Steps:
        """Cut samples into batches: the steps of every epoch, unless there are weights."""
        starts = np.arange(0, n_samples, batch_size)
        stops = np.minimum(starts + batch_size, n_samples)
        totals = (stops - starts).astype(np.float64)
        return cls(starts, stops, totals, sum_in_order(totals))

    def repeated(self, times: int) -> Steps:
        """Return the steps of several passes whose orders lie one behind the other."""
        n_samples = int(self.stops[-1])
        begins = np.repeat(np.arange(times) * n_samples, self.starts.size)
        starts, stops = begins + np.tile(self.starts, times), begins + np.tile(self.stops, times)
        return Steps(starts, stops, np.tile(self.totals, times), self.total * times)

    def weighted(self, weights: Floats, order: Indices) -> Steps:
        """Return the steps of an order of samples that have weights."""
        pairs = zip(self.starts, self.stops, strict=True)
        totals = np.array([sum_in_order(weights[order[i:j]]) for i, j in pairs])
        kept = totals > 0
        return Steps(self.starts[kept], self.stops[kept], totals[kept], sum_in_order(totals[kept]))


def fit(net: MLP, backend: Backend, data: Batch, plan: Plan, state: TrainingState | None = None) -> History:
    """Train a network; `MLP.fit` says what happens. Its history is `net.history` from the start."""
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
        self.state = _fresh_state(net, data, plan) if state is None else _copy_of(state, net, data, plan)
        self.first_epoch = self.state.epoch
        self.steps = Steps.of(len(data.X), plan.batch_size)
        self.steps_of_passes = {1: self.steps}  # the last number of passes that made a run, beside one
        self.optimizer = plan.optimizer.over((self.state.epoch + plan.epochs) * self.steps.starts.size)
        self.backup = net.parameters.flat.copy()
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
        for number in range(self.plan.epochs):
            started = time.perf_counter()
            loss, rate = self._train_epoch(number, interrupt)
            info = self._look(number, loss, rate, started)
            self.history.append(info)
            display.epoch(info)
            is_over = self._is_over(info)
            wishes = [callback(self.net, info) for callback in self.plan.callbacks]
            if any(isinstance(wish, bool | np.bool_) and wish for wish in wishes):
                return "callback"
            if is_over:
                return "early stopping"
            interrupt.check()
        return "epochs"

    # ---- one epoch

    def _train_epoch(self, number: int, interrupt: DeferredInterrupt) -> tuple[float, float]:
        """Do the steps of an epoch that are still to do; return its loss and its last learning rate."""
        state, net = self.state, self.net
        if not state.losses:
            state.generator = net.generator.bit_generator.state
        order = self._order()
        steps = self._steps_of(order)
        n_steps = steps.starts.size
        rates = self.optimizer.rates(state.step, n_steps)
        numbers = self.optimizer.numbers(self.groups, rates, state.powers)
        run = self._lay_out(order, steps, numbers)
        run.losses[: len(state.losses)] = state.losses
        self.backup[...] = net.parameters.flat
        self._do_steps(run, number, interrupt)
        state.powers, state.step, state.epoch, state.losses = numbers.powers, state.step + n_steps, state.epoch + 1, []
        state.generator = net.generator.bit_generator.state
        return self._mean_loss(run, steps), float(rates[-1])

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

    def _lay_out(self, order: Indices, steps: Steps, numbers: Numbers) -> Run:
        """Return the run of a whole epoch."""
        return Run(
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

    def _look(self, number: int, loss: float, rate: float, started: float) -> EpochInfo:
        """Return the epoch's figures."""
        plan, validation = self.plan, self.plan.validation
        return EpochInfo(
            epoch=number,
            n_epochs=plan.epochs,
            loss=loss,
            validation_loss=None if validation is None else self.backend.loss(self.net.parameters, validation),
            metrics=self._metrics(self.data),
            validation_metrics={} if validation is None else self._metrics(validation),
            seconds=time.perf_counter() - started,
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


def _batches(data: Batch, plan: Plan) -> tuple[int, int, bool]:
    return len(data.X), plan.batch_size, plan.shuffle


def _fresh_state(net: MLP, data: Batch, plan: Plan) -> TrainingState:
    seed = int(net.generator.integers(1 << 32)) if net.spec.dropout else 0
    states = empty_states(net.spec, plan.optimizer.rule)
    generator = net.generator.bit_generator.state
    return TrainingState(net.spec, plan.optimizer, _batches(data, plan), states, generator, seed)


def _copy_of(state: TrainingState, net: MLP, data: Batch, plan: Plan) -> TrainingState:
    """Return a state of the fit's own, after checking that it belongs to this network and optimizer.

    The network's generator, and parameters that the best have replaced, are set to where the state has them.

    Raises
    ------
    TypeError, ValueError
        If it does not.
    """
    if not isinstance(state, TrainingState):
        msg = f"state is {state!r}; expected the TrainingState of an earlier fit, as in history.state"
        raise TypeError(msg)
    if state.spec != net.spec:
        name = next(f.name for f in fields(net.spec) if getattr(state.spec, f.name) != getattr(net.spec, f.name))
        theirs, ours = getattr(state.spec, name), getattr(net.spec, name)
        msg = f"state belongs to a network with {name}={theirs!r}, but this one has {name}={ours!r}"
        raise ValueError(msg)
    if state.optimizer != plan.optimizer:
        msg = f"state belongs to {state.optimizer}, but this fit has optimizer {plan.optimizer}; use the same"
        raise ValueError(msg)
    batches = _batches(data, plan)
    if state.losses and state.batches != batches:
        msg = (
            f"state stands within an epoch with (n_samples, batch_size, shuffle) = {state.batches}, but this fit has "
            f"{batches}; use the same"
        )
        raise ValueError(msg)
    net.generator.bit_generator.state = state.generator
    if state.last is not None:
        net.parameters.flat[...] = state.last
    first, second = (values.copy() for values in state.states)
    best = None if state.best is None else state.best.copy()
    return replace(state, batches=batches, states=(first, second), losses=list(state.losses), best=best, last=None)


def _first_bad_layer(backend: Backend, run: Run, step: int) -> int | None:
    """Return the first layer with a parameter, else with an output for the step's batch, that is not finite."""
    for layer, (W, b) in enumerate(zip(run.parameters.weights, run.parameters.biases, strict=True)):
        if not (np.isfinite(W).all() and np.isfinite(b).all()):
            return layer
    scale = run.parameters.input_scale
    if scale is not None and not np.isfinite(scale).all():
        return 0
    X = run.X[run.rows(step)]
    outputs = [*backend.hidden_activations(run.parameters, X), backend.predict(run.parameters, X)]
    return next((layer for layer, A in enumerate(outputs) if not np.isfinite(A).all()), None)
