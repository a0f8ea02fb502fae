"""How an epoch's samples fall into steps, and how many epochs are trained at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastmlp.backends.base import Floats, Indices, Run, sum_in_order
from fastmlp.optimizers import Optimizer, Powers

_SECONDS_AT_ONCE = 0.02  # for which Ctrl-C may wait; what Python does before and after takes a hundredth of it
_MOST_SAMPLES = 1 << 17  # counted once for each epoch: their orders take a megabyte
_MOST_STEPS = 1 << 14  # and what each has of its own, two
_MOST_PARAMETERS = 100_000  # of which there are copies meanwhile: the epochs of more are long
_SHORT = 1 << 13  # samples: longer epochs take so long that laying out each of them is nothing beside
_LAID_OUT = 1 << 10  # steps at once: what Python does for them is nothing beside so many
_MOST_TIMES = 8  # as many epochs as before: a short time tells little


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

    def repeated(self, times: int, places: int | None = None) -> Steps:
        """Return the steps of several passes whose orders lie one behind the other.

        With fewer places than passes they go round: what follows the last lies in the first again.
        """
        n_samples = int(self.stops[-1])
        begins = np.repeat(np.arange(times) % (places or times) * n_samples, self.starts.size)
        starts, stops = begins + np.tile(self.starts, times), begins + np.tile(self.stops, times)
        return Steps(starts, stops, np.tile(self.totals, times), self.total * times)

    def weighted(self, weights: Floats, order: Indices) -> Steps:
        """Return the steps of an order of samples that have weights."""
        pairs = zip(self.starts, self.stops, strict=True)
        totals = np.array([sum_in_order(weights[order[i:j]]) for i, j in pairs])
        kept = totals > 0
        return Steps(self.starts[kept], self.stops[kept], totals[kept], sum_in_order(totals[kept]))


@dataclass
class Stretch:
    """Steps that have been laid out: a run of them, of which epoch after epoch takes the next ones.

    Attributes
    ----------
    run : Run
        Its order is that of some passes; the next ones are written over them.
    rates : ndarray of shape (n_steps,), float64
        The learning rates.
    before, after : tuple of float
        The optimizer's running products at both ends.
    done : int
        How many of the steps belong to epochs that are done.
    """

    run: Run
    rates: Floats
    before: Powers
    after: Powers
    done: int = 0

    def has_room(self, n_steps: int, n_samples: int) -> bool:
        """Return whether so many steps are left, and the order has room for so many samples."""
        return self.rates.size - self.done >= n_steps and self.run.order.size >= n_samples

    def powers(self, optimizer: Optimizer) -> Powers:
        """Return the running products after the steps that are done; they do not depend on the rates."""
        if self.done == self.rates.size:
            return self.after
        return optimizer.coefficients(np.ones(self.done), self.before)[1] if self.done else self.before


class Ahead:
    """How many epochs are trained at once where nobody looks in between: as many as take some time together.

    Parameters
    ----------
    steps : Steps
        Of an epoch.
    n_params : int
        Of the network.
    """

    def __init__(self, steps: Steps, n_params: int) -> None:
        most = min(_MOST_SAMPLES // int(steps.stops[-1]), _MOST_STEPS // steps.starts.size)
        self._most_laid_out = _LAID_OUT // steps.starts.size if int(steps.stops[-1]) <= _SHORT else 1
        self._most = most if n_params <= _MOST_PARAMETERS else 1
        self._epochs = 1

    def epochs(self, left: int) -> int:
        """Return how many of the epochs that are left are next."""
        return max(1, min(self._epochs, self._most, left))

    def passes(self, left: int) -> int:
        """Return for how many of the passes over the samples that are left steps are laid out at once."""
        return max(1, min(self._most_laid_out, left))

    def adapt(self, epochs: int, seconds: float) -> None:
        """Learn from how long so many epochs took."""
        seconds = max(seconds, _SECONDS_AT_ONCE / _MOST_TIMES)
        self._epochs = int(epochs * _SECONDS_AT_ONCE / seconds)

    def stop(self) -> None:
        """Take one epoch at a time from now on."""
        self._most = 1
