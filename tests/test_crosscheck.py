"""compare_backends sees that the backends agree, and refuses one that does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp.backends import REFERENCE, available_backends
from fastmlp.gradcheck import compare_backends
from fastmlp.parameters import Parameters
from tests import bounds
from tests.networks import Case


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_backends_agree(dtype: str) -> None:
    case = Case((3, 5, 2), ("tanh",), "softmax", "cross_entropy", dtype=dtype, l2=0.125, weighted=True, n_samples=9)
    report = compare_backends(case.build("numpy"), *case.data[1:])
    assert report, str(report)
    assert tuple(row.backend for row in report.rows) == available_backends()
    for row in report.rows:
        assert row.ok
        assert row.difference <= row.bound
        assert len(row.strict_hash) == 12
        assert row.samples_per_second > 0.0
    assert report.rows[0].difference == 0.0
    lines = str(report).splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == list(available_backends())
    assert lines[-1] == "The gradients agree within rounding, strict ones to the bit."


class Spoiled(fastmlp.MLP):
    """A network whose numpy backend is wrong: by a factor when fast, by another when strict."""

    fast = strictly = 1.0

    def loss_and_gradient(self, X: object, Y: object, sample_weight: object = None) -> tuple[float, Parameters]:
        """Spoil the last layer's weights."""
        loss, gradient = super().loss_and_gradient(X, Y, sample_weight)
        if self.backend == "numpy":
            gradient.weights[1][...] *= self.strictly if self.strict else self.fast
        return loss, gradient


@pytest.mark.parametrize("factor", [1.0 + 1e-6, -1.0, np.nan])
def test_a_backend_that_is_wrong_is_refused(factor: float) -> None:
    net = Spoiled((2, 3, 1), "tanh", dtype="float64", seed=0, backend=REFERENCE)
    net.fast = factor
    report = compare_backends(net, [[1.0, 2.0], [0.0, 1.0]], [1.0, 0.0], backends=["numpy"])
    assert not report
    assert [row.ok for row in report.rows] == [True, False]
    assert report.is_strictly_equal
    assert "The gradient of numpy is further from naive's than rounding explains." in str(report)
    assert "WRONG" in str(report)


def test_strict_gradients_that_differ_in_one_bit_are_refused() -> None:
    net = Spoiled((2, 3, 1), "tanh", dtype="float64", seed=0, backend=REFERENCE)
    net.strictly = 1.0 + 2.0 * bounds.UNIT_ROUNDOFF["float64"]
    report = compare_backends(net, [[1.0, 2.0], [0.0, 1.0]], [1.0, 0.0], backends=["numpy"])
    assert not report
    assert all(row.ok for row in report.rows)
    assert not report.is_strictly_equal
    assert "NOT the same bits" in str(report)


def test_the_first_call_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands still but for the first call, in which kernels would be compiled."""
    now = [0.0]

    class Slow(Spoiled):
        calls = 0

        def loss_and_gradient(self, *args: Any) -> tuple[float, Parameters]:
            now[0] += 1.0 if self.calls else 1000.0
            self.calls += 1
            return super().loss_and_gradient(*args)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    report = compare_backends(Slow((2, 3, 1), seed=0), [[1.0, 2.0]] * 4, [1.0] * 4, backends=["numpy"])
    assert {row.samples_per_second for row in report.rows} == {4.0}


def test_unknown_backends_are_an_error() -> None:
    with pytest.raises(ValueError, match="backend is 'cuda'; expected one of naive"):
        compare_backends(fastmlp.MLP((1, 1), seed=0), [[1.0]], [[1.0]], backends=["cuda"])
