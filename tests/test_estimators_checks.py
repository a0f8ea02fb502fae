"""scikit-learn's checks of what an estimator is: all of them, on every backend, none expected to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from fastmlp import MLPClassifier, MLPRegressor

NOT_FOR_US = {
    "check_array_api_input": "SciPy's support of the array API is switched on by an environment variable, and is not",
    "check_classifiers_multilabel_output_format_decision_function": "there is no decision_function",
}
"""Checks that scikit-learn itself skips, and why."""

ESTIMATORS = [
    kind(solver=solver, backend=backend, max_iter=100)
    for backend in ("numpy", "numba")
    for kind in (MLPClassifier, MLPRegressor)
    for solver in ("adam", "sgd", "lbfgs")
]
SMALL = [
    kind(hidden_layer_sizes=3, backend="naive", solver="lbfgs", max_iter=20) for kind in (MLPClassifier, MLPRegressor)
]

pytestmark = [  # theirs handle the warnings that they are about
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


CHECKS = parametrize_with_checks(ESTIMATORS).mark  # with a generator in older releases, which pytest no longer likes


@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_estimators_are_what_scikit_learn_expects(estimator: BaseEstimator, check: Callable[[Any], None]) -> None:
    if getattr(check, "func", check).__name__ in NOT_FOR_US:
        return
    check(estimator)


@pytest.mark.parametrize("estimator", SMALL, ids=lambda estimator: type(estimator).__name__)
def test_nothing_else_is_skipped_and_nothing_fails_on_the_reference(estimator: BaseEstimator) -> None:
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    left = {result["check_name"] for result in results if result["status"] != "passed"}
    assert left <= set(NOT_FOR_US)
