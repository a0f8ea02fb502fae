"""The steps of a training, recorded: a batch size's calls are told once, and played at each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fastmlp.backends.base import Run, dense_rows
from fastmlp.backends.numpy.calls import Recording, now
from fastmlp.backends.numpy.passes import Passes
from fastmlp.backends.numpy.workspace import Kind, Views, Workspace
from fastmlp.parameters import Array


class _Recorded(NamedTuple):
    """Loss and gradient of the batches of one size.

    Attributes
    ----------
    views : Views
        Where such a batch is gathered.
    forward, backward : callable
    total : callable
        Gives the weighted sum of the losses, between the two.
    """

    views: Views
    forward: Callable[[], None]
    total: Callable[[], float]
    backward: Callable[[], None]


class Steps:
    """A run's steps, in one workspace."""

    def __init__(self, passes: Passes, workspace: Workspace, run: Run) -> None:
        self._passes, self._workspace, self._run = passes, workspace, run
        self._update = passes.arithmetic.updater(run)
        self._starts, self._stops = run.starts.tolist(), run.stops.tolist()
        self._totals, self._l2, self._decay = run.totals.tolist(), run.l2.tolist(), run.decay.tolist()
        self._is_weighted, self._is_dropping = run.weights is not None, passes.spec.dropout > 0
        self._recorded: dict[tuple[int, float], _Recorded] = {}

    def loss_and_gradient(self, step: int) -> float:
        """Write the run's gradient and return the loss."""
        rows = self._run.order[self._starts[step] : self._stops[step]]
        total, l2 = self._totals[step], self._l2[step]
        key = len(rows), l2
        views, forward, total_loss, backward = self._recorded.get(key) or self._record(*key)
        self._gather(rows, total, views)
        if self._is_dropping:
            self._passes.write_factors(self._run.dropout(step), views)
        forward()
        loss = total_loss() / total
        backward()
        return self._passes.with_penalty(loss, self._run.parameters, l2) if l2 else loss

    def update(self, step: int) -> None:
        """Decay the weights, then apply the rule."""
        if self._decay[step]:
            for W in self._run.parameters.weights:
                self._passes.arithmetic.add_scaled(now, -self._decay[step], W, W)
        self._update(step)

    def _gather(self, rows: Array, total: float, views: Views) -> None:
        run = self._run
        # With "clip" take writes to the array directly; the rows are a permutation, so nothing is clipped.
        run.X.take(rows, 0, views.X, "clip")
        if run.Y.ndim > 1:
            run.Y.take(rows, 0, views.Y, "clip")
        elif self._workspace.one_hot is not None:
            self._workspace.one_hot.take(run.Y.take(rows), 0, views.Y, "clip")
        else:
            dense_rows(run.Y, rows, views.Y)
        if run.weights is not None:
            run.weights.take(rows, 0, views.weights, "clip")
            views.total[...] = total

    def _record(self, n_rows: int, l2: float) -> _Recorded:
        run, views = self._run, self._workspace.views(n_rows)
        kind = Kind(run.Y.ndim == 1, self._is_weighted, self._is_dropping, l2)
        forward, backward = Recording(), Recording()
        total = self._passes.loss(forward, run.parameters, views.X, views, kind)
        self._passes.gradient(backward, run.parameters, views.X, views, kind, run.gradient)
        recorded = _Recorded(views, forward.play, total, backward.play)
        self._recorded[n_rows, l2] = recorded
        return recorded
