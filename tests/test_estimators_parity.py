"""The same constructor call, data and random state give scikit-learn's coefficients, losses and scores, to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import bounds, parity
from tests.pairwise import Row

# Older releases of theirs hand SciPy options that it does not like any more.
pytestmark = pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:scipy.optimize:DeprecationWarning")

BACKENDS = ("numpy", "numba")


def difference(ours: Any, theirs: Any) -> float:
    """Return the largest difference of two arrays beside the largest value."""
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    assert ours.shape == theirs.shape
    return float(np.max(np.abs(ours - theirs), initial=0.0) / max(np.max(np.abs(theirs), initial=0.0), 1e-3))


def compare(ours: Any, theirs: Any, row: Row) -> None:
    """Hold one estimator against the other, after the same calls."""
    bound = bounds.PARITY[row["dtype"]]
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)
    for name in ("coefs_", "intercepts_"):
        for mine, its in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert mine.dtype == row["dtype"]
            assert difference(mine, its) <= bound
    assert (ours.n_layers_, ours.n_outputs_, ours.out_activation_) == (
        theirs.n_layers_,
        theirs.n_outputs_,
        theirs.out_activation_,
    )
    names = ["loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"]
    for name in names[:1] if row["solver"] == "lbfgs" else names:
        if row["kind"] == "several outputs" and "loss" in name:
            continue  # theirs is the mean over outputs: see test_estimators_loss.py
        mine, its = getattr(ours, name), getattr(theirs, name)
        assert (mine is None) == (its is None), name
        if its is not None:
            assert difference(mine, its) <= bound, name


def case_id(row: Row) -> str:
    return "-".join(str(value).replace(" ", "") for value in row.values())


@pytest.mark.parametrize("row", parity.cover(), ids=case_id)
@pytest.mark.parametrize("backend", BACKENDS)
def test_training_follows_theirs(row: Row, backend: str) -> None:
    their_class, our_class = parity.classes(row)
    arguments = parity.parameters(row)
    theirs, ours = their_class(**arguments), our_class(backend=backend, **arguments)
    for mine, its in zip(parity.trained(ours, row), parity.trained(theirs, row), strict=True):
        compare(mine, its, row)
    X = parity.data(row, seed=1)[0]
    bound = bounds.PARITY[row["dtype"]]
    if hasattr(theirs, "predict_proba"):
        assert ours.predict(X).dtype == theirs.predict(X).dtype
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        assert difference(ours.predict_proba(X), theirs.predict_proba(X)) <= bound
        assert difference(ours.predict_log_proba(X), theirs.predict_log_proba(X)) <= bound
    else:
        assert difference(ours.predict(X), theirs.predict(X)) <= bound


@pytest.mark.full
@pytest.mark.parametrize("turn", range(1, 8))
def test_training_follows_theirs_in_more_covers(turn: int) -> None:
    for row in parity.cover(turn):
        for backend in BACKENDS:
            test_training_follows_theirs(row, backend)


SMALL = [row | {"hidden": (3,), "batch_size": 20} for row in parity.cover() if row["hidden"] == (5,)][::7]


@pytest.mark.parametrize("row", SMALL, ids=case_id)
def test_the_reference_follows_theirs_too(row: Row) -> None:
    test_training_follows_theirs(row, "naive")


def test_the_product_has_every_option() -> None:
    for name, values in parity.FACTORS.items():
        assert {row[name] for row in parity.cover()} == {value for value in values if parity.is_valid({name: value})}
