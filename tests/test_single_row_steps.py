"""A step of one sample, in a network whose layers fit in a register, is computed in one call: to the same ends.

Such a call makes nothing but steps, so the gradients are those that training leaves in the optimizer's state.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp.backends.numba.fast import codes
from fastmlp.backends.numba.fast.layout import Layout
from fastmlp.backends.numba.fast.program import Writer
from fastmlp.backends.numba.simd.registers import lanes
from tests import bounds, checkers, networks, statistic
from tests.networks import Case
from tests.test_conformance import report

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def shapes(dtype: str) -> Iterator[tuple[int, ...]]:
    """Yield shapes whose layers have up to a register's lanes; inputs may be many more."""
    n = lanes(dtype)
    yield from ((1, 1), (3, n), (2, n, 1), (71, 1, n), (5, n, 1, n, 1, n))
    if n > 1:
        yield from ((3, 2), (2, n - 1, 1), (9, n, n), (n + 1, n, 2, n, 2), (3, 2, n, n - 1, n, 2))


class Learning:
    """A network that is asked for the gradient that it learns from."""

    def __init__(self, case: Case, backend: str = "numba") -> None:
        self._case, self._backend = case, backend

    def loss_and_gradient(self, X: Any, Y: Any, w: Any) -> tuple[float, Any]:
        """Do a step of length 1: what the velocity is then is the gradient, but for its sign."""
        net = self._case.build(self._backend)
        history = net.fit(X, Y, optimizer=fastmlp.SGD(1.0, momentum=0.5), epochs=1, batch_size=1, sample_weight=w)
        assert history.state is not None
        return history.loss[0], -history.state.states[0]


def complaints(case: Case) -> list[str]:
    """Hold the gradient and the loss of a case of one sample against the oracle."""
    loss, gradient = Learning(case).loss_and_gradient(*case.data[1:])
    actual = {"loss": np.asarray(loss), **statistic.tensors(case.sizes, gradient)}
    expected, sigmas = checkers.truth(case), checkers.rounding(case)
    found = checkers.differences(case, actual, expected, {name: bounds.SIGMAS * sigmas[name] for name in actual})
    if case.dtype == "float64":
        del actual["loss"]
        allowed = {name: bounds.GRADIENT * np.max(np.abs(expected[name])) for name in actual}
        found += checkers.differences(case, actual, expected, allowed)
    return found


def first_code(net: fastmlp.MLP, n_rows: int, *, learning: bool = True) -> int:
    """Return the first call of a step."""
    writer = Writer(Layout(net.spec, n_rows, training=True, keeps_gradient=True), dropping=net.spec.dropout > 0)
    return int(writer.step(n_rows, learning=learning, thread=0, n_threads=1)[0][0])


@both_dtypes
def test_it_is_for_one_row_and_narrow_layers(dtype: str) -> None:
    n = lanes(dtype)
    for sizes in shapes(dtype):
        assert first_code(fastmlp.MLP(sizes, dtype=dtype), 1) == codes.ROW_GRADIENT
        assert first_code(fastmlp.MLP(sizes, dtype=dtype), 2) != codes.ROW_GRADIENT
        assert first_code(fastmlp.MLP(sizes, dtype=dtype), 1, learning=False) != codes.ROW_GRADIENT
    assert first_code(fastmlp.MLP((3, n, 1), dropout=0.5, dtype=dtype), 1) != codes.ROW_GRADIENT
    assert first_code(fastmlp.MLP((3, n, 1), input_scale=True, dtype=dtype), 1) != codes.ROW_GRADIENT
    for wide in ((3, n + 1, 1), (3, 1, n + 1)):
        assert first_code(fastmlp.MLP(wide, dtype=dtype), 1) != codes.ROW_GRADIENT


@both_dtypes
@pytest.mark.parametrize("activation", networks.HIDDEN)
def test_gradients_meet_the_oracle(activation: str, dtype: str) -> None:
    """For every shape, with sample weights and l2."""
    cases = [
        Case(sizes, (activation,) * (len(sizes) - 2), "identity", "squared_error", **options)  # type: ignore[arg-type]
        for sizes in shapes(dtype)
        for options in ({"dtype": dtype, "n_samples": 1, "weighted": w, "l2": networks.L2 * w} for w in (False, True))
    ]
    found = [line for case in cases for line in complaints(case)]
    assert not found, report(found)


@both_dtypes
@pytest.mark.parametrize(("loss", "output"), networks.PAIRS)
def test_gradients_of_every_loss_meet_the_oracle(loss: str, output: str, dtype: str) -> None:
    n, found = lanes(dtype), []
    for size, targets in product((1, 2, max(1, n - 1), n), ("rows", "vector")):
        if size > n or not networks.is_valid({"pair": (loss, output), "shape": (3, size), "targets": targets}):
            continue
        for sizes in ((3, size), (3, n, size)):
            activations = ("tanh",) * (len(sizes) - 2)
            case = Case(sizes, activations, output, loss, dtype=dtype, targets=targets, n_samples=1, weighted=True)
            found += complaints(case)
    assert not found, report(found)


OPTIMIZERS = (
    fastmlp.SGD(0.01, momentum=0.9, nesterov=True),
    fastmlp.Adam(0.01),
    fastmlp.AdamW(0.01, weight_decay=0.1),
    fastmlp.RMSprop(0.01),
    fastmlp.PerLayer(fastmlp.Adam(0.01), weights=(1.0, 0.5, 2.0), biases=(0.5, 2.0, 1.0)),
)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_training_is_that_of_the_numpy_backend(optimizer: fastmlp.Optimizer, l2: float) -> None:
    """Steps of one row beside others: the last batch of a fit, and every batch of another."""
    n = lanes("float64")
    generator = np.random.default_rng(0)
    X, w = generator.standard_normal((13, 3)), generator.uniform(0.5, 2.0, 13)
    for sizes, batch_size, weights in product(((3, n, n, 1), (3, n, 1, n)), (1, 4), (None, w)):
        Y, found = generator.standard_normal((13, sizes[-1])), []
        for backend in ("numpy", "numba"):
            net = fastmlp.MLP(sizes, "tanh", backend=backend, dtype="float64", seed=1, l2=l2)
            net.fit(X, Y, optimizer=optimizer, epochs=3, batch_size=batch_size, sample_weight=weights)
            found.append(net.parameters.flat.copy())
        assert np.max(np.abs(found[0] - found[1])) <= bounds.GRADIENT, (sizes, batch_size)


@both_dtypes
def test_labels_are_those_of_their_samples(dtype: str) -> None:
    n = max(2, lanes(dtype))
    generator = np.random.default_rng(0)
    X, labels = generator.standard_normal((13, 3)), generator.integers(0, n, 13)
    found = []
    for Y in (labels, np.eye(n)[labels]):
        net = fastmlp.MLP((3, n), (), "softmax", "cross_entropy", backend="numba", dtype=dtype, seed=1)
        net.fit(X, Y, optimizer="sgd", epochs=2, batch_size=1)
        found.append(net.parameters.flat.copy())
    assert np.array_equal(*found)


@both_dtypes
@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_softmax_of_logits_far_from_zero_is_softmax(logit: float, dtype: str) -> None:
    """There is nothing else in the register that could be larger than they are."""
    X, Y, found = np.ones((1, 2)), np.array([[0.25, 0.75]]), []
    for backend in ("numpy", "numba"):
        net = fastmlp.MLP((2, 2), (), "softmax", "cross_entropy", backend=backend, dtype=dtype, init="zeros")
        net.biases[0][...] = logit
        net.fit(X, Y, optimizer=fastmlp.SGD(1.0), epochs=1, batch_size=1)
        found.append(np.concatenate([net.weights[0].ravel(), net.biases[0] - logit]))
    assert np.array_equal(*found)


@both_dtypes
def test_divergence_is_told_where_it_happens(dtype: str) -> None:
    X, Y = np.random.default_rng(0).standard_normal((2, 20, 1))
    told = []
    for backend in ("numpy", "numba"):
        net = fastmlp.MLP((1, 1, 1), "identity", backend=backend, dtype=dtype, seed=1)
        before = net.parameters.flat.copy()
        with np.errstate(all="ignore"), pytest.raises(fastmlp.DivergedError) as error:
            net.fit(X, Y, optimizer=fastmlp.SGD(1e3), epochs=1, batch_size=1)
        assert np.array_equal(net.parameters.flat, before)
        told.append((error.value.epoch, error.value.batch))
    assert told[0] == told[1]
