"""How an estimator is fitted: what both kinds share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import _fit_context
from sklearn.metrics import check_scoring
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight

from fastmlp.backends import Work
from fastmlp.backends.base import Backend, Batch, Floats, sum_in_order
from fastmlp.data import check_sample_weight, check_Y, make_batch
from fastmlp.estimators.building import Columns
from fastmlp.estimators.descent import NON_FINITE, Course, Task, batch_size_for, descend
from fastmlp.estimators.engine import check_shapes
from fastmlp.estimators.fitted import Fitted
from fastmlp.estimators.lbfgs import Limits, minimise
from fastmlp.estimators.scaling import Scaling
from fastmlp.estimators.scores import Score
from fastmlp.estimators.solvers import make_solver
from fastmlp.estimators.sparse import SparseRows, as_array, for_rows
from fastmlp.estimators.splitting import hold_out
from fastmlp.parameters import Array
from fastmlp.spec import NetworkSpec

_OUR_NAMES = {"logistic": "sigmoid"}  # of activations for which scikit-learn has another name
_NARROW = ("logistic", "sigmoid")  # Glorot's bound is for activations whose slope at 0 is 1

_BOOKS = (
    *("loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"),
    *("_no_improvement_count", "_least_watched", "_best", "_optimizer", "x_mean_", "x_scale_", "y_mean_", "y_scale_"),
)
"""What a training that begins anew forgets; `fastmlp.estimators.descent` keeps most of it."""


class Data(NamedTuple):
    """Samples: X and Y as the network takes them, weights or None, and what returns X and y as they were given."""

    X: Any
    Y: Array
    weights: Floats | None
    given: Callable[[], tuple[Any, Any]]

    def rows(self, which: Array) -> Data:
        """Return some of the samples."""
        weights = None if self.weights is None else self.weights[which]
        return Data(self.X[which], self.Y[which], weights, partial(self._given_rows, which))

    def _given_rows(self, which: Array) -> tuple[Any, Any]:
        X, y = self.given()
        return _safe_indexing(X, which), _safe_indexing(y, which)


class Extras(NamedTuple):
    """What else `fit` may be given: a validation set, and coefficients to begin with."""

    X_val: Any = None
    y_val: Any = None
    coefs: Any = None
    intercepts: Any = None


def is_stochastic(estimator: BaseMLP) -> bool:
    """Return whether an estimator trains batch by batch.

    Raises
    ------
    AttributeError
        If it does not.
    """
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


class BaseMLP(Fitted):
    """The estimators' common part; see `MLPClassifier` and `MLPRegressor`."""

    _score: Score

    # ---- what a kind of estimator says of its targets

    @abstractmethod
    def _validated(self, X: Any, y: Any, *, incremental: bool, reset: bool) -> tuple[Any, Any]:  # noqa: ANN401
        """Return X and y, checked, after a look at what `y` consists of."""

    @abstractmethod
    def _validated_more(self, X: Any, y: Any) -> tuple[Any, Any]:  # noqa: ANN401
        """Return further X and y, checked against what has been fitted."""

    @abstractmethod
    def _encoded(self, y: Any) -> Array:  # noqa: ANN401
        """Return targets as `fastmlp.MLP` takes them."""

    @abstractmethod
    def _outputs_for(self, Y: Array) -> tuple[int, str, str]:
        """Return the number of outputs for such targets, scikit-learn's name of their activation, and the loss."""

    def _weighted(self, y: Any, weights: Floats | None) -> Floats | None:  # noqa: ANN401, ARG002
        """Return the weights of samples with such targets."""
        return weights

    def _stratify(self, Y: Array) -> Array | None:  # noqa: ARG002  where there are no classes
        """Return what to stratify by when samples are held out."""
        return None

    def _scale_targets(self, Y: Array, weights: Floats | None, dtype: str) -> None:
        """Look at the targets, where they are to be standardized."""

    def _scaled(self, Y: Array) -> Array:
        """Return targets as the network is trained on them."""
        return Y

    def _loss_constants(self, Y: Array) -> Floats | None:  # noqa: ARG002  where the two definitions are the same
        """Return what each sample's loss has beside that of fastmlp."""
        return None

    def _quantiles(self, n_outputs: int) -> tuple[float, ...]:  # noqa: ARG002  where the loss has none
        """Return the quantile that each output is to be."""
        return ()

    def _watched(self) -> Any:  # noqa: ANN401
        """Return what early stopping looks at; None is the kind's own score."""
        return self.scoring

    def _sums_outputs(self) -> bool:
        """Return whether the loss is a sum over outputs where scikit-learn's class looks at their mean."""
        return False

    # ---- fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,  # noqa: ANN401
        y: Any,  # noqa: ANN401
        sample_weight: Any = None,  # noqa: ANN401
        *,
        X_val: Any = None,  # noqa: ANN401
        y_val: Any = None,  # noqa: ANN401
        coef_init: Any = None,  # noqa: ANN401
        intercept_init: Any = None,  # noqa: ANN401
    ) -> Self:
        """Train on data, from the beginning, or with `warm_start` from the coefficients there are.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            float32 stays float32, all else becomes float64. Sparse data stays sparse; where a backend is strict or
            naive, or X standardized, one batch after the other is made dense.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Classes or numbers.
        sample_weight : array-like of shape (n_samples,), optional
            Not negative; a batch's loss is divided by their sum.
        X_val, y_val : optional
            What early stopping looks at; without them it holds out some of X and y.
        coef_init, intercept_init : sequence of array-like, optional
            Coefficients to begin with, one entry a layer as in `coefs_` and `intercepts_`; what is not given is drawn.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If an argument makes no sense, or the parameters stop being finite.
        """
        extras = Extras(X_val, y_val, coef_init, intercept_init)
        return self._fit(X, y, sample_weight, extras, incremental=False)

    @available_if(is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: ANN401
        """Train for one epoch on data, from where the training stands. Not with ``solver="lbfgs"``.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        self : estimator
        """
        return self._fit(X, y, sample_weight, Extras(), incremental=True)

    def input_gradient(self, X: Any, y: Any, sample_weight: Any = None) -> Array:  # noqa: ANN401
        """Return the derivative of the loss, without its penalty, with respect to X.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            Not sparse.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Of the kind that was fitted; the loss of several columns of classes is the sum of theirs.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        ndarray of shape (n_samples, n_features), of the network's dtype

        Raises
        ------
        NotFittedError, TypeError, ValueError
            If there is no network, or an argument is not as described.
        """
        return self._input_gradient(X, y, sample_weight)

    def _input_gradient(self, X: Any, y: Any, sample_weight: Any) -> Array:  # noqa: ANN401
        net, scaling = self._network(), self._x_scaling()
        X, y = self._validated_more(X, y)
        weights = self._weighted(y, None if sample_weight is None else _check_sample_weight(sample_weight, X))
        Y = self._scaled(self._encoded(y))
        if scaling is None:
            return net.input_gradient(X, Y, weights)
        return net.input_gradient(scaling.apply(X.astype(net.spec.dtype)), Y, weights) / scaling.scale

    def _fit(self, X: Any, y: Any, sample_weight: Any, extras: Extras, *, incremental: bool) -> Self:  # noqa: ANN401
        hidden = self._hidden_sizes()
        is_first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        given = partial(_pair, X, y)
        X, y = self._validated(X, y, incremental=incremental, reset=is_first)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        data = Data(X, self._encoded(y), self._weighted(y, weights), given)
        if is_first or "_building" not in self.__dict__:
            self._random_state = check_random_state(self.random_state)
        n_outputs, self.out_activation_, loss = self._outputs_for(data.Y)
        sizes = (X.shape[1], *hidden, n_outputs)
        if is_first:
            self._begin(sizes, X.dtype)
        self._begin_with(extras)
        spec = self._spec_for(sizes, loss)
        self.n_outputs_ = n_outputs
        self.__dict__.pop("_building", None)
        if self.solver == "lbfgs":
            if extras.X_val is not None or extras.y_val is not None:
                raise ValueError("X_val and y_val are for early stopping, and lbfgs has none: leave them out")
            self._fit_lbfgs(spec, data)
        else:
            self._fit_stochastic(spec, data, extras, incremental=incremental)
        if not np.isfinite(self._engine.net.parameters.flat).all():
            raise ValueError(NON_FINITE)
        return self

    def _build(self, features: Columns, dtype: Any, Y: Array, extras: Extras) -> Self:  # noqa: ANN401
        """Draw coefficients as a fit to such targets would, and wait with the rest until there are data."""
        hidden = self._hidden_sizes()
        self._random_state = check_random_state(self.random_state)
        self.n_outputs_, self.out_activation_, loss = self._outputs_for(Y)
        sizes = (features.n, *hidden, self.n_outputs_)
        self._begin(sizes, dtype)
        self._begin_with(extras)
        self._engine_for(self._spec_for(sizes, loss), Work(1))
        self._building = True  # the first training draws on from here, as if it had been one call
        self.n_features_in_ = features.n
        self.__dict__.pop("feature_names_in_", None)
        if features.names is not None:
            self.feature_names_in_ = features.names
        return self

    def _fit_lbfgs(self, spec: NetworkSpec, data: Data) -> None:
        if self.dropout:
            msg = f"dropout is {self.dropout}, but lbfgs needs a loss that stays the same; use 0, or another solver"
            raise ValueError(msg)
        n_samples = data.X.shape[0]
        engine = self._engine_for(spec, Work(n_samples, self.max_iter, n_samples))
        self._look_at_scales(data, spec.dtype)
        batch = self._batch_of(spec, data)
        batch = batch._replace(l2=self.alpha / batch.total)
        constants = self._loss_constants(batch.Y)
        constant = 0.0 if constants is None else float(np.average(constants, weights=batch.weights))
        course = Course(self, constant)
        limits = Limits(self.max_iter, self.max_fun, self.tol)
        found = minimise(_backend(engine.backend, batch), engine.net.parameters, batch, limits, course.iteration_ends)
        self.loss_, self.n_iter_ = found.loss + constant, found.n_iter

    def _fit_stochastic(self, spec: NetworkSpec, data: Data, extras: Extras, *, incremental: bool) -> None:
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = make_solver(self)
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        train, held_out = self._parts(data, extras)
        n_samples, epochs = train.X.shape[0], 1 if incremental else self.max_iter
        batch_size = batch_size_for(self.batch_size, n_samples)
        engine = self._engine_for(spec, Work(n_samples, epochs, batch_size))
        if self.dropout:
            engine.net.generator = np.random.default_rng(self._random_state.randint(2**31))
        self._look_at_scales(train, spec.dtype)
        batch = self._batch_of(spec, train)
        constants = self._loss_constants(batch.Y)
        score = None if held_out is None else self._score_of(spec, held_out)
        descend(
            self,
            Task(engine.net, _backend(engine.backend, batch), batch, batch_size, constants, score),
            incremental=incremental,
        )

    def _parts(self, data: Data, extras: Extras) -> tuple[Data, Data | None]:
        """Return the samples to train on, and those that early stopping looks at."""
        if extras.X_val is None and extras.y_val is None:
            if not self.early_stopping:
                return data, None
            n_samples, stratify = data.X.shape[0], self._stratify(data.Y)
            parts = hold_out(n_samples, self.validation_fraction, self._random_state, stratify)
            return data.rows(parts[0]), data.rows(parts[1])
        if not self.early_stopping or extras.X_val is None or extras.y_val is None:
            raise ValueError("X_val and y_val are for early stopping: give both, and set early_stopping=True")
        X, y = self._validated_more(extras.X_val, extras.y_val)
        return data, Data(X, self._encoded(y), self._weighted(y, None), partial(_pair, extras.X_val, extras.y_val))

    def _score_of(self, spec: NetworkSpec, held_out: Data) -> Any:  # noqa: ANN401
        """Return what computes the score of the samples held out, for the parameters as they are then."""
        engine = self._engine
        parameters, scoring = engine.net.parameters, self._watched()
        if scoring is None or scoring == "loss":
            batch = self._batch_of(spec, held_out)
            backend = _backend(engine.backend, batch)
            if scoring == "loss":
                return lambda: -backend.loss(parameters, batch)
            return lambda: self._score(backend.predict(parameters, batch.X), batch.Y, batch.weights)
        return partial(check_scoring(self, scoring), self, *held_out.given())

    def _look_at_scales(self, data: Data, dtype: str) -> None:
        """Standardize from now on as these samples want it, unless others have been looked at already."""
        if self.standardize and "x_mean_" not in self.__dict__:
            self.x_mean_, self.x_scale_ = Scaling.of(data.X, data.weights, dtype)
            self._scale_targets(data.Y, data.weights, dtype)

    def _batch_of(self, spec: NetworkSpec, data: Data) -> Batch:
        """Return samples as a backend takes them, which for sparse X is one of `sparse.for_rows`."""
        scaling, Y = self._x_scaling(), self._scaled(data.Y)
        if not issparse(data.X):
            X = data.X if scaling is None else scaling.apply(data.X.astype(spec.dtype, copy=False))
            return make_batch(spec, X, Y, data.weights)
        rows = SparseRows(data.X, spec.dtype, scaling)
        weights = check_sample_weight(data.weights, len(rows))
        total = float(len(rows)) if weights is None else sum_in_order(weights)
        return Batch(as_array(rows), check_Y(spec, Y, len(rows)), weights, total, 0.0)

    # ---- coefficients

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
        activations = tuple(_OUR_NAMES.get(name, name) for name in self._activations())
        output = _OUR_NAMES.get(self.out_activation_, self.out_activation_)
        dtype = self.coefs_[0].dtype.name
        quantiles = self._quantiles(sizes[-1])
        return NetworkSpec(sizes, activations, output, loss, dtype, dropout=float(self.dropout), quantiles=quantiles)

    def _begin(self, sizes: tuple[int, ...], dtype: Any) -> None:  # noqa: ANN401
        """Draw coefficients, and forget what a training before has left."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        self.coefs_, self.intercepts_ = self._draw(sizes, dtype)
        for book in (*_BOOKS, "_made_of"):  # without the last there is nothing fitted, should this fit fail
            self.__dict__.pop(book, None)

    def _draw(self, sizes: tuple[int, ...], dtype: Any) -> tuple[list[Array], list[Array]]:  # noqa: ANN401
        """Return coefficients and intercepts, uniform within Glorot's bound, narrower for the logistic function."""
        names = self._activations() or ["identity" if not isinstance(self.activation, str) else self.activation]
        coefs, intercepts = [], []
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            factor = 2.0 if names[min(i, len(names) - 1)] in _NARROW else 6.0
            bound = np.sqrt(factor / (fan_in + fan_out))
            coefs.append(self._random_state.uniform(-bound, bound, (fan_in, fan_out)).astype(dtype, copy=False))
            intercepts.append(self._random_state.uniform(-bound, bound, fan_out).astype(dtype, copy=False))
        return coefs, intercepts

    def _begin_with(self, extras: Extras) -> None:
        """Take the coefficients that were given.

        Raises
        ------
        ValueError
            If their shapes are not those of the layers.
        """
        pairs = (("coef_init", extras.coefs, self.coefs_), ("intercept_init", extras.intercepts, self.intercepts_))
        for name, given, own in pairs:
            if given is None:
                continue
            arrays = [np.asarray(array) for array in given]
            check_shapes(name, arrays, own)
            for array, place in zip(arrays, own, strict=True):
                place[...] = array


def _pair(X: Any, y: Any) -> tuple[Any, Any]:  # noqa: ANN401
    return X, y


def _backend(backend: Backend, batch: Batch) -> Backend:
    X: object = batch.X
    return for_rows(backend, X) if isinstance(X, SparseRows) else backend
