"""Targets that are several columns of classes: what scikit-learn calls multiclass-multioutput."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import sklearn
from sklearn.ensemble import RandomForestClassifier
from sklearn.multioutput import MultiOutputClassifier

from fastmlp import MLPClassifier
from tests import bounds

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
mpl.use("Agg")

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(60, 4))
THREE = X[:, :3].argmax(axis=1)
WORDS = np.array(["no", "yes"])[(X[:, 3] > 0).astype(int)]
NUMBERS = np.stack([THREE, 5 * (X[:, 0] > 0)], axis=1)
TEXTS = np.stack([np.array(["a", "b", "c"])[THREE], WORDS], axis=1)
MIXED = {"three": THREE, "word": WORDS}
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 8, "batch_size": 16, "random_state": 1}

targets = pytest.mark.parametrize("Y", [NUMBERS, TEXTS], ids=["numbers", "texts"])


def fitted(Y: Any, /, **settings: Any) -> MLPClassifier:
    return MLPClassifier(**SETTINGS | settings).fit(X, Y)


def same(ours: Any, other: Any) -> bool:
    """Tell whether the networks of all columns have the same coefficients."""
    return all(
        np.array_equal(a, b)
        for mine, others in zip(ours.estimators_, other.estimators_, strict=True)
        for a, b in zip(mine.coefs_ + mine.intercepts_, others.coefs_ + others.intercepts_, strict=True)
    )


# --- what comes out ---


@targets
def test_answers_have_the_form_of_a_forests(Y: np.ndarray) -> None:
    ours = fitted(Y)
    forest = RandomForestClassifier(n_estimators=3, random_state=0).fit(X, Y)
    for classes, theirs in zip(ours.classes_, forest.classes_, strict=True):
        np.testing.assert_array_equal(classes, theirs)
    assert ours.n_outputs_ == forest.n_outputs_
    assert ours.predict(X).shape == forest.predict(X).shape
    assert ours.predict(X).dtype.kind == forest.predict(X).dtype.kind
    pairs = zip(ours.predict_proba(X), ours.predict_log_proba(X), forest.predict_proba(X), strict=True)
    for column, (A, log_A, theirs) in enumerate(pairs):
        assert A.shape == theirs.shape
        np.testing.assert_array_equal(np.log(A), log_A)
        np.testing.assert_array_equal(ours.predict(X)[:, column], ours.classes_[column][A.argmax(axis=1)])


@targets
def test_the_score_is_as_undefined_as_a_forests(Y: np.ndarray) -> None:
    for estimator in (fitted(Y), RandomForestClassifier(n_estimators=3).fit(X, Y)):
        with pytest.raises(ValueError, match="multiclass-multioutput is not supported"):
            estimator.score(X, Y)


@targets
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_they_are_the_networks_of_one_estimator_for_each_column(Y: np.ndarray, solver: str, backend: str) -> None:
    ours = fitted(Y, solver=solver, backend=backend)
    theirs = MultiOutputClassifier(MLPClassifier(solver=solver, backend=backend, **SETTINGS)).fit(X, Y)
    assert same(ours, theirs)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_columns_are_learned() -> None:
    estimator = fitted(TEXTS, max_iter=200, learning_rate_init=0.02)
    assert (estimator.predict(X) == TEXTS).all(axis=1).mean() > 0.9


# --- what goes in ---


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_a_frames_columns_keep_their_kinds(frame: Any) -> None:
    estimator = fitted(frame(MIXED))
    assert [classes.tolist() for classes in estimator.classes_] == [[0, 1, 2], ["no", "yes"]]
    assert estimator.predict(X).dtype == object
    assert {type(value) for value in estimator.predict(X)[:, 0]} == {int}
    assert same(estimator, fitted(np.stack([THREE.astype(str), WORDS], axis=1)))


@pytest.mark.parametrize(
    ("Y", "columns"),
    [
        (NUMBERS.tolist(), 2),
        (TEXTS.astype(object), 2),
        (pd.DataFrame(TEXTS, dtype="category"), 2),
        (np.stack([WORDS, WORDS], axis=1), 2),
        (pd.DataFrame({"a": pd.array(THREE, dtype="Int64"), "b": WORDS}), 2),
        ((X[:, :2] > 0).astype(int), 0),  # labels
        ((X[:, :2] > 0).tolist(), 0),
        (scipy.sparse.csr_array((X[:, :2] > 0).astype(int)), 0),
        (THREE[:, None], 0),  # a column
        (THREE, 0),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_which_targets_are_columns(Y: Any, columns: int) -> None:
    assert len(vars(fitted(Y)).get("estimators_", [])) == columns


@pytest.mark.parametrize("Y", [X, [[1, 2], [3]], np.empty((0, 2))])
def test_other_targets_are_refused_as_before(Y: Any) -> None:
    with pytest.raises(ValueError, match=r"Multioutput target data is not|inhomogeneous|0 sample"):
        fitted(Y)


def test_data_may_be_sparse_or_have_names() -> None:
    dense = fitted(NUMBERS)
    sparse = MLPClassifier(**SETTINGS).fit(scipy.sparse.csr_array(X), NUMBERS)
    for A, other in zip(dense.predict_proba(X), sparse.predict_proba(scipy.sparse.csr_array(X)), strict=True):
        np.testing.assert_allclose(A, other, rtol=bounds.PARITY["float64"])
    named = MLPClassifier(**SETTINGS).fit(pd.DataFrame(X, columns=list("abcd")), NUMBERS)
    assert named.feature_names_in_.tolist() == list("abcd")
    assert named.n_features_in_ == dense.n_features_in_ == 4
    assert not hasattr(dense, "feature_names_in_")
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 4"):
        dense.predict(X[:, :3])


def test_samples_and_classes_may_weigh() -> None:
    weights = GENERATOR.uniform(0.5, 2.0, 60)
    weighing = [{"a": 3.0, "b": 1.0, "c": 0.5}, "balanced"]
    ours = MLPClassifier(**SETTINGS, class_weight=weighing).fit(X, TEXTS, weights)
    for column, class_weight in enumerate(weighing):
        other = MLPClassifier(**SETTINGS, class_weight=class_weight).fit(X, TEXTS[:, column], weights)
        np.testing.assert_array_equal(ours.estimators_[column].coefs_[0], other.coefs_[0])
    balanced = fitted(TEXTS, class_weight="balanced")
    assert [estimator.class_weight for estimator in balanced.estimators_] == ["balanced", "balanced"]


# --- going on ---


def test_an_epoch_at_a_time() -> None:
    classes = [np.array(["a", "b", "c"]), np.array(["no", "yes"])]
    ours = MLPClassifier(**SETTINGS)
    theirs = MultiOutputClassifier(MLPClassifier(**SETTINGS))
    for part in (slice(0, 30), slice(30, 60), slice(10, 40)):
        ours.partial_fit(X[part], TEXTS[part], classes=classes)
        theirs.partial_fit(X[part], TEXTS[part], classes=classes)
        assert same(ours, theirs)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MLPClassifier(**SETTINGS).partial_fit(X, TEXTS)
    with pytest.raises(ValueError, match=r"classes is for 1 columns of classes; expected 2, one for each"):
        MLPClassifier(**SETTINGS).partial_fit(X, TEXTS, classes=classes[:1])


def test_a_part_whose_columns_look_like_plain_labels() -> None:
    """What the targets are was settled by the first call."""
    plain = (NUMBERS[:, 0] < 2) & (NUMBERS[:, 1] == 0)
    estimator = MLPClassifier(**SETTINGS)
    estimator.partial_fit(X[plain], NUMBERS[plain], classes=[[0, 1, 2], [0, 5]])
    estimator.partial_fit(X[plain], NUMBERS[plain])
    assert len(estimator.estimators_) == 2


def test_a_warm_start_goes_on() -> None:
    once, twice = fitted(TEXTS, warm_start=True), fitted(TEXTS, warm_start=True)
    twice.fit(X, TEXTS)
    assert not same(once, twice)
    by_column = [MLPClassifier(**SETTINGS, warm_start=True).fit(X, column).fit(X, column) for column in TEXTS.T]
    for ours, other in zip(twice.estimators_, by_column, strict=True):
        np.testing.assert_array_equal(ours.coefs_[0], other.coefs_[0])
    assert same(twice.set_params(warm_start=False).fit(X, TEXTS), fitted(TEXTS))


@pytest.mark.parametrize("wrong", [TEXTS[:, ::-1], TEXTS[:, :1], np.stack([*TEXTS.T, WORDS], axis=1), TEXTS[:, 0]])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_wrong_targets_change_nothing(wrong: np.ndarray) -> None:
    estimator = fitted(TEXTS)
    before = copy.deepcopy(estimator)
    with pytest.raises(ValueError, match=r"`y` has classes not in|y is for \d columns of classes; expected 2"):
        estimator.partial_fit(X, wrong)
    assert same(estimator, before)
    half = TEXTS.copy()
    half[0, 1] = "why"
    with pytest.raises(ValueError, match="why"):
        estimator.partial_fit(X, half)
    assert same(estimator, before)


def test_new_parameters_count_when_training_goes_on() -> None:
    estimator = fitted(TEXTS).set_params(alpha=1.0).partial_fit(X, TEXTS)
    assert [each.alpha for each in estimator.estimators_] == [1.0, 1.0]


def test_kinds_of_targets_may_follow_one_another() -> None:
    estimator = fitted(TEXTS).fit(X, THREE)
    assert estimator.predict(X).shape == (60,)
    assert not hasattr(estimator, "estimators_")
    estimator.fit(X, TEXTS)
    assert estimator.predict(X).shape == (60, 2)
    for name in ("coefs_", "loss_", "n_iter_", "loss_curve_"):
        assert not hasattr(estimator, name)
    assert set(vars(estimator)) >= set(vars(fitted(TEXTS)))


def test_coefficients_may_be_given_for_each_column() -> None:
    first = fitted(TEXTS)
    begin = {
        "coef_init": [each.coefs_ for each in first.estimators_],
        "intercept_init": [each.intercepts_ for each in first.estimators_],
    }
    given = MLPClassifier(**SETTINGS, shuffle=False).fit(X, TEXTS, **begin)
    warm = first.set_params(warm_start=True, shuffle=False).fit(X, TEXTS)
    assert same(given, warm)
    with pytest.raises(ValueError, match="coef_init is for 1 columns of classes; expected 2"):
        MLPClassifier(**SETTINGS).fit(X, TEXTS, coef_init=begin["coef_init"][:1])


def test_early_stopping_looks_at_each_column() -> None:
    settings = SETTINGS | {"early_stopping": True}
    ours = MLPClassifier(**settings).fit(X[:40], TEXTS[:40], X_val=X[40:], y_val=TEXTS[40:])
    for estimator, y in zip(ours.estimators_, TEXTS.T, strict=True):
        other = MLPClassifier(**settings).fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
        assert estimator.validation_scores_ == other.validation_scores_
    with pytest.raises(ValueError, match="y_val is for 0 columns of classes; expected 2"):
        MLPClassifier(**settings).fit(X, TEXTS, X_val=X, y_val=TEXTS[:, 0])


# --- copies and looks ---


def test_copies_have_memory_of_their_own() -> None:
    estimator = fitted(TEXTS)
    for other in (copy.copy(estimator), copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):  # noqa: S301
        np.testing.assert_array_equal(other.predict(X), estimator.predict(X))
        before = copy.deepcopy(estimator)
        other.partial_fit(X, TEXTS)
        assert same(estimator, before)
        assert not same(estimator, other)
    assert not hasattr(sklearn.clone(estimator), "estimators_")


def test_the_gradient_with_respect_to_x_is_that_of_the_losses_sum() -> None:
    estimator = fitted(TEXTS, activation="tanh")
    parts = [each.input_gradient(X, y) for each, y in zip(estimator.estimators_, TEXTS.T, strict=True)]
    np.testing.assert_array_equal(estimator.input_gradient(X, TEXTS), parts[0] + parts[1])


def test_all_histories_are_drawn() -> None:
    estimator = fitted(TEXTS)
    lines = estimator.plot_history().get_lines()
    curves = [line.get_ydata() for line in lines if len(line.get_ydata()) == SETTINGS["max_iter"]]
    for each, curve in zip(estimator.estimators_, curves, strict=True):
        np.testing.assert_array_equal(curve, each.loss_curve_)
    mpl.pyplot.close("all")


def test_notebooks_show_the_layers() -> None:
    assert "fastmlp-layers" in fitted(TEXTS)._repr_html_()
