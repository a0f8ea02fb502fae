"""The NumPy backend records a step's calls and plays them again: they compute what a batch that comes once does."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fastmlp.backends import make_backend
from fastmlp.backends.base import Backend, Batch, Run, empty_states, sum_in_order
from fastmlp.backends.numpy import steps
from fastmlp.backends.numpy.calls import Recording, now, one_call
from fastmlp.groups import Factors, ParameterGroups
from fastmlp.optimizers import N_COEFFICIENTS, Adam
from fastmlp.parameters import Parameters, initialise
from fastmlp.spec import NetworkSpec

N_SAMPLES = 17
STARTS, STOPS = np.array([0, 5, 10, 13]), np.array([5, 10, 13, 17])
L2 = np.array([0.25, 0.5, 0.5, 0.0])
"""Sizes and l2 that come again, together and apart."""


def spec_of(*, classes: bool, dropout: float) -> NetworkSpec:
    output, loss = ("softmax", "cross_entropy") if classes else ("tanh", "mse")
    return NetworkSpec((3, 5, 4), ("relu",), output, loss, dropout=dropout)


def run_of(spec: NetworkSpec, *, weighted: bool) -> Run:
    generator = np.random.default_rng(8)
    X = generator.standard_normal((N_SAMPLES, 3)).astype(spec.dtype)
    classes = spec.loss == "cross_entropy"
    Y: Any = generator.integers(0, 4, N_SAMPLES) if classes else generator.random((N_SAMPLES, 4)).astype(spec.dtype)
    weights, order = generator.random(N_SAMPLES) if weighted else None, generator.permutation(N_SAMPLES)
    rows = [order[start:stop] for start, stop in zip(STARTS, STOPS, strict=True)]
    totals = np.array([float(len(batch)) if weights is None else sum_in_order(weights[batch]) for batch in rows])
    return Run(
        parameters=initialise(spec, "auto", generator),
        states=empty_states(spec, "adam"),
        rule="adam",
        X=X,
        Y=Y,
        weights=weights,
        order=order,
        starts=STARTS,
        stops=STOPS,
        totals=totals,
        coefficients=Adam(lr=0.01).coefficients(np.full(4, 0.01), (1.0, 1.0))[0],
        decay=np.zeros((4, 1)),
        l2=L2,
        losses=np.empty(4),
        penalties=np.empty(4),
        seed=6,
        first_step=2,
    )


def batch_of(run: Run, step: int) -> Batch:
    rows = run.rows(step)
    weights = None if run.weights is None else run.weights[rows]
    return Batch(run.X[rows], run.Y[rows], weights, float(run.totals[step]), float(run.l2[step]))


def expected(backend: Backend, run: Run, step: int) -> tuple[float, np.ndarray]:
    gradient = Parameters.empty(backend.spec)
    dropout = run.dropout(step) if backend.spec.dropout else None
    loss = backend.loss_and_gradient(run.parameters, batch_of(run, step), gradient, dropout)
    return loss, gradient.flat


def kept_by(backend: Any) -> Any:
    (workspace,) = backend._pool._free
    return workspace.kept


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [False, True])
def test_a_recorded_step_is_that_of_its_batch(*, classes: bool, weighted: bool, dropout: float, strict: bool) -> None:
    """The last gradient of a train that has recorded all sizes before, to the bit."""
    spec = spec_of(classes=classes, dropout=dropout)
    backend, alone = (make_backend("numpy", spec, strict=strict, threads=None) for _ in range(2))
    run = run_of(spec, weighted=weighted)
    for step in range(4):
        loss, gradient = expected(alone, run, step)
        assert backend.train(run, step, step + 1) == step + 1
        assert run.losses[step] == loss
        np.testing.assert_array_equal(kept_by(backend).gradient.flat, gradient)
    whole = run_of(spec, weighted=weighted)
    assert alone.train(whole, 0, 4) == 4
    np.testing.assert_array_equal(whole.losses, run.losses)
    np.testing.assert_array_equal(whole.parameters.flat, run.parameters.flat)


def test_networks_and_fits_do_not_share_what_is_recorded() -> None:
    """Other parameters, states and rules on one backend: each run is that of a backend of its own."""
    spec = spec_of(classes=True, dropout=0.0)
    shared = make_backend("numpy", spec, strict=False, threads=None)
    run = run_of(spec, weighted=False)
    runs = [run, replace(run, parameters=run.parameters.copy())]
    runs.append(replace(runs[-1], states=empty_states(spec, "adam")))
    runs.append(replace(runs[-1], rule="momentum"))
    numbers = {name: np.tile(getattr(run, name), 2) * np.repeat([1.0, 0.5], n) for name, n in WIDTHS.items()}
    two = ParameterGroups((Factors(), Factors()), ((0, 1), (1, 0)))
    runs.append(replace(runs[-1], groups=two, **numbers))
    runs.append(replace(runs[-1], groups=replace(two, layers=two.layers[::-1])))
    for run in runs:
        alone = copy.deepcopy(run)
        make_backend("numpy", spec, strict=False, threads=None).train(alone, 0, 4)
        shared.train(run, 0, 4)
        np.testing.assert_array_equal(run.parameters.flat, alone.parameters.flat)
        np.testing.assert_array_equal(run.states, alone.states)


WIDTHS = {"coefficients": N_COEFFICIENTS, "decay": 1}
"""How many numbers a group has at each step."""


def trained(run: Run, spec: NetworkSpec) -> Any:
    backend: Any = make_backend("numpy", spec, strict=False, threads=None)
    backend.train(run, 0, run.starts.size)
    return backend


def test_what_is_recorded_serves_the_next_run() -> None:
    spec = spec_of(classes=True, dropout=0.0)
    run = run_of(spec, weighted=False)
    backend = trained(run, spec)
    kept = kept_by(backend)
    recorded = dict(kept._batches)
    assert len(recorded) == 4
    backend.train(replace(run, order=run.order[::-1]), 0, 4)
    assert kept_by(backend) is kept
    assert all(kept._batches[key] is batch for key, batch in recorded.items())
    backend.train(replace(run, states=empty_states(spec, "adam")), 0, 4)
    assert kept_by(backend) is not kept


def test_what_is_recorded_for_a_large_network_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds a gradient and two states."""
    spec = spec_of(classes=True, dropout=0.0)
    for most, is_kept in ((spec.n_params, True), (spec.n_params - 1, False)):
        monkeypatch.setattr(steps, "_MOST_KEPT", most)
        assert (kept_by(trained(run_of(spec, weighted=False), spec)) is not None) == is_kept


def test_what_is_recorded_goes_with_the_backend() -> None:
    """At once: memory that waits for the garbage collector adds up where many networks are trained in turn."""
    spec = spec_of(classes=True, dropout=0.0)
    backend = trained(run_of(spec, weighted=False), spec)
    (workspace,) = backend._pool._free
    held = weakref.ref(workspace), weakref.ref(workspace.kept)
    gc.disable()
    try:
        del backend, workspace
        assert [reference() for reference in held] == [None, None]
    finally:
        gc.enable()


def test_no_more_is_recorded_than_a_few_kinds_of_batches() -> None:
    spec = spec_of(classes=True, dropout=0.0)
    run, ones = run_of(spec, weighted=False), np.ones(N_SAMPLES)
    starts = np.arange(N_SAMPLES)
    each = replace(
        run,
        starts=starts,
        stops=starts + 1,
        totals=ones,
        coefficients=np.repeat(run.coefficients[:1], N_SAMPLES, axis=0),
        decay=0.0 * ones[:, None],
        l2=starts / 64,
        losses=0.0 * ones,
        penalties=0.0 * ones,
    )
    assert len(kept_by(trained(each, spec))._batches) <= 8


def test_calls_are_played_in_order_and_again() -> None:
    value, recording = np.array(1.0), Recording()
    for do in (now, recording):
        do(np.add, value, 1.0, value)
        do(np.multiply, value, value, out=value)
    assert value == 4.0
    recording.play()
    assert value == 25.0
    recording.play()
    assert value == 676.0


def test_a_method_is_told_as_one_call() -> None:
    class Adder:
        """Adds to a list."""

        @one_call
        def add(self, values: list[int], value: int) -> None:
            """Append."""
            values.append(value)

    values: list[int] = []
    recording = Recording()
    Adder().add(recording, values, 3)
    assert not values
    recording.play()
    assert values == [3]
    assert Adder.add.__doc__ == "Append."
