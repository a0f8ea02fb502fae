"""Products that write an activation in place of Z, and deltas behind it: whatever a network is, nothing changes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastmlp
from fastmlp.backends.numba.calls import WITH_PRODUCTS
from fastmlp.backends.numba.fast import layers
from fastmlp.backends.numba.fast.codes import ACTIVATE, DERIVATIVE
from fastmlp.backends.numba.fast.layout import Layout
from fastmlp.backends.numba.fast.program import Writer

SIZES = {
    "wide": (5, 12, 9),
    "narrow last": (5, 12, 1),
    "narrow within": (9, 12, 3, 12, 7),
    "several": (5, 12, 20, 9),
}
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@both_dtypes
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("output", ["identity", "the same"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", WITH_PRODUCTS)
def test_trainings_are_those_of_passes_to_the_bit(
    name: str, sizes: str, output: str, dropout: float, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    layer_sizes = SIZES[sizes]
    X, Y = generator.standard_normal((70, layer_sizes[0])), generator.standard_normal((70, layer_sizes[-1]))
    found = []
    for with_products in (layers._WITH_PRODUCTS, ()):
        monkeypatch.setattr(layers, "_WITH_PRODUCTS", with_products)
        own = name if output == "the same" else output
        options = {"output_activation": own, "loss": "squared_error", "dropout": dropout, "dtype": dtype}
        net = fastmlp.MLP(layer_sizes, name, seed=1, backend="numba", **options)
        history = net.fit(X, Y, optimizer=fastmlp.SGD(0.05), epochs=3, batch_size=32)
        results = net.parameters.flat, np.array(history.loss), net.predict(X), np.array(net.loss(X, Y))
        found.append([result.tobytes() for result in results])
    assert found[0] == found[1]


@pytest.mark.parametrize("name", WITH_PRODUCTS)
def test_no_pass_is_left_where_products_do_it(name: str) -> None:
    for dropout, is_narrow in itertools.product((0.0, 0.5), (False, True)):
        spec = fastmlp.MLP((5, 12, 1 if is_narrow else 9), name, dropout=dropout).spec
        writer = Writer(Layout(spec, 32, training=True), dropping=dropout > 0)
        passes = [call[0] for call in writer.step(32, learning=True, thread=0, n_threads=1)]
        assert ACTIVATE not in passes
        assert (DERIVATIVE in passes) == (dropout > 0)


@both_dtypes
@pytest.mark.parametrize("name", WITH_PRODUCTS)
def test_what_is_not_finite_is_seen_where_no_unit_shows_it(name: str, dtype: str) -> None:
    """Minus infinity everywhere in the first Z is nothing any more in what comes of it."""
    net = fastmlp.MLP((3, 40, 5), name, dtype=dtype, backend="numba", seed=0)
    net.weights[0][...] = -1.0
    X = np.zeros((20, 3))
    X[7, 1] = np.inf
    with pytest.raises(ValueError, match=r"X\[7, 1\] is inf"):
        net.predict(X)
