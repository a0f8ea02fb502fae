"""Learning one sample at a time, with nothing made anew between two steps."""

from __future__ import annotations

import numpy as np

from fastmlp.backends.base import Run
from fastmlp.backends.numba.calls import RULE_CODES, Trainee, samples_of, steps_of
from fastmlp.backends.numba.fast import kernels
from fastmlp.backends.numba.fast.room import Purpose, Room
from fastmlp.spec import NetworkSpec

_ALONE = (0, 1)  # this thread's number, and how many there are


class FastLearner:
    """See `fastmlp.backends.base.Learner`: the states stay in panels, parameters are where the user has them.

    Parameters
    ----------
    spec : NetworkSpec
    run : Run
        The first; the states begin as its are.
    """

    def __init__(self, spec: NetworkSpec, run: Run) -> None:
        self._room = Room(spec, Purpose.TRAINING, 1)
        self._states, self._rule, self._is_dropping = run.states, RULE_CODES[run.rule], spec.dropout > 0
        key = (self._is_dropping, run.seed, run.first_step)
        (network,) = self._room.training(
            run.parameters.flat, run.stops - run.starts, groups=run.groups, key=key, n_threads=1
        )
        self._network, self._samples = network, samples_of(spec, run.X, run.Y, run.weights)
        self._run, self._steps = run, steps_of(run)
        nothing = np.empty(0, spec.dtype)
        with_states = Trainee(run.gradient.flat, *run.states, nothing)
        self._trainee = Trainee(run.gradient.flat, nothing, nothing, nothing)
        arguments = (
            network,
            self._samples,
            self._steps,
            with_states,
            self._room.memory,
            (0, 0, self._rule),
            key,
            _ALONE,
        )
        self._train = kernels.direct(kernels.train, *arguments)
        self._train(*arguments)  # no step, but states are laid out

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

    def write_states(self) -> None:
        """Write the states to those of the runs."""
        layout = self._room.layout
        for start, state in zip((layout.first_state, layout.second_state), self._states, strict=True):
            if state.size:
                layout.unpack(self._room.memory, start, state)
