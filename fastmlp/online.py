"""Learning online: one sample, one step, with an optimizer that remembers."""

from __future__ import annotations

import math

import numpy as np

from fastmlp.backends.base import Backend, Batch, Run, empty_states
from fastmlp.optimizers import Optimizer
from fastmlp.parameters import Parameters
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
    takes_labels : bool
        Whether targets are class indices.
    seed : int
        Of the dropout masks.
    """

    def __init__(
        self, spec: NetworkSpec, parameters: Parameters, optimizer: Optimizer, *, takes_labels: bool, seed: int
    ) -> None:
        self.optimizer, self.takes_labels = optimizer, takes_labels
        self._optimizer = optimizer.over(_STEPS)
        self._parameters, self._spec, self._seed = parameters, spec, seed
        self._X = np.zeros((1, spec.n_inputs), spec.dtype)
        self._Y = np.zeros(1, np.int64) if takes_labels else np.zeros((1, spec.n_outputs), spec.dtype)
        self._states = empty_states(spec, optimizer.rule)
        self._gradient = Parameters.empty(spec)
        self._powers, self._step, self._done = (1.0, 1.0), 0, 0
        self._run = self._next_run()

    def _next_run(self) -> Run:
        rates = self._optimizer.rates(self._step, _STEPS)
        coefficients, self._powers = self._optimizer.coefficients(rates, self._powers)
        ones = np.ones(_STEPS, np.int64)
        return Run(
            parameters=self._parameters,
            gradient=self._gradient,
            states=self._states,
            rule=self.optimizer.rule,
            X=self._X,
            Y=self._Y,
            weights=None,
            order=np.zeros(1, np.int64),
            starts=np.zeros(_STEPS, np.int64),
            stops=ones,
            totals=ones.astype(np.float64),
            coefficients=coefficients,
            decay=self._optimizer.decay(rates),
            l2=np.full(_STEPS, float(self._spec.l2)),
            losses=np.empty(_STEPS),
            seed=self._seed,
            first_step=self._step,
        )

    def learn(self, backend: Backend, sample: Batch) -> float:
        """Do one step on a batch of one sample and return its loss before the step.

        It is not finite, and nothing is changed, where the network has diverged.
        """
        self._X[...], self._Y[...] = sample.X, sample.Y
        if self._done == _STEPS:
            self._step, self._done = self._step + _STEPS, 0
            self._run = self._next_run()
        backend.train(self._run, self._done, self._done + 1)
        loss = float(self._run.losses[self._done])
        self._done += math.isfinite(loss)
        return loss
