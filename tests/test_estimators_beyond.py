"""What the estimators have beyond scikit-learn's: losses, solvers, schedules, dropout, callbacks, standardizing."""

from __future__ import annotations

import pickle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from sklearn import neural_network
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import MLP, EpochInfo, MLPClassifier, MLPRegressor, schedules
from tests import bounds, parity

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
mpl.use("Agg")

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(60, 4)) * [1.0, 10.0, 0.1, 3.0] + [0.0, 5.0, 1.0, -2.0]
CLASSES = np.array(["a", "b", "c"])[(X[:, 0] > 0).astype(int) + (X[:, 3] > 0)]
NUMBERS = 100.0 + 20.0 * X[:, 0] - X[:, 1]
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 8, "batch_size": 16, "random_state": 1}

both = pytest.mark.parametrize(("kind", "y"), [(MLPClassifier, CLASSES), (MLPRegressor, NUMBERS)])


def fitted(kind: Any, y: np.ndarray, /, **settings: Any) -> Any:
    return kind(**SETTINGS | settings).fit(X, y)


def same(ours: Any, other: Any, bound: float = bounds.PARITY["float64"]) -> bool:
    pairs = zip(ours.coefs_ + ours.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    return all(np.max(np.abs(a - b)) <= bound * np.max(np.abs(b)) for a, b in pairs)


def network_of(estimator: Any, activations: Any, output: str, loss: str, **options: Any) -> MLP:
    """Return a network with the coefficients of an estimator."""
    sizes = (len(estimator.coefs_[0]), *(W.shape[1] for W in estimator.coefs_))
    net = MLP(sizes, activations, output, loss, dtype="float64", **options)
    for own, given in zip(net.weights + net.biases, estimator.coefs_ + estimator.intercepts_, strict=True):
        own[...] = given
    return net


# --- networks ---


@both
def test_each_layer_may_have_an_activation_of_its_own(kind: Any, y: np.ndarray) -> None:
    names = ("tanh", "logistic", "gelu")
    estimator = fitted(kind, y, hidden_layer_sizes=(5, 4, 3), activation=names)
    output, loss = ("softmax", "cross_entropy") if kind is MLPClassifier else ("identity", "squared_error")
    net = network_of(estimator, ("tanh", "sigmoid", "gelu"), output, loss)
    A = estimator.predict_proba(X) if kind is MLPClassifier else estimator.predict(X)[:, None]
    np.testing.assert_allclose(A, net.predict(X), rtol=bounds.PARITY["float64"])
    one, listed = (fitted(kind, y, activation=activation) for activation in ("logistic", ["logistic"]))
    assert same(one, listed, 0.0)
    with pytest.raises(ValueError, match="activation has 2 names"):
        fitted(kind, y, activation=("relu", "tanh"))
    with pytest.raises(ValueError, match="expected one of"):
        fitted(kind, y, activation=("swish",))


def test_each_layer_begins_within_the_bound_of_its_activation() -> None:
    """That of the output is the last hidden layer's, as in scikit-learn's, where they all have one."""
    still = {"solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1, "alpha": 0.0}
    estimator = fitted(MLPRegressor, NUMBERS, hidden_layer_sizes=(50, 40), activation=("relu", "logistic"), **still)
    draws = np.random.RandomState(1)
    for W, b, factor in zip(estimator.coefs_, estimator.intercepts_, (6.0, 2.0, 2.0), strict=True):
        bound = np.sqrt(factor / sum(W.shape))
        np.testing.assert_array_equal(W, draws.uniform(-bound, bound, W.shape))
        np.testing.assert_array_equal(b, draws.uniform(-bound, bound, b.shape))


@pytest.mark.parametrize("loss", ["mae", "huber"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_losses_of_ours(loss: str, solver: str) -> None:
    estimator = fitted(MLPRegressor, NUMBERS, loss=loss, solver=solver, alpha=0.0, max_iter=30)
    net = network_of(estimator, "relu", "identity", loss)
    if solver == "lbfgs":
        np.testing.assert_allclose(estimator.loss_, net.loss(X, NUMBERS), rtol=bounds.PARITY["float64"])
    before = fitted(MLPRegressor, NUMBERS, loss=loss, max_iter=1)
    assert estimator.loss_ < before.loss_


def test_dropout_is_for_training_alone_and_seeded() -> None:
    plain, first, again = (fitted(MLPRegressor, NUMBERS, dropout=p) for p in (0.0, 0.5, 0.5))
    assert same(first, again, 0.0)
    assert not same(first, plain)
    assert same(first.fit(X, NUMBERS), again, 0.0)
    np.testing.assert_array_equal(first.predict(X), first.predict(X))
    other = fitted(MLPRegressor, NUMBERS, dropout=0.5, random_state=2)
    assert not same(first, other)
    with pytest.raises(ValueError, match=r"dropout is 0.5, but lbfgs needs a loss that stays the same"):
        fitted(MLPRegressor, NUMBERS, dropout=0.5, solver="lbfgs")


# --- solvers and schedules ---


@both
@pytest.mark.parametrize(
    "solver", ["adamw", "rmsprop", fastmlp.AdamW(1e-2), fastmlp.SGD(1e-3, 0.5), fastmlp.RMSprop(schedules.Cosine(1e-2))]
)
def test_solvers_of_ours(kind: Any, y: np.ndarray, solver: Any) -> None:
    estimator = fitted(kind, y, solver=solver)
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]
    t = estimator.t_
    assert estimator.partial_fit(X, y).t_ == t + len(X)
    assert same(sklearn.clone(estimator).fit(X, y), fitted(kind, y, solver=solver), 0.0)


def test_a_solver_by_name_is_that_of_ours_with_the_estimators_numbers() -> None:
    numbers = {"learning_rate_init": 0.02, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}
    by_name = fitted(MLPRegressor, NUMBERS, solver="adamw", **numbers)
    assert same(by_name, fitted(MLPRegressor, NUMBERS, solver=fastmlp.AdamW(0.02, 0.8, 0.95, 1e-3)), 0.0)
    by_name = fitted(MLPRegressor, NUMBERS, solver="rmsprop", **numbers)
    assert same(by_name, fitted(MLPRegressor, NUMBERS, solver=fastmlp.RMSprop(0.02, eps=1e-3)), 0.0)
    assert not same(by_name, fitted(MLPRegressor, NUMBERS, **numbers))


@pytest.mark.parametrize("solver", ["adam", "sgd", "adamw", "rmsprop"])
def test_a_schedule_may_stand_for_the_learning_rate(solver: str) -> None:
    settings = {"solver": solver, "tol": 0.0}
    constant = fitted(MLPRegressor, NUMBERS, learning_rate_init=1e-4, **settings)
    assert same(fitted(MLPRegressor, NUMBERS, learning_rate=schedules.Constant(1e-4), **settings), constant, 0.0)
    rates: list[float] = []
    falling = schedules.Step(1e-4, every=8)  # 4 steps an epoch
    fitted(
        MLPRegressor,
        NUMBERS,
        learning_rate=falling,
        callbacks=lambda _, info: rates.append(info.learning_rate),
        **settings,
    )
    np.testing.assert_allclose(rates, 1e-4 * 0.1 ** (np.arange(8) // 2), rtol=bounds.gamma(16, "float64"))
    watched = fitted(MLPRegressor, NUMBERS, learning_rate=falling, callbacks=[lambda _, __: None], **settings)
    assert same(fitted(MLPRegressor, NUMBERS, learning_rate=falling, **settings), watched, 0.0)


def test_a_schedule_stretches_over_max_iter() -> None:
    rates: list[float] = []
    fitted(
        MLPRegressor,
        NUMBERS,
        learning_rate=schedules.Cosine(1e-3),
        callbacks=lambda _, info: rates.append(info.learning_rate),
        n_iter_no_change=np.inf,
    )
    expected = [schedules.Cosine(1e-3, 32)(4 * epoch + 3) for epoch in range(8)]
    np.testing.assert_array_equal(rates, expected)


# --- weights ---


def test_classes_may_weigh() -> None:
    weights = np.where(CLASSES == "a", 3.0, 0.5)
    by_class = fitted(MLPClassifier, CLASSES, class_weight={"a": 3.0, "b": 0.5, "c": 0.5})
    assert same(by_class, MLPClassifier(**SETTINGS).fit(X, CLASSES, weights), 0.0)
    samples = GENERATOR.uniform(0.5, 2.0, len(X))
    given = MLPClassifier(**SETTINGS, class_weight={"a": 3.0, "b": 0.5, "c": 0.5}).fit(X, CLASSES, samples)
    assert same(given, MLPClassifier(**SETTINGS).fit(X, CLASSES, weights * samples), 0.0)
    balanced = fitted(MLPClassifier, CLASSES, class_weight="balanced")
    counts = pd.Series(CLASSES).map(pd.Series(CLASSES).value_counts())
    assert same(balanced, MLPClassifier(**SETTINGS).fit(X, CLASSES, len(X) / (3 * counts.to_numpy())))
    with pytest.raises(ValueError, match="class_weight is 'balanced', but a part of the data"):
        balanced.partial_fit(X, CLASSES)


# --- early stopping ---


@both
def test_a_validation_set_may_be_given(kind: Any, y: np.ndarray) -> None:
    settings = SETTINGS | {"early_stopping": True, "shuffle": False}
    rows, held = np.arange(40), np.arange(40, 60)
    given = kind(**settings).fit(X[rows], y[rows], X_val=X[held], y_val=y[held])
    plain = kind(**settings | {"early_stopping": False})
    scores = []
    for _ in range(given.n_iter_):
        labels = {"classes": np.unique(y)} if kind is MLPClassifier else {}
        scores.append(plain.partial_fit(X[rows], y[rows], **labels).score(X[held], y[held]))
    np.testing.assert_allclose(given.validation_scores_, scores, atol=bounds.PARITY["float64"])
    for wrong in ({"X_val": X[held]}, {"y_val": y[held]}):
        with pytest.raises(ValueError, match="give both, and set early_stopping=True"):
            kind(**settings).fit(X, y, **wrong)
    with pytest.raises(ValueError, match="give both, and set early_stopping=True"):
        kind(**SETTINGS).fit(X, y, X_val=X, y_val=y)
    with pytest.raises(ValueError, match="lbfgs has none"):
        kind(**settings, solver="lbfgs").fit(X, y, X_val=X, y_val=y)
    with pytest.raises(ValueError, match="X has 3 features, but"):
        kind(**settings).fit(X, y, X_val=X[:, :3], y_val=y)


def test_classes_of_a_validation_set_have_to_be_known() -> None:
    estimator = MLPClassifier(**SETTINGS, early_stopping=True)
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        estimator.fit(X, CLASSES, X_val=X, y_val=np.full(60, "d"))


@both
def test_early_stopping_may_look_at_any_score(kind: Any, y: np.ndarray) -> None:
    seen = []

    def scorer(estimator: Any, X_val: Any, y_val: Any) -> float:
        seen.append((X_val, y_val, estimator.predict(X_val)))
        return -float(len(seen))

    frame = pd.DataFrame(X, columns=list("wxyz"))
    settings = SETTINGS | {"early_stopping": True}
    estimator = kind(**settings, scoring=scorer).fit(frame, y)
    assert estimator.validation_scores_ == [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0]
    X_val, y_val, _ = seen[0]
    assert list(X_val.columns) == list("wxyz")
    np.testing.assert_array_equal(y_val, y[X_val.index])
    np.testing.assert_array_equal(estimator.predict(X_val), seen[0][2])  # the first epoch was the best
    by_name = "accuracy" if kind is MLPClassifier else "r2"
    named = kind(**settings, scoring=by_name).fit(X, y)
    usual = kind(**settings).fit(X, y)
    np.testing.assert_allclose(named.validation_scores_, usual.validation_scores_, atol=bounds.PARITY["float64"])
    with pytest.raises(ValueError, match="scoring"):
        kind(**settings, scoring="nonsense").fit(X, y)


@both
def test_the_score_may_be_the_loss_or_made_by_scikit_learn(kind: Any, y: np.ndarray) -> None:
    settings = SETTINGS | {"early_stopping": True, "alpha": 0.0}
    by_loss = kind(**settings, scoring="loss").fit(X, y, X_val=X, y_val=y)
    output, loss = ("softmax", "cross_entropy") if kind is MLPClassifier else ("identity", "squared_error")
    targets = np.searchsorted(np.unique(y), y) if kind is MLPClassifier else y
    net = network_of(by_loss, "relu", output, loss)
    np.testing.assert_allclose(by_loss.best_validation_score_, -net.loss(X, targets), rtol=bounds.PARITY["float64"])
    if kind is MLPRegressor:
        made = kind(**settings, scoring=make_scorer(mean_absolute_error, greater_is_better=False)).fit(X, y)
        named = kind(**settings, scoring="neg_mean_absolute_error").fit(X, y)
        assert made.validation_scores_ == named.validation_scores_


# --- callbacks ---


@both
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_see_each_epoch_and_may_end_the_fit(kind: Any, y: np.ndarray, solver: str) -> None:
    seen: list[EpochInfo] = []
    predictions = []

    def look(estimator: Any, info: EpochInfo) -> bool:
        seen.append(info)
        predictions.append(estimator.predict(X))
        return info.epoch == 3

    settings = {"solver": solver, "max_iter": 20, "tol": 1e-12}
    estimator = fitted(kind, y, callbacks=look, **settings)
    assert [info.epoch for info in seen] == [0, 1, 2, 3]
    assert {info.n_epochs for info in seen} == {20}
    assert estimator.n_iter_ == 4
    assert seen[-1].loss == estimator.loss_
    assert len({prediction.tobytes() for prediction in predictions}) > (1 if kind is MLPRegressor else 0)
    np.testing.assert_array_equal(predictions[-1], estimator.predict(X))
    if solver == "adam":
        assert [info.loss for info in seen] == estimator.loss_curve_


@pytest.mark.parametrize("loss", ["squared_error", "mae"])
def test_callbacks_of_lbfgs_find_the_coefficients_of_their_iteration(loss: str) -> None:
    losses = []

    def look(estimator: Any, info: EpochInfo) -> None:
        errors = estimator.predict(X) - NUMBERS
        losses.append((info.loss, np.mean(0.5 * errors**2 if loss == "squared_error" else np.abs(errors))))

    fitted(MLPRegressor, NUMBERS, solver="lbfgs", loss=loss, alpha=0.0, callbacks=look)
    told, found = zip(*losses, strict=True)
    np.testing.assert_allclose(told, found, rtol=bounds.PARITY["float64"])


def test_callbacks_are_told_the_score_of_early_stopping() -> None:
    scores: list[float] = []

    def note(_: Any, info: EpochInfo) -> None:
        scores.append(info.validation_metrics["score"])

    estimator = fitted(MLPRegressor, NUMBERS, early_stopping=True, callbacks=[note])
    assert scores == estimator.validation_scores_


# --- coefficients to begin with ---


@both
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_fit_may_begin_with_given_coefficients(kind: Any, y: np.ndarray, solver: str) -> None:
    settings = SETTINGS | {"solver": solver, "shuffle": False}
    first = kind(**settings).fit(X, y)
    begin = {"coef_init": first.coefs_, "intercept_init": [b.tolist() for b in first.intercepts_]}
    warm = pickle.loads(pickle.dumps(first)).set_params(warm_start=True)  # noqa: S301  our own
    assert same(kind(**settings).fit(X, y, **begin), warm.fit(X, y))
    zeros = [np.zeros_like(b) for b in first.intercepts_]
    half = kind(**settings).fit(X, y, intercept_init=zeros)
    assert not same(half, first)
    with pytest.raises(ValueError, match=r"coef_init has shapes \[\(4, 6\)\]; expected \[\(4, 6\), \(6, \d\)\], one a"):
        kind(**SETTINGS).fit(X, y, coef_init=first.coefs_[:1])


# --- standardizing ---


@both
@pytest.mark.parametrize("weights", [None, GENERATOR.uniform(0.5, 2.0, 60)], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_standardize_does_what_a_scaler_in_front_does(
    kind: Any, y: np.ndarray, weights: np.ndarray | None, dtype: str, backend: str
) -> None:
    inner = kind(**SETTINGS, standardize=True, backend=backend).fit(X.astype(dtype), y, weights)
    scaler = StandardScaler().fit(X, sample_weight=weights)
    targets = y
    if kind is MLPRegressor:
        of_y = StandardScaler().fit(y[:, None], sample_weight=weights)
        targets = of_y.transform(y[:, None])[:, 0]
        np.testing.assert_allclose(
            [inner.y_mean_, inner.y_scale_], [of_y.mean_, of_y.scale_], rtol=bounds.PARITY[dtype]
        )
    outer = kind(**SETTINGS, backend=backend).fit(scaler.transform(X).astype(dtype), targets, weights)
    assert same(inner, outer, bounds.PARITY[dtype])
    assert inner.x_mean_.dtype == dtype
    answer, expected = inner.predict(X.astype(dtype)), outer.predict(scaler.transform(X).astype(dtype))
    alone = inner.predict(X[:1].astype(dtype))
    if kind is MLPRegressor:
        expected = of_y.inverse_transform(expected[:, None])[:, 0]
        assert np.max(np.abs(answer - expected)) <= bounds.PARITY[dtype] * np.max(np.abs(expected))
        assert answer.dtype == dtype
        np.testing.assert_allclose(alone, answer[:1], rtol=bounds.PARITY[dtype])  # BLAS adds one up in its own order
    else:
        np.testing.assert_array_equal(answer, expected)
        np.testing.assert_array_equal(alone, answer[:1])


@both
def test_standardize_takes_sparse_data_frames_and_parts(kind: Any, y: np.ndarray) -> None:
    dense = fitted(kind, y, standardize=True)
    sparse = kind(**SETTINGS, standardize=True).fit(scipy.sparse.csr_array(X), y)
    assert same(sparse, dense)
    frame = pd.DataFrame(X, columns=list("wxyz"))
    named = kind(**SETTINGS, standardize=True).fit(frame, y)
    assert same(named, dense)
    if kind is MLPRegressor:
        np.testing.assert_allclose(named.predict(frame), dense.predict(X), rtol=bounds.PARITY["float64"])
    else:
        np.testing.assert_array_equal(named.predict(frame), dense.predict(X))
    labels = {"classes": np.unique(y)} if kind is MLPClassifier else {}
    parts = kind(**SETTINGS, standardize=True).partial_fit(X[:30], y[:30], **labels)
    mean = parts.x_mean_.copy()
    np.testing.assert_array_equal(parts.partial_fit(X[30:], y[30:]).x_mean_, mean)
    np.testing.assert_allclose(mean, X[:30].mean(axis=0), rtol=bounds.PARITY["float64"])


def test_a_column_that_is_constant_is_left_alone() -> None:
    constant = np.column_stack([X, np.full(60, 0.1)])
    estimator = MLPRegressor(**SETTINGS, standardize=True).fit(constant, np.full(60, 7.3))
    assert estimator.x_scale_[-1] == 1.0
    assert np.isfinite(estimator.predict(constant)).all()


def test_only_the_samples_trained_on_are_looked_at() -> None:
    estimator = fitted(MLPRegressor, NUMBERS, standardize=True, early_stopping=True, validation_fraction=0.5)
    assert (estimator.x_mean_ != X.mean(axis=0)).all()
    given = MLPRegressor(**SETTINGS, standardize=True, early_stopping=True)
    given.fit(X, NUMBERS, X_val=X * 100, y_val=NUMBERS)
    np.testing.assert_allclose(given.x_mean_, X.mean(axis=0), rtol=bounds.PARITY["float64"])


def test_counts_are_not_standardized() -> None:
    estimator = fitted(MLPRegressor, np.rint(NUMBERS - NUMBERS.min()), loss="poisson", standardize=True)
    assert not hasattr(estimator, "y_mean_")
    assert estimator.predict(X).min() > 0.0


# --- looking ---


@both
@pytest.mark.parametrize("standardize", [False, True])
def test_the_gradient_of_the_loss_with_respect_to_x(kind: Any, y: np.ndarray, standardize: bool) -> None:
    estimator = fitted(kind, y, activation="tanh", standardize=standardize)
    gradient = estimator.input_gradient(X, y)
    assert gradient.shape == X.shape
    h, place = 1e-5, (3, 0)

    def loss(x: np.ndarray) -> float:
        if kind is MLPClassifier:
            return -float(
                np.mean(np.log(estimator.predict_proba(x)[np.arange(60), np.searchsorted(estimator.classes_, y)]))
            )
        scale = estimator.y_scale_[0] if standardize else 1.0
        return 0.5 * float(np.mean(((estimator.predict(x) - y) / scale) ** 2))

    up, down = X.copy(), X.copy()
    up[place] += h
    down[place] -= h
    slope = (loss(up) - loss(down)) / (2.0 * h)
    assert abs(gradient[place] - slope) <= bounds.CENTRAL_DIFFERENCE * max(1.0, abs(slope))
    weights = np.zeros(60)
    weights[3] = 1.0
    np.testing.assert_allclose(
        estimator.input_gradient(X, y, weights)[3], gradient[3] * 60, rtol=bounds.PARITY["float64"]
    )


@both
def test_the_history_is_drawn(kind: Any, y: np.ndarray) -> None:
    estimator = fitted(kind, y)
    ax = estimator.plot_history()
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), estimator.loss_curve_)
    stopping = fitted(kind, y, early_stopping=True)
    ax = stopping.plot_history()
    (beside,) = [other for other in ax.figure.axes if other is not ax]
    np.testing.assert_array_equal(beside.get_lines()[0].get_ydata(), stopping.validation_scores_)
    later = fitted(kind, y, warm_start=True).set_params(early_stopping=True).fit(X, y).plot_history()
    (beside,) = [other for other in later.figure.axes if other is not later]
    assert list(beside.get_lines()[0].get_xdata()) == list(range(9, 17))
    mpl.pyplot.close("all")
    with pytest.raises(ValueError, match="0 epochs"):
        fitted(kind, y, solver="lbfgs").plot_history()


@both
def test_notebooks_show_the_layers(kind: Any, y: np.ndarray) -> None:
    planned = kind(hidden_layer_sizes=(6, 5), activation=("relu", "tanh"))._repr_html_()
    assert "<td" in planned
    assert ">tanh<" in planned
    estimator = fitted(kind, y)
    shown = estimator._repr_mimebundle_()["text/html"]
    assert "4 → 6" in shown
    assert f">{estimator.out_activation_}<" in shown
    n_parameters = sum(array.size for array in estimator.coefs_ + estimator.intercepts_)
    assert f">{n_parameters}<" in shown
    with sklearn.config_context(display="text"):
        assert "text/html" not in estimator._repr_mimebundle_()
    assert "fastmlp-layers" in kind(hidden_layer_sizes=(0,))._repr_html_()


def test_what_is_beyond_leaves_what_is_theirs() -> None:
    """With all of it at its default the estimator is scikit-learn's: a reminder for whoever adds a parameter."""
    row = next(row for row in parity.cover() if row["kind"] == "regression" and row["solver"] == "adam")
    ours = MLPRegressor(**parity.parameters(row))
    theirs = neural_network.MLPRegressor(**parity.parameters(row))
    own = set(ours.get_params()) - set(theirs.get_params()) - {"loss"}
    assert own == {"backend", "strict", "threads", "dropout", "standardize", "scoring", "callbacks", "quantile"}
