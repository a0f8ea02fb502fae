"""A factor for each feature in front of the first layer: what it is, where it is kept, and what leaves it alone.

That its gradient is right, on every backend, is in all tests of generated networks: half of them have such factors.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, SGD, AdamW, DivergedError, PerLayer
from fastmlp.backends import make_backend
from fastmlp.data import make_batch
from tests import checkers
from tests.networks import Case

GENERATOR = np.random.default_rng(5)
X, Y = GENERATOR.normal(size=(9, 3)), GENERATOR.normal(size=(9, 2))
SCALE = np.array([2.0, -0.5, 4.0])
"""Powers of two: what is multiplied with them is not rounded."""

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
both_modes = pytest.mark.parametrize("strict", [False, True])


def network(backend: str = "numpy", *, scaled: bool = True, **options: Any) -> MLP:
    return MLP((3, 18, 2), "tanh", backend=backend, seed=3, init="uniform", input_scale=scaled, **options)


def test_it_begins_as_ones_behind_the_weights_and_biases() -> None:
    for init in ("auto", "uniform", "zeros"):
        with warnings.catch_warnings(action="ignore"):
            net, plain = (MLP((3, 18, 2), seed=3, init=init, input_scale=it) for it in (True, False))
        assert net.input_scale is not None
        assert net.input_scale.tolist() == [1.0, 1.0, 1.0]
        assert (net.parameters.flat[:-3] == plain.parameters.flat).all()
        assert np.shares_memory(net.parameters.flat[-3:], net.input_scale)
    assert plain.input_scale is plain.parameters.input_scale is None


@both_dtypes
@both_modes
def test_it_multiplies_the_features(backend: str, dtype: str, *, strict: bool) -> None:
    """All is as with features that were multiplied before, to the bit; and that of X, times the scale."""
    scaled, plain = (network(backend, scaled=it, dtype=dtype, strict=strict, l2=0.5) for it in (True, False))
    scaled.input_scale[...] = SCALE
    by_hand = X.astype(dtype) * SCALE.astype(dtype)
    assert scaled.loss(X, Y) == plain.loss(by_hand, Y)
    assert (scaled.predict(X) == plain.predict(by_hand)).all()
    assert (scaled.hidden_activations(X)[0] == plain.hidden_activations(by_hand)[0]).all()
    assert (scaled.input_gradient(X, Y) == plain.input_gradient(by_hand, Y) * SCALE).all()
    (loss, gradient), (expected_loss, expected) = scaled.loss_and_gradient(X, Y), plain.loss_and_gradient(by_hand, Y)
    assert loss == expected_loss
    assert (gradient.flat[:-3] == expected.flat).all()


@both_dtypes
@pytest.mark.parametrize("n_features", [64, 128, 130])
def test_many_features_meet_the_oracle(n_features: int, backend: str, dtype: str) -> None:
    """Rows that kernels keep further apart than they are long, and more of them than a panel of weights is wide."""
    case = Case((n_features, 5, 2), ("tanh",), "identity", "mse", dtype, n_samples=4, input_scale=True)
    assert not checkers.conformance(case, case.build(backend))


@both_dtypes
@both_modes
def test_single_rows_are_answered_alike(backend: str, dtype: str, *, strict: bool) -> None:
    """On their own path: to the bit where NumPy, with BLAS behind it, does not promise more than rounding."""
    net = network(backend, dtype=dtype, strict=strict)
    net.input_scale[...] = [0.3, -1.7, 5.1]
    many, predictor, ahead = net.predict(X), net.predictor(), net.predictor(9)
    rows = np.concatenate([net.predict(row[None]) for row in X])
    assert (rows == [predictor(row.astype(dtype)) for row in X]).all()
    assert (ahead(X.astype(dtype)) == many).all()
    exact = strict or backend != "numpy"
    np.testing.assert_array_max_ulp(rows, many, 0 if exact else 64)


def test_a_predictor_is_a_snapshot_and_the_network_is_not(backend: str) -> None:
    net = network(backend)
    predictor, before = net.predictor(), net.predict(X[:1])
    net.input_scale[...] = SCALE
    assert (predictor(X[0].astype(np.float32)) == before).all()
    assert (net.predict(X[:1]) != before).any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(backend: str, value: float) -> None:
    """Whether the factor is zero or not."""
    net, wrong = network(backend), X.copy()
    net.input_scale[...] = [0.0, 1.0, 2.0]
    wrong[0, 0] = value
    for n in (1, 9):
        with pytest.raises(ValueError, match=r"X\[0, 0\] is .*; expected finite numbers"):
            net.predict(wrong[:n])


def test_copies_have_their_own_and_other_backends_share_it(backend: str) -> None:
    net = network(backend)
    net.fit(X, Y, epochs=2, batch_size=4)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):  # noqa: S301  our own bytes
        assert (twin.input_scale == net.input_scale).all()
        twin.input_scale[...] = SCALE
        assert (net.input_scale != SCALE).any()
    other = net.with_backend("naive")
    other.input_scale[...] = SCALE
    assert (net.input_scale == SCALE).all()


@both_modes
def test_neither_decay_nor_l2_acts_on_it(backend: str, *, strict: bool) -> None:
    """Features that are zero give it no gradient of its own."""
    net = network(backend, l2=0.5, strict=strict)
    zeros = np.zeros_like(X)
    assert (net.loss_and_gradient(zeros, Y)[1].input_scale == 0.0).all()
    net.fit(zeros, Y, optimizer=AdamW(0.25, weight_decay=0.5), epochs=3, batch_size=4)
    net.learn_one(zeros[0], Y[0], optimizer=AdamW(0.25, weight_decay=0.5))
    assert (net.input_scale == 1.0).all()
    before = net.loss(zeros, Y)
    net.input_scale[...] = SCALE
    assert net.loss(zeros, Y) == before


def test_one_of_zero_hides_a_feature_from_the_network_but_not_from_its_factor(backend: str) -> None:
    net = network(backend)
    net.input_scale[...] = [1.0, 0.0, 1.0]
    gradient = net.loss_and_gradient(X, Y)[1]
    assert (gradient.weights[0][1] == 0.0).all()
    assert (gradient.input_scale != 0.0).all()


def test_learning_online_trains_it(backend: str) -> None:
    """As a fit with batches of one does."""
    fitted, online = network(backend), network(backend)
    optimizer = PerLayer(SGD(0.1, momentum=0.5), 1.0, 0.1, "ntk", 6.0)
    fitted.fit(X, Y, optimizer=optimizer, epochs=1, batch_size=1, shuffle=False)
    for x, y in zip(X, Y, strict=True):
        online.learn_one(x, y, optimizer=optimizer)
    assert (online.parameters.flat == fitted.parameters.flat).all()
    assert (online.input_scale != 1.0).all()


def test_a_scale_that_is_not_finite_is_found_in_the_first_layer(backend: str) -> None:
    net = network(backend)
    net.input_scale[1] = np.inf
    with np.errstate(all="ignore"), pytest.raises(DivergedError) as caught:
        net.fit(X, Y, epochs=1)
    assert caught.value.layer == 0


def test_a_gradient_is_written_whole(backend: str) -> None:
    net = network(backend)
    engine = make_backend(backend, net.spec, strict=False, threads=None)
    gradient = net.parameters.copy()
    gradient.flat.fill(np.nan)
    engine.loss_and_gradient(net.parameters, make_batch(net.spec, X, Y, None), gradient)
    assert (gradient.flat == net.loss_and_gradient(X, Y)[1].flat).all()


def test_it_is_in_the_summary() -> None:
    lines = network().summary().splitlines()
    assert lines[1].split() == ["input", "scale", "3", "3"]
    assert lines[-1].startswith(f"{3 + 3 * 18 + 18 + 18 * 2 + 2} parameters")
    assert "input scale" not in network(scaled=False).summary()
