"""What the estimators take: sparse matrices, frames, float32, labels of any kind, arrays that nobody may write to."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.utils.validation import _get_feature_names

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.estimators import sparse
from tests import bounds

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(61, 4))
X[np.abs(X) < 0.5] = 0.0
CLASSES = X[:, :3].argmax(axis=1)
NUMBERS = X @ [1.0, -2.0, 0.5, 0.0]
WEIGHTS = GENERATOR.uniform(0.5, 2.0, 61)
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (5,), "max_iter": 6, "batch_size": 16, "random_state": 1}

FORMATS = (scipy.sparse.csr_array, scipy.sparse.csc_array, scipy.sparse.csr_matrix, scipy.sparse.csc_matrix)
both = pytest.mark.parametrize(("kind", "y"), [(MLPClassifier, CLASSES), (MLPRegressor, NUMBERS)])
each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def same(ours: Any, other: Any) -> bool:
    """Tell whether two estimators have the same coefficients, but for rounding."""
    pairs = zip(ours.coefs_ + ours.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    return all(np.max(np.abs(a - b)) <= bounds.PARITY["float64"] * np.max(np.abs(b)) for a, b in pairs)


# --- sparse ---


@both
@each_solver
@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_sparse_data_trains_as_dense_data_does(kind: Any, y: np.ndarray, solver: str, make: Any, backend: str) -> None:
    dense = kind(solver=solver, backend=backend, **SETTINGS).fit(X, y, WEIGHTS)
    sparse_ = kind(solver=solver, backend=backend, **SETTINGS).fit(make(X), y, WEIGHTS)
    assert same(sparse_, dense)
    np.testing.assert_allclose(sparse_.loss_, dense.loss_, rtol=bounds.PARITY["float64"])
    np.testing.assert_array_equal(np.round(sparse_.predict(make(X)), 9), np.round(dense.predict(X), 9))


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_batches_are_made_dense_one_at_a_time_where_they_are(solver: str, heights: list[int]) -> None:
    MLPRegressor(solver=solver, **SETTINGS, strict=True).fit(scipy.sparse.csr_array(X), NUMBERS)
    assert max(heights) == SETTINGS["batch_size"]
    assert sum(heights) == len(X) * SETTINGS["max_iter"]


@both
@each_solver
def test_large_sparse_data_goes_in_blocks(
    kind: Any, y: np.ndarray, solver: str, heights: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of a loss, a gradient or a prediction add up to what the whole would give."""
    monkeypatch.setattr(sparse, "_BLOCK_ENTRIES", 40)
    settings = SETTINGS | {"alpha": 0.5, "batch_size": 10, "strict": True}
    blocks = kind(solver=solver, **settings).fit(scipy.sparse.csr_array(X), y, WEIGHTS)
    A = blocks.predict(scipy.sparse.csr_array(X))
    assert max(heights) == 10
    whole = kind(solver=solver, **settings).fit(X, y, WEIGHTS)
    assert same(blocks, whole)
    np.testing.assert_allclose(blocks.loss_, whole.loss_, rtol=bounds.PARITY["float64"])
    np.testing.assert_array_equal(np.round(A, 9), np.round(whole.predict(X), 9))


def test_early_stopping_takes_sparse_data() -> None:
    settings = SETTINGS | {"early_stopping": True, "validation_fraction": 0.3}
    dense = MLPClassifier(**settings).fit(X, CLASSES)
    sparse_ = MLPClassifier(**settings).fit(scipy.sparse.csc_array(X), CLASSES)
    assert dense.validation_scores_ == sparse_.validation_scores_
    assert same(sparse_, dense)


# --- frames ---


SEES_POLARS = _get_feature_names(pl.DataFrame({"a": [1.0]})) is not None
FRAMES = [
    pytest.param(pd.DataFrame, id="pandas"),
    pytest.param(
        pl.DataFrame,
        id="polars",
        marks=pytest.mark.skipif(not SEES_POLARS, reason="this scikit-learn sees no names in this polars' frames"),
    ),
]


@both
@pytest.mark.parametrize("frame", FRAMES)
def test_frames_have_names_that_are_kept_and_asked_for(kind: Any, y: np.ndarray, frame: Any) -> None:
    named = frame({name: X[:, i] for i, name in enumerate("abcd")})
    estimator = kind(**SETTINGS).fit(named, y)
    assert estimator.feature_names_in_.tolist() == list("abcd")
    assert same(estimator, kind(**SETTINGS).fit(X, y))
    np.testing.assert_array_equal(estimator.predict(named), kind(**SETTINGS).fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(named[["b", "a", "c", "d"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        estimator.predict(X[:1])


@both
def test_names_are_asked_for_where_there_were_none(kind: Any, y: np.ndarray) -> None:
    estimator = kind(**SETTINGS).fit(X, y)
    assert not hasattr(estimator, "feature_names_in_")
    with pytest.warns(UserWarning, match="fitted without feature names"):
        estimator.predict(pd.DataFrame(X, columns=list("abcd")))


def test_targets_may_be_series_of_strings() -> None:
    words = np.array(["low", "mid", "top"], object)[CLASSES]
    plain = MLPClassifier(**SETTINGS).fit(X, words)
    for y in (pd.Series(words), pl.Series(words.tolist()).to_numpy(), words.astype(str), pd.Categorical(words)):
        other = MLPClassifier(**SETTINGS).fit(X, y)
        assert same(other, plain)
        assert other.classes_.tolist() == ["low", "mid", "top"]
        assert set(other.predict(X)) <= {"low", "mid", "top"}


# --- dtypes and memory ---


@both
@each_solver
def test_float32_stays_float32(kind: Any, y: np.ndarray, solver: str, backend: str) -> None:
    estimator = kind(solver=solver, backend=backend, **SETTINGS).fit(X.astype("float32"), y)
    assert {array.dtype.name for array in estimator.coefs_ + estimator.intercepts_} == {"float32"}
    answer = estimator.predict_proba if kind is MLPClassifier else estimator.predict
    for asked in (X.astype("float32"), X, X.tolist(), scipy.sparse.csr_array(X)):
        assert answer(asked).dtype == np.float32


@both
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "float16", "object"])
def test_all_else_becomes_float64(kind: Any, y: np.ndarray, dtype: str) -> None:
    whole = np.abs(np.rint(X)).astype("bool" if dtype == "bool" else "uint8")
    estimator = kind(**SETTINGS).fit(whole.astype(dtype), y)
    assert estimator.coefs_[0].dtype == np.float64
    assert same(estimator, kind(**SETTINGS).fit(whole.astype(float), y))
    np.testing.assert_array_equal(estimator.predict(whole.astype(dtype)), estimator.predict(whole.astype(float)))


@both
@each_solver
def test_nothing_is_written_to(kind: Any, y: np.ndarray, solver: str, tmp_path: Path, backend: str) -> None:
    """Read-only arrays, in memory or on disk, in any layout, train the same."""
    estimator = kind(solver=solver, backend=backend, **SETTINGS).fit(X, y, WEIGHTS)
    np.save(tmp_path / "X.npy", X)
    columns = np.asfortranarray(X)
    strided = np.repeat(X, 2, axis=0)[::2]
    frozen = [np.load(tmp_path / "X.npy", mmap_mode="r"), columns, strided, X.copy()]
    labels, weights = y.copy(), WEIGHTS.copy()
    for array in (*frozen, labels, weights):
        array.flags.writeable = False
    for array in frozen:
        other = kind(solver=solver, backend=backend, **SETTINGS).fit(array, labels, weights)
        assert same(other, estimator)
        np.testing.assert_array_equal(other.predict(array), estimator.predict(X))


# --- copies ---


@both
@each_solver
def test_a_pickled_estimator_answers_the_same_and_goes_on_the_same(kind: Any, y: np.ndarray, solver: str) -> None:
    estimator = kind(solver=solver, **SETTINGS).fit(X, y)
    copies = [pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)]  # noqa: S301  our own
    for other in copies:
        np.testing.assert_array_equal(other.predict(X), estimator.predict(X))
    if solver == "lbfgs":
        return
    estimator.partial_fit(X, y)
    for other in copies:
        assert same(other.partial_fit(X, y), estimator)
        assert other.t_ == estimator.t_


@both
def test_a_shallow_copy_has_memory_of_its_own(kind: Any, y: np.ndarray) -> None:
    estimator = kind(**SETTINGS).fit(X, y)
    before = estimator.predict(X)
    copy.copy(estimator).partial_fit(X, y)
    np.testing.assert_array_equal(estimator.predict(X), before)


@both
def test_an_estimator_on_disk_may_be_mapped_into_memory(kind: Any, y: np.ndarray, tmp_path: Path) -> None:
    estimator = kind(**SETTINGS).fit(X, y)
    joblib.dump(estimator, tmp_path / "estimator.joblib")
    mapped = joblib.load(tmp_path / "estimator.joblib", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict(X), estimator.predict(X))
    assert same(mapped.partial_fit(X, y), estimator.partial_fit(X, y))


@both
def test_a_clone_has_the_parameters_and_nothing_else(kind: Any, y: np.ndarray) -> None:
    estimator = kind(**SETTINGS).fit(X, y)
    fresh = clone(estimator)
    assert fresh.get_params() == estimator.get_params()
    assert not hasattr(fresh, "coefs_")
    assert same(fresh.fit(X, y), estimator)


# --- coefficients in the user's hands ---


@both
def test_coefficients_may_be_written_to_or_replaced(kind: Any, y: np.ndarray) -> None:
    estimator = kind(**SETTINGS).fit(X, y)
    answers = estimator.predict_proba if kind is MLPClassifier else estimator.predict
    before = answers(X)
    estimator.intercepts_[-1][...] += [0.0, 1.0, 0.0][: estimator.n_outputs_] if kind is MLPClassifier else 1.0
    written = answers(X)
    assert (before != written).all()
    estimator.intercepts_[-1] = estimator.intercepts_[-1] * 0.0
    replaced = answers(X)
    assert (written != replaced).any()
    estimator.coefs_ = [np.zeros_like(W) for W in estimator.coefs_]
    assert np.ptp(answers(X), axis=0).max() == 0.0
    estimator.coefs_[0][...] = 1.0
    np.testing.assert_array_equal(answers(X), answers(X))
    estimator.partial_fit(X, y)
    assert np.ptp(answers(X), axis=0).max() > 0.0
