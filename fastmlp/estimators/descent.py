"""Training batch by batch: scikit-learn's draws, its books of progress and its ways to end, over `training.fit`.

The steps themselves are a run of the backend. Here is what stands between two epochs: the order of the samples, the
learning rate, whether the loss or the score still improves. Where nothing can come of that for some epochs, since the
patience of `n_iter_no_change` outlasts them, they are one run, and their books are kept afterwards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp import training
from fastmlp.backends.base import Backend, Batch, Floats, Indices, Run
from fastmlp.errors import DivergedError
from fastmlp.estimators.solvers import Solver
from fastmlp.estimators.telling import warn
from fastmlp.history import EpochInfo
from fastmlp.network import MLP
from fastmlp.training import Plan
from fastmlp.training_state import TrainingState

if TYPE_CHECKING:
    from fastmlp.estimators.base import BaseMLP

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


_MOST_IN_A_RUN = 1 << 17  # samples, counted once for each pass: their orders take a megabyte


class Orders:
    """The orders of the next epochs, as `sklearn.utils.shuffle` of the order before would give each.

    Parameters
    ----------
    n_samples : int
    random_state : numpy.random.RandomState or None
        None leaves the samples as they come.
    n_epochs : callable
        Returns how many epochs are to be one run.
    """

    def __init__(self, n_samples: int, random_state: np.random.RandomState | None, n_epochs: Callable[[], int]) -> None:
        self._random_state, self._n_epochs = random_state, n_epochs
        self._orders: Indices = np.arange(n_samples)[None]

    def __call__(self) -> Indices:
        """Return the orders of a run; the next call writes over them."""
        n_epochs, orders, before = self._n_epochs(), self._orders, self._orders[-1]
        if len(orders) != n_epochs:
            self._orders = orders = np.empty((n_epochs, before.size), np.int64)
        for order in orders:
            order[...] = before
            if self._random_state is not None:
                self._random_state.shuffle(order)  # where it was shuffled to, `shuffle` would look up in the one before
            before = order
        return orders.reshape(-1)


class Losses:
    """The losses of a run's epochs: each the mean of its batches', by their number of samples, whatever they weigh.

    Parameters
    ----------
    batch : Batch
        All samples.
    batch_size : int
    constants : ndarray of shape (n_samples,) or None
        Added to each sample's loss: what the definition of the loss has and training needs not.
    n_outputs : int
        Over how many outputs the error is a sum where their mean, and the whole penalty, are looked at; 1 otherwise.

    Attributes
    ----------
    last, watched : list of float
        Of each epoch of the last run: its loss, and what is looked at.
    """

    def __init__(self, batch: Batch, batch_size: int, constants: Floats | None, n_outputs: int) -> None:
        self._n_steps = -(-len(batch.X) // batch_size)  # of an epoch; those without weight are left out
        self._weights, self._constants, self._n_outputs = batch.weights, constants, n_outputs
        self.last: list[float] = []
        self.watched: list[float] = []

    def __call__(self, run: Run, first: int, stop: int) -> float:
        """Take down the losses of some steps of a run; return their mean."""
        losses = run.losses[first:stop]
        if self._constants is not None:
            losses = losses + self._of_batches(self._constants, run, first, stop)
        counts = (run.stops[first:stop] - run.starts[first:stop]).reshape(-(-losses.size // self._n_steps), -1)
        means = watched = _means(losses, counts)
        if self._n_outputs > 1:
            penalties = _means(run.penalties[first:stop], counts)
            watched = (means - penalties) / self._n_outputs + penalties
        self.last = means.tolist()
        self.watched = self.last if watched is means else watched.tolist()
        return sum(self.last) / len(self.last)

    def _of_batches(self, constants: Floats, run: Run, first: int, stop: int) -> Floats:
        """Return the mean of each batch's constants; without weights that of all, which an epoch's comes to."""
        if self._weights is None:
            return np.full(stop - first, constants.mean())
        terms = constants * self._weights
        return np.array([terms[run.rows(step)].sum() for step in range(first, stop)]) / run.totals[first:stop]


def _means(values: Floats, counts: Indices) -> Floats:
    """Return each epoch's mean of its batches' values, by their number of samples."""
    means: Floats = (values.reshape(counts.shape) * counts).sum(axis=1) / counts.sum(axis=1)
    return means


@dataclass(frozen=True)
class Task:
    """What is trained, on what.

    Attributes
    ----------
    net : MLP
    backend : Backend
    batch : Batch
        The samples of training.
    batch_size : int
    constants : ndarray or None
        See `Losses`.
    score : callable or None
        Computes what early stopping looks at.
    """

    net: MLP
    backend: Backend
    batch: Batch
    batch_size: int
    constants: Floats | None
    score: Callable[[], float] | None


def descend(estimator: BaseMLP, task: Task, *, incremental: bool) -> None:
    """Train an estimator: all its epochs, or just one more.

    Raises
    ------
    ValueError
        If the parameters stop being finite, and early stopping has none to go back to.

    Warns
    -----
    ConvergenceWarning
        If all epochs were used up, or the training diverged after a best epoch.
    """
    solver: Solver = estimator._optimizer  # noqa: SLF001
    n_samples = len(task.batch.X)
    n_outputs = estimator.n_outputs_ if estimator._sums_outputs() else 1  # noqa: SLF001
    losses = Losses(task.batch, task.batch_size, task.constants, n_outputs)
    course = Epochs(estimator, task, solver, losses, incremental=incremental)
    random_state = estimator._random_state if estimator.shuffle else None  # noqa: SLF001
    plan = Plan(
        optimizer=solver.optimizer,
        epochs=1 if incremental else estimator.max_iter,
        batch_size=task.batch_size,
        shuffle=False,
        validation=None,
        metrics=(),
        early_stopping=None,
        callbacks=(course.run_ends,),
        verbose=False,
        order=Orders(n_samples, random_state, course.epochs_ahead),
        shared_l2=float(estimator.alpha),
        mean_loss=losses,
        is_steady=solver.is_steady,
    )
    estimator.n_iter_ = 0
    _open_books(estimator, task)
    state, solver.state = solver.state, None
    try:
        training.fit(task.net, task.backend, task.batch, plan, _for_network(state, task.net))
    except KeyboardInterrupt:
        course.interrupted(None if task.net.history is None else task.net.history.state)
        warn("Training interrupted by user.")
    except DivergedError as error:
        course.diverged(error)
    if task.net.history is not None:
        solver.state = _between_epochs(task.net.history.state)
    course.ends()


def _open_books(estimator: BaseMLP, task: Task) -> None:
    """Begin the books that are not there: at the first fit, or where another way to train is gone on from."""
    books = estimator.__dict__
    if books.get("loss_curve_") is None:
        estimator.loss_curve_ = []
    books.setdefault("_no_improvement_count", 0)
    if task.score is None:
        if books.get("best_loss_") is None:
            estimator.best_loss_ = math.inf
        books.setdefault("_least_watched", math.inf)
        estimator.validation_scores_ = estimator.best_validation_score_ = None
    elif books.get("validation_scores_") is None:
        estimator.validation_scores_, estimator.best_validation_score_ = [], -math.inf
        estimator.best_loss_, estimator._best = None, task.net.parameters.flat.copy()  # noqa: SLF001


def batch_size_for(batch_size: int | str, n_samples: int) -> int:
    """Return the size of a batch; "auto" is 200, or all samples where there are fewer.

    Warns
    -----
    UserWarning
        If a batch is to be larger than the data.
    """
    if isinstance(batch_size, str):
        return min(200, n_samples)
    if batch_size > n_samples:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return int(min(batch_size, n_samples))


class Course:
    """How a training goes, in the attributes and the callbacks of its estimator.

    Parameters
    ----------
    estimator : BaseMLP
    constant : float
        Added to the loss of an iteration of "lbfgs".
    """

    def __init__(self, estimator: BaseMLP, constant: float = 0.0) -> None:
        self._estimator, self._constant = estimator, constant
        self._callbacks = estimator._callbacks()  # noqa: SLF001
        self._began = time.perf_counter()

    def iteration_ends(self, number: int, loss: float) -> bool:
        """Tell of an iteration of "lbfgs"; return whether it is to be the last."""
        loss += self._constant
        if self._estimator.verbose:
            print(f"Iteration {number}, loss = {loss:.8f}")  # noqa: T201  asked for
        return bool(self._callbacks) and self._calls_back(EpochInfo(number - 1, self._estimator.max_iter, loss))

    def _calls_back(self, info: EpochInfo) -> bool:
        """Call back; return whether anybody wants an end."""
        now = time.perf_counter()
        info, self._began = replace(info, seconds=now - self._began), now
        wishes = [callback(self._estimator, info) for callback in self._callbacks]
        return any(isinstance(wish, bool | np.bool_) and wish for wish in wishes)


class Epochs(Course):
    """How a training batch by batch goes."""

    def __init__(self, estimator: BaseMLP, task: Task, solver: Solver, losses: Losses, *, incremental: bool) -> None:
        super().__init__(estimator)
        self._task, self._solver, self._losses = task, solver, losses
        self._incremental = incremental
        self._n_samples, weights = len(task.batch.X), task.batch.weights
        # A batch without weight is skipped; and what weights make of constants depends on an epoch's batches.
        self._is_regular = weights is None or (task.constants is None and weights.min() > 0)

    def epochs_ahead(self) -> int:
        """Return for how many epochs nobody looks, and nothing can end the fit or change its rate."""
        estimator, solver = self._estimator, self._solver
        is_watched = estimator.verbose or self._callbacks or self._task.score is not None
        if self._incremental or is_watched or solver.changes_each_epoch or not self._is_regular:
            return 1
        patience = estimator.n_iter_no_change - estimator._no_improvement_count  # noqa: SLF001
        ahead = min(estimator.max_iter - estimator.n_iter_, patience + 1, _MOST_IN_A_RUN // self._n_samples)
        return max(1, int(ahead))

    def run_ends(self, net: MLP, info: EpochInfo) -> bool:  # noqa: ARG002  a callback of `training.fit`
        """Keep the books of a run's epochs; return whether it was the last."""
        estimator = self._estimator
        self._count(self._losses.last)
        if estimator.verbose:  # of one epoch at a time
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")  # noqa: T201  asked for
        self._look_for_progress(self._losses.last, self._losses.watched)
        self._solver.epoch_ends(estimator.t_)
        is_stuck = estimator._no_improvement_count > estimator.n_iter_no_change  # noqa: SLF001
        is_over = is_stuck and self._ends_here()
        if self._callbacks and self._calls_back(self._told(info)):
            return True
        if is_over or self._incremental or estimator.n_iter_ < estimator.max_iter:
            return is_over
        message = (
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't "
            "converged yet."
        )
        warn(message, ConvergenceWarning)
        return True

    def _told(self, info: EpochInfo) -> EpochInfo:
        """Return the epoch's figures in the estimator's own numbers."""
        estimator = self._estimator
        scores = {} if self._task.score is None else {"score": estimator.validation_scores_[-1]}
        number, n_epochs = estimator.n_iter_ - 1, estimator.max_iter
        return replace(info, epoch=number, n_epochs=n_epochs, loss=estimator.loss_, validation_metrics=scores)

    def interrupted(self, state: TrainingState | None) -> None:
        """Keep the books of the epochs that were whole when a run was interrupted."""
        steps = -(-self._n_samples // self._task.batch_size)
        if state is None or not self._is_regular:
            return
        counts = np.full(steps, self._task.batch_size)
        counts[-1] = self._n_samples - (steps - 1) * self._task.batch_size
        n_epochs = len(state.losses) // steps
        constant = 0.0 if self._task.constants is None else float(self._task.constants.mean())
        if n_epochs == 0:
            return
        sums = np.reshape(state.losses[: n_epochs * steps], (n_epochs, steps)) @ counts
        losses = (sums / self._n_samples + constant).tolist()
        self._count(losses)
        if not self._estimator._sums_outputs():  # noqa: SLF001  what is looked at then is not known any more
            self._look_for_progress(losses, losses)

    def diverged(self, error: DivergedError) -> None:
        """Keep the books of a run that was given up, as of one epoch; the parameters are those before it.

        Raises
        ------
        ValueError
            If early stopping has no better ones.
        """
        estimator = self._estimator
        self._count([math.nan])
        if self._task.score is None:
            raise ValueError(NON_FINITE) from error
        estimator.validation_scores_.append(math.nan)
        message = f"Training diverged in epoch {estimator.n_iter_}; the parameters are those of the best epoch before"
        warn(message, ConvergenceWarning)

    def ends(self) -> None:
        """Bring back the parameters of the best epoch, where early stopping knows it."""
        if self._task.score is not None:
            self._task.net.parameters.flat[...] = self._estimator._best  # noqa: SLF001

    def _count(self, losses: list[float]) -> None:
        estimator = self._estimator
        estimator.n_iter_ += len(losses)
        estimator.t_ += len(losses) * self._n_samples
        estimator.loss_curve_ += losses
        estimator.loss_ = losses[-1]

    def _look_for_progress(self, losses: list[float], watched: list[float]) -> None:
        """Count the epochs since the loss, or the score of what was held out, has improved by `tol`."""
        estimator = self._estimator
        if self._task.score is None:
            least, n_stuck = estimator._least_watched, estimator._no_improvement_count  # noqa: SLF001
            for value in watched:
                n_stuck = n_stuck + 1 if value > least - estimator.tol else 0
                least = min(least, value)
            estimator._least_watched, estimator._no_improvement_count = least, n_stuck  # noqa: SLF001
            estimator.best_loss_ = min(estimator.best_loss_, *losses)
            return
        score = float(self._task.score())
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")  # noqa: T201  asked for
        is_stuck = score < estimator.best_validation_score_ + estimator.tol
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if is_stuck else 0  # noqa: SLF001
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            estimator._best = self._task.net.parameters.flat.copy()  # noqa: SLF001

    def _ends_here(self) -> bool:
        """Do what the solver does about a lack of progress; return whether that is to end."""
        estimator = self._estimator
        reaction = self._solver.react()
        if estimator.verbose:
            what = "Training loss" if self._task.score is None else "Validation score"
            limits = f"tol={estimator.tol:f} for {estimator.n_iter_no_change} consecutive epochs"
            print(f"{what} did not improve more than {limits}. {reaction.message}")  # noqa: T201  asked for
        if not reaction.ends:
            estimator._no_improvement_count = 0  # noqa: SLF001
        return reaction.ends


def _for_network(state: TrainingState | None, net: MLP) -> TrainingState | None:
    """Return a state for a network whose spec may have changed in what the state does not depend on."""
    return None if state is None else replace(state, spec=net.spec, generator=net.generator.bit_generator.state)


def _between_epochs(state: TrainingState | None) -> TrainingState | None:
    """Return a state as if the steps done of an interrupted epoch had been all of it: its order cannot come again."""
    if state is None or not state.losses:
        return state
    done = len(state.losses)
    _, powers = state.optimizer.coefficients(np.ones(done), state.powers)  # which do not depend on the rates
    return replace(state, losses=[], powers=powers, step=state.step + done)
