"""How a fit of an estimator goes and ends: what it says, what it refuses, what it goes back to."""

from __future__ import annotations

import inspect
import math
import re
import signal
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.preprocessing import LabelBinarizer

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, schedules
from fastmlp.backends.numpy import NumpyBackend
from fastmlp.estimators import labels
from tests import bounds, parity

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(40, 4))
CLASSES = X[:, :3].argmax(axis=1)
NUMBERS = X @ [1.0, -2.0, 0.5, 0.0]
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (5,), "max_iter": 6, "batch_size": 16, "random_state": 1}

NAMES = ("MLPClassifier", "MLPRegressor")
both = pytest.mark.parametrize(("kind", "y"), [(MLPClassifier, CLASSES), (MLPRegressor, NUMBERS)])


def twins(name: str, **settings: Any) -> tuple[Any, Any]:
    """Return their estimator and ours, made by the same call."""
    return getattr(neural_network, name)(**SETTINGS | settings), getattr(fastmlp, name)(**SETTINGS | settings)


def targets(name: str) -> np.ndarray:
    return CLASSES if name == "MLPClassifier" else NUMBERS


# --- the constructor ---


@pytest.mark.parametrize("name", NAMES)
def test_their_parameters_are_ours_with_the_same_defaults_and_in_the_same_order(name: str) -> None:
    theirs = inspect.signature(getattr(neural_network, name)).parameters
    ours = inspect.signature(getattr(fastmlp, name)).parameters
    if "loss" not in theirs:  # of older releases
        ours = {key: parameter for key, parameter in ours.items() if key != "loss"}
    assert list(ours)[: len(theirs)] == list(theirs)
    for key, parameter in theirs.items():
        assert (ours[key].default, ours[key].kind) == (parameter.default, parameter.kind)
    assert all(parameter.kind == parameter.KEYWORD_ONLY for parameter in list(ours.values())[len(theirs) :])


WRONG: list[dict[str, Any]] = [
    {"alpha": -1.0},
    {"alpha": "x"},
    {"batch_size": 0},
    {"batch_size": "all"},
    {"learning_rate_init": 0.0},
    {"power_t": -1},
    {"max_iter": 0},
    {"shuffle": "yes"},
    {"random_state": "seed"},
    {"tol": -1e-3},
    {"momentum": 1.5},
    {"nesterovs_momentum": 3},
    {"early_stopping": "no"},
    {"validation_fraction": 1.0},
    {"beta_1": 1.0},
    {"beta_2": -0.1},
    {"epsilon": 0.0},
    {"n_iter_no_change": 0},
    {"max_fun": 0},
    {"hidden_layer_sizes": (4, 0)},
    {"hidden_layer_sizes": -1},
    {"hidden_layer_sizes": "many"},
    *([{"early_stopping": True, "validation_fraction": 0.01}] if parity.HAS_WEIGHTS else []),  # newer releases do
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", WRONG, ids=str)
def test_what_they_refuse_we_refuse_in_the_same_words(name: str, settings: dict[str, Any]) -> None:
    theirs, ours = twins(name, **settings)
    with pytest.raises(ValueError, match=r".") as expected:
        theirs.fit(X, targets(name))
    with pytest.raises(ValueError, match=re.escape(str(expected.value))) as raised:
        ours.fit(X, targets(name))
    assert type(raised.value) is type(expected.value)


@both
@pytest.mark.parametrize(
    "settings", [{"backend": "gpu"}, {"threads": 0}, {"strict": 2}, {"activation": "swish"}], ids=str
)
def test_what_is_our_own_is_checked_too(kind: Any, y: np.ndarray, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"'{next(iter(settings))}' parameter of {kind.__name__} must be"):
        kind(**SETTINGS | settings).fit(X, y)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda fit, y: fit(X[:5], y[:4]), id="lengths"),
        pytest.param(lambda fit, y: fit(X[0], y[:4]), id="one dimension"),
        pytest.param(lambda fit, y: fit(np.full_like(X, np.nan), y), id="NaN"),
        pytest.param(lambda fit, y: fit(X[:0], y[:0]), id="no rows"),
        pytest.param(lambda fit, y: fit([["a", "b"]] * 4, y[:4]), id="words"),
        pytest.param(lambda fit, _: fit(X, None), id="no y"),
        pytest.param(lambda fit, y: fit(X, np.stack([y, y, y * 0.5], axis=1)[:, :, None]), id="y in three dimensions"),
    ],
)
def test_data_that_they_refuse_we_refuse_in_the_same_words(name: str, wrong: Any) -> None:
    theirs, ours = twins(name)
    with pytest.raises((ValueError, TypeError), match=r".") as expected:
        wrong(theirs.fit, targets(name))
    with pytest.raises(type(expected.value), match=re.escape(str(expected.value))):
        wrong(ours.fit, targets(name))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:X (has|does)")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrong", [X[:, :3], X[0], np.full((2, 4), np.inf), X[:0], [["a"] * 4], None], ids=lambda wrong: f"{np.shape(wrong)}"
)
def test_questions_that_they_refuse_we_refuse_in_the_same_words(name: str, wrong: Any) -> None:
    theirs, ours = (estimator.fit(X, targets(name)) for estimator in twins(name))
    with pytest.raises((ValueError, TypeError), match=r".") as expected:
        theirs.predict(wrong)
    with pytest.raises(type(expected.value), match=re.escape(str(expected.value))):
        ours.predict(wrong)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_nothing_is_predicted_before_a_fit(kind: Any) -> None:
    for method in ("predict", "predict_proba", "predict_log_proba"):
        if hasattr(kind, method):
            with pytest.raises(NotFittedError, match=f"This {kind.__name__} instance is not fitted yet"):
                getattr(kind(), method)(X)


@both
def test_weights_below_zero_are_refused(kind: Any, y: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"sample_weight\[3\] is -1; expected weights not below 0"):
        kind(**SETTINGS).fit(X, y, np.where(np.arange(40) == 3, -1.0, 1.0))


def test_partial_fit_is_for_those_that_go_batch_by_batch() -> None:
    for kind in (MLPClassifier, MLPRegressor):
        assert hasattr(kind(solver="adam"), "partial_fit")
        assert not hasattr(kind(solver="lbfgs"), "partial_fit")


@quiet
@both
def test_what_goes_on_has_to_fit(kind: Any, y: np.ndarray) -> None:
    estimator = kind(**SETTINGS, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features, but"):
        estimator.fit(X[:, :3], y)
    with pytest.raises(ValueError, match=r"layers of sizes \(4, 5, \d\), but .* ask for \(4, 8, \d\)"):
        estimator.set_params(hidden_layer_sizes=8).fit(X, y)


LATER: list[Any] = [
    [0, 1, 3],
    [0.5, 1.5, 2.5],
    ["a", "b", "c"],
    np.eye(3, dtype=int),
    [[0, 1], [1, 2], [2, 0]],
    [0.0, 1.0, 2.0],
]


@quiet
@pytest.mark.parametrize(
    "first", [CLASSES, np.array(["a", "b", "c"])[CLASSES], np.eye(3, dtype=int)[CLASSES]], ids="nwl"
)
@pytest.mark.parametrize("later", LATER, ids=str)
@pytest.mark.parametrize("warm_start", [False, True])
def test_later_targets_are_taken_or_refused_as_theirs_are(first: np.ndarray, later: Any, warm_start: bool) -> None:
    """The errors are of the same kind; their words for what neither of us expects differ from release to release."""
    outcomes = []
    for estimator in twins("MLPClassifier", warm_start=warm_start, batch_size="auto"):
        labels = {"classes": np.unique(first)} if first.ndim == 1 else {"classes": [0, 1, 2]}
        estimator.partial_fit(X, first, **labels)
        try:
            estimator.partial_fit(X[:3], later)
        except ValueError as error:
            outcomes.append(type(error))
        else:
            outcomes.append(np.round(estimator.predict_proba(X), 6).tolist())
    assert outcomes[0] == outcomes[1]


@quiet
@both
def test_a_fit_that_failed_has_fitted_nothing(kind: Any, y: np.ndarray) -> None:
    estimator = kind(**SETTINGS).fit(X, y)
    with pytest.raises(ValueError, match="dropout is"):
        estimator.set_params(hidden_layer_sizes=(3, 2), dropout=0.5, solver="lbfgs").fit(X, y)
    with pytest.raises(NotFittedError):
        estimator.predict(X)
    estimator.set_params(dropout=0.0, solver="adam").fit(X, y).predict(X)


# --- telling ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "settings",
    [
        {"max_iter": 3},
        {"early_stopping": True, "tol": 0.5, "n_iter_no_change": 2, "max_iter": 9},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1, "max_iter": 40},
        {"solver": "sgd", "tol": 10.0, "n_iter_no_change": 2},
    ],
    ids=str,
)
@quiet
def test_verbose_prints_what_theirs_prints(
    name: str, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours = twins(name, verbose=True, **settings)
    theirs.fit(X, targets(name))
    expected = capsys.readouterr().out
    ours.fit(X, targets(name))
    assert capsys.readouterr().out == expected
    assert "Iteration 1, loss = " in expected


@both
def test_verbose_lbfgs_tells_each_iteration(kind: Any, y: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    estimator = kind(**SETTINGS | {"solver": "lbfgs", "verbose": 1, "tol": 1e3}).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == estimator.n_iter_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator = kind(**SETTINGS | {"solver": "lbfgs", "verbose": 1}).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"Iteration {i + 1}" for i in range(estimator.n_iter_)]
    assert lines[-1].endswith(f"loss = {estimator.loss_:.8f}")


@quiet
def test_verbose_lbfgs_tells_the_loss_as_it_is_defined(capsys: pytest.CaptureFixture[str]) -> None:
    """Poisson's deviance has a part that only the targets enter."""
    estimator = MLPRegressor(**SETTINGS | {"solver": "lbfgs", "verbose": True, "loss": "poisson"})
    estimator.fit(X, np.abs(NUMBERS))
    assert capsys.readouterr().out.splitlines()[-1] == f"Iteration 6, loss = {estimator.loss_:.8f}"


def warned(settings: dict[str, Any], fit: Any) -> list[str]:
    """Return the messages of a fit, all of which point at this file."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fit(settings)
    assert all(warning.filename == __file__ for warning in seen)
    return [f"{warning.category.__name__}: {warning.message}" for warning in seen]


@both
def test_warnings_are_theirs_and_point_at_the_line_that_called(kind: Any, y: np.ndarray) -> None:
    def fit(settings: dict[str, Any]) -> None:
        kind(**SETTINGS | settings).fit(X, y)

    epochs = "ConvergenceWarning: Stochastic Optimizer: Maximum iterations (6) reached and the optimization hasn't"
    clipped = "UserWarning: Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
    assert warned({}, fit) == [f"{epochs} converged yet."]
    assert warned({"batch_size": 41}, fit) == [clipped, f"{epochs} converged yet."]
    (message,) = warned({"solver": "lbfgs"}, fit)
    assert message.startswith("ConvergenceWarning: lbfgs failed to converge after 6 iteration(s) (status=1): STOP: ")
    assert warned({"tol": 1e3, "n_iter_no_change": 1}, fit) == []


LABELS = {
    "two": np.array([3, 1, 3, 1, 1]),
    "three": np.array([3, 1, 2, 1, 3, 2]),
    "booleans": np.array([True, False, True, False]),
    "strings": np.array(["b", "a", "b", "a", "c", "c"]),
    "strings that might be longer": np.array(["b", "a", "b", "a"], "U9"),
    "of one byte": np.array([1, 0, 1, 0], np.uint8),
    "a single one": np.array([1, 1, 1]),
    "of a sample each": np.arange(4),
    "floats": np.array([1.0, 2.0, 1.0, 2.0]),
    "objects": np.array(["a", "b", "a", "b"], object),
    "for several outputs": np.array([[1, 0], [0, 1], [1, 1], [0, 0]]),
}


@quiet
@pytest.mark.parametrize("what", list(LABELS))
def test_what_is_learned_of_labels_is_what_a_label_binarizer_learns(what: str) -> None:
    y = LABELS[what]
    learned, theirs = (vars(fit(y)) for fit in (labels.binarizer_of, LabelBinarizer().fit))
    assert learned.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(learned[name], value)
        assert np.asarray(learned[name]).dtype == np.asarray(value).dtype


# --- ways to end ---


class Interrupting(int):
    """A `verbose` that is asked before a run and after it, and interrupts the third time."""

    asked = 0

    def __bool__(self) -> bool:
        type(self).asked += 1
        if type(self).asked == 3:
            raise KeyboardInterrupt
        return False


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_interrupted_fit_is_a_fit_of_fewer_epochs(kind: Any, y: np.ndarray, early_stopping: bool) -> None:
    y = (y > 0).astype(y.dtype)

    own = {"early_stopping": True} if early_stopping else {"n_iter_no_change": 1, "tol": 0.0}  # or all are one run
    estimator = kind(**SETTINGS | own | {"verbose": Interrupting()})
    Interrupting.asked = -1 if early_stopping else 0
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        estimator.fit(X, y)
    assert estimator.n_iter_ == len(estimator.loss_curve_) < SETTINGS["max_iter"]
    assert np.isfinite(estimator.predict(X).astype(float)).all()
    if not early_stopping:
        t = estimator.t_
        assert estimator.partial_fit(X, y).t_ == t + len(X)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many steps each call of the numpy backend does."""
    seen: list[int] = []
    usual = NumpyBackend.train

    def noting(backend: NumpyBackend, run: Any, start: int, stop: int) -> int:
        seen.append(stop - start)
        return usual(backend, run, start, stop)

    monkeypatch.setattr(NumpyBackend, "train", noting)
    return seen


POSITIVE = GENERATOR.uniform(0.5, 2.0, 40)
WITH_A_GAP = np.where(np.arange(40) < 16, 0.0, POSITIVE)  # the first batch weighs nothing, where it is not shuffled


@quiet
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("weights", [None, POSITIVE, WITH_A_GAP], ids=["plain", "weighted", "gap"])
@pytest.mark.parametrize("learning_rate_init", [1e-3, 0.05])
def test_epochs_that_nobody_looks_at_are_one_run(
    loss: str, shuffle: bool, weights: np.ndarray | None, learning_rate_init: float, spans: list[int]
) -> None:
    """As many as patience lasts: 3 steps an epoch, 10 epochs without improvement allowed.

    With the larger rate some epochs do not improve, so that patience, and with it a run, ends sooner.
    """
    settings = SETTINGS | {"tol": 0.0, "max_iter": 100, "learning_rate_init": learning_rate_init, "backend": "numpy"}
    settings |= {"loss": loss, "shuffle": shuffle}
    y = np.abs(NUMBERS)
    estimator = MLPRegressor(**settings).fit(X, y, weights)
    is_one_run = weights is None or (weights is POSITIVE and loss != "poisson")
    assert (max(spans) == 11 * 3) if is_one_run else (max(spans) <= 3)
    spans.clear()
    watched = MLPRegressor(**settings, verbose=True).fit(X, y, weights)
    assert max(spans) <= 3
    np.testing.assert_allclose(watched.loss_curve_, estimator.loss_curve_, rtol=bounds.PARITY["float64"])
    assert all((a == b).all() for a, b in zip(watched.coefs_, estimator.coefs_, strict=True))
    assert (estimator.n_iter_, estimator.t_) == (watched.n_iter_, watched.t_)
    assert estimator.loss_ == estimator.loss_curve_[-1]
    assert estimator.best_loss_ == min(estimator.loss_curve_)


@pytest.mark.usefixtures("pythons_own_handler")
@pytest.mark.parametrize(
    "own", [{"loss": "squared_error"}, {"loss": "poisson"}, {"learning_rate": schedules.Cosine(1e-3)}], ids=str
)
@pytest.mark.parametrize("calls", [1, 3, 6, 8])
def test_ctrl_c_within_a_run_leaves_the_epochs_that_were_whole(
    own: dict[str, Any], calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS | own | {"max_iter": 40, "tol": 0.0, "backend": "numpy"}
    y = np.abs(NUMBERS)
    usual, left = NumpyBackend.train, [calls]

    def interrupting(backend: NumpyBackend, run: Any, start: int, stop: int) -> int:
        left[0] -= 1
        if not left[0]:
            signal.raise_signal(signal.SIGINT)
        return usual(backend, run, start, stop)

    monkeypatch.setattr(NumpyBackend, "train", interrupting)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        estimator = MLPRegressor(**settings).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole = MLPRegressor(**settings).fit(X, y)
    n = estimator.n_iter_
    assert n == len(estimator.loss_curve_) <= 40
    np.testing.assert_allclose(estimator.loss_curve_, whole.loss_curve_[:n], rtol=bounds.PARITY["float64"])
    assert estimator.t_ == n * len(X)
    assert estimator.partial_fit(X, y).t_ == (n + 1) * len(X)


DIVERGING = {"solver": "sgd", "activation": "identity", "learning_rate_init": 1e6, "max_iter": 50}


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_training_that_diverges_is_an_error_and_leaves_what_was_finite(backend: str) -> None:
    estimator = MLPRegressor(**SETTINGS | DIVERGING, backend=backend)
    with pytest.raises(ValueError, match=r"Solver produced non-finite parameter weights\. The input data may contain"):
        estimator.fit(X, NUMBERS)
    assert all(np.isfinite(W).all() for W in estimator.coefs_)
    assert math.isnan(estimator.loss_curve_[-1])
    assert estimator.n_iter_ < 50


@pytest.mark.filterwarnings("ignore:overflow")
def test_early_stopping_goes_back_to_before_a_training_diverged(backend: str) -> None:
    estimator = MLPRegressor(**SETTINGS | DIVERGING, early_stopping=True, backend=backend)
    with pytest.warns(
        ConvergenceWarning, match=r"Training diverged in epoch \d+; the parameters are those of the best"
    ):
        estimator.fit(X, NUMBERS)
    assert math.isnan(estimator.validation_scores_[-1])
    assert np.isfinite(estimator.predict(X)).all()


@quiet
@both
def test_early_stopping_keeps_the_best_epoch(kind: Any, y: np.ndarray) -> None:
    """Also where a second fit, from there, finds nothing better: theirs has then overwritten what it meant to keep."""
    y = (y > 0).astype(y.dtype)
    settings = {"early_stopping": True, "warm_start": True, "learning_rate_init": 0.05, "max_iter": 30}
    estimator = kind(**SETTINGS | settings).fit(X, y)
    best, score = [W.copy() for W in estimator.coefs_], estimator.best_validation_score_
    assert score == max(estimator.validation_scores_)
    estimator.set_params(learning_rate_init=1e-12, random_state=1).fit(X, y)
    if estimator.best_validation_score_ == score:
        for W, kept in zip(estimator.coefs_, best, strict=True):
            np.testing.assert_array_equal(W, kept)


@quiet
@both
def test_another_way_to_train_may_go_on(kind: Any, y: np.ndarray) -> None:
    y = (y > 0).astype(y.dtype)
    estimator = kind(**SETTINGS | {"solver": "lbfgs", "warm_start": True}).fit(X, y)
    estimator.set_params(solver="adam").fit(X, y)
    assert len(estimator.loss_curve_) == 6
    estimator.set_params(early_stopping=True).fit(X, y)
    assert len(estimator.validation_scores_) == 6
    assert estimator.best_loss_ is None
    estimator.set_params(early_stopping=False, activation="tanh").partial_fit(X, y)
    assert estimator.validation_scores_ is None
    assert estimator.best_loss_ == estimator.loss_
    assert len(estimator.loss_curve_) == 13


# --- what the loss is ---


@quiet
@pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning")  # of theirs, in older releases
@pytest.mark.parametrize("weights", [None, GENERATOR.uniform(0.5, 2.0, 40)], ids=["plain", "weighted"])
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_the_loss_of_several_outputs_is_what_the_gradient_belongs_to(
    weights: np.ndarray | None, solver: str, backend: str
) -> None:
    """It is half of the sum over outputs; the step of plain descent is its gradient; theirs reports the mean."""
    if weights is not None and not parity.HAS_WEIGHTS:
        pytest.skip("this scikit-learn's takes no weights")
    Y = np.stack([NUMBERS, -2.0 * NUMBERS, X[:, 1]], axis=1)
    settings = {"solver": solver, "alpha": 0.3, "batch_size": 40, "momentum": 0.0, "learning_rate_init": 1e-4}
    settings |= {"activation": "tanh", "max_iter": 1}
    theirs, ours = twins("MLPRegressor", **settings)
    ours.set_params(backend=backend)
    begin = neural_network.MLPRegressor(**SETTINGS | settings | {"learning_rate_init": 1e-300, "solver": "sgd"})
    begin.fit(X, Y)
    given = {} if weights is None else {"sample_weight": weights}
    theirs.fit(X, Y, **given)
    ours.fit(X, Y, **given)
    share = np.full(40, 1 / 40) if weights is None else weights / weights.sum()
    total = 40 if weights is None else weights.sum()

    def loss(estimator: Any) -> tuple[float, float]:
        squares = share @ (estimator.predict(X) - Y) ** 2
        penalty = 0.15 * sum(np.sum(W * W) for W in estimator.coefs_) / total
        return 0.5 * squares.sum() + penalty, 0.5 * squares.mean() + penalty

    at = ours if solver == "lbfgs" else begin  # an epoch's loss is that before its step
    of_sum, of_mean = loss(at)
    np.testing.assert_allclose(ours.loss_, of_sum, rtol=bounds.PARITY["float64"])
    if solver == "sgd":
        np.testing.assert_allclose(theirs.loss_, of_mean, rtol=bounds.PARITY["float64"])
        moved = (begin.coefs_[0][1, 2] - ours.coefs_[0][1, 2]) / 1e-4
        expected = slope(begin, loss, (1, 2))
        assert abs(moved - expected) <= bounds.CENTRAL_DIFFERENCE * max(1.0, abs(expected))


@quiet
@pytest.mark.parametrize("settings", [{}, {"solver": "sgd", "learning_rate": "adaptive"}], ids=str)
@pytest.mark.parametrize("alpha", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("batch_size", [40, 16])
def test_several_outputs_end_when_theirs_do(settings: dict[str, Any], alpha: float, batch_size: int) -> None:
    """Though their loss is another: the mean over outputs, beside which the penalty weighs more."""
    Y = np.stack([NUMBERS, -2.0 * NUMBERS, X[:, 1], NUMBERS + X[:, 0]], axis=1)
    settings = settings | {"alpha": alpha, "batch_size": batch_size, "max_iter": 900, "learning_rate_init": 0.02}
    for seed in range(4):
        theirs, ours = (one.fit(X, Y) for one in twins("MLPRegressor", **settings | {"random_state": seed}))
        assert ours.n_iter_ == theirs.n_iter_ < 900
        for mine, its in zip(ours.coefs_, theirs.coefs_, strict=True):
            assert np.max(np.abs(mine - its)) <= bounds.PARITY["float64"] * np.max(np.abs(its))
        assert ours.best_loss_ == min(ours.loss_curve_)


def slope(estimator: Any, loss: Any, place: tuple[int, int], h: float = 1e-5) -> float:
    """Return the central difference of the loss with respect to a weight of the first layer."""
    values = []
    for sign in (1.0, -1.0):
        estimator.coefs_[0][place] += sign * h
        values.append(loss(estimator)[0])
        estimator.coefs_[0][place] -= sign * h
    return (values[0] - values[1]) / (2.0 * h)


@quiet
def test_the_log_loss_is_exact_where_theirs_keeps_away_from_zero() -> None:
    """A sample that is certainly wrong costs its logit, and not log(eps)."""
    theirs, ours = twins("MLPClassifier", max_iter=1, learning_rate_init=1e-300, alpha=0.0, hidden_layer_sizes=())
    far = np.array([[1.0], [-1.0]]) * 5000.0
    for estimator in (theirs, ours):
        estimator.set_params(batch_size=2).partial_fit(far, [0, 1], classes=[0, 1])
        estimator.coefs_[0][...], estimator.intercepts_[0][...] = 1.0, 0.0
        estimator.partial_fit(far, [0, 1])
    assert ours.loss_ == 5000.0
    assert theirs.loss_ < 40.0


# --- networks ---


@quiet
@both
def test_any_activation_of_ours_may_be_asked_for(kind: Any, y: np.ndarray) -> None:
    for name in ("sigmoid", "leaky_relu", "elu", "selu", "softplus", "gelu", "silu", "mish"):
        assert np.isfinite(kind(**SETTINGS, activation=name).fit(X, y).loss_)


@quiet
@both
def test_strict_is_the_same_bits_on_every_backend(kind: Any, y: np.ndarray) -> None:
    fitted = [kind(**SETTINGS, strict=True, backend=name).fit(X, y) for name in fastmlp.available_backends()]
    first = fitted[0]
    for other in fitted[1:]:
        assert [W.tobytes() for W in other.coefs_] == [W.tobytes() for W in first.coefs_]
        assert other.loss_curve_ == first.loss_curve_
        assert other.predict(X).tobytes() == first.predict(X).tobytes()
