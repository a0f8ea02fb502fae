"""Where no operation rounds, every backend returns the one possible result, bit for bit, in fast mode as in strict.

A wrong index, a skipped remainder, a bound off by one: none can hide behind rounding here. The cases
(`tests.integers`) straddle the edges of SIMD lanes and register tiles in every dimension.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastmlp
from tests import checkers, integers, textbook
from tests.test_conformance import report


@pytest.mark.parametrize("strict", [False, True])
def test_integers_give_the_exact_result(backend: str, *, strict: bool) -> None:
    found = []
    for case in integers.cover():
        found += checkers.exact(case, case.build(backend, strict=strict))
    assert not found, report(found)


@pytest.mark.parametrize("strict", [False, True])
def test_one_exact_training_step(backend: str, *, strict: bool) -> None:
    """A step of plain gradient descent with a rate of 1/4 does not round either: the training loop's own kernel."""
    found = []
    for case in integers.cover():
        net = case.build(backend, strict=strict)
        flat, X, Y, w = case.data
        net.fit(X, Y, optimizer=fastmlp.SGD(0.25), epochs=1, batch_size=len(X), shuffle=False, sample_weight=w)
        gradient = textbook.Textbook(case.network, flat).loss_and_gradient(X, Y, w)[1].flat
        if not np.array_equal(net.parameters.flat, flat - 0.25 * gradient):
            found.append(f"{case}")
    assert not found, report(found)


def test_cases_do_not_round() -> None:
    """The premise: float32 arithmetic gives what binary64 gives, and a finer input makes the watch go off."""
    for case in integers.cover():
        assert not checkers.exact(case, textbook.Textbook(case.network, case.data.flat, case.dtype))
    case = integers.cover()[0]
    with pytest.raises(integers.RoundingError):
        integers.Watched(case.network, case.data.flat / 3.0).predict(case.data.X)


def test_cases_straddle_edges_and_branches() -> None:
    cases = integers.cover()
    for position in (0, -1):
        assert {case.sizes[position] for case in cases} == set(integers.EDGES)
    hidden = [textbook.Textbook(case.network, case.data.flat).forward(case.data.X)[0] for case in cases]
    for Zs, case in zip(hidden, cases, strict=True):
        if "relu" in case.activations and Zs[0].size > 16:
            assert Zs[0].min() < 0 < Zs[0].max()
