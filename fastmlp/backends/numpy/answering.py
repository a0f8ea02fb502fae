"""Answering a single row at the least cost: the forward pass recorded once, bound to the parameters and its memory."""

from __future__ import annotations

import math

import numpy as np

from fastmlp.backends.numpy.calls import Recording
from fastmlp.backends.numpy.passes import Passes
from fastmlp.backends.numpy.workspace import Workspace
from fastmlp.parameters import Array, Parameters


class SingleRow:
    """A network's answer to one row, for one thread at a time; what is written to the parameters counts.

    Parameters
    ----------
    passes : Passes
    parameters : Parameters

    Attributes
    ----------
    parameters : Parameters
    """

    def __init__(self, passes: Passes, parameters: Parameters) -> None:
        workspace, recording = Workspace(passes.spec, 1), Recording()
        views = workspace.views(1)
        self._X = workspace.inputs(1)
        passes.forward(recording, parameters, self._X, views)
        self.parameters = parameters
        self._A, self._forward = views.A[-1], recording.play

    def answer(self, X: Array, out: Array) -> bool:
        """Write the outputs and return whether the row is finite."""
        self._X[...] = X
        # The sum of squares is finite where all of them are, and where not, that may be overflow.
        if not (math.isfinite(np.vdot(X, X)) or np.isfinite(X).all()):
            return False
        with np.errstate(all="ignore"):
            self._forward()
        out[...] = self._A
        return True
