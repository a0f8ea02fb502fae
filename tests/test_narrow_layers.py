"""Layers of a few outputs, which the fast Numba backend keeps transposed: every width, in training too.

What lies in the padding of the weights must stay zero from step to step, which one gradient does not show.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import fastmlp
from fastmlp.backends.numba.fast.layout import Layout
from fastmlp.backends.numba.simd.registers import lanes
from tests import bounds, checkers
from tests.networks import HIDDEN, Case
from tests.test_conformance import report

WIDTHS = (16, 17, 70, 130)
"""Whole registers, a number more, and more than one and two panels."""
COLUMNS = (1, 2, 3, 4)


def narrow_layers(sizes: tuple[int, ...], activation: str, dtype: str = "float64") -> list[bool]:
    spec = fastmlp.MLP(sizes, activation, dtype=dtype).spec
    return [layer.is_narrow for layer in Layout(spec, 8, training=True).layers]


@pytest.mark.skipif(lanes("float64") == 1, reason="without registers no layer is narrow")
def test_a_layer_is_narrow_where_it_pays_and_its_padding_stays_zero() -> None:
    n = lanes("float64")
    assert narrow_layers((n, 1), "relu") == [False]  # samples lie as the user has them
    assert narrow_layers((2, n, 1), "sigmoid") == [False, True]
    assert narrow_layers((2, n + 1, 1), "tanh") == [False, True]
    assert narrow_layers((2, n + 1, 1), "sigmoid") == [False, False]  # of zero it is a half
    assert narrow_layers((2, n, 1, 2 * n, 2), "relu") == [False, True, False, True]
    assert narrow_layers((2, n, 5), "relu") == [False, False]


@pytest.mark.parametrize("activation", HIDDEN)
def test_gradients_meet_the_oracle(activation: str) -> None:
    options = product(WIDTHS, COLUMNS, ("float32", "float64"))
    cases = [
        Case((3, width, columns), (activation,), "identity", "squared_error", dtype=dtype, n_samples=9, weighted=True)
        for width, columns, dtype in options
    ]
    found = [line for case in cases for line in checkers.conformance(case, case.build("numba"))]
    assert not found, report(found)


@pytest.mark.parametrize("activation", HIDDEN)
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_training_is_that_of_the_numpy_backend(activation: str, dropout: float) -> None:
    generator = np.random.default_rng(0)
    X = generator.standard_normal((30, 3))
    for width, columns in product(WIDTHS, COLUMNS):
        Y, found = generator.standard_normal((30, columns)), []
        for backend in ("numpy", "numba"):
            net = fastmlp.MLP(
                (3, width, columns), activation, backend=backend, dtype="float64", seed=1, l2=0.01, dropout=dropout
            )
            net.fit(X, Y, optimizer=fastmlp.SGD(0.01, momentum=0.9), epochs=3, batch_size=8)
            found.append(net.parameters.flat.copy())
        assert np.max(np.abs(found[0] - found[1])) <= bounds.GRADIENT, (width, columns)


def test_it_stands_between_others() -> None:
    """A narrow hidden layer: gradients of parameters and inputs, predictions, and what is hidden."""
    case = Case((3, 20, 2, 40, 1), ("tanh",) * 3, "sigmoid", "binary_cross_entropy", n_samples=9, l2=0.125)
    found = checkers.conformance(case, case.build("numba"))
    assert not found, report(found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", ["identity", "sigmoid", "softmax"])
def test_a_row_alone_has_the_bits_of_a_row_among_many(output: str, dtype: str) -> None:
    """Though alone its outputs lie in a row, and among many in columns."""
    X = np.random.default_rng(0).standard_normal((40, 3))
    for width, columns in product(WIDTHS, COLUMNS[output == "softmax" :]):
        net = fastmlp.MLP((3, width, columns), "tanh", output, "squared_error", backend="numba", dtype=dtype, seed=1)
        many = net.predict(X)
        for n_rows in (1, 2):
            assert np.array_equal(net.predict(X[:n_rows]), many[:n_rows]), (width, columns, n_rows)
