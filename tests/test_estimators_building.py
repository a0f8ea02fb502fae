"""Estimators that are built, rather than fitted: a network before there are data."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import neural_network

from fastmlp import MLPClassifier, MLPRegressor, NetworkSpec
from fastmlp.parameters import Parameters
from tests import bounds

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(60, 4))
THREE = np.array(["a", "b", "c"])[X[:, :3].argmax(axis=1)]
TWO = X[:, 0] > 0
LABELS = (X[:, :3] > 0).astype(int)
COLUMNS = np.stack([THREE, TWO.astype(str)], axis=1)
NUMBERS = X @ [1.0, -2.0, 0.5, 0.0]
PAIRS = np.stack([NUMBERS, -NUMBERS], axis=1)
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 4, "batch_size": 16, "random_state": 1}

KINDS = {
    "three classes": (MLPClassifier, THREE, {"classes": ["c", "a", "b"]}),
    "two classes": (MLPClassifier, TWO, {"classes": [False, True]}),
    "labels": (MLPClassifier, LABELS, {"classes": [0, 1, 2], "multilabel": True}),
    "columns": (MLPClassifier, COLUMNS, {"classes": [["a", "b", "c"], ["False", "True"]]}),
    "number": (MLPRegressor, NUMBERS, {}),
    "numbers": (MLPRegressor, PAIRS, {"n_outputs": 2}),
}
each_kind = pytest.mark.parametrize(("kind", "y", "outputs"), KINDS.values(), ids=KINDS)


def made(kind: Any, outputs: dict[str, Any], dtype: str = "float64", /, **settings: Any) -> Any:
    return kind(**SETTINGS | settings).build(4, **outputs, dtype=dtype)


def arrays(estimator: Any) -> list[np.ndarray]:
    """Return all coefficients, those of columns one after the other."""
    parts = vars(estimator).get("estimators_", [estimator])
    return [array for part in parts for array in part.coefs_ + part.intercepts_]


def same(ours: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(arrays(ours), arrays(other), strict=True))


def labels(outputs: dict[str, Any]) -> dict[str, Any]:
    """Return what the first `partial_fit` has to be told."""
    return {"classes": outputs["classes"]} if "classes" in outputs else {}


# --- what there is ---


@each_kind
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_coefficients_are_those_that_a_fit_begins_with(
    kind: Any, y: np.ndarray, outputs: dict[str, Any], dtype: str
) -> None:
    built = made(kind, outputs, dtype)
    still = {"solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1, "alpha": 0.0}
    fitted = kind(**SETTINGS | still).fit(X.astype(dtype), y)
    assert same(built, fitted)
    assert {array.dtype.name for array in arrays(built)} == {dtype}
    np.testing.assert_array_equal(built.predict(X), fitted.predict(X))
    for name in ("classes_", "n_outputs_", "n_layers_", "out_activation_", "n_features_in_"):
        assert hasattr(built, name) == hasattr(fitted, name)
        if hasattr(fitted, name) and name != "classes_":
            assert getattr(built, name) == getattr(fitted, name)


def test_they_are_scikit_learns() -> None:
    theirs = neural_network.MLPRegressor(**SETTINGS | {"solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1})
    theirs.set_params(alpha=0.0).fit(X, NUMBERS)
    for ours, other in zip(made(MLPRegressor, {}).coefs_, theirs.coefs_, strict=True):
        np.testing.assert_array_equal(ours, other)


@each_kind
def test_it_answers(kind: Any, y: np.ndarray, outputs: dict[str, Any]) -> None:
    built = made(kind, outputs)
    assert built.predict(X).shape == y.shape
    assert built.predict(X[:1]).dtype.kind == y.dtype.kind
    if kind is MLPClassifier:
        parts = built.predict_proba(X)
        for A in parts if isinstance(parts, list) else [parts]:
            assert len(A) == 60
    with pytest.raises(ValueError, match="X has 3 features, but"):
        built.predict(X[:, :3])


def test_labels_in_any_order_are_sorted() -> None:
    assert made(MLPClassifier, {"classes": ["c", "a", "b", "a"]}).classes_.tolist() == ["a", "b", "c"]


# --- going on ---


@each_kind
@pytest.mark.parametrize("settings", [{}, {"solver": "sgd", "shuffle": False}, {"dropout": 0.3}, {"standardize": True}])
def test_building_is_the_first_half_of_a_training(
    kind: Any, y: np.ndarray, outputs: dict[str, Any], settings: dict[str, Any]
) -> None:
    """An epoch, or a fit, is to the bit what it would have been without."""
    built = made(kind, outputs, **settings)
    untouched = kind(**SETTINGS | settings).partial_fit(X, y, **labels(outputs))
    assert same(built.partial_fit(X, y), untouched)
    assert same(built.partial_fit(X, y), untouched.partial_fit(X, y))
    warm = made(kind, outputs, warm_start=True, **settings).fit(X, y)
    assert same(warm, kind(**SETTINGS | settings).fit(X, y))


@each_kind
def test_lbfgs_and_early_stopping_go_on_too(kind: Any, y: np.ndarray, outputs: dict[str, Any]) -> None:
    for settings in ({"solver": "lbfgs"}, {"early_stopping": True, "validation_fraction": 0.3}):
        warm = made(kind, outputs, warm_start=True, **settings).fit(X, y)
        assert same(warm, kind(**SETTINGS | settings).fit(X, y))


@each_kind
def test_a_fit_without_warm_start_begins_anew(kind: Any, y: np.ndarray, outputs: dict[str, Any]) -> None:
    built = made(kind, outputs)
    for array in arrays(built):
        array[...] = 0.0
    assert same(built.fit(X, y), kind(**SETTINGS).fit(X, y))


@each_kind
def test_building_again_forgets(kind: Any, y: np.ndarray, outputs: dict[str, Any]) -> None:
    twice = made(kind, outputs).partial_fit(X, y).build(4, **outputs)
    once = made(kind, outputs)
    assert same(twice, once)
    assert vars(twice).keys() == vars(once).keys()
    assert same(twice.partial_fit(X, y), once.partial_fit(X, y))


def test_kinds_may_follow_one_another() -> None:
    clf = made(MLPClassifier, KINDS["columns"][2]).build(4, ["a", "b"])
    assert clf.predict(X).shape == (60,)
    assert clf.build(4, [["a", "b"], ["c", "d"]]).predict(X).shape == (60, 2)


@each_kind
def test_copies_go_on_the_same(kind: Any, y: np.ndarray, outputs: dict[str, Any]) -> None:
    built = made(kind, outputs)
    copies = [copy.deepcopy(built), pickle.loads(pickle.dumps(built))]  # noqa: S301  our own
    expected = built.partial_fit(X, y)
    for other in copies:
        assert same(other.partial_fit(X, y), expected)


def test_random_states_that_are_shared_move_on() -> None:
    state = np.random.RandomState(3)
    first, second = (made(MLPRegressor, {}, random_state=state) for _ in range(2))
    assert not same(first, second)


# --- coefficients from elsewhere ---


def test_coefficients_may_be_given() -> None:
    source = MLPClassifier(**SETTINGS).fit(X, THREE)
    begin = {"coef_init": source.coefs_, "intercept_init": [b.tolist() for b in source.intercepts_]}
    built = MLPClassifier(**SETTINGS).build(4, ["a", "b", "c"], **begin)
    np.testing.assert_array_equal(built.predict_proba(X), source.predict_proba(X))
    theirs = neural_network.MLPClassifier(**SETTINGS).fit(X, THREE)
    built.coefs_, built.intercepts_ = theirs.coefs_, theirs.intercepts_
    np.testing.assert_allclose(built.predict_proba(X), theirs.predict_proba(X), rtol=bounds.PARITY["float64"])
    built.coefs_[0][...] = 0.0
    assert np.ptp(built.predict_proba(X), axis=0).max() == 0.0


def test_coefficients_of_each_column_may_be_given() -> None:
    source = MLPClassifier(**SETTINGS).fit(X, COLUMNS)
    begin = {
        "coef_init": [each.coefs_ for each in source.estimators_],
        "intercept_init": [each.intercepts_ for each in source.estimators_],
    }
    built = MLPClassifier(**SETTINGS).build(4, source.classes_, **begin)
    assert same(built, source)
    np.testing.assert_array_equal(built.predict(X), source.predict(X))


@each_kind
def test_coefficients_of_other_shapes_are_refused(kind: Any, y: np.ndarray, outputs: dict[str, Any]) -> None:
    if y is COLUMNS:
        outputs = {"classes": outputs["classes"][0]}
        y = THREE
    with pytest.raises(ValueError, match=r"coef_init has shapes \[\(6, 4\)\]; expected \[\(4, 6\), \(6, \d\)\], one a"):
        kind(**SETTINGS).build(4, **outputs, coef_init=[np.zeros((6, 4))])
    built = made(kind, outputs)
    before = list(built.coefs_)
    built.coefs_ = [before[0], before[1].T]  # as PyTorch has them
    with pytest.raises(
        ValueError, match=r"coefs_ has shapes \[\(4, 6\), \(\d, 6\)\]; expected \[\(4, 6\), \(6, \d\)\]"
    ):
        built.predict(X)
    built.coefs_, built.intercepts_ = before, [np.zeros(1), *built.intercepts_[1:]]  # which would be spread out
    with pytest.raises(ValueError, match=r"intercepts_ has shapes \[\(1,\), "):
        built.partial_fit(X, y)


def test_a_network_of_another_library_answers_the_same() -> None:
    spec = NetworkSpec((4, 6, 3), ("tanh",), "softmax", "cross_entropy")
    parameters = Parameters(spec.layer_sizes, GENERATOR.normal(size=spec.n_params))
    clf = MLPClassifier(6, "tanh").build(
        4, ["a", "b", "c"], coef_init=parameters.weights, intercept_init=parameters.biases
    )
    logits = np.tanh(X @ parameters.weights[0] + parameters.biases[0]) @ parameters.weights[1] + parameters.biases[1]
    np.testing.assert_array_equal(clf.predict(X), clf.classes_[logits.argmax(axis=1)])


# --- names, and what is refused ---


@each_kind
def test_features_may_have_names(kind: Any, y: np.ndarray, outputs: dict[str, Any]) -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    built = kind(**SETTINGS).build(list("abcd"), **outputs)
    assert built.feature_names_in_.tolist() == list("abcd")
    assert built.n_features_in_ == 4
    np.testing.assert_array_equal(built.predict(frame), made(kind, outputs).predict(X))
    built.partial_fit(frame, y)
    with pytest.raises(ValueError, match="feature names should match"):
        built.predict(frame[["b", "a", "c", "d"]])
    assert not hasattr(built.build(frame.shape[1], **outputs), "feature_names_in_")


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "words"),
    [
        (MLPRegressor, {"n_features": 0}, ValueError, "n_features is 0; expected the number of X's columns"),
        (MLPRegressor, {"n_features": 2.0}, TypeError, "n_features is 2.0; expected"),
        (MLPRegressor, {"n_features": "abc"}, TypeError, "n_features is 'abc'; expected"),
        (MLPRegressor, {"n_features": ["a", 1]}, TypeError, "or a sequence of their names"),
        (MLPRegressor, {"n_features": []}, ValueError, "or a sequence of their names"),
        (MLPRegressor, {"n_features": True}, TypeError, "n_features is True"),
        (MLPRegressor, {"n_outputs": 0}, ValueError, "n_outputs is 0; expected the number of y's columns"),
        (MLPRegressor, {"dtype": "float16"}, ValueError, "dtype is 'float16'; expected one of float32, float64"),
        (MLPRegressor, {"dtype": np.int64}, ValueError, "dtype is 'int64'; expected one of"),
        (MLPClassifier, {"classes": [0.5, 1.5]}, ValueError, "Unknown label type"),
        (MLPClassifier, {"classes": [1], "multilabel": True}, ValueError, "expected two labels or more"),
        (MLPClassifier, {"classes": [[1, 2]], "multilabel": False, "n_features": 0}, ValueError, "n_features is 0"),
    ],
)
def test_arguments_that_make_no_sense(kind: Any, arguments: dict[str, Any], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        kind().build(**{"n_features": 3} | arguments)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_parameters_are_checked(kind: Any) -> None:
    with pytest.raises(ValueError, match="alpha"):
        kind(alpha=-1.0).build(4, [0, 1] if kind is MLPClassifier else 1)


def test_data_of_another_shape_change_nothing() -> None:
    built = made(MLPRegressor, {})
    for wrong in ((X[:, :3], NUMBERS), (X, PAIRS)):
        with pytest.raises(ValueError, match=r"features|belong to layers of sizes"):
            built.partial_fit(*wrong)
    assert same(built.partial_fit(X, NUMBERS), MLPRegressor(**SETTINGS).partial_fit(X, NUMBERS))


def test_a_class_that_was_not_announced_is_refused() -> None:
    with pytest.raises(ValueError, match="`y` has classes not in"):
        made(MLPClassifier, {"classes": ["a", "b"]}).partial_fit(X, THREE)


def test_nothing_has_been_trained() -> None:
    built = made(MLPRegressor, {})
    assert (built.n_iter_, built.t_) == (0, 0)
    for name in ("loss_", "loss_curve_", "best_loss_"):
        assert not hasattr(built, name)
    with pytest.raises(ValueError, match="0 epochs"):
        built.plot_history()
