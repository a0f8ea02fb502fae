"""TabularMLPClassifier: classes from tables."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval

from fastmlp.estimators.tabular import BaseTabularMLP, Part
from fastmlp.estimators.targets import Classes
from fastmlp.parameters import Array


class TabularMLPClassifier(ClassifierMixin, BaseTabularMLP):
    """A multilayer perceptron that predicts classes from tables, with defaults that were tuned over many of them.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int
        Units of each hidden layer.
    activation : str or sequence of str
        Of the hidden layers, as `fastmlp.MLP` has them; one name for all, or one for each.
    learning_rate_init : float
        The highest learning rate: the schedule, `fastmlp.schedules.CosLog`, reaches it four times.
    n_epochs : int
        Times that all samples are seen.
    batch_size : int
        Samples of a step, at least, where there are as many. An epoch has ``n_samples // batch_size`` steps of nearly
        the same size, rather than a small one at its end.
    label_smoothing : float
        The part of each sample that belongs to all classes alike.
    validation_fraction : float
        Share of the samples of each class that is held out, unless `fit` is given some. The epoch after which their
        error was the smallest is kept, of equals the last. With 0 it is the last of all.
    categorical_features : "from_dtype", None, or array-like of int, bool or str
        Which columns are categories: "from_dtype", those of a frame whose dtype is category, object, string or bool, or
        polars' Categorical, Enum, String or Boolean; None, no column; else their places, a mask, or their names.
    random_state : int, RandomState or None
        Of what is held out, the first parameters, and the order of the samples.
    verbose : bool or int
        Whether progress is shown.
    dtype : {"float32", "float64"}
        Of the network.
    backend : str
        "naive", "numpy", "numba", or "auto", which goes by the size of the fit. A fit's choice is kept for predictions.
    threads : int or None
        At most so many threads; None leaves it to the backend.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.
    network_ : MLP
        The network; its inputs are columns as they come out of scaling and encoding.
    n_iter_ : int
        Epochs of the fit.
    best_epoch_ : int
        The epoch that is kept, counted from 0.
    loss_curve_ : list of float
        The loss of every epoch, before its updates.
    validation_errors_ : list of float or None
        The part of what was held out whose class is wrong, after every epoch; None where nothing was.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where X had names.

    Notes
    -----
    The recipe is RealMLP-TD-S of [1]_: softmax outputs, smoothed labels and SELU.
    The weights are of the neural tangent parametrisation, ``Z = A @ V / sqrt(fan_in) + b``, where V and b begin as
    standard normal draws, those of the last layer as zeros; each input is multiplied with a factor of its own. Adam
    with beta2 of 0.95 trains V, b with a tenth of the rate, and the factors with six times the rate.

    A column of numbers becomes z / sqrt(1 + (z/3)**2), z being its distance from the median over the distance of the
    quartiles; where these are one, over half that of the smallest and the largest value; a constant column becomes 0.
    So does a missing number, as if it were the median: the recipe leaves this to its user, and who thinks that it
    matters that a number is missing gives a column that says so. A category becomes a column of 0 and 1, two of them a
    single one of 1 and -1, and these are scaled like numbers. One that is missing, or that was not there in `fit`, is 0
    in all of them. All categories get columns: where there are thousands, encode them otherwise before.

    Beside the recipe: batches are evenly sized (see `batch_size`), and quartiles are those of weighted samples.

    References
    ----------
    .. [1] D. Holzmüller, L. Grinsztajn and I. Steinwart, *Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on
       Tabular Data*, 2024, arXiv:2407.04491.

    Examples
    --------
    >>> from fastmlp import TabularMLPClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = TabularMLPClassifier(random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseTabularMLP._parameter_constraints,  # noqa: SLF001  scikit-learn's own way to add one
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(  # noqa: PLR0913  one for each choice
        self,
        hidden_layer_sizes: int | Sequence[int] = (256, 256, 256),
        activation: str | Sequence[str] = "selu",
        *,
        learning_rate_init: float = 0.04,
        n_epochs: int = 256,
        batch_size: int = 256,
        label_smoothing: float = 0.1,
        validation_fraction: float = 0.2,
        categorical_features: Any = "from_dtype",  # noqa: ANN401  None, or columns
        random_state: Any = None,  # noqa: ANN401  what scikit-learn takes
        verbose: bool | int = False,
        dtype: str = "float32",
        backend: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.learning_rate_init = learning_rate_init
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.label_smoothing = label_smoothing
        self.validation_fraction = validation_fraction
        self.categorical_features = categorical_features
        self.random_state = random_state
        self.verbose = verbose
        self.dtype = dtype
        self.backend = backend
        self.threads = threads

    def _read_targets(self, y: Any) -> Array:  # noqa: ANN401
        self._targets, places = Classes.of(y, float(self.label_smoothing))
        self.classes_ = self._targets.classes
        return places

    def _read_more_targets(self, y: Any) -> Array:  # noqa: ANN401
        targets: Classes = self._targets
        return targets.places(y)

    def _labels(self, y: Array) -> Array:
        return y

    def _targets_for(self, train: Part) -> Classes:  # noqa: ARG002  they are known already
        targets: Classes = self._targets
        return targets

    def _outputs_for(self, y: Array) -> tuple[int, str, str]:  # noqa: ARG002
        return len(self.classes_), "softmax", "cross_entropy"

    def predict(self, X: Any) -> Array:  # noqa: ANN401
        """Predict classes.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Of `classes_`.
        """
        places = self._outputs(X).argmax(axis=1)
        return self.classes_[places]

    def predict_proba(self, X: Any) -> Array:  # noqa: ANN401
        """Predict the probability of each class.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), of the network's dtype
            In the order of `classes_`.
        """
        return self._outputs(X)

    def predict_log_proba(self, X: Any) -> Array:  # noqa: ANN401
        """Predict the logarithm of each class's probability.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), of the network's dtype
            ``log(predict_proba(X))``.
        """
        A = self._outputs(X)
        with np.errstate(divide="ignore"):
            return np.log(A, out=A)
