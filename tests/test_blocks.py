"""Batches that go through the fast Numba backend in stripes and blocks: small ones here, so that there are many.

How rows are split belongs to the layout, so a few numbers of it make a batch of 37 rows what one of some thousand is.
Products add upwards from what the blocks before left, so no split may change a bit of a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp.backends.numba.fast import layout
from fastmlp.spec import NetworkSpec
from tests import checkers, integers
from tests.networks import Case
from tests.test_conformance import report

Split = Callable[[], None]

SPLITS = {"one row at a time": (1, 1), "stripes of 5, blocks of 11": (5, 11), "blocks of a stripe": (8, 8)}
SMALLEST = "the smallest that a layout makes"
N = 37


@pytest.fixture(params=[*SPLITS, SMALLEST])
def split(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Split:
    """Return what makes layouts from then on split rows in one of several ways."""

    def by_constants() -> None:
        for name in ("_STRIPE_BYTES", "_BLOCK_BYTES"):
            monkeypatch.setattr(layout, name, 1)
        monkeypatch.setattr(layout, "_FEWEST_BLOCK_ROWS", 30)

    def by_numbers() -> None:
        stripe, block = SPLITS[request.param]

        def rows_at_once(_: NetworkSpec, n_rows: int, *, training: bool) -> tuple[int, int]:
            return min(stripe, n_rows), min(block if training else stripe, n_rows)

        monkeypatch.setattr(layout, "_rows_at_once", rows_at_once)

    return by_constants if request.param == SMALLEST else by_numbers


def case_of(seed: int, **options: Any) -> Case:
    return Case((5, 9, 17, 3), ("tanh", "relu"), "softmax", "cross_entropy", n_samples=N, seed=seed, **options)


CASES = (
    case_of(1, dtype="float32", targets="vector", weighted=True),
    case_of(2, l2=0.125),
    case_of(3, dtype="float32", l2=0.125, weighted=True, input_scale=True),
    Case((13, 37, 5), ("gelu",), "sigmoid", "mse", weighted=True, n_samples=N),
    Case((1, 1), (), "identity", "huber", dtype="float32", n_samples=N),
)


def test_batches_are_split(split: Split) -> None:
    """The premise of the other tests: there are at least two blocks and, but for one-row stripes, unequal stripes."""
    split()
    own = layout.Layout(CASES[0].build("numba").spec, N, training=True)
    assert own.stripe_rows <= own.block_rows < N


def test_integers_are_exact(split: Split) -> None:
    split()
    cases = [case for case in integers.cover() if case.n_samples >= 16]
    assert len(cases) > 30
    found = [line for case in cases for line in checkers.exact(case, case.build("numba"))]
    assert not found, report(found)


def test_one_exact_training_step(split: Split) -> None:
    split()
    for case in [case for case in integers.cover() if case.n_samples == 32][:12]:
        _, X, Y, w = case.data
        fits = [case.build(backend) for backend in ("naive", "numba")]
        for net in fits:
            net.fit(X, Y, optimizer=fastmlp.SGD(0.25), epochs=1, batch_size=32, shuffle=False, sample_weight=w)
        assert np.array_equal(fits[0].parameters.flat, fits[1].parameters.flat), case


def test_split_batches_meet_the_oracle(split: Split) -> None:
    split()
    found = [line for case in CASES for line in checkers.conformance(case, case.build("numba"))]
    assert not found, report(found)


def gradients(case: Case) -> str:
    """Return a hash of the bits of both gradients and of predictions; the loss is a sum of stripes, so not of it."""
    net, (_, X, Y, w) = case.build("numba"), case.data
    gradient = net.loss_and_gradient(X, Y, w)[1].flat
    return checkers.digest([gradient, net.input_gradient(X, Y, w), net.predict(X), *net.hidden_activations(X)])


def test_no_split_changes_a_bit_of_a_gradient(split: Split) -> None:
    whole = [gradients(case) for case in CASES]
    split()
    assert [gradients(case) for case in CASES] == whole


def trained(case: Case, optimizer: Any) -> str:
    """Return a hash of the parameters after a few epochs with dropout, weights, and a smaller last batch."""
    net, (_, X, Y, w) = case.build("numba", dropout=0.25, seed=5), case.data
    net.fit(X, Y, optimizer=optimizer, epochs=3, batch_size=33, sample_weight=w)
    return checkers.digest([net.parameters.flat])


def test_no_split_changes_a_bit_of_a_training(split: Split) -> None:
    """Dropout's masks belong to the rows of the batch, not of the block."""
    optimizers = (fastmlp.Adam(0.01), fastmlp.SGD(0.01, momentum=0.9, nesterov=True), fastmlp.RMSprop(0.01))
    whole = [trained(case, optimizer) for case in CASES[:4] for optimizer in optimizers]
    split()
    assert [trained(case, optimizer) for case in CASES[:4] for optimizer in optimizers] == whole
