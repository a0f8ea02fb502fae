"""The regressor's quantiles: what they are held against, that they never cross, and what makes no sense."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn import clone
from sklearn.linear_model import QuantileRegressor
from sklearn.metrics import d2_pinball_score, mean_pinball_loss
from sklearn.model_selection import cross_val_score

from fastmlp import MLPRegressor, schedules
from fastmlp.estimators.quantiles import rearranged
from tests import bounds

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(200, 3))
y = X @ [1.0, -2.0, 0.5] + (1.0 + np.abs(X[:, 0])) * GENERATOR.normal(size=200)
SEVERAL = (0.1, 0.5, 0.9)
SETTINGS: dict[str, Any] = {"loss": "quantile", "hidden_layer_sizes": (8,), "max_iter": 10, "random_state": 1}


def fitted(**settings: Any) -> MLPRegressor:
    return MLPRegressor(**SETTINGS | settings).fit(X, y)


# --- what is learned ---


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.8])
def test_a_linear_model_comes_to_the_least_loss(quantile: float, backend: str) -> None:
    least = QuantileRegressor(quantile=quantile, alpha=0.0).fit(X, y).predict(X)
    settings = {"hidden_layer_sizes": (), "alpha": 0.0, "tol": 0.0, "n_iter_no_change": np.inf, "batch_size": 200}
    falling = schedules.Cosine(0.05)
    ours = fitted(quantile=quantile, learning_rate=falling, backend=backend, max_iter=500, **settings).predict(X)
    loss, smallest = (mean_pinball_loss(y, A, alpha=quantile) for A in (ours, least))
    assert smallest <= loss <= bounds.PINBALL_EXCESS * smallest


def test_the_loss_is_scikit_learns_and_the_mean_over_quantiles() -> None:
    one = fitted(quantile=0.3, alpha=0.0, solver="lbfgs", max_iter=5)
    np.testing.assert_allclose(
        one.loss_, mean_pinball_loss(y, one.predict(X), alpha=0.3), rtol=bounds.PARITY["float64"]
    )
    several = fitted(quantile=SEVERAL, alpha=0.0, solver="lbfgs", max_iter=60)
    raw = several._outputs(X)
    losses = [mean_pinball_loss(y, a, alpha=alpha) for a, alpha in zip(raw.T, SEVERAL, strict=True)]
    np.testing.assert_allclose(several.loss_, np.mean(losses), rtol=bounds.PARITY["float64"])


def test_shares_below_are_the_quantiles() -> None:
    estimator = fitted(quantile=SEVERAL, max_iter=400, learning_rate_init=0.02, tol=0.0)
    below = (y[:, None] < estimator.predict(X)).mean(axis=0)
    assert np.abs(below - SEVERAL).max() < 0.05


def test_the_median_is_the_absolute_error_but_for_its_half() -> None:
    halved = fitted(solver="sgd", learning_rate_init=0.02, alpha=0.0)
    whole = fitted(loss="mae", solver="sgd", learning_rate_init=0.01, alpha=0.0)
    np.testing.assert_allclose(halved.predict(X), whole.predict(X), rtol=bounds.PARITY["float64"])
    np.testing.assert_allclose(2.0 * halved.loss_, whole.loss_, rtol=bounds.PARITY["float64"])


# --- several ---


@pytest.mark.parametrize("quantile", [SEVERAL, (0.9, 0.1, 0.5), np.array([0.45, 0.5, 0.55])])
def test_they_never_cross(quantile: Any) -> None:
    estimator = fitted(quantile=quantile, max_iter=3)
    A, raw, order = estimator.predict(X), estimator._outputs(X), np.argsort(quantile)
    assert A.shape == (200, 3)
    assert (np.diff(raw[:, order]) < 0.0).any()  # or else there is nothing to see
    assert (np.diff(A[:, order]) >= 0.0).all()
    np.testing.assert_array_equal(np.sort(A, axis=1), np.sort(raw, axis=1))
    np.testing.assert_array_equal(estimator.quantiles_, quantile)


def test_rearranging_leaves_rows_that_do_not_cross() -> None:
    A = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    quantiles = np.array([0.9, 0.1, 0.5])
    np.testing.assert_array_equal(rearranged(A, quantiles), [[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])


def test_rearranging_never_adds_to_the_loss() -> None:
    estimator = fitted(quantile=SEVERAL, max_iter=3)
    for row, better in zip(estimator._outputs(X), estimator.predict(X), strict=True):
        losses = [
            sum(mean_pinball_loss([t], [a], alpha=q) for a, q in zip(A, SEVERAL, strict=True) for t in y[:20])
            for A in (row, better)
        ]
        assert losses[1] <= losses[0] + bounds.PARITY["float64"]


def test_a_sequence_of_one_is_a_column() -> None:
    assert fitted(quantile=(0.3,)).predict(X).shape == (200, 1)
    np.testing.assert_array_equal(fitted(quantile=[0.3]).predict(X).ravel(), fitted(quantile=0.3).predict(X))


def test_several_columns_have_one_quantile() -> None:
    Y = np.stack([y, -y], axis=1)
    estimator = MLPRegressor(**SETTINGS, quantile=0.7).fit(X, Y)
    assert estimator.predict(X).shape == (200, 2)
    assert not hasattr(estimator, "quantiles_")
    with pytest.raises(ValueError, match=r"quantile is \(0.1, 0.5, 0.9\), but y has 2 columns; give one quantile"):
        MLPRegressor(**SETTINGS, quantile=SEVERAL).fit(X, Y)
    with pytest.raises(ValueError, match="y has 2 columns"):
        MLPRegressor(**SETTINGS, quantile=SEVERAL).build(3, 2)


# --- with the rest of an estimator ---


@pytest.mark.parametrize("way", ["fit", "partial_fit", "warm_start", "build"])
def test_every_way_to_train(way: str) -> None:
    estimator = MLPRegressor(**SETTINGS, quantile=SEVERAL, warm_start=way == "warm_start")
    if way == "build":
        assert estimator.build(3).predict(X).shape == (200, 3)
    for _ in range(2):
        estimator = estimator.fit(X, y) if way in {"fit", "warm_start"} else estimator.partial_fit(X, y)
    assert estimator.predict(X).shape == (200, 3)
    other = pickle.loads(pickle.dumps(estimator))  # noqa: S301  our own
    np.testing.assert_array_equal(other.predict(X), estimator.predict(X))
    assert clone(estimator).quantile == SEVERAL


def test_standardizing_is_undone_before_they_are_compared() -> None:
    shifted = MLPRegressor(**SETTINGS, quantile=SEVERAL, standardize=True).fit(X, 1e3 + 50.0 * y)
    assert np.abs(shifted.predict(X) - 1e3).max() < 500.0
    assert (np.diff(shifted.predict(X)) >= 0.0).all()
    assert shifted.y_mean_.shape == (3,)


def test_float32_too() -> None:
    estimator = MLPRegressor(**SETTINGS, quantile=SEVERAL).fit(X.astype("float32"), y)
    assert estimator.predict(X).dtype == np.float32


def test_early_stopping_watches_the_loss() -> None:
    estimator = fitted(quantile=SEVERAL, early_stopping=True, alpha=0.0)
    assert estimator.best_validation_score_ < 0.0
    given = MLPRegressor(**SETTINGS, quantile=0.7, early_stopping=True, alpha=0.0).fit(X, y, X_val=X, y_val=y)
    best = mean_pinball_loss(y, given.predict(X), alpha=0.7)
    np.testing.assert_allclose(given.best_validation_score_, -best, rtol=bounds.PARITY["float64"])
    fitted(early_stopping=True, scoring="r2")


def test_the_score_is_the_share_of_the_loss_that_is_explained() -> None:
    weights = GENERATOR.uniform(0.5, 2.0, 200)
    one = fitted(quantile=0.7)
    assert one.score(X, y, weights) == d2_pinball_score(y, one.predict(X), sample_weight=weights, alpha=0.7)
    several = fitted(quantile=SEVERAL)
    expected = [d2_pinball_score(y, a, alpha=q) for a, q in zip(several.predict(X).T, SEVERAL, strict=True)]
    assert several.score(X, y) == np.mean(expected)
    assert cross_val_score(several, X, y, cv=2).shape == (2,)


def test_the_parameter_counts_at_the_next_fit() -> None:
    estimator = fitted(quantile=SEVERAL)
    before = estimator.predict(X)
    np.testing.assert_array_equal(estimator.set_params(quantile=0.5).predict(X), before)
    assert estimator.fit(X, y).predict(X).shape == (200,)


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.1, (0.5, 1.0), (), [[0.5]], (np.nan,)])
def test_quantiles_that_make_no_sense(quantile: Any) -> None:
    with pytest.raises(ValueError, match=r"quantile"):
        fitted(quantile=quantile)


def test_other_losses_have_none() -> None:
    plain = fitted(loss="squared_error", quantile=SEVERAL)
    assert plain.predict(X).shape == (200,)
    np.testing.assert_array_equal(plain.predict(X), fitted(loss="squared_error").predict(X))
