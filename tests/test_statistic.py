"""Results differ from the truth by no more than rounding: on wider networks, deeper ones, and long batches.

The measure is the whole-network statistic (`tests.statistic`). It is itself held to what it claims here: it is
linear in the noise, and right computations stay far inside it over a population of networks. That wrong ones do
not is shown in `test_planted_bugs.py`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests import bounds, checkers, networks, statistic, textbook
from tests.networks import Case
from tests.test_conformance import report

LARGER = (
    Case((64, 32, 10), ("relu",), "softmax", "cross_entropy", n_samples=32, targets="vector"),
    Case((13, 37, 5), ("tanh",), "identity", "mse", n_samples=19, l2=0.125),
    Case((16, 33, 34, 1), ("relu", "relu"), "identity", "mse", n_samples=32, weighted=True),
    Case((8, 33, 65, 2), ("silu", "gelu"), "exp", "poisson", n_samples=21),
    Case(
        (6, 12, 12, 12, 12, 12, 3), ("selu", "elu", "softplus", "sigmoid", "leaky_relu"), "tanh", "huber", n_samples=15
    ),
    Case((4, 9, 3), ("sigmoid",), "exp", "poisson", n_samples=4100),  # more than one block of rows, long sums
    Case((100, 3, 50), ("tanh",), "sigmoid", "binary_cross_entropy", n_samples=130),
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", LARGER, ids=lambda case: "-".join(map(str, case.sizes)))
def test_larger_networks_differ_by_rounding_alone(backend: str, case: Case, dtype: str) -> None:
    case = replace(case, dtype=dtype)
    found = checkers.whole_network(case, case.build(backend))
    assert not found, report(found)


def test_textbook_stays_inside_on_a_population() -> None:
    """In the arithmetic of either dtype, over more than 700 networks."""
    found = [
        line
        for case in networks.cover()
        for line in checkers.whole_network(case, textbook.Textbook(case.network, case.data.flat, case.dtype))
    ]
    assert not found, report(found)


def test_sigma_is_linear_in_the_roundoff() -> None:
    case = LARGER[1]
    single, double = (statistic.sigmas(case.network, case.data, dtype) for dtype in ("float32", "float64"))
    ratio = bounds.UNIT_ROUNDOFF["float32"] / bounds.UNIT_ROUNDOFF["float64"]
    assert all(single[name] == ratio * double[name] > 0 for name in single)


def test_sigma_knows_cancellation() -> None:
    """Two large terms that nearly cancel: the noise of the difference is that of the terms."""
    case = Case((1, 1), (), "identity", "squared_error", n_samples=1)
    small = statistic.Data(np.array([1.0, 0.5]), np.ones((1, 1)), np.zeros((1, 1)), None)
    large = small._replace(flat=np.array([2.0**20, 1.5 - 2.0**20]))
    before, after = (statistic.sigmas(case.network, data, "float64") for data in (small, large))
    assert after["outputs"] > 2.0**10 * before["outputs"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sigma_depends_little_on_the_seed(seed: int) -> None:
    """Six reruns tell the size of the noise: within the factor of `bounds.SIGMA_SPREAD` of another six."""
    case = LARGER[0]
    first, other = (statistic.sigmas(case.network, case.data, "float32", k) for k in (0, seed))
    for name in first:
        assert first[name] / bounds.SIGMA_SPREAD < other[name] < first[name] * bounds.SIGMA_SPREAD
