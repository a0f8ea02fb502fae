"""The steps of a training, recorded: a batch size's calls are told once, and played at each step.

The recordings stay with the workspace whose arrays they are bound to, for the next run of the same training: an epoch
may be a single step. Those of a large network do not, for they hold a gradient and its states, and what it takes to
record a step is nothing beside what its step takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from fastmlp.backends.base import CompressedRows, Indices, Run, Turned, dense_rows
from fastmlp.backends.numpy.calls import Recording, now
from fastmlp.backends.numpy.passes import Passes
from fastmlp.backends.numpy.workspace import Kind, Views, Workspace
from fastmlp.parameters import Array, Parameters

_MOST_KEPT = 100_000  # parameters of a network, whose step takes 100 µs then
_KEPT_BATCHES = 8  # a fit has two sizes of batches; l2 could change from step to step


class _Recorded(NamedTuple):
    """Loss and gradient of the batches of one size.

    Attributes
    ----------
    views : Views
        Where such a batch is gathered, but for its X.
    X : Array
        Where that is; or what holds it, a `_Held`, if it is compressed.
    forward, backward : callable
    total : callable
        Gives the weighted sum of the losses, between the two.
    """

    views: Views
    X: Array | _Held
    forward: Callable[[], None]
    total: Callable[[], float]
    backward: Callable[[], None]


class _Held:
    """The X of a batch, of samples that are compressed: what a recording multiplies, whichever they are."""

    rows: CompressedRows

    def dot(self, W: Array, out: Array) -> None:
        """Write X @ W."""
        self.rows.dot(W, out)

    @property
    def T(self) -> Turned:
        """What multiplies as X.T does: this too is asked anew at each step."""
        return _Turned(self)


class _Turned:
    def __init__(self, held: _Held) -> None:
        self._held = held

    def dot(self, delta: Array, out: Array) -> None:
        self._held.rows.T.dot(delta, out)


class _Recordings:
    """What is recorded for the arrays of a training; its data is not among them. The gradient is its own.

    It does not hold the workspace that holds it: a cycle would keep their memory until the next garbage collection.
    """

    def __init__(self, passes: Passes, run: Run) -> None:
        self._passes = passes
        self._parameters, self._states, self.gradient = run.parameters, run.states, Parameters.empty(passes.spec)
        self._rule, self._groups, self._is_sparse = run.rule, run.groups, isinstance(run.X, CompressedRows)
        self._batches: dict[tuple[int, Kind], _Recorded] = {}
        self.update = passes.arithmetic.updater(run, self.gradient.flat)

    def serve(self, run: Run) -> bool:
        """Return whether a run has the arrays, the very same, and the rule and the groups."""
        arrays = run.parameters is self._parameters and run.states is self._states
        is_alike = isinstance(run.X, CompressedRows) == self._is_sparse
        return arrays and is_alike and run.rule == self._rule and run.groups == self._groups

    def batch(self, workspace: Workspace, n_rows: int, kind: Kind) -> _Recorded:
        """Return the recording of a batch; the workspace is always the one that keeps this."""
        recorded = self._batches.get((n_rows, kind))
        if recorded is None:
            if len(self._batches) == _KEPT_BATCHES:
                self._batches.clear()
            X = _Held() if self._is_sparse else workspace.inputs(n_rows)
            recorded = self._batches[n_rows, kind] = self._record(workspace.views(n_rows), X, kind)
        return recorded

    def _record(self, views: Views, X: Array | _Held, kind: Kind) -> _Recorded:
        forward, backward = Recording(), Recording()
        inputs = cast("Array", X)  # in all that is done with them, what is held and an array are alike
        total = self._passes.loss(forward, self._parameters, inputs, views, kind)
        self._passes.gradient(backward, self._parameters, inputs, views, kind, self.gradient)
        return _Recorded(views, X, forward.play, total, backward.play)


def _recordings(passes: Passes, workspace: Workspace, run: Run) -> _Recordings:
    """Return those that the workspace keeps, if they serve, or else new ones, to be kept."""
    kept = workspace.kept
    if isinstance(kept, _Recordings) and kept.serve(run):
        return kept
    recordings = _Recordings(passes, run)
    workspace.kept = recordings if run.parameters.flat.size <= _MOST_KEPT else None
    return recordings


class Steps:
    """A run's steps, in one workspace."""

    def __init__(self, passes: Passes, workspace: Workspace, run: Run) -> None:
        self._passes, self._run, self._workspace = passes, run, workspace
        self._recordings = _recordings(passes, workspace, run)
        self._recordings.update.begin(run.coefficients)
        self._starts, self._stops = run.starts.tolist(), run.stops.tolist()
        self._totals, self._l2, self._decay = run.totals.tolist(), run.l2.tolist(), run.decay.tolist()
        self._is_decaying = bool(run.decay.any())
        self._is_dropping = passes.spec.dropout > 0
        self._kind = Kind(run.Y.ndim == 1, run.weights is not None, self._is_dropping, 0.0)

    def loss_and_gradient(self, step: int) -> tuple[float, float]:
        """Compute the gradient; return the loss, and apart from it the penalty."""
        run, l2, total = self._run, self._l2[step], self._totals[step]
        rows = run.order[self._starts[step] : self._stops[step]]
        kind = self._kind._replace(l2=l2) if l2 else self._kind
        views, X, forward, total_loss, backward = self._recordings.batch(self._workspace, len(rows), kind)
        self._gather(rows, total, views, X)
        if self._is_dropping:
            self._passes.write_factors(run.dropout(step), views)
        forward()
        loss = total_loss() / total
        backward()
        if isinstance(X, _Held):
            del X.rows  # the recording stays
        return loss, self._passes.penalty(run.parameters, l2)

    def update(self, step: int) -> None:
        """Decay the weights, then apply the rule."""
        if self._is_decaying:
            self._shrink_weights(self._decay[step])
        self._recordings.update(step)

    def _shrink_weights(self, decay: list[float]) -> None:
        """Take a share of each weight away, by the groups of the layers."""
        for layer, W in enumerate(self._run.parameters.weights):
            share = decay[self._run.groups.of(layer)[0]]
            if share:
                self._passes.arithmetic.add_scaled(now, -share, W, W)

    def _gather(self, rows: Indices, total: float, views: Views, X: Array | _Held) -> None:
        run = self._run
        # With "clip" take writes to the array directly; the rows are a permutation, so nothing is clipped.
        if isinstance(X, _Held):
            X.rows = cast("CompressedRows", run.X).some(rows)
        else:
            run.X.take(rows, 0, X, "clip")
        if run.Y.ndim > 1:
            run.Y.take(rows, 0, views.Y, "clip")
        elif self._workspace.one_hot is not None:
            self._workspace.one_hot.take(run.Y.take(rows), 0, views.Y, "clip")
        else:
            dense_rows(run.Y, rows, views.Y)
        if run.weights is not None:
            run.weights.take(rows, 0, views.weights, "clip")
            views.total[...] = total
