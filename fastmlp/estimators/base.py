"""What the two estimators share: scikit-learn's parameters and attributes, and how a fit goes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastmlp.activations import HIDDEN_ACTIVATIONS
from fastmlp.backends import Work, available_backends
from fastmlp.backends.base import Batch, Floats
from fastmlp.data import check_sample_weight, check_Y, make_batch
from fastmlp.estimators.descent import NON_FINITE, Task, batch_size_for, descend
from fastmlp.estimators.engine import Engine, backend_for
from fastmlp.estimators.lbfgs import Limits, minimise
from fastmlp.estimators.scores import Score
from fastmlp.estimators.solvers import POLICIES, SOLVERS, make_solver
from fastmlp.estimators.sparse import SparseBackend, SparseRows, as_array
from fastmlp.estimators.splitting import hold_out
from fastmlp.network import MLP
from fastmlp.parameters import Array
from fastmlp.spec import NetworkSpec

OUR_NAMES = {"logistic": "sigmoid"}
"""fastmlp's name of an activation where scikit-learn has another."""

_BOOKS = (
    *("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"),
    *("_no_improvement_count", "_best", "_optimizer"),
)
"""What a training that begins anew forgets; `fastmlp.estimators.descent` keeps it."""


def _is_stochastic(estimator: BaseMLP) -> bool:
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


class BaseMLP(BaseEstimator):
    """The estimators' common part; see `MLPClassifier` and `MLPRegressor`."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"logistic", *HIDDEN_ACTIVATIONS})],
        "solver": [StrOptions(set(SOLVERS))],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions(set(POLICIES))],
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
    }

    _score: Score
    loss_curve_: list[float]
    # Each of these is None where early stopping is used, or where it is not.
    best_loss_: Any
    validation_scores_: Any
    best_validation_score_: Any
    _engine: Any

    def __init__(  # noqa: PLR0913  scikit-learn's, in its order
        self,
        hidden_layer_sizes: Any = (100,),  # noqa: ANN401  an int, or any sequence of them
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
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

    # ---- what a kind of estimator says of its targets

    @abstractmethod
    def _validated(self, X: Any, y: Any, *, incremental: bool, reset: bool) -> tuple[Any, Array]:  # noqa: ANN401
        """Return X, and targets as `fastmlp.MLP` takes them."""

    @abstractmethod
    def _outputs_for(self, Y: Array) -> tuple[int, str, str]:
        """Return the number of outputs for such targets, scikit-learn's name of their activation, and the loss."""

    def _stratify(self, Y: Array) -> Array | None:  # noqa: ARG002  where there are no classes
        """Return what to stratify by when samples are held out."""
        return None

    def _loss_constants(self, Y: Array) -> Floats | None:  # noqa: ARG002  where the two definitions are the same
        """Return what each sample's loss has beside that of fastmlp."""
        return None

    def _loss_tol(self) -> float:
        """Return by how much the loss has to fall."""
        return float(self.tol)

    # ---- fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> BaseMLP:  # noqa: ANN401
        """Train on data, from the beginning, or with `warm_start` from the coefficients there are.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            float32 stays float32, all else becomes float64. Batches of sparse data are made dense one at a time.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Classes or numbers.
        sample_weight : array-like of shape (n_samples,), optional
            Not negative; a batch's loss is divided by their sum.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If an argument makes no sense, or the parameters stop being finite.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    @available_if(_is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> BaseMLP:  # noqa: ANN401
        """Train for one epoch on data, from where the training stands. Not with ``solver="lbfgs"``.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        self : estimator
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool) -> BaseMLP:  # noqa: ANN401
        hidden = self._hidden_sizes()
        is_first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, Y = self._validated(X, y, incremental=incremental, reset=is_first)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        self._random_state = check_random_state(self.random_state)
        n_outputs, self.out_activation_, loss = self._outputs_for(Y)
        sizes = (X.shape[1], *hidden, n_outputs)
        if is_first:
            self._begin(sizes, X.dtype)
        spec = self._spec_for(sizes, loss)
        self.n_outputs_ = n_outputs
        if self.solver == "lbfgs":
            self._fit_lbfgs(spec, X, Y, weights)
        else:
            self._fit_stochastic(spec, X, Y, weights, incremental=incremental)
        if not np.isfinite(self._engine.net.parameters.flat).all():
            raise ValueError(NON_FINITE)
        return self

    def _fit_lbfgs(self, spec: NetworkSpec, X: Any, Y: Array, weights: Floats | None) -> None:  # noqa: ANN401
        n_samples = X.shape[0]
        engine = self._engine_for(spec, Work(n_samples, self.max_iter, n_samples))
        batch = _batch_of(spec, X, Y, weights)
        batch = batch._replace(l2=self.alpha / batch.total)
        backend = SparseBackend(engine.backend) if issparse(X) else engine.backend
        constant = _mean_constant(self._loss_constants(batch.Y), batch)

        def tell(number: int, loss: float) -> None:
            print(f"Iteration {number}, loss = {loss + constant:.8f}")  # noqa: T201  asked for

        limits = Limits(self.max_iter, self.max_fun, self.tol)
        found = minimise(backend, engine.net.parameters, batch, limits, tell if self.verbose else None)
        self.loss_, self.n_iter_ = found.loss + constant, found.n_iter

    def _fit_stochastic(
        self,
        spec: NetworkSpec,
        X: Any,  # noqa: ANN401
        Y: Array,
        weights: Floats | None,
        *,
        incremental: bool,
    ) -> None:
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = make_solver(self.get_params(deep=False))
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        train, held_out = (X, Y, weights), None
        if self.early_stopping:
            fraction, random_state = self.validation_fraction, self._random_state
            train, held_out = hold_out(train, fraction, random_state, self._stratify(Y))
        n_samples = train[0].shape[0]
        epochs = 1 if incremental else self.max_iter
        batch_size = batch_size_for(self.batch_size, n_samples)
        engine = self._engine_for(spec, Work(n_samples, epochs, batch_size))
        batch = _batch_of(spec, *train)
        backend = SparseBackend(engine.backend) if issparse(X) else engine.backend
        validation = None if held_out is None else _batch_of(spec, *held_out)
        task = Task(engine.net, backend, batch, validation, batch_size, self._loss_constants(batch.Y))
        descend(self, task, incremental=incremental)

    def _hidden_sizes(self) -> list[int]:
        given = self.hidden_layer_sizes
        sizes = list(given) if isinstance(given, Iterable) else [given]
        if any(size <= 0 for size in sizes):
            msg = f"hidden_layer_sizes must be > 0, got {sizes}."
            raise ValueError(msg)
        return [int(size) for size in sizes]

    def _activations(self) -> list[str]:
        """Return the activation of every hidden layer, in scikit-learn's words."""
        return [self.activation] * len(self._hidden_sizes())

    def _spec_for(self, sizes: tuple[int, ...], loss: str) -> NetworkSpec:
        """Return the spec of a network with the coefficients there are.

        Raises
        ------
        ValueError
            If they have other shapes.
        """
        there = (len(self.coefs_[0]), *(W.shape[1] for W in self.coefs_))
        if there != sizes:
            msg = (
                f"The coefficients there are belong to layers of sizes {there}, but these parameters and data ask for "
                f"{sizes}; fit with warm_start=False, or keep the sizes"
            )
            raise ValueError(msg)
        activations = tuple(OUR_NAMES.get(name, name) for name in self._activations())
        output = OUR_NAMES.get(self.out_activation_, self.out_activation_)
        return NetworkSpec(sizes, activations, output, loss, self.coefs_[0].dtype.name)

    def _begin(self, sizes: tuple[int, ...], dtype: Any) -> None:  # noqa: ANN401
        """Draw coefficients and set up the books."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        self._engine = None
        self.coefs_, self.intercepts_ = self._draw(sizes, dtype)
        for book in _BOOKS:
            self.__dict__.pop(book, None)

    def _draw(self, sizes: tuple[int, ...], dtype: Any) -> tuple[list[Array], list[Array]]:  # noqa: ANN401
        """Return coefficients and intercepts, uniform within Glorot's bound, narrower for the logistic function."""
        factor = 2.0 if self.activation == "logistic" else 6.0
        coefs, intercepts = [], []
        for fan_in, fan_out in pairwise(sizes):
            bound = np.sqrt(factor / (fan_in + fan_out))
            coefs.append(self._random_state.uniform(-bound, bound, (fan_in, fan_out)).astype(dtype, copy=False))
            intercepts.append(self._random_state.uniform(-bound, bound, fan_out).astype(dtype, copy=False))
        return coefs, intercepts

    # ---- the network

    def _engine_for(self, spec: NetworkSpec, work: Work) -> Engine:
        """Return an engine for a fit of this size, whose network has the coefficients."""
        name = backend_for(self.backend, spec, work)
        engine: Engine | None = self.__dict__.get("_engine")
        if engine is None or not engine.serves(spec, name, strict=self.strict, threads=self.threads):
            engine = Engine(spec, name, strict=self.strict, threads=self.threads)
        self._adopt(engine)
        return engine

    def _adopt(self, engine: Engine) -> None:
        """Make the engine's the estimator's own: its coefficients are views of the network's parameters from now on."""
        if not engine.holds(self.coefs_, self.intercepts_):
            engine.fill(self.coefs_, self.intercepts_)
            self.coefs_, self.intercepts_ = list(engine.net.weights), list(engine.net.biases)
        self._engine = engine
        self._made_of = (engine.net.spec, engine.net.backend, engine.net.strict, engine.net.threads)

    def _network(self) -> MLP:
        """Return the fitted network, with the coefficients as they are now, whoever changed them.

        Raises
        ------
        NotFittedError
            If there is none.
        """
        engine: Engine | None = self.__dict__.get("_engine")
        if engine is None:
            check_is_fitted(self, "_made_of")
            spec, backend, strict, threads = self._made_of
            engine = Engine(spec, backend, strict=strict, threads=threads)
        if not engine.holds(self.coefs_, self.intercepts_):
            self._adopt(engine)
        return engine.net

    def _outputs(self, X: Any) -> Array:  # noqa: ANN401
        """Return the network's outputs, of shape (n_samples, n_outputs)."""
        net = self._network()
        if type(X) is np.ndarray and X.dtype == net.parameters.flat.dtype and not hasattr(self, "feature_names_in_"):
            try:
                return net.predict(X)
            except ValueError:
                pass  # what is wrong with it is told below, in the words that scikit-learn's users know
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        if issparse(X):
            rows = as_array(SparseRows(X, net.spec.dtype))
            return SparseBackend(self._engine.backend).predict(net.parameters, rows)
        return net.predict(X)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_engine"}

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _batch_of(spec: NetworkSpec, X: Any, Y: Array, weights: Floats | None) -> Batch:  # noqa: ANN401
    """Return data as a backend takes it, which for sparse X is a `SparseBackend`."""
    if not issparse(X):
        return make_batch(spec, X, Y, weights)
    rows = SparseRows(X, spec.dtype)
    checked = check_sample_weight(weights, len(rows))
    total = float(len(rows)) if checked is None else float(checked.sum())
    return Batch(as_array(rows), check_Y(spec, Y, len(rows)), checked, total, 0.0)


def _mean_constant(constants: Floats | None, batch: Batch) -> float:
    return 0.0 if constants is None else float(np.average(constants, weights=batch.weights))
