"""The NumPy backend records a step's calls and plays them again: they compute what a batch that comes once does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastmlp.backends import make_backend
from fastmlp.backends.base import Backend, Batch, Run, empty_states, sum_in_order
from fastmlp.backends.numpy.calls import Recording, now, one_call
from fastmlp.optimizers import Adam
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
        gradient=Parameters.empty(spec),
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
        decay=np.zeros(4),
        l2=L2,
        losses=np.empty(4),
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
        np.testing.assert_array_equal(run.gradient.flat, gradient)
    whole = run_of(spec, weighted=weighted)
    assert alone.train(whole, 0, 4) == 4
    np.testing.assert_array_equal(whole.losses, run.losses)
    np.testing.assert_array_equal(whole.parameters.flat, run.parameters.flat)


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
