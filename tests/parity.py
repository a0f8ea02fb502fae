"""Problems on which scikit-learn's multilayer perceptron and ours are trained side by side: a generated product."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse
from sklearn import neural_network
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

import fastmlp
from tests import pairwise

HAS_WEIGHTS = "sample_weight" in inspect.signature(neural_network.MLPClassifier.fit).parameters
HAS_POISSON = "loss" in inspect.signature(neural_network.MLPRegressor).parameters
N, N_FEATURES = 53, 6  # no batch size of the tests divides it, so that the last batch is a partial one

FACTORS: dict[str, tuple[Any, ...]] = {
    "kind": ("binary", "multiclass", "multilabel", "regression", "several outputs", "poisson"),
    "solver": ("adam", "sgd", "lbfgs"),
    "activation": ("identity", "logistic", "tanh", "relu"),
    "hidden": ((), (5,), (6, 4)),
    "policy": ("constant", "invscaling", "adaptive"),
    "momentum": ((0.9, True), (0.9, False), (0.0, False), (1.0, True)),
    "batch_size": ("auto", 7, 20, 1),
    "alpha": (1e-4, 0.0, 0.5),
    "way": ("fit", "partial_fit", "warm_start"),
    "shuffle": (True, False),
    "early_stopping": (False, True),
    "weighted": (False, True),
    "sparse": (False, True),
    "dtype": ("float64", "float32"),
}


def is_valid(row: pairwise.Row) -> bool:
    """Tell whether both can do what a row says, and mean the same.

    "lbfgs" has no partial_fit and stops no earlier, and theirs forgets float32, and follows a gradient that is not that
    of its loss where there are several outputs; early stopping of theirs goes on from parameters that it meant to keep.
    """
    if row.get("solver") == "lbfgs":
        never: dict[str, Any] = {"way": "partial_fit", "early_stopping": True, "dtype": "float32"}
        if any(row.get(name) == value for name, value in never.items()) or row.get("kind") == "several outputs":
            return False
    if row.get("early_stopping") and row.get("way", "fit") != "fit":
        return False
    return (HAS_WEIGHTS or not row.get("weighted")) and (HAS_POISSON or row.get("kind") != "poisson")


@lru_cache
def cover(turn: int = 0) -> list[pairwise.Row]:
    """Return rows in which every valid pair of options occurs."""
    return pairwise.all_pairs(FACTORS, is_valid, turn)


def parameters(row: pairwise.Row) -> dict[str, Any]:
    """Return the arguments of either constructor."""
    momentum, nesterov = row["momentum"]
    chosen: dict[str, Any] = {
        "hidden_layer_sizes": row["hidden"],
        "learning_rate": row["policy"],
        "momentum": momentum,
        "nesterovs_momentum": nesterov,
        "learning_rate_init": 0.003,
        "max_iter": 4 if row["solver"] == "lbfgs" else 9,
        # so lazy that "adaptive" acts and early stopping ends within these epochs
        "tol": 1e-9 if row["solver"] == "lbfgs" else 0.02,
        "n_iter_no_change": 2,
        "warm_start": row["way"] == "warm_start",
        "random_state": 7,
    }
    names = ("solver", "activation", "batch_size", "alpha", "shuffle", "early_stopping")
    chosen |= {name: row[name] for name in names}
    return chosen | ({"loss": "poisson"} if row["kind"] == "poisson" else {})


def data(row: pairwise.Row, seed: int = 0) -> tuple[Any, np.ndarray, dict[str, np.ndarray]]:
    """Return X, y and what else `fit` is given."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(N, N_FEATURES)).astype(row["dtype"])
    X[np.abs(X) < 0.3] = 0.0  # as sparse data has it
    signal = X @ generator.normal(size=(N_FEATURES, 3))
    y = {
        # Not all releases of theirs stop early with classes that are strings.
        "binary": lambda: np.array([0, 1] if row["early_stopping"] else ["no", "yes"])[(signal[:, 0] > 0).astype(int)],
        "multiclass": lambda: signal.argmax(axis=1) * 2 - 1,
        "multilabel": lambda: (signal > 0).astype(int),
        "regression": lambda: signal[:, 0],
        "several outputs": lambda: signal,
        "poisson": lambda: generator.poisson(np.exp(0.3 * signal[:, 0])).astype(float),
    }[row["kind"]]()
    weights = {"sample_weight": generator.uniform(0.2, 3.0, N)} if row["weighted"] else {}
    return (scipy.sparse.csr_array(X) if row["sparse"] else X), y, weights


def classes(row: pairwise.Row) -> tuple[type[BaseEstimator], type[BaseEstimator]]:
    """Return theirs and ours."""
    name = "MLPClassifier" if row["kind"] in {"binary", "multiclass", "multilabel"} else "MLPRegressor"
    return getattr(neural_network, name), getattr(fastmlp, name)


def trained(estimator: BaseEstimator, row: pairwise.Row) -> Iterator[BaseEstimator]:
    """Train an estimator the way the row says; yield it after every call."""
    X, y, weights = data(row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if row["way"] == "fit":
            yield estimator.fit(X, y, **weights)
        elif row["way"] == "warm_start":
            yield estimator.fit(X, y, **weights)
            yield estimator.set_params(max_iter=3).fit(X, y, **weights)
        else:
            labels = {"classes": np.unique(y)} if row["kind"] in {"binary", "multiclass"} else {}
            labels = {"classes": [0, 1, 2]} if row["kind"] == "multilabel" else labels
            for part in (slice(0, 30), slice(30, N), slice(10, 40)):
                own = {name: values[part] for name, values in weights.items()}
                yield estimator.partial_fit(X[part], y[part], **own, **labels)
                labels = {}
