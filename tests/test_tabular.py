"""The tabular estimators: that they are the recipe, what they hold out, keep and refuse, and what they take."""

from __future__ import annotations

import copy
import math
import pickle
import re
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastmlp
from fastmlp import MLP, Adam, PerLayer, TabularMLPClassifier, TabularMLPRegressor
from fastmlp.estimators import tabular
from fastmlp.estimators.splitting import hold_out_of_each
from fastmlp.estimators.targets import Classes
from fastmlp.schedules import CosLog
from tests import bounds

GENERATOR = np.random.default_rng(3)
X = GENERATOR.normal(size=(90, 4))
CLASSES = np.array(["low", "mid", "top"])[np.digitize(X[:, 0] + 0.1 * X[:, 1], [-0.5, 0.5])]
NUMBERS = X[:, 0] - 2.0 * X[:, 1] ** 2
WEIGHTS = GENERATOR.integers(0, 3, 90).astype(float)
SMALL: dict[str, Any] = {"hidden_layer_sizes": (8, 8), "n_epochs": 12, "batch_size": 16, "random_state": 1}
both = pytest.mark.parametrize(("kind", "y"), [(TabularMLPClassifier, CLASSES), (TabularMLPRegressor, NUMBERS)])


def answers(estimator: Any, further: Any = X) -> np.ndarray:
    """Return the outputs of what an estimator has learnt."""
    answer: np.ndarray = getattr(estimator, "predict_proba", estimator.predict)(further)
    return answer


# --- the recipe ---


def test_the_defaults_are_those_of_the_recipe() -> None:
    shared = {"hidden_layer_sizes": (256, 256, 256), "n_epochs": 256, "batch_size": 256, "validation_fraction": 0.2}
    shared |= {"categorical_features": "from_dtype", "random_state": None, "verbose": False}
    shared |= {"dtype": "float32", "backend": "auto", "threads": None}
    classifier = {"activation": "selu", "learning_rate_init": 0.04, "label_smoothing": 0.1}
    assert TabularMLPClassifier().get_params() == shared | classifier
    assert TabularMLPRegressor().get_params() == shared | {"activation": "mish", "learning_rate_init": 0.07}


@both
def test_a_fit_is_the_recipes_training_of_a_network(kind: Any, y: np.ndarray) -> None:
    """Written again: the network, its first parameters, the optimizer, the targets and the batches."""
    settings = SMALL | {"backend": "numpy", "validation_fraction": 0.0, "batch_size": 40}
    estimator = kind(**settings).fit(X, y, WEIGHTS)
    there = WEIGHTS > 0
    inputs, weights = estimator._encoder.apply(list(X.T), "float32")[there], WEIGHTS[there]
    if kind is TabularMLPClassifier:
        network = (4, 8, 8, 3), "selu", "softmax", "cross_entropy"
        targets = 0.9 * (y[there, None] == ["low", "mid", "top"]) + 0.1 / 3
    else:
        network = (4, 8, 8, 1), "mish", "identity", "mse"
        mean = np.average(NUMBERS, weights=WEIGHTS)
        targets = (y[there] - mean) / np.sqrt(np.average((NUMBERS - mean) ** 2, weights=WEIGHTS))
    generator = np.random.default_rng(np.random.RandomState(1).randint(2**31))
    net = MLP(*network, backend="numpy", seed=generator, input_scale=True)
    for W, b in zip(net.weights[:2], net.biases[:2], strict=True):
        W[...] = generator.standard_normal(W.shape) / math.sqrt(len(W))
        b[...] = generator.standard_normal(b.shape)
    net.weights[2][...] = net.biases[2][...] = 0.0
    rate = 0.04 if kind is TabularMLPClassifier else 0.07
    history = net.fit(
        inputs,
        targets,
        optimizer=PerLayer(Adam(CosLog(rate), beta2=0.95), biases=0.1, multipliers="ntk", input_scale=6.0),
        epochs=12,
        batch_size=there.sum(),  # 57 samples, one step: less than two batches of 40
        sample_weight=weights,
    )
    assert there.sum() == 57
    limit = bounds.PARITY["float32"]  # targets are rounded otherwise
    assert np.abs(net.parameters.flat - estimator.network_.parameters.flat).max() <= limit
    np.testing.assert_allclose(estimator.loss_curve_, history.loss, rtol=limit)


def test_the_first_parameters_are_standard_normal_but_for_the_last_layer() -> None:
    net = MLP((400, 300, 200, 2), seed=0)
    tabular._begin(net, np.random.default_rng(0))
    for W, b in zip(net.weights[:-1], net.biases[:-1], strict=True):
        for draws in (W * math.sqrt(len(W)), b):
            assert abs(draws.mean()) <= bounds.DEVIATIONS / math.sqrt(draws.size)
            assert abs(np.square(draws).mean() - 1.0) <= bounds.DEVIATIONS * math.sqrt(2.0 / draws.size)
    assert not net.weights[-1].any()
    assert not net.biases[-1].any()


def test_labels_are_smoothed() -> None:
    classes, places = Classes.of(["b", "a", "b", "c"], 0.25)
    assert places.tolist() == [1, 0, 1, 2]
    rows = classes.rows(places, "float64")
    assert (rows[[0, 1], [1, 0]] == 0.75 + 0.25 / 3).all()
    assert (rows[[0, 1], [0, 2]] == 0.25 / 3).all()


@pytest.mark.parametrize(
    ("batch_size", "size", "steps"), [(16, 18, 5), (30, 30, 3), (50, 90, 1), (89, 90, 1), (1000, 90, 1), (1, 1, 90)]
)
def test_batches_are_even(batch_size: int, size: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def noting(net: MLP, *args: Any, **options: Any) -> Any:
        seen.update(options)
        return fit(net, *args, **options)

    fit = MLP.fit
    monkeypatch.setattr(MLP, "fit", noting)
    TabularMLPRegressor(**SMALL | {"batch_size": batch_size, "n_epochs": 1, "validation_fraction": 0.0}).fit(X, NUMBERS)
    assert seen["batch_size"] == size
    assert -(-len(X) // size) == steps


# --- what is held out, and kept ---


def test_of_each_class_its_share_is_held_out() -> None:
    labels = np.repeat([0, 1, 2, 3], [100, 40, 9, 1])
    for seed in range(20):
        held = hold_out_of_each(labels, 0.2, np.random.default_rng(seed))
        counts = np.bincount(labels[held], minlength=4)
        assert np.all(np.abs(counts - [20.0, 8.0, 1.8, 0.2]) < 2.0)  # by the draw one, and one that is not given away
        assert counts[3] == 0
    assert not hold_out_of_each(labels, 0.0, np.random.default_rng(0)).any()
    assert hold_out_of_each(np.zeros(50, int), 0.3, np.random.default_rng(0)).sum() in {14, 15}


def test_what_is_held_out_is_drawn() -> None:
    held = [hold_out_of_each(np.zeros(50, int), 0.2, np.random.default_rng(seed)) for seed in range(200)]
    often = np.sum(held, axis=0) / len(held)
    assert (np.abs(often - 0.2) < bounds.DEVIATIONS * math.sqrt(0.2 * 0.8 / len(held))).all()


def test_small_classes_are_held_out_as_often_as_others() -> None:
    """Of two samples one is never given away, so that the other is drawn as often as any sample."""
    labels = np.repeat([0, 1, 2], [97, 2, 1])
    drawn = [hold_out_of_each(labels, 0.2, np.random.default_rng(seed))[labels == 1].sum() for seed in range(200)]
    assert set(drawn) == {0, 1}
    assert abs(np.mean(drawn) - 0.2) < bounds.DEVIATIONS * math.sqrt(0.2 * 0.8 / len(drawn))


@both
def test_the_best_epoch_is_kept_of_equals_the_last(kind: Any, y: np.ndarray) -> None:
    estimator = kind(**SMALL).fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
    errors = estimator.validation_errors_
    assert len(errors) == estimator.n_iter_ == 12
    assert estimator.best_epoch_ == max(i for i, error in enumerate(errors) if error == min(errors))
    if kind is TabularMLPClassifier:
        assert min(errors) == 1.0 - estimator.score(X[60:], y[60:])
        constant = kind(**SMALL).fit(X, y, X_val=X[:1].repeat(3, axis=0), y_val=["low", "mid", "top"])
        assert constant.validation_errors_ == [1.0 - 1.0 / 3] * 12
        assert constant.best_epoch_ == 11
    else:
        residuals = (estimator.network_.predict(estimator._encoded(X[60:], "float32"))[:, 0] * y[:60].std()) - (
            y[60:] - y[:60].mean()
        )
        np.testing.assert_allclose(
            min(errors), np.sqrt(np.mean(residuals**2)) / y[:60].std(), rtol=bounds.PARITY["float32"]
        )


@both
def test_an_epoch_before_the_last_is_brought_back(kind: Any, y: np.ndarray) -> None:
    """What is learnt of targets that were shuffled is not true of others: the first epochs are the best."""
    shuffled = np.random.default_rng(0).permutation(y)
    estimator = kind(**SMALL | {"n_epochs": 40}).fit(X[:60], shuffled[:60], X_val=X[60:], y_val=shuffled[60:])
    assert estimator.best_epoch_ < 39
    held_out = tabular.Part(estimator._encoded(X[60:], "float32"), estimator._read_more_targets(shuffled[60:]), None)
    error = estimator._targets.error(estimator.network_.predict(held_out.X), held_out.y, None)
    assert error == min(estimator.validation_errors_) < estimator.validation_errors_[-1]


@both
def test_with_a_validation_set_all_else_is_trained_on(kind: Any, y: np.ndarray) -> None:
    given = kind(**SMALL).fit(X, y, X_val=X[:9], y_val=y[:9])
    none = kind(**SMALL, validation_fraction=0.0).fit(X, y)
    assert given.loss_curve_ == none.loss_curve_
    assert none.validation_errors_ is None
    assert none.best_epoch_ == 11
    held_out = kind(**SMALL).fit(X, y)
    assert held_out.loss_curve_ != none.loss_curve_
    assert len(held_out.validation_errors_) == 12


def test_a_class_of_one_sample_is_trained_on() -> None:
    y = np.array(["one"] + ["many"] * 40)
    for seed in range(5):
        estimator = TabularMLPClassifier(**SMALL | {"random_state": seed}).fit(X[:41], y)
        assert estimator.classes_.tolist() == ["many", "one"]


# --- what they take and give ---


@both
def test_the_same_seed_is_the_same_fit_and_another_is_not(kind: Any, y: np.ndarray) -> None:
    first, again, other = (kind(**SMALL | {"random_state": seed}).fit(X, y) for seed in (1, 1, 2))
    np.testing.assert_array_equal(answers(first), answers(again))
    assert (answers(first) != answers(other)).any()


@both
def test_samples_without_weight_are_not_there(kind: Any, y: np.ndarray) -> None:
    there = WEIGHTS > 0
    weighted = kind(**SMALL).fit(X, y, WEIGHTS)
    np.testing.assert_array_equal(answers(weighted), answers(kind(**SMALL).fit(X[there], y[there], WEIGHTS[there])))
    assert (answers(weighted) != answers(kind(**SMALL).fit(X[there], y[there]))).any()
    frame = kind(**SMALL).fit(pd.DataFrame(X), pd.Series(y), list(WEIGHTS))
    np.testing.assert_array_equal(answers(frame), answers(weighted))


@both
def test_backends_agree(kind: Any, y: np.ndarray) -> None:
    settings = SMALL | {"dtype": "float64", "n_epochs": 3}
    first, *others = (kind(**settings, backend=name).fit(X, y) for name in fastmlp.available_backends())
    assert first.network_.backend == fastmlp.available_backends()[0]
    for other in others:
        np.testing.assert_allclose(answers(other), answers(first), rtol=bounds.PARITY["float64"])
    assert kind(**SMALL, backend="numba", threads=1).fit(X, y).network_.threads == 1


@both
def test_they_can_be_copied(kind: Any, y: np.ndarray) -> None:
    estimator = kind(**SMALL).fit(X, y)
    for other in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):  # noqa: S301  our own bytes
        np.testing.assert_array_equal(answers(other), answers(estimator))
    again = clone(estimator)
    assert again.get_params() == estimator.get_params()
    with pytest.raises(NotFittedError):
        answers(again)
    assert estimator.network_.history is None  # which has the states of the optimizer


def test_predictions_stay_within_the_range_of_training() -> None:
    estimator = TabularMLPRegressor(**SMALL | {"n_epochs": 60}, validation_fraction=0.0).fit(X, NUMBERS)
    y = estimator.predict(np.concatenate([X * 50.0, X]))
    assert y.dtype == np.float64
    assert y.min() == NUMBERS.min()
    assert y.max() <= NUMBERS.max()
    raw = estimator.network_.predict(estimator._encoded(X * 50.0, "float32"))
    assert raw.min() * NUMBERS.std() + NUMBERS.mean() < NUMBERS.min()


def test_several_outputs() -> None:
    Y = np.column_stack([NUMBERS, 1000.0 * X[:, 2], np.full(90, 7.0)])
    estimator = TabularMLPRegressor(**SMALL | {"n_epochs": 60}).fit(X, Y)
    assert estimator.predict(X).shape == Y.shape
    assert estimator.score(X, Y) > 0.5
    assert (estimator.predict(X)[:, 2] == 7.0).all()


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [-1, 1], [10, 20, 30], [0.0, 1.0]], ids=repr)
def test_classes_of_any_kind(labels: list[Any]) -> None:
    y = np.array(labels)[np.digitize(X[:, 0], [-0.5, 0.5] if len(labels) == 3 else [0.0])]
    estimator = TabularMLPClassifier(**SMALL | {"n_epochs": 60}).fit(X, y)
    assert estimator.classes_.tolist() == labels
    assert estimator.score(X, y) > 0.85
    P = estimator.predict_proba(X)
    assert P.shape == (90, len(labels))
    np.testing.assert_array_equal(estimator.predict(X), np.array(labels)[P.argmax(axis=1)])
    np.testing.assert_array_equal(np.exp(estimator.predict_log_proba(X)).argmax(axis=1), P.argmax(axis=1))


TALL = {
    "size": [None if i % 7 == 0 else float(i % 11) for i in range(90)],
    "color": [("red", "green", "blue", None)[i % 4] for i in range(90)],
    "flag": [i % 3 == 0 for i in range(90)],
}
LABELS = [f"{color}, {flag}" for color, flag in zip(TALL["color"], TALL["flag"], strict=True)]
FRAMES = {
    "pandas": lambda: pd.DataFrame(TALL),
    "category": lambda: pd.DataFrame(TALL).astype({"color": "category", "flag": "boolean"}),
    "polars": lambda: pl.DataFrame(TALL),
    "categorical": lambda: pl.DataFrame(TALL).with_columns(pl.col("color").cast(pl.Categorical)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_with_categories_and_values_that_are_missing(name: str) -> None:
    frame = FRAMES[name]()
    settings = SMALL | {"n_epochs": 60}
    estimator = TabularMLPClassifier(**settings).fit(frame, LABELS)
    assert estimator.score(frame, LABELS) > 0.95
    assert estimator.n_features_in_ == 3
    assert estimator.network_.spec.n_inputs == 1 + 3 + 1
    array = np.array(list(zip(*TALL.values(), strict=True)), object)
    by_hand = TabularMLPClassifier(**settings, categorical_features=[1, 2]).fit(array, LABELS)
    np.testing.assert_array_equal(by_hand.predict_proba(array), estimator.predict_proba(frame))


def test_names_are_kept_and_checked() -> None:
    frame = pd.DataFrame(TALL)
    estimator = TabularMLPClassifier(**SMALL).fit(frame, LABELS)
    assert estimator.feature_names_in_.tolist() == ["size", "color", "flag"]
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(frame[["flag", "color", "size"]])
    named = TabularMLPClassifier(**SMALL, categorical_features=["color"]).fit(frame[["size", "color"]], LABELS)
    assert named.network_.spec.n_inputs == 1 + 3


def test_categories_that_were_never_seen_are_answered() -> None:
    frame = pd.DataFrame(TALL)
    estimator = TabularMLPClassifier(**SMALL).fit(frame, LABELS)
    unseen = pd.DataFrame({"size": [1.0, 1.0], "color": ["pink", None], "flag": [True, True]})
    P = estimator.predict_proba(unseen)
    np.testing.assert_array_equal(P[0], P[1])


def test_a_column_of_one_target_is_told_of() -> None:
    with pytest.warns(UserWarning, match="column-vector y was passed"):
        estimator = TabularMLPRegressor(**SMALL).fit(X, NUMBERS[:, None])
    assert estimator.predict(X).shape == (90,)


# --- what goes wrong ---


@both
def test_a_fit_that_fails_changes_nothing(kind: Any, y: np.ndarray) -> None:
    estimator = kind(**SMALL).fit(X, y)
    before, answer = dict(estimator.__dict__), answers(estimator)
    for bad in (
        {"X": X[:, :2], "y": y[:5]},
        {"X": X[:, :2], "y": y, "sample_weight": -WEIGHTS},
        {"X": X[:, :2], "y": y, "X_val": X[:9, :2]},
        {"X": X[:, :2], "y": y, "X_val": X[:9], "y_val": y[:9]},
        {"X": X[:1], "y": y[:1]},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            estimator.fit(**bad)
        assert estimator.__dict__ == before
    np.testing.assert_array_equal(answers(estimator), answer)
    fresh = kind(**SMALL)
    with pytest.raises(ValueError, match="infinity"):
        fresh.fit(X + math.inf, y)
    assert vars(fresh) == vars(kind(**SMALL))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"y": ["a"] * 90}, "y has a single class, ['a']; expected two classes or more to tell apart"),
        (
            {"y": CLASSES, "X_val": X[:2], "y_val": ["low", "no"]},
            "y_val has classes that y has not, ['no']; expected some of ['low', 'mid', 'top']",
        ),
        (
            {"y": CLASSES, "X_val": X[:2]},
            "One of X_val and y_val is missing: give both, or none, to have samples held out",
        ),
    ],
)
def test_classes_that_make_no_sense(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TabularMLPClassifier(**SMALL).fit(X, **more)


def test_numbers_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match=r"^y_val has 2 outputs, but y has 1; expected as many$"):
        TabularMLPRegressor(**SMALL).fit(X, NUMBERS, X_val=X, y_val=X[:, :2])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        TabularMLPRegressor(**SMALL).fit(X, NUMBERS, X_val=X, y_val=NUMBERS[:5])
    with pytest.raises(ValueError, match="NaN"):
        TabularMLPRegressor(**SMALL).fit(X, np.where(NUMBERS > 0, NUMBERS, math.nan))


def interrupt(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Press Ctrl-C when an epoch has been looked at."""
    look = tabular.Watch.__call__

    def pressing(watch: tabular.Watch, net: MLP, info: Any) -> None:
        look(watch, net, info)
        if info.epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(tabular.Watch, "__call__", pressing)


@both
def test_an_interrupted_fit_keeps_the_best_epoch(kind: Any, y: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, epoch=4)
    with pytest.warns(UserWarning, match="^Training interrupted by user"):
        estimator = kind(**SMALL).fit(X, y)
    assert estimator.n_iter_ == 5
    assert len(estimator.validation_errors_) == 5
    assert np.isfinite(answers(estimator)[:, None]).all()


@both
def test_before_the_first_epoch_an_interrupt_is_one(kind: Any, y: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MLP, "fit", pressed)
    estimator = kind(**SMALL)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    assert vars(estimator) == vars(kind(**SMALL))


@both
def test_a_training_that_diverges(kind: Any, y: np.ndarray) -> None:
    settings = SMALL | {"learning_rate_init": 1e200, "batch_size": 90}  # the first step's rate is 0: one epoch is fine
    with pytest.warns(ConvergenceWarning, match=r"^Training diverged in epoch 1; the parameters are those of the best"):
        estimator = kind(**settings).fit(X, y)
    assert np.isfinite(estimator.network_.parameters.flat).all()
    assert estimator.best_epoch_ == 0
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        kind(**settings, validation_fraction=0.0).fit(X, y)


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    TabularMLPClassifier(**SMALL, verbose=True).fit(X, CLASSES)
    assert capsys.readouterr().err
