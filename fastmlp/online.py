"""Learning online: one sample, one step, with an optimizer that remembers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastmlp.backends.base import Backend, Learner, Run, empty_states
from fastmlp.groups import ParameterGroups
from fastmlp.optimizers import Optimizer
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

_STEPS = 256  # whose rates and coefficients are computed at once


class OnlineLearner:
    """An optimizer and its state, over a network that learns one sample at a time.

    It holds a run of many steps on the same single row, whose numbers change from step to step.

    Parameters
    ----------
    spec : NetworkSpec
    parameters : Parameters
        Updated in place.
    optimizer : Optimizer
    groups : ParameterGroups
        The optimizer's.
    takes_labels : bool
        Whether targets are class indices.
    seed : int
        Of the dropout masks.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        parameters: Parameters,
        optimizer: Optimizer,
        *,
        groups: ParameterGroups,
        takes_labels: bool,
        seed: int,
    ) -> None:
        self.optimizer, self.takes_labels = optimizer, takes_labels
        self._optimizer, self._powers = optimizer.over(_STEPS), (1.0, 1.0)
        labels, rows = np.zeros(1, np.int64), np.zeros((1, spec.n_outputs), spec.dtype)
        ones = np.ones(_STEPS, np.int64)
        run = Run(
            parameters=parameters,
            states=empty_states(spec, optimizer.rule),
            rule=optimizer.rule,
            X=np.zeros((1, spec.n_inputs), spec.dtype),
            Y=labels if takes_labels else rows,
            weights=None,
            order=np.zeros(1, np.int64),
            starts=np.zeros(_STEPS, np.int64),
            stops=ones,
            totals=ones.astype(np.float64),
            coefficients=np.empty((0, 0)),
            decay=np.empty((0, 0)),
            l2=np.full(_STEPS, float(spec.l2)),
            losses=np.empty(_STEPS),
            penalties=np.empty(_STEPS),
            seed=seed,
            first_step=0,
            groups=groups,
        )
        self._run, self._done = self._at(run, 0), 0
        self._learner: Learner | None = None
        self._unpack: Callable[[Array], Array] = _as_they_are  # what puts the run's states in order

    def _at(self, run: Run, first_step: int) -> Run:
        """Return a run of the steps from one on."""
        rates = self._optimizer.rates(first_step, _STEPS)
        numbers = self._optimizer.numbers(run.groups, rates, self._powers)
        self._powers = numbers.powers
        return replace(run, coefficients=numbers.coefficients, decay=numbers.decay, first_step=first_step)

    def learn(self, backend: Backend, x: Array, y: Array | float) -> float:
        """Do one step on a sample, which is all right, and return its loss before the step.

        It is not finite, and nothing is changed, where the network has diverged. The backend is the same at all steps.
        """
        self._run.parameters.check_writable()
        if self._learner is None:
            run = _with_states(self._run, backend.pack_state)
            learner = backend.learner(run)  # which may be interrupted, and begin again then
            self._run, self._unpack, self._learner = run, backend.unpack_state, learner
        if self._done == _STEPS:
            self._run, self._done = self._at(self._run, self._run.first_step + _STEPS), 0
        run, learner = self._run, self._learner
        run.X[0], run.Y[0] = x, y
        learner.step(run, self._done)
        loss = float(run.losses[self._done])
        self._done += math.isfinite(loss)
        return loss

    def __getstate__(self) -> dict[str, Any]:
        run = _with_states(self._run, self._unpack)
        return self.__dict__ | {"_run": run, "_unpack": _as_they_are, "_learner": None}  # like a network's backends


def _with_states(run: Run, convert: Callable[[Array], Array]) -> Run:
    first, second = map(convert, run.states)
    return replace(run, states=(first, second))


def _as_they_are(state: Array) -> Array:
    return state
