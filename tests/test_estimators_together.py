"""The estimators among scikit-learn's other tools, and in its workers."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.backends.numba import crew
from tests import bounds, processes

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:scipy.optimize:DeprecationWarning",  # of scikit-learn's own L-BFGS, in older releases
)

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(90, 4))
CLASSES = np.array(["a", "b", "c"])[X[:, :3].argmax(axis=1)]
NUMBERS = X @ [1.0, -2.0, 0.5, 0.0]
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.05, "max_iter": 30, "random_state": 1}
CLASSIFIER, REGRESSOR = MLPClassifier(**SETTINGS), MLPRegressor(**SETTINGS)
GOOD = 0.8


@pytest.mark.parametrize(
    ("ensemble", "y"),
    [
        (make_pipeline(StandardScaler(), CLASSIFIER), CLASSES),
        (GridSearchCV(CLASSIFIER, {"alpha": [1e-4, 1e-1], "activation": ["relu", "tanh"]}, cv=2), CLASSES),
        (CalibratedClassifierCV(CLASSIFIER, cv=2), CLASSES),
        (BaggingClassifier(CLASSIFIER, n_estimators=3, random_state=0), CLASSES),
        (StackingClassifier([("one", CLASSIFIER)], LogisticRegression(), cv=2), CLASSES),
        (VotingClassifier([("one", CLASSIFIER), ("two", LogisticRegression())], voting="soft"), CLASSES),
        (BaggingRegressor(REGRESSOR, n_estimators=3, random_state=0), NUMBERS),
        (StackingRegressor([("one", REGRESSOR)], RidgeCV(), cv=2), NUMBERS),
        (TransformedTargetRegressor(REGRESSOR, transformer=StandardScaler()), NUMBERS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_they_work_in_what_is_made_of_estimators(ensemble: Any, y: np.ndarray) -> None:
    assert ensemble.fit(X, y).score(X, y) > GOOD


def test_several_classes_at_once_through_one_estimator_each() -> None:
    Y = np.stack([CLASSES, (X[:, 0] > 0).astype(str)], axis=1)
    assert MultiOutputClassifier(CLASSIFIER).fit(X, Y).score(X, Y) > GOOD


def test_frames_go_through_pipelines_that_keep_them() -> None:
    frame = pd.DataFrame(X, columns=list("abcd")).assign(e=np.where(X[:, 0] > 0, "yes", "no"))
    columns = make_column_transformer(
        (StandardScaler(), list("abcd")), (OneHotEncoder(sparse_output=False), ["e"]), verbose_feature_names_out=False
    ).set_output(transform="pandas")
    model = make_pipeline(columns, CLASSIFIER).fit(frame, CLASSES)
    assert model[-1].feature_names_in_.tolist() == ["a", "b", "c", "d", "e_no", "e_yes"]
    assert model.score(frame, CLASSES) > GOOD


def test_predictions_and_scorers() -> None:
    assert cross_val_predict(CLASSIFIER, X, CLASSES, cv=3, method="predict_log_proba").shape == (90, 3)
    fitted = MLPClassifier(**SETTINGS).fit(X, CLASSES)
    for name in ("accuracy", "neg_log_loss", "roc_auc_ovr"):
        assert np.isfinite(get_scorer(name)(fitted, X, CLASSES))
    importances = permutation_importance(fitted, X, CLASSES, random_state=0).importances_mean
    assert importances[3] < importances[:3].min()


# --- metadata ---


@pytest.mark.parametrize(("kind", "y"), [(MLPClassifier, CLASSES), (MLPRegressor, NUMBERS)])
def test_weights_are_routed(kind: Any, y: np.ndarray) -> None:
    weights = GENERATOR.uniform(0.01, 1.0, 90)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = kind(**SETTINGS).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        given = {"params": {"sample_weight": weights}, "cv": 2, "return_estimator": True, "error_score": "raise"}
        results = cross_validate(asking, X, y, **given)
        plain = cross_validate(asking, X, y, **given | {"params": {}})
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        piped = make_pipeline(scaler, asking).fit(X, y, sample_weight=weights)
    for weighted, other in zip(results["estimator"], plain["estimator"], strict=True):
        assert (weighted.coefs_[0] != other.coefs_[0]).all()
    by_hand = kind(**SETTINGS).fit(scaler.fit_transform(X), y, sample_weight=weights)
    np.testing.assert_array_equal(piped[-1].coefs_[0], by_hand.coefs_[0])


# --- workers ---


@pytest.mark.parametrize("prefer", ["processes", "threads"])
def test_workers_find_what_one_process_finds(prefer: str) -> None:
    import joblib  # noqa: PLC0415  this test's alone

    with joblib.parallel_config(backend={"processes": "loky", "threads": "threading"}[prefer]):
        search = GridSearchCV(REGRESSOR, {"alpha": [1e-4, 1.0]}, cv=2, n_jobs=2).fit(X, NUMBERS)
    alone = GridSearchCV(REGRESSOR, {"alpha": [1e-4, 1.0]}, cv=2).fit(X, NUMBERS)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], rtol=bounds.PARITY["float64"]
    )


def processors_of_a_worker() -> list[int]:
    """Return how many threads kernels would take here, in each of two workers, and in one."""
    import joblib  # noqa: PLC0415  in a process of its own

    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.pop(name, None)
    here = crew.available_processors()
    both = joblib.Parallel(n_jobs=2)(joblib.delayed(crew.available_processors)() for _ in range(2))
    return [here, *both]


def test_workers_do_not_take_each_others_processors() -> None:
    here, *workers = processes.call(processors_of_a_worker)
    assert len(workers) == 2
    assert sum(workers) <= max(here, 2)
