"""Logits of +-1e4 and saturated units: finite losses and gradients that the oracle confirms, on every backend."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests import checkers, networks, oracle
from tests.networks import Case, draw_targets
from tests.statistic import Data

LOGITS = np.array([-1e4, -800.0, -100.0, -40.0, -17.0, -5.0, 0.0, 5.0, 17.0, 40.0, 100.0, 800.0, 1e4])
PAIRS = (("cross_entropy", "softmax"), ("binary_cross_entropy", "sigmoid"))

both_modes = pytest.mark.parametrize("strict", [False, True])
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
both_pairs = pytest.mark.parametrize(("loss", "output"), PAIRS)


class ExtremeCase(Case):
    """One input that goes through all of `LOGITS`; weights between -1 and 1, biases of zero."""

    @property
    def data(self) -> Data:
        """Parameters, X, Y and sample weights."""
        parts = []
        for fan_in, fan_out in pairwise(self.sizes):
            parts += [np.linspace(-1.0, 1.0, fan_in * fan_out), np.zeros(fan_out)]
        Y = draw_targets(self, np.random.default_rng(self.seed))
        return Data(np.concatenate(parts).astype(self.dtype), LOGITS[:, None].astype(self.dtype), Y, None)


@both_dtypes
@both_modes
@both_pairs
def test_extreme_logits(backend: str, loss: str, output: str, dtype: str, *, strict: bool) -> None:
    for seed in range(8):
        targets = "vector" if loss == "cross_entropy" and seed % 2 else "rows"
        case = ExtremeCase((1, 3), (), output, loss, dtype, targets=targets, n_samples=len(LOGITS), seed=seed)
        net = case.build(backend, strict=strict)
        assert np.isfinite(net.loss(*case.data[1:]))
        assert not checkers.whole_network(case, net)


@both_pairs
def test_certain_and_right_costs_nothing(backend: str, loss: str, output: str) -> None:
    """With logits of +-1e4 on the right side, loss and gradient vanish; on the wrong side the loss is the logit."""
    network = oracle.Network((1, 2), (), output, loss)
    net = Case(*network[:4], dtype="float32", n_samples=1).build(backend)
    net.parameters.flat[...] = [1.0, -1.0, 0.0, 0.0]
    right, wrong = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    value, gradient = net.loss_and_gradient([[1e4]], right)
    assert value == 0.0
    assert not gradient.flat.any()
    value, gradient = net.loss_and_gradient([[1e4]], wrong)
    assert value == float(oracle.loss(network, net.parameters.flat, [[1e4]], wrong)) == 2e4
    assert np.array_equal(gradient.flat, oracle.gradient(network, net.parameters.flat, [[1e4]], wrong))


@both_dtypes
@both_modes
@pytest.mark.parametrize("name", networks.HIDDEN)
def test_saturated_hidden_units(backend: str, name: str, dtype: str, *, strict: bool) -> None:
    """Arguments of +-1e4 in a hidden layer: no warning of an overflow, no NaN, what the oracle has."""
    case = ExtremeCase((1, 2, 3), (name,), "identity", "mae", dtype, n_samples=len(LOGITS))
    assert not checkers.whole_network(case, case.build(backend, strict=strict))
