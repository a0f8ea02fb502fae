"""MLPRegressor: numbers for targets."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import xlogy
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import d2_pinball_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import validate_data

from fastmlp.backends.base import Floats
from fastmlp.estimators import scores
from fastmlp.estimators.base import BaseMLP, Extras
from fastmlp.estimators.building import read_dtype, read_features
from fastmlp.estimators.quantiles import as_several, rearranged
from fastmlp.estimators.scaling import Scaling
from fastmlp.optimizers import Optimizer
from fastmlp.parameters import Array

_MATRIX = 2
_OUT_ACTIVATIONS = {
    "squared_error": "identity",
    "poisson": "exp",
    "mae": "identity",
    "huber": "identity",
    "quantile": "identity",
}


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multilayer perceptron that predicts numbers, a drop-in for scikit-learn's.

    Parameters
    ----------
    loss : {"squared_error", "poisson", "mae", "huber", "quantile"}
        Half the squared error, half of Poisson's deviance (with an output that is exp), or, as in `fastmlp.MLP`, the
        absolute error, Huber's, or the pinball loss of quantiles, as means over outputs.
    hidden_layer_sizes : int or array-like of int
        Units of each hidden layer; an empty sequence is a model without one.
    activation : str or sequence of str
        Of the hidden layers: "identity", "logistic", "tanh", "relu", or any other that `fastmlp.MLP` has; one name for
        all, or one for each.
    solver : {"adam", "sgd", "lbfgs", "adamw", "rmsprop"} or Optimizer
        "adam" with epsilon beside the uncorrected root, "sgd" with momentum, SciPy's L-BFGS on all samples at once, or
        fastmlp's own; an optimizer such as ``fastmlp.AdamW(lr=1e-3)`` brings its learning rate along.
    alpha : float
        Strength of the l2 penalty on weights, ``0.5 * alpha * sum(W**2)`` over the batch's size, or weight.
    batch_size : int or "auto"
        Samples of a step; "auto" is 200, or all where there are fewer. Not with "lbfgs".
    learning_rate : {"constant", "invscaling", "adaptive"} or schedule
        Of "sgd": "invscaling" divides by (samples seen + 1)**power_t after each epoch; "adaptive" divides by 5 whenever
        training makes no progress, down to 1e-6. Of all but "lbfgs": one of `fastmlp.schedules`, in place of
        `learning_rate_init`.
    learning_rate_init : float
        The learning rate, or the first.
    power_t : float
        Of "invscaling".
    max_iter : int
        Epochs, or iterations of "lbfgs", at most.
    shuffle : bool
        Whether each epoch has a new order of the samples.
    random_state : int, RandomState or None
        Of the first coefficients, of what is held out, and of shuffling, drawn as scikit-learn draws them.
    tol : float
        What the loss, or the score of early stopping, has to improve by; for "lbfgs", the largest entry that a gradient
        may have at the end. What counts of the squared error of several outputs is their mean.
    verbose : bool or int
        Whether each epoch prints a line.
    warm_start : bool
        Whether `fit` begins with the coefficients there are.
    momentum : float
        Of "sgd", from 0 to 1.
    nesterovs_momentum : bool
        Whether it is Nesterov's.
    early_stopping : bool
        Whether to hold out some samples, end when their R² no longer improves, and keep the best epoch.
    validation_fraction : float
        Share of the samples that is held out.
    beta_1, beta_2, epsilon : float
        Of "adam" and "adamw"; epsilon of "rmsprop" too.
    n_iter_no_change : int or inf
        More epochs in a row than these without an improvement by `tol` end the fit.
    max_fun : int
        Gradients that "lbfgs" may compute.
    backend : str
        "naive", "numpy", "numba", or "auto", which goes by the size of the fit. A fit's choice is kept for predictions.
    strict : bool
        Whether results are the same bits on every backend and machine, at the price of speed.
    threads : int or None
        At most so many threads; None leaves it to the backend.
    dropout : float
        Probability of dropping a hidden output at a step. Not with "lbfgs".
    standardize : bool
        Whether to scale the columns of X, and y, to mean 0 and variance 1 inside, by the samples of the first fit. A
        Poisson loss keeps its y.
    scoring : str, callable or None
        What early stopping looks at: the name of a scorer of scikit-learn's, "loss", or a function
        ``scoring(estimator, X, y)``; more is better. None is R², or "loss" for quantiles.
    callbacks : callable or sequence of callable
        Called ``callback(estimator, epoch_info)`` after each epoch, or iteration of "lbfgs"; True ends the fit.
    quantile : float or sequence of float
        With the loss "quantile", what of y is predicted, between 0 and 1: 0.5 is the median. Of a sequence, each is an
        output of the network, for the one y there is then, and they never cross.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Weights (fan_in, fan_out) and biases (fan_out,) of every layer: the network's own memory, so writing to them,
        or putting others in their place, changes the estimator.
    loss_ : float
        The last epoch's loss before its updates, penalty included; of several outputs their sum, whose gradient is what
        training follows (scikit-learn's class follows the same gradient, and reports the mean).
    best_loss_ : float or None
        The lowest; None with early stopping.
    loss_curve_ : list of float
        `loss_` of every epoch. Not with "lbfgs".
    validation_scores_ : list of float or None
        The R² of what was held out, after every epoch; None without early stopping.
    best_validation_score_ : float or None
        The highest of them.
    t_ : int
        Samples seen, over all epochs.
    n_iter_ : int
        Epochs of the last fit, or iterations of "lbfgs".
    n_layers_ : int
        Layers, the inputs counted as one.
    n_outputs_ : int
        Outputs of the network.
    out_activation_ : str
        Activation of the outputs: "identity", or "exp" with the Poisson loss.
    quantiles_ : ndarray of shape (n_quantiles,)
        Only where `quantile` is a sequence: those of the columns that are predicted.
    x_mean_, x_scale_, y_mean_, y_scale_ : ndarray
        Where `standardize`: what is subtracted, and what the rest is divided by.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where X had names.

    Notes
    -----
    With the same parameters, data and `random_state`, coefficients follow those of scikit-learn's class of this name to
    rounding, epoch by epoch; with "lbfgs" those of several outputs do not, for there its loss and its gradient belong
    to two functions. A training that diverges ends at once, rather than go on with NaN to `max_iter`.

    Predictions of several quantiles are sorted, row by row, so that a higher one is never below a lower one. It brings
    them nearer to the true ones [1]_, and leaves the training alone: outputs that cannot cross, as sums of positive
    steps, would have to be learned through one another.

    References
    ----------
    .. [1] V. Chernozhukov, I. Fernández-Val and A. Galichon, *Quantile and Probability Curves Without Crossing*,
       Econometrica 78, 2010.

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=5, random_state=1)
    >>> reg = MLPRegressor(solver="lbfgs", max_iter=500, tol=0.1, random_state=1).fit(X, y)
    >>> reg.score(X, y) > 0.99
    True

    The middle, and between what eight of ten will lie:

    >>> reg = MLPRegressor("quantile", quantile=(0.1, 0.5, 0.9), max_iter=20, tol=1.0, random_state=1).fit(X, y)
    >>> low, middle, high = reg.predict(X).T
    >>> bool((low <= middle).all() and (middle <= high).all())
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,  # noqa: SLF001  scikit-learn's own way to add one
        "loss": [StrOptions(set(_OUT_ACTIVATIONS))],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
    }

    _score = staticmethod(scores.r2)

    def __init__(  # noqa: PLR0913  scikit-learn's, in its order
        self,
        loss: str = "squared_error",
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
        quantile: float | Sequence[float] = 0.5,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            backend=backend,
            strict=strict,
            threads=threads,
            dropout=dropout,
            standardize=standardize,
            scoring=scoring,
            callbacks=callbacks,
        )
        self.loss = loss
        self.quantile = quantile

    @_fit_context(prefer_skip_nested_validation=True)
    def build(
        self,
        n_features: Any,  # noqa: ANN401  a number, or names
        n_outputs: int = 1,
        *,
        dtype: Any = "float64",  # noqa: ANN401  whatever NumPy takes for one
        coef_init: Any = None,  # noqa: ANN401
        intercept_init: Any = None,  # noqa: ANN401
    ) -> Self:
        """Make the network without data, so that it predicts before it has been trained.

        The network is that of a fit with the same `random_state` before its first step. `predict`, writing to
        `coefs_` or replacing it, `partial_fit` and, with `warm_start`, `fit` work as after a fit: the first of them to
        train gives what it would have given without `build`. `fit` without `warm_start` begins anew.

        Parameters
        ----------
        n_features : int or sequence of str
            The number of X's columns, or their names, as data frames have them.
        n_outputs : int
            The number of y's columns.
        dtype : {"float64", "float32"}
            Of the network: what X will be.
        coef_init, intercept_init : sequence of array-like, optional
            Coefficients, one entry a layer as in `coefs_` and `intercepts_`; what is not given is drawn.

        Returns
        -------
        self : MLPRegressor

        Raises
        ------
        TypeError, ValueError
            If an argument makes no sense.

        Notes
        -----
        With `standardize`, the network has neither means nor scales before the first training: it takes X, and
        predicts, as they are.

        Examples
        --------
        The values of two actions, learned from rewards as they come:

        >>> from fastmlp import MLPRegressor
        >>> values = MLPRegressor(hidden_layer_sizes=8, random_state=0).build(n_features=4, n_outputs=2)
        >>> state = [[0.1, -0.2, 0.0, 0.3]]
        >>> target = values.predict(state)
        >>> action = target.argmax()
        >>> target[0, action] = 1.0  # the reward
        >>> values.partial_fit(state, target).t_
        1
        """
        if isinstance(n_outputs, bool) or not isinstance(n_outputs, Integral) or n_outputs < 1:
            msg = f"n_outputs is {n_outputs!r}; expected the number of y's columns, at least 1"
            raise ValueError(msg)
        extras = Extras(coefs=coef_init, intercepts=intercept_init)
        Y = self._encoded(np.zeros((1, int(n_outputs))))
        return self._build(read_features(n_features), read_dtype(dtype), Y, extras)

    def _validated(self, X: Any, y: Any, *, incremental: bool, reset: bool) -> tuple[Any, Any]:  # noqa: ANN401, ARG002
        dtypes = (np.float64, np.float32)
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=True, dtype=dtypes, reset=reset
        )
        if y.ndim == _MATRIX and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _validated_more(self, X: Any, y: Any) -> tuple[Any, Any]:  # noqa: ANN401
        return self._validated(X, y, incremental=True, reset=False)

    def _encoded(self, y: Any) -> Array:  # noqa: ANN401
        Y: Array = y.reshape(len(y), -1)
        several = as_several(self.quantile) if self.loss == "quantile" else None
        if several is None:
            return Y
        if Y.shape[1] > 1:
            msg = f"quantile is {self.quantile!r}, but y has {Y.shape[1]} columns; give one quantile, or one column"
            raise ValueError(msg)
        return np.repeat(Y, several.size, axis=1)

    def _scale_targets(self, Y: Array, weights: Floats | None, dtype: str) -> None:
        if self.loss != "poisson":  # whose numbers are counts
            self.y_mean_, self.y_scale_ = Scaling.of(Y, weights, dtype)

    def _y_scaling(self) -> Scaling | None:
        mean = self.__dict__.get("y_mean_")
        return None if mean is None else Scaling(mean, self.y_scale_)

    def _scaled(self, Y: Array) -> Array:
        scaling = self._y_scaling()
        return Y if scaling is None else scaling.apply(Y)

    def _outputs_for(self, Y: Array) -> tuple[int, str, str]:
        self.__dict__.pop("quantiles_", None)
        several = as_several(self.quantile) if self.loss == "quantile" else None
        if several is not None:
            self.quantiles_ = several
        return Y.shape[1], _OUT_ACTIVATIONS[self.loss], self.loss

    def _quantiles(self, n_outputs: int) -> tuple[float, ...]:
        if self.loss != "quantile":
            return ()
        several = as_several(self.quantile)
        return tuple((np.full(n_outputs, self.quantile) if several is None else several).tolist())

    def _watched(self) -> Any:  # noqa: ANN401
        return "loss" if self.scoring is None and self.loss == "quantile" else self.scoring

    def _loss_constants(self, Y: Array) -> Floats | None:
        """Return y log y - y, which makes the loss half of Poisson's deviance."""
        if self.loss != "poisson":
            return None
        y = Y.astype(np.float64)
        constants: Floats = (xlogy(y, y) - y).sum(axis=1)
        return constants

    def _sums_outputs(self) -> bool:
        return self.loss == "squared_error" and self.n_outputs_ > 1

    def predict(self, X: Any) -> Array:  # noqa: ANN401
        """Predict numbers.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_outputs) or (n_samples, n_quantiles), of the network's dtype
        """
        A, scaling = self._outputs(X), self._y_scaling()
        if scaling is not None:
            A = scaling.undo(A)
        if "quantiles_" in self.__dict__:
            return rearranged(A, self.quantiles_)
        return A.ravel() if self.n_outputs_ == 1 else A

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: ANN401
        """Return R², or for quantiles the share of the best constants' pinball loss that is explained, D².

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
            As `sklearn.metrics.r2_score` or `d2_pinball_score`; of several quantiles their mean.
        """
        if self.loss != "quantile":
            return float(super().score(X, y, sample_weight))
        A, several = self.predict(X), self.__dict__.get("quantiles_")
        pairs = [(A, self.quantile)] if several is None else list(zip(A.T, several, strict=True))
        scores_ = [d2_pinball_score(y, a, sample_weight=sample_weight, alpha=alpha) for a, alpha in pairs]
        return float(np.mean(scores_))

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
