"""The optimizers in the forms that scikit-learn has, and the rate that changes between epochs.

Their Adam adds epsilon to the root before any correction, as the last line of section 2 of the paper has it; their
momentum keeps the rate within the velocity, which is `fastmlp.SGD`'s way as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastmlp.backends.base import Floats
from fastmlp.optimizers import SGD, Adam, AdamW, Coefficients, Optimizer, Powers, RMSprop
from fastmlp.schedules import Schedule
from fastmlp.training_state import TrainingState

_SMALLEST_RATE = 1e-6  # "adaptive" ends the fit rather than divide a rate below it
_ADAPTIVE_DIVISOR = 5.0

SOLVERS = ("sgd", "adam", "lbfgs", "adamw", "rmsprop")
POLICIES = ("constant", "invscaling", "adaptive")


class Rate:
    """A learning rate that is changed from outside, between epochs.

    Parameters
    ----------
    now : float

    Attributes
    ----------
    now : float
    """

    def __init__(self, now: float) -> None:
        self.now = float(now)

    def __call__(self, step: int) -> float:  # noqa: ARG002  the same at every step of an epoch
        """Return the rate."""
        return self.now

    def over(self, n_steps: int) -> Rate:  # noqa: ARG002  it has no length
        """Return itself."""
        return self


def _rates(lr: float | Schedule, n_steps: int) -> Floats | None:
    """Return the rates of an epoch where they are all the same, without asking for each."""
    return np.full(n_steps, lr.now) if isinstance(lr, Rate) else None


@dataclass(frozen=True)
class Momentum(SGD):
    """`fastmlp.SGD` with a momentum from 0 to 1, both included."""

    def __post_init__(self) -> None:
        """Check nothing: the estimator has."""

    def rates(self, first_step: int, n_steps: int) -> Floats:
        """Return the learning rates."""
        rates = _rates(self.lr, n_steps)
        return super().rates(first_step, n_steps) if rates is None else rates


@dataclass(frozen=True)
class UncorrectedEpsilonAdam(Adam):
    """Adam with epsilon added to the root as it is: ``w -= lr c m / (sqrt(v) + eps)``, c both corrections.

    `fastmlp.Adam` corrects the root first, so that its epsilon shrinks with the correction.

    References
    ----------
    D. P. Kingma and J. Ba, *Adam: A Method for Stochastic Optimization*, 2015, end of section 2.
    """

    def __post_init__(self) -> None:
        """Check nothing: the estimator has."""

    def rates(self, first_step: int, n_steps: int) -> Floats:
        """Return the learning rates."""
        rates = _rates(self.lr, n_steps)
        return super().rates(first_step, n_steps) if rates is None else rates

    def coefficients(self, rates: Floats, powers: Powers) -> tuple[Coefficients, Powers]:
        """Return Adam's rows with the one epsilon for all steps."""
        rows, powers = super().coefficients(rates, powers)
        rows[:, 1] = self.eps
        return rows, powers


class Reaction(NamedTuple):
    """What is done about a training that makes no progress, and how that is told."""

    ends: bool
    message: str


class Solver:
    """An optimizer, the policy that its rate follows, and where its training stands.

    Parameters
    ----------
    optimizer : Optimizer
    rate : Rate or None
        The rate that the policy changes; None where the optimizer has a schedule of its own.
    policy : str
        "constant", "invscaling" or "adaptive".
    power_t : float
        Of "invscaling".

    Attributes
    ----------
    optimizer : Optimizer
    state : TrainingState or None
        Where the last epoch ended.
    """

    def __init__(
        self, optimizer: Optimizer, rate: Rate | None = None, policy: str = "constant", power_t: float = 0.5
    ) -> None:
        self.optimizer = optimizer
        self.state: TrainingState | None = None
        self._rate, self._policy, self._power_t = rate, policy, power_t
        self._first_rate = math.nan if rate is None else rate.now

    @property
    def learning_rate(self) -> float:
        """The rate of the next epoch; NaN where a schedule has it."""
        return math.nan if self._rate is None else self._rate.now

    @property
    def changes_each_epoch(self) -> bool:
        """Whether every epoch has a rate of its own."""
        return self._rate is not None and self._policy == "invscaling"

    @property
    def is_steady(self) -> bool:
        """Whether the rate stays as it is, whatever becomes of the training."""
        return self.optimizer.has_constant_rate if self._rate is None else self._policy == "constant"

    def epoch_ends(self, n_samples_seen: int) -> None:
        """Set the rate of the next epoch, where it follows from the samples seen so far."""
        if self._rate is not None and self.changes_each_epoch:
            self._rate.now = self._first_rate / (n_samples_seen + 1) ** self._power_t

    def react(self) -> Reaction:
        """Say what is done about a training that makes no progress: it ends, unless a lower rate might help."""
        if self._rate is None or self._policy != "adaptive":
            return Reaction(ends=True, message="Stopping.")
        if self._rate.now <= _SMALLEST_RATE:
            return Reaction(ends=True, message="Learning rate too small. Stopping.")
        self._rate.now /= _ADAPTIVE_DIVISOR
        return Reaction(ends=False, message=f"Setting learning rate to {self._rate.now:f}")


def make_solver(estimator: Any) -> Solver:  # noqa: ANN401  a module below the estimators
    """Return the solver that an estimator's parameters describe."""
    solver, learning_rate = estimator.solver, estimator.learning_rate
    if isinstance(solver, Optimizer):
        return Solver(solver)
    rate = Rate(estimator.learning_rate_init) if isinstance(learning_rate, str) else None
    lr = learning_rate if rate is None else rate
    if solver == "sgd":
        momentum = Momentum(lr, estimator.momentum, estimator.nesterovs_momentum)
        return Solver(momentum, rate, learning_rate if rate else "constant", estimator.power_t)
    betas, eps = (estimator.beta_1, estimator.beta_2), estimator.epsilon
    if solver == "adam":
        return Solver(UncorrectedEpsilonAdam(lr, *betas, eps), rate)
    return Solver(AdamW(lr, *betas, eps) if solver == "adamw" else RMSprop(lr, eps=eps), rate)
