"""scikit-learn's checks of the tabular estimators: all of them, on two backends, none expected to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import TabularMLPClassifier, TabularMLPRegressor

NOT_FOR_US = {
    "check_array_api_input": "SciPy's support of the array API is switched on by an environment variable, and is not",
    "check_classifiers_multilabel_output_format_decision_function": "there is no decision_function",
}
"""Checks that scikit-learn itself skips, and why."""

SETTINGS = {"hidden_layer_sizes": (16, 16), "n_epochs": 30, "dtype": "float64"}
"""In float64, because some checks hold predictions to 1e-7, which is below the rounding of float32."""

KINDS = (TabularMLPClassifier, TabularMLPRegressor)
ESTIMATORS = [
    kind(**SETTINGS, backend=backend, validation_fraction=0.0) for backend in ("numpy", "numba") for kind in KINDS
]
"""With no samples held out: a check compares samples that are repeated with weighted ones, and the draw is another."""

WITH_VALIDATION = [kind(**SETTINGS, backend="numpy") for kind in KINDS]
NEEDS_ALL_SAMPLES = "check_sample_weight_equivalence_on_dense_data"

pytestmark = pytest.mark.filterwarnings("default")  # they handle the warnings that they are about


def checks_of(estimators: list[BaseEstimator]) -> pytest.MarkDecorator:
    mark = parametrize_with_checks(estimators).mark  # with a generator in older releases, which pytest does not like
    return pytest.mark.parametrize(mark.args[0], list(mark.args[1]), **mark.kwargs)


def name_of(check: Callable[[Any], None]) -> str:
    return str(getattr(check, "func", check).__name__)


@checks_of(ESTIMATORS)
def test_estimators_are_what_scikit_learn_expects(estimator: BaseEstimator, check: Callable[[Any], None]) -> None:
    if name_of(check) not in NOT_FOR_US:
        check(estimator)


@checks_of(WITH_VALIDATION)
def test_they_are_with_samples_held_out(estimator: BaseEstimator, check: Callable[[Any], None]) -> None:
    if name_of(check) not in {*NOT_FOR_US, NEEDS_ALL_SAMPLES}:
        check(estimator)
