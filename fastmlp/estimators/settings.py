"""The parameters that both estimators have: scikit-learn's, in its order, then fastmlp's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, Options, StrOptions

from fastmlp.activations import HIDDEN_ACTIVATIONS
from fastmlp.backends import available_backends
from fastmlp.estimators.solvers import POLICIES, SOLVERS
from fastmlp.optimizers import Optimizer


def hidden_sizes(given: int | Iterable[int]) -> list[int]:
    """Return the units of each hidden layer.

    Raises
    ------
    ValueError
        If there are none in one.
    """
    sizes = list(given) if isinstance(given, Iterable) else [given]
    if any(size <= 0 for size in sizes):
        msg = f"hidden_layer_sizes must be > 0, got {sizes}."
        raise ValueError(msg)
    return [int(size) for size in sizes]


class Settings(BaseEstimator):
    """An estimator's parameters, and what each may be; see `MLPClassifier` and `MLPRegressor`."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"logistic", *HIDDEN_ACTIVATIONS}), "array-like"],
        "solver": [StrOptions(set(SOLVERS)), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions(set(POLICIES)), callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "backend": [StrOptions({"auto", *available_backends()})],
        "strict": ["boolean"],
        "threads": [None, Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
        "scoring": [None, str, callable],
        "callbacks": [callable, "array-like"],
    }

    def __init__(  # noqa: PLR0913  scikit-learn's, in its order
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: Any = "constant",  # noqa: ANN401  a policy's name, or a schedule
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,  # noqa: ANN401  what scikit-learn takes
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        backend: str = "auto",
        strict: bool = False,
        threads: int | None = None,
        dropout: float = 0.0,
        standardize: bool = False,
        scoring: Any = None,  # noqa: ANN401  a scorer's name, or a scorer
        callbacks: Any = (),  # noqa: ANN401  a function, or some
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.backend = backend
        self.strict = strict
        self.threads = threads
        self.dropout = dropout
        self.standardize = standardize
        self.scoring = scoring
        self.callbacks = callbacks

    def _hidden_sizes(self) -> list[int]:
        return hidden_sizes(self.hidden_layer_sizes)

    def _activations(self) -> list[str]:
        """Return the activation of every hidden layer, in the words it was given in."""
        if isinstance(self.activation, str):
            return [self.activation] * len(self._hidden_sizes())
        return list(self.activation)

    def _callbacks(self) -> list[Any]:
        return [self.callbacks] if callable(self.callbacks) else list(self.callbacks)
