"""Learning one sample at a time, with nothing made anew between two steps."""

from __future__ import annotations

import numpy as np

from fastmlp.backends.base import Run
from fastmlp.backends.numba.calls import RULE_CODES, Trainee, samples_of, steps_of
from fastmlp.backends.numba.fast import entries
from fastmlp.backends.numba.fast.room import Purpose, Room
from fastmlp.spec import NetworkSpec

_ALONE = (0, 1)  # this thread's number, and how many there are


class FastLearner:
    """See `fastmlp.backends.base.Learner`.

    Parameters
    ----------
    spec : NetworkSpec
    run : Run
        The first.
    """

    def __init__(self, spec: NetworkSpec, run: Run) -> None:
        self._room = Room(spec, Purpose.TRAINING, 1)
        self._rule, self._is_dropping = RULE_CODES[run.rule], spec.dropout > 0
        key = (self._is_dropping, run.seed, run.first_step)
        (network,) = self._room.training(
            run.parameters.flat, run.stops - run.starts, groups=run.groups, key=key, n_threads=1
        )
        self._network, self._samples = network, samples_of(spec, run.X, run.Y, run.weights)
        self._run, self._steps = run, steps_of(run)
        nothing = np.empty(0, spec.dtype)
        self._trainee = Trainee(nothing, *run.states, nothing)
        self._train = entries.train(spec.dtype)

    def step(self, run: Run, number: int) -> None:
        """Do one step."""
        if run is not self._run:
            self._run, self._steps = run, steps_of(run)
        self._train(
            *(self._network, self._samples, self._steps, self._trainee, self._room.memory),
            (number, number + 1, self._rule),
            (self._is_dropping, run.seed, run.first_step),
            _ALONE,
        )
