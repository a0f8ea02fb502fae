"""MLPClassifier: classes for targets, several labels a sample, or several columns of classes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from fastmlp.backends.base import Floats
from fastmlp.estimators import columns, labels, scores
from fastmlp.estimators.base import BaseMLP, Extras, is_stochastic
from fastmlp.estimators.building import read_dtype, read_features
from fastmlp.optimizers import Optimizer
from fastmlp.parameters import Array

_MATRIX = 2
_HALF = 0.5


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multilayer perceptron that predicts classes, a drop-in for scikit-learn's.

    Parameters
    ----------
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
        may have at the end.
    verbose : bool or int
        Whether each epoch prints a line.
    warm_start : bool
        Whether `fit` begins with the coefficients there are.
    momentum : float
        Of "sgd", from 0 to 1.
    nesterovs_momentum : bool
        Whether it is Nesterov's.
    early_stopping : bool
        Whether to hold out some samples, end when their accuracy no longer improves, and keep the best epoch.
    validation_fraction : float
        Share of the samples that is held out, stratified for two classes.
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
        Whether to scale the columns of X to mean 0 and variance 1 inside, by the samples of the first fit.
    scoring : str, callable or None
        What early stopping looks at: the name of a scorer of scikit-learn's, "loss", or a function
        ``scoring(estimator, X, y)``; more is better. None is accuracy.
    callbacks : callable or sequence of callable
        Called ``callback(estimator, epoch_info)`` after each epoch, or iteration of "lbfgs"; True ends the fit.
    class_weight : dict, list of dict, "balanced" or None
        What a sample of each class weighs; "balanced" lets all classes weigh the same, which `partial_fit` cannot. Of a
        list, each column of classes has its own.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of them
        The classes, sorted; for several labels a sample, their numbers; for several columns of classes, those of each.
    estimators_ : list of MLPClassifier
        Only for several columns of classes: what has been fitted to each. The attributes below are theirs then, but for
        `n_outputs_` and those of the features.
    coefs_, intercepts_ : list of ndarray
        Weights (fan_in, fan_out) and biases (fan_out,) of every layer: the network's own memory, so writing to them,
        or putting others in their place, changes the estimator.
    loss_ : float
        The last epoch's loss, before its updates, penalty included; exact, where scikit-learn's keeps probabilities an
        eps away from 0 and 1.
    best_loss_ : float or None
        The lowest; None with early stopping.
    loss_curve_ : list of float
        `loss_` of every epoch. Not with "lbfgs".
    validation_scores_ : list of float or None
        The accuracy of what was held out, after every epoch; None without early stopping.
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
        Activation of the outputs: "softmax" for three classes or more, else "logistic".
    x_mean_, x_scale_ : ndarray
        Where `standardize`: what is subtracted, and what the rest is divided by.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where X had names.

    Notes
    -----
    With the same parameters, data and `random_state`, coefficients follow those of scikit-learn's class of this name to
    rounding, epoch by epoch. A training that diverges ends at once, rather than go on with NaN to `max_iter`.

    The columns of `y` may each have classes of their own, two or more, as numbers or strings. Each column has a network
    of its own then: they share parameters and interface, not layers, and are what scikit-learn's MultiOutputClassifier
    would make of this class. `coef_init` and `intercept_init` have an entry for each column, and so has `classes` of
    `partial_fit`. Callbacks and scorers meet the column's own estimator. A score of all columns together is for you to
    choose: accuracy is not defined for them, here as in scikit-learn's forests.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = MLPClassifier(16, learning_rate_init=0.01, max_iter=1000, random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.95
    True
    >>> clf.predict_proba(X[:2]).shape
    (2, 3)

    Two columns of classes:

    >>> import numpy as np
    >>> petals = np.where(X[:, 2] > 2.0, "long", "short")
    >>> clf = MLPClassifier(16, learning_rate_init=0.01, max_iter=1000, random_state=0)
    >>> clf.fit(X, np.stack([y.astype(str), petals], axis=1)).predict(X[[0, 75]])
    array([['0', 'short'],
           ['1', 'long']], dtype='<U5')
    >>> [A.shape for A in clf.predict_proba(X[:2])]
    [(2, 3), (2, 2)]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,  # noqa: SLF001  scikit-learn's own way to add one
        "class_weight": [None, dict, list, StrOptions({"balanced"})],
    }

    loss = "log_loss"
    classes_: Any  # an array, or one for each column

    _score = staticmethod(scores.accuracy)

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
        class_weight: Any = None,  # noqa: ANN401  a dict, or "balanced"
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
        self.class_weight = class_weight

    @available_if(is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:  # noqa: ANN401
        """Train for one epoch on data, from where the training stands. Not with ``solver="lbfgs"``.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array-like of shape (n_classes,), or list of them, optional
            All classes that will ever come, of each column where there are several; needed at the first call.

        Returns
        -------
        self : MLPClassifier

        Raises
        ------
        ValueError
            If an argument makes no sense, or `y` has a class that was not announced.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight is 'balanced', but a part of the data does not show how frequent classes are; "
                "give a dict, such as scikit-learn's compute_class_weight makes from all of it"
            )
        if self._has_columns(y, classes, goes_on=True):
            networks = columns.Networks(self, columns.columns_of(y), go_on=True)
            networks.partial_fit(X, sample_weight, classes)
            return self._take_columns(networks)
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, Extras(), incremental=True)

    @_fit_context(prefer_skip_nested_validation=True)
    def build(
        self,
        n_features: Any,  # noqa: ANN401  a number, or names
        classes: Any,  # noqa: ANN401
        *,
        multilabel: bool = False,
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
        classes : array-like of shape (n_classes,), or list of them
            All classes that will ever come, of each column where y is to have several; they are sorted.
        multilabel : bool
            Whether a sample may have several of the classes: y is to have a column for each, of 0 and 1.
        dtype : {"float64", "float32"}
            Of the network: what X will be.
        coef_init, intercept_init : sequence of array-like, optional
            Coefficients, one entry a layer as in `coefs_` and `intercepts_`; what is not given is drawn.

        Returns
        -------
        self : MLPClassifier

        Raises
        ------
        TypeError, ValueError
            If an argument makes no sense.

        Notes
        -----
        With `standardize`, the network has neither means nor scales before the first training: it takes X as it is.

        Examples
        --------
        A network that was trained elsewhere:

        >>> from fastmlp import MLPClassifier
        >>> W, b = [[2.0], [-2.0]], [0.0]
        >>> clf = MLPClassifier(hidden_layer_sizes=()).build(2, ["left", "right"], coef_init=[W], intercept_init=[b])
        >>> clf.predict([[1.0, 0.0], [0.0, 1.0]])
        array(['right', 'left'], dtype='<U5')
        """
        extras = Extras(coefs=coef_init, intercepts=intercept_init)
        if any(np.ndim(of_column) for of_column in classes):
            networks = columns.Networks(self, list(classes), go_on=False)
            networks.build(n_features, classes, dtype, extras)
            return self._take_columns(networks)
        features, dtype = read_features(n_features), read_dtype(dtype)
        y = np.ones((1, len(classes)), int) if multilabel else column_or_1d(classes)
        binarizer = LabelBinarizer().fit(y)
        if multilabel != (binarizer.y_type_ == "multilabel-indicator"):
            msg = f"classes is {classes!r}; expected two labels or more where multilabel is True"
            raise ValueError(msg)
        self.__dict__.pop("estimators_", None)
        self._label_binarizer, self.classes_ = binarizer, binarizer.classes_
        return self._build(features, dtype, self._encoded(y), extras)

    def _fit(self, X: Any, y: Any, sample_weight: Any, extras: Extras, *, incremental: bool) -> Self:  # noqa: ANN401
        if not incremental and self._has_columns(y, None, goes_on=self.warm_start):
            networks = columns.Networks(self, columns.columns_of(y), go_on=self.warm_start)
            networks.fit(X, sample_weight, extras)
            return self._take_columns(networks)
        return super()._fit(X, y, sample_weight, extras, incremental=incremental)

    def _has_columns(self, y: Any, classes: Any, *, goes_on: bool) -> bool:  # noqa: ANN401
        """Return whether the targets are several columns of classes."""
        if goes_on and hasattr(self, "classes_"):
            return "estimators_" in self.__dict__  # also where a few samples look as if they had plain labels
        has_lists = classes is not None and any(np.ndim(of_column) for of_column in classes)
        return has_lists or columns.are_classes(y)

    def _take_columns(self, networks: columns.Networks) -> Self:
        """Be what several networks are together."""
        columns.forget_network(self)
        first, *_ = self.estimators_ = networks.estimators
        self.classes_ = [estimator.classes_ for estimator in self.estimators_]
        self.n_outputs_ = len(self.estimators_)
        for name in {"n_features_in_", "feature_names_in_"} & vars(first).keys():
            setattr(self, name, getattr(first, name))
        return self

    def _validated(self, X: Any, y: Any, *, incremental: bool, reset: bool) -> tuple[Any, Any]:  # noqa: ANN401
        X, y = self._read(X, y, reset=reset)
        self.__dict__.pop("estimators_", None)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = labels.binarizer_of(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_known(y, same=self.warm_start)
        return X, y

    def _validated_more(self, X: Any, y: Any) -> tuple[Any, Any]:  # noqa: ANN401
        X, y = self._read(X, y, reset=False)
        self._check_known(y, same=False)
        return X, y

    def _read(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:  # noqa: ANN401
        dtypes = (np.float64, np.float32)
        X, y = validate_data(self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=dtypes, reset=reset)
        if y.ndim == _MATRIX and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _check_known(self, y: Any, *, same: bool) -> None:  # noqa: ANN401
        """Raise unless the classes are the same as before, or some of them."""
        # Of such arrays all that `unique_labels` would find out, in ten times as long, is known.
        classes = np.unique(y) if labels.are_plain(y) and y.dtype.kind == self.classes_.dtype.kind else unique_labels(y)
        if same:
            if set(classes) != set(self.classes_):
                msg = (
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {classes}"
                )
                raise ValueError(msg)
        elif np.setdiff1d(classes, self.classes_, assume_unique=True).size:
            msg = f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            raise ValueError(msg)

    def _encoded(self, y: Any) -> Array:  # noqa: ANN401
        """Return class indices (n,) where there are three classes or more, else 0 and 1 in columns."""
        if self._label_binarizer.y_type_ == "multilabel-indicator" or y.ndim != 1:  # the second is an error of its
            several: Array = self._label_binarizer.transform(y).astype(bool)
            return several
        indices = np.searchsorted(self.classes_, y)  # all of them are known
        return indices if self._label_binarizer.y_type_ == "multiclass" else indices.astype(bool).reshape(-1, 1)

    def _outputs_for(self, Y: Array) -> tuple[int, str, str]:
        if Y.ndim == 1:
            return len(self.classes_), "softmax", "cross_entropy"
        return Y.shape[1], "logistic", "binary_cross_entropy"

    def _weighted(self, y: Any, weights: Floats | None) -> Floats | None:  # noqa: ANN401
        if self.class_weight is None:
            return weights
        by_class: Floats = compute_sample_weight(self.class_weight, y)
        return by_class if weights is None else by_class * weights

    def _stratify(self, Y: Array) -> Array | None:
        return Y if Y.ndim == _MATRIX and Y.shape[1] == 1 else None

    def predict(self, X: Any) -> Array:  # noqa: ANN401
        """Predict classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_labels) or (n_samples, n_outputs)
            Of `classes_`, or 0 and 1 for each label.
        """
        if "estimators_" in self.__dict__:
            return columns.side_by_side([estimator.predict(X) for estimator in self.estimators_])
        A = self._outputs(X)
        if self.out_activation_ == "softmax":
            return self.classes_[A.argmax(axis=1)]
        if self.n_outputs_ == 1 and len(self.classes_) == 2:  # noqa: PLR2004  rather than a single one
            return self.classes_[(A[:, 0] > _HALF).astype(np.intp)]
        return self._label_binarizer.inverse_transform(A if self.n_outputs_ > 1 else A.ravel())

    def predict_proba(self, X: Any) -> Any:  # noqa: ANN401
        """Predict the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or list of them
            In the order of `classes_`; of several labels a sample, each has its own.
        """
        if "estimators_" in self.__dict__:
            return [estimator.predict_proba(X) for estimator in self.estimators_]
        A = self._outputs(X)
        return np.hstack([1 - A, A]) if self.n_outputs_ == 1 else A

    def predict_log_proba(self, X: Any) -> Any:  # noqa: ANN401
        """Predict the logarithm of each class's probability.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or list of them
            ``log(predict_proba(X))``.
        """
        A = self.predict_proba(X)
        return [np.log(each) for each in A] if isinstance(A, list) else np.log(A, out=A)

    def _input_gradient(self, X: Any, y: Any, sample_weight: Any) -> Array:  # noqa: ANN401
        if "estimators_" not in self.__dict__:
            return super()._input_gradient(X, y, sample_weight)
        pairs = zip(self.estimators_, columns.columns_of(y), strict=True)
        return sum(estimator.input_gradient(X, column, sample_weight) for estimator, column in pairs)

    def _members(self) -> list[Any]:
        return self.estimators_ if "estimators_" in self.__dict__ else super()._members()

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "estimators_" in state:  # a shallow copy's training is to change none of these
            state["estimators_"] = [copy(estimator) for estimator in state["estimators_"]]
        return state

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags
