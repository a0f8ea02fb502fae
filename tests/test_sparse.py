"""Sparse samples in the backends that multiply what is not zero alone, and never make a batch dense."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from fastmlp import MLP, DivergedError, MLPClassifier, MLPRegressor
from fastmlp.backends import make_backend
from fastmlp.backends import numpy as numpy_backend
from fastmlp.backends.base import Batch
from fastmlp.backends.numba.calls import samples_of
from fastmlp.backends.numba.fast import layout
from fastmlp.backends.numba.fast.layout import Layout
from fastmlp.backends.numba.fast.room import Purpose
from fastmlp.backends.numba.simd.registers import host
from tests import bounds, leaf_calls
from tests.compressed import Compressed

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
GENERATOR = np.random.default_rng(41)
N = 90
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def samples(n_features: int, density: float, dtype: str = "float64") -> np.ndarray:
    """Return samples with empty rows and columns, and with full ones."""
    X = GENERATOR.normal(size=(N, n_features)) * (GENERATOR.random((N, n_features)) < density)
    X[3], X[:, 1], X[5], X[6:, 0] = 0.0, 0.0, GENERATOR.normal(size=n_features), 1.0
    return X.astype(dtype)


# ---- kernels


def bits(model: Any) -> list[bytes]:
    return [array.tobytes() for array in (*model.coefs_, *model.intercepts_)]


SETTINGS: dict[str, Any] = {"max_iter": 3, "random_state": 1, "backend": "numba", "threads": 1}
WAYS: dict[str, dict[str, Any]] = {
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd", "alpha": 0.1},
    "lbfgs": {"solver": "lbfgs"},
    "dropout": {"dropout": 0.25},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3},
    "early stopping by the loss": {"early_stopping": True, "validation_fraction": 0.3, "scoring": "loss"},
}


@both_dtypes
@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize(
    ("n_features", "hidden", "batch_size"), [(4, (), 16), (4, (5,), 16), (50, (33, 7), 60), (400, (20,), 7)]
)
def test_kernels_have_the_bits_of_dense_samples(
    dtype: str, way: str, n_features: int, hidden: tuple[int, ...], batch_size: int
) -> None:
    X = samples(n_features, 0.1, dtype)
    y, weights = np.arange(N) % 3, GENERATOR.uniform(0.5, 2.0, N)
    settings = SETTINGS | WAYS[way] | {"hidden_layer_sizes": hidden, "batch_size": batch_size}
    one, other = (MLPClassifier(**settings).fit(data, y, weights) for data in (scipy.sparse.csr_array(X), X))
    assert bits(one) == bits(other)
    assert one.loss_ == other.loss_
    assert one.predict_proba(scipy.sparse.csc_array(X)).tobytes() == other.predict_proba(X).tobytes()


def test_batches_of_several_blocks_have_the_bits_of_dense_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose entries are turned a block at a time, and whose gradients add up."""
    monkeypatch.setattr(layout, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(layout, "_FEWEST_BLOCK_ROWS", 25)
    test_kernels_have_the_bits_of_dense_samples("float32", "adam", 50, (33, 7), 60)
    test_kernels_have_the_bits_of_dense_samples("float64", "lbfgs", 50, (33, 7), 60)


@pytest.mark.parametrize("rows", [1, 2, 50])
def test_chunks_of_any_size_have_the_bits_of_dense_samples(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_SPARSE_CHUNK_ROWS", rows * host().kind("float32").lanes)
    test_kernels_have_the_bits_of_dense_samples("float32", "adam", 400, (20,), 7)


def test_samples_of_more_entries_may_follow() -> None:
    """On the same backend, whose memory for the first ones is too small then."""
    few, many = samples(30, 0.01), samples(30, 0.9)
    y = few[:, :3].argmax(axis=1)
    ends = []
    for make in (scipy.sparse.csr_array, np.array):
        model = MLPClassifier((5,), **SETTINGS | {"max_iter": 1})
        for X in (few, many, few):
            model.partial_fit(make(X), y, classes=[0, 1, 2])
        ends.append(bits(model))
    assert ends[0] == ends[1]


@both_dtypes
def test_gradients_of_compressed_rows_are_those_of_dense_ones(dtype: str) -> None:
    """Both, with l2 and without a dropped unit; one call after dense samples, with a room of its own."""
    net = MLP((12, 6, 2), "tanh", dtype=dtype, l2=0.1, seed=3)
    X, Y = samples(12, 0.3, dtype), GENERATOR.normal(size=(N, 2)).astype(dtype)
    for name in ("numpy", "numba"):
        backend = make_backend(name, net.spec, strict=False, threads=1)
        found = []
        for data in (X, Compressed(X)):
            batch, gradient = Batch(data, Y, None, float(N), 0.1), net.parameters.copy()  # type: ignore[arg-type]
            loss = backend.loss_and_gradient(net.parameters, batch, gradient)
            by_inputs = backend.input_gradient(net.parameters, batch)
            predicted = backend.predict(net.parameters, batch.X)
            found.append((loss, backend.loss(net.parameters, batch), gradient.flat, by_inputs, predicted))
        for one, other in zip(*found, strict=True):
            np.testing.assert_array_equal(one, other)


# ---- nothing is made dense


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize(
    ("options", "is_made_dense"),
    [
        ({"backend": "numpy"}, False),
        ({"backend": "numba"}, False),
        ({"backend": "naive"}, True),
        ({"backend": "numpy", "strict": True}, True),
        ({"backend": "numba", "strict": True}, True),
        ({"backend": "numba", "standardize": True}, True),
    ],
)
def test_rows_are_made_dense_only_where_a_backend_wants_them_so(
    heights: list[int], way: str, options: dict[str, Any], *, is_made_dense: bool
) -> None:
    X = samples(12, 0.3)
    model = MLPClassifier((4,), **SETTINGS | {"threads": None, "max_iter": 2} | WAYS[way] | options)
    model.fit(scipy.sparse.csr_array(X), np.arange(N) % 3).predict(scipy.sparse.csr_array(X))
    assert bool(heights) == is_made_dense


def peak(call: Callable[[], object]) -> int:
    """Return the most bytes that a call had allocated."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_numpy_has_no_room_for_dense_rows() -> None:
    """Not even room that it never touches: a computer may have none for so many features."""
    X = scipy.sparse.csr_array((3000, 100_000))
    model = MLPRegressor(hidden_layer_sizes=(2,), **SETTINGS | {"backend": "numpy", "max_iter": 1, "solver": "lbfgs"})
    assert peak(lambda: model.fit(X, np.arange(3000) % 2).predict(X)) < 100_000_000


def test_what_numpy_records_does_not_hold_the_samples() -> None:
    model = MLPRegressor(hidden_layer_sizes=(4,), **SETTINGS | {"backend": "numpy"})
    model.fit(scipy.sparse.csr_array(samples(12, 0.3)), np.arange(N) % 2)
    (workspace,) = model._engine.backend._pool._free
    recorded = list(workspace.kept._batches.values())
    assert recorded
    assert not any(hasattr(each.X, "rows") for each in recorded)


def test_threads_share_sparse_samples_out() -> None:
    """Large layers behind the first are worth it; the bits are those of one thread."""
    X = samples(300, 0.1, "float32")
    ends = []
    for threads in (1, 2):
        settings = SETTINGS | {"threads": threads, "batch_size": 90, "max_iter": 4}
        model = MLPClassifier((512, 512), **settings).fit(scipy.sparse.csr_array(X), np.arange(N) % 3)
        ends.append((bits(model), model.loss_curve_))
        rooms = model._engine.backend._free[Purpose.TRAINING, True]
        assert [room.layout.n_threads for room in rooms] == [threads]
    assert ends[0] == ends[1]


# ---- what SciPy's matrices may be like


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_nothing_may_be_there_at_all(backend: str, solver: str) -> None:
    X, y = scipy.sparse.csr_array((9, 20_000)), np.arange(9) % 2
    settings = SETTINGS | {"backend": backend, "solver": solver}
    one, other = (MLPClassifier((3,), **settings).fit(data, y) for data in (X, X.toarray()))
    for ours, theirs in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bounds.PARITY["float64"])
    if solver == "adam":
        MLPClassifier((3,), **settings).partial_fit(X[:1], y[:1], classes=[0, 1])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("array", ["data", "indices", "indptr"])
def test_entries_may_lie_apart(backend: str, array: str) -> None:
    X = samples(12, 0.3)
    matrix, y = scipy.sparse.csr_array(X), np.arange(N) % 2
    apart = np.full((getattr(matrix, array).size, 2), 77, getattr(matrix, array).dtype)
    apart[:, 0] = getattr(matrix, array)
    setattr(matrix, array, apart[:, 0])
    settings = SETTINGS | {"backend": backend}
    one, other = (MLPClassifier((3,), **settings).fit(data, y) for data in (matrix, scipy.sparse.csr_array(X)))
    assert bits(one) == bits(other)
    assert one.predict_proba(matrix).tobytes() == other.predict_proba(scipy.sparse.csr_array(X)).tobytes()


def otherwise(X: np.ndarray) -> dict[str, scipy.sparse.csr_array]:
    """Return a matrix with its columns in disorder, with entries in two parts, with zeros, and with long indices."""
    usual = scipy.sparse.csr_array(X)
    disorder = scipy.sparse.csr_array((usual.data.copy(), usual.indices.copy(), usual.indptr), X.shape)
    for start, stop in itertools.pairwise(usual.indptr):
        disorder.data[start:stop] = usual.data[start:stop][::-1]
        disorder.indices[start:stop] = usual.indices[start:stop][::-1]
    twice = np.repeat(usual.data / 2, 2), np.repeat(usual.indices, 2), 2 * usual.indptr
    zeros = scipy.sparse.csr_array(np.ones_like(X))
    zeros.data = X.ravel().copy()
    long = scipy.sparse.csr_array(X)
    long.indices, long.indptr = long.indices.astype(np.int64), long.indptr.astype(np.int64)
    return {
        "disorder": disorder,
        "in parts": scipy.sparse.csr_array(twice, X.shape),
        "zeros": zeros,
        "long": long,
    }


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("kind", ["disorder", "in parts", "zeros", "long"])
def test_entries_may_lie_in_any_way(backend: str, kind: str) -> None:
    X = samples(12, 0.3)
    y, matrix = X @ np.ones(12), otherwise(X)[kind]
    arrays = matrix.data, matrix.indices, matrix.indptr
    before = [array.copy() for array in arrays]
    usual, other = (
        MLPRegressor(hidden_layer_sizes=(4,), **SETTINGS | {"backend": backend}).fit(data, y)
        for data in (scipy.sparse.csr_array(X), matrix)
    )
    for one, another in zip(usual.coefs_ + usual.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_allclose(one, another, rtol=0, atol=bounds.PARITY["float64"] * np.max(np.abs(one)))
    assert all(itertools.starmap(np.array_equal, zip(arrays, before, strict=True)))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("backend", ["naive", "numpy", "numba"])
def test_training_that_diverges_is_told(backend: str, *, strict: bool) -> None:
    """Where it is outputs that are not finite, and not parameters: to find the layer they are looked at."""
    X = samples(12, 0.3)
    model = MLPRegressor(hidden_layer_sizes=(4,), **SETTINGS | {"backend": backend, "strict": strict, "threads": None})
    with pytest.raises(ValueError, match="non-finite") as caught:
        model.fit(scipy.sparse.csr_array(X), np.full(N, 1e200))
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value.__cause__, DivergedError)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_activations_of_compressed_rows_are_those_of_dense_ones(name: str) -> None:
    net = MLP((12, 6, 5, 2), "tanh", seed=3)
    X = samples(12, 0.3, "float32")
    backend = make_backend(name, net.spec, strict=False, threads=1)
    of_dense, of_compressed = (backend.hidden_activations(net.parameters, data) for data in (X, Compressed(X)))  # type: ignore[arg-type]
    for one, other in zip(of_dense, of_compressed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_predictions_by_numpy_go_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_backend, "_BLOCK", 7)
    X = samples(12, 0.3)
    model = MLPRegressor(hidden_layer_sizes=(4,), **SETTINGS | {"backend": "numpy"}).fit(X, X @ np.ones(12))
    np.testing.assert_allclose(
        model.predict(scipy.sparse.csr_array(X)), model.predict(X), rtol=bounds.PARITY["float64"]
    )


def test_predictions_have_no_second_copy_of_the_weights_that_sparse_samples_choose_from() -> None:
    spec = MLP((5000, 100, 2)).spec
    sizes = [Layout(spec, 8, training=training, is_sparse=True).memory().values.size for training in (False, True)]
    assert sizes[0] < 5000
    assert sizes[1] > spec.n_params


def test_a_fit_on_the_large_sparse_data_of_texts_needs_no_dense_batch() -> None:
    """Of 300,000 features: a dense batch alone would have 480 MB."""
    columns = np.arange(600) * 499
    X = scipy.sparse.csr_array((np.ones(600), columns, np.arange(0, 601, 3)), (200, 300_000))
    model = MLPClassifier((2,), **SETTINGS | {"max_iter": 1})
    model.partial_fit(X[:1], [0], classes=[0, 1])  # what is compiled does not count
    assert peak(lambda: model.fit(X, np.arange(200) % 2).predict(X)) < 100_000_000


# ---- leaves


def with_room(values: np.ndarray, row: int) -> np.ndarray:
    """Return rows so many numbers apart, with NaN in between."""
    flat = np.full(len(values) * row, np.nan, values.dtype)
    flat.reshape(len(values), row)[:, : values.shape[1]] = values
    return flat


@both_dtypes
@pytest.mark.parametrize("vectors", list(host().tile.rows))
def test_sparse_products_are_exact(dtype: str, vectors: int) -> None:
    """Small whole numbers, in rows that are chosen and come again; what is not to be read or written is NaN."""
    leaf_calls.load(dtype)
    generator, width = np.random.default_rng(vectors), vectors * host().kind(dtype).lanes
    X = (generator.integers(-3, 4, (9, 14)) * (generator.random((9, 14)) < 0.4)).astype(dtype)
    X[2], X[:, 3] = 0.0, 0.0
    rows, order = Compressed(X), np.array([4, 2, 8, 4, 0])
    W, init = (generator.integers(-3, 4, shape).astype(dtype) for shape in ((14, width), (5, width)))
    C = np.full(5 * (width + 3), np.nan, dtype)
    sizes = (width + 1, width + 3, 5, vectors)
    arrays = rows.numbers, rows.columns, rows.starts
    leaf_calls.sparse_product(*arrays, order, with_room(W, width + 1), init[0].copy(), C, sizes)
    np.testing.assert_array_equal(C, with_room(init[0] + X[order] @ W, width + 3))
    memory = turned(rows, order, dtype)
    delta = generator.integers(-3, 4, (5, width)).astype(dtype)
    for (first, m), row in itertools.product(((0, 14), (2, 3), (13, 1)), (0, width + 2)):
        beginning = np.tile(init, (3, 1))[: m if row else 1]
        G, sizes = np.full(m * (width + 3), np.nan, dtype), (width + 1, row, width + 3, m, vectors)
        start = with_room(beginning, width + 2)
        leaf_calls.sparse_gradient(memory, first, with_room(delta, width + 1), start, G, sizes)
        expected = beginning + X[order].T[first : first + m] @ delta
        np.testing.assert_array_equal(G, with_room(expected, width + 3))


@both_dtypes
def test_sparse_products_with_weights_as_they_are_have_the_bits_of_others(dtype: str) -> None:
    """Of every size of a last register, with zeros in its padding, and with nothing behind W and b to be read."""
    leaf_calls.load(dtype)
    lanes = host().kind(dtype).lanes
    rows, order = Compressed(samples(14, 0.4, dtype)), np.array([4, 3, 5, 4, 0])
    arrays = rows.numbers, rows.columns, rows.starts
    for size in (*range(1, 2 * lanes + 2), 15 * lanes + 1, 16 * lanes):
        W, b = GENERATOR.normal(size=(14, size)).astype(dtype), GENERATOR.normal(size=size).astype(dtype)
        width = -(-size // lanes) * lanes
        C, panel = np.full(5 * (width + 3), np.nan, dtype), np.full(5 * lanes, np.nan, dtype)
        leaf_calls.sparse_products_in_place(*arrays, order, W.ravel(), b, C, (width + 3, 5))
        padded, start = np.zeros((14, width), dtype), np.zeros(width, dtype)
        padded[:, :size], start[:size] = W, b
        for first in range(0, width, lanes):
            own = np.ascontiguousarray(padded[:, first : first + lanes]).ravel()
            leaf_calls.sparse_product(
                *arrays, order, own, start[first : first + lanes].copy(), panel, (lanes, lanes, 5, 1)
            )
            found = C.reshape(5, width + 3)[:, first : first + lanes]
            np.testing.assert_array_equal(found, panel.reshape(5, lanes), err_msg=str(size))
        assert np.isnan(C.reshape(5, width + 3)[:, width:]).all()


def turned(rows: Compressed, order: np.ndarray, dtype: str) -> layout.Memory:
    """Return memory with the entries of each feature, and room behind them that stays as it was."""
    n_features, n = rows.shape[1], int(np.diff(rows.starts)[order].sum())
    spec = MLP((n_features, 1), dtype=dtype).spec
    memory = layout.Layout(spec, order.size, training=True, is_sparse=True).memory()
    ends, places, numbers = np.full(n_features + 3, -1), np.full(n + 1, -1), np.full(n + 1, np.nan, dtype)
    memory = memory._replace(ends=ends, rows=places, numbers=numbers)
    leaf_calls.turn(samples_of(spec, rows, None, None), order, n_features, memory)  # type: ignore[arg-type]
    assert (ends[-1], places[-1], np.isnan(numbers[-1])) == (-1, -1, True)
    assert ends[n_features] == n
    return memory
