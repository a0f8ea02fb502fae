"""What a process with registers of a chosen width computes, and what is wrong with it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import fastmlp
from fastmlp.backends.numba.simd.registers import host
from tests import checkers, integers, leaf_calls, networks, test_fit_oracle, test_leaves
from tests.test_fit_oracle import Plan

DTYPES = ("float32", "float64")


def complaints() -> dict[str, Any]:
    """Return the width, and what is wrong with products, gradients, predictions and fits."""
    checks = (products, exact_gradients, gradients, predictions, fits, exact_steps_with_dropout)
    return {"width": host().width, "found": [line for check in checks for line in check()]}


def products() -> list[str]:
    """Hold a panel's products to the exact ones, around the edges of the tiles."""
    found = []
    for dtype in DTYPES:
        leaf_calls.load(dtype)
        for vectors, heights in host().tile.rows.items():
            ms = {1, 2, 3, heights[0] - 1, heights[0], heights[0] + 1, 2 * heights[0] + 3}
            found += [line for m in ms for k in (1, 2, 7) for line in test_leaves.product_errors(dtype, vectors, m, k)]
    return found


def exact_gradients() -> list[str]:
    """Hold networks of integers to the one possible result."""
    cases = integers.cover()[::2]
    return [line for case in cases for line in checkers.exact(case, case.build("numba"))]


@functools.cache
def _cases() -> tuple[networks.Case, ...]:
    return networks.cover()[::12]


def gradients() -> list[str]:
    """Hold generated networks of all activations and losses to the oracle."""
    return [line for case in _cases() for line in checkers.conformance(case, case.build("numba"))]


def predictions() -> list[str]:
    """Hold the answers for a few rows, from the weights as they are, to those for many: to the bit."""
    found = []
    for case in _cases():
        net, X = case.build("numba"), np.resize(case.data.X, (9, case.sizes[0]))
        if not np.array_equal(net.predict(X[:4]), net.predict(X)[:4]):
            found.append(f"four rows of nine are answered differently: {case}")
    return found


def fits() -> list[str]:
    """Hold every optimizer, with and without dropout, to its definition."""
    w, found = test_fit_oracle.CASE.data.w, []
    for optimizer, rule, reach in test_fit_oracle.RULES.values():
        for rate in (0.0, 0.25):
            found += test_fit_oracle.complaints("numba", optimizer, Plan(rule(), reach, rate, w), strict=False)
    return found


def exact_steps_with_dropout() -> list[str]:
    """Hold a step of gradient descent on integers, half of the units dropped, to the reference backend's."""
    found = []
    for case in [case for case in integers.cover() if len(case.sizes) > 2 and not case.l2][::6]:
        _, X, Y, w = case.data
        nets = [case.build(backend, dropout=0.5, seed=3) for backend in ("naive", "numba")]
        for net in nets:
            net.fit(X, Y, optimizer=fastmlp.SGD(0.25), epochs=1, batch_size=len(X), sample_weight=w)
        if not np.array_equal(nets[0].parameters.flat, nets[1].parameters.flat):
            found.append(f"a step with dropout is another: {case}")
    return found
