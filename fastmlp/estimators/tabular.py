"""How a tabular estimator is fitted: what both kinds share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing, check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastmlp.activations import HIDDEN_ACTIVATIONS
from fastmlp.backends import Work, available_backends
from fastmlp.backends.base import Floats
from fastmlp.errors import DivergedError
from fastmlp.estimators.descent import NON_FINITE
from fastmlp.estimators.encoding import Encoder
from fastmlp.estimators.engine import backend_for
from fastmlp.estimators.settings import hidden_sizes
from fastmlp.estimators.splitting import hold_out_of_each
from fastmlp.estimators.tables import FROM_DTYPE, Mask, categorical_mask, check_table, columns_of
from fastmlp.estimators.targets import Classes, Numbers
from fastmlp.estimators.telling import warn
from fastmlp.history import EpochInfo
from fastmlp.network import MLP
from fastmlp.optimizers import Adam, Optimizer
from fastmlp.parameters import Array
from fastmlp.per_layer import PerLayer
from fastmlp.schedules import CosLog
from fastmlp.spec import NetworkSpec

_FEWEST = 2  # samples
_BETA_2 = 0.95
_RATE_OF_BIASES, _RATE_OF_SCALE = 0.1, 6.0  # beside that of V


class Part(NamedTuple):
    """Samples: X as the network takes it, y as `Classes` or `Numbers` have it, and weights or None."""

    X: Array
    y: Array
    weights: Floats | None

    def rows(self, which: Array) -> Part:
        """Return some of the samples."""
        return Part(self.X[which], self.y[which], None if self.weights is None else self.weights[which])


class Watch:
    """A callback of `MLP.fit` that keeps the parameters of the best epoch, of equals the last.

    Parameters
    ----------
    targets : Classes or Numbers
        Says how large an error is.
    held_out : Part
        Of which samples.

    Attributes
    ----------
    errors : list of float
        That after each epoch.
    best : ndarray or None
        Parameters of the epoch with the smallest.
    best_epoch : int
        Its number, from 0.
    """

    def __init__(self, targets: Classes | Numbers, held_out: Part) -> None:
        self._targets, self._held_out = targets, held_out
        self.errors: list[float] = []
        self.best: Array | None = None
        self.best_epoch = -1

    def __call__(self, net: MLP, info: EpochInfo) -> None:
        """Look at an epoch."""
        X, y, weights = self._held_out
        self.errors.append(self._targets.error(net.predict(X), y, weights))
        if self.errors[-1] <= min(self.errors):
            self.best, self.best_epoch = net.parameters.flat.copy(), info.epoch


class BaseTabularMLP(BaseEstimator):
    """The tabular estimators' common part; see `TabularMLPClassifier` and `TabularMLPRegressor`."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(HIDDEN_ACTIVATIONS)), "array-like"],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "categorical_features": [None, StrOptions({FROM_DTYPE}), "array-like"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "dtype": [StrOptions({"float32", "float64"})],
        "backend": [StrOptions({"auto", *available_backends()})],
        "threads": [None, Interval(Integral, 1, None, closed="left")],
    }

    hidden_layer_sizes: int | Sequence[int]
    activation: str | Sequence[str]
    learning_rate_init: float
    n_epochs: int
    batch_size: int
    validation_fraction: float
    categorical_features: Any
    random_state: Any
    verbose: bool | int
    dtype: str
    backend: str
    threads: int | None

    network_: MLP
    _encoder: Encoder
    _is_categorical: Mask
    _targets: Any

    # ---- what a kind of estimator says of its targets

    @abstractmethod
    def _read_targets(self, y: Any) -> Array:  # noqa: ANN401
        """Return y as its kind of targets has it, after a look at what it consists of."""

    @abstractmethod
    def _read_more_targets(self, y: Any) -> Array:  # noqa: ANN401
        """Return y of further samples, checked against those before."""

    @abstractmethod
    def _labels(self, y: Array) -> Array:
        """Return the labels of which each has its share held out."""

    @abstractmethod
    def _targets_for(self, train: Part) -> Classes | Numbers:
        """Return what the targets of training are."""

    @abstractmethod
    def _outputs_for(self, y: Array) -> tuple[int, str, str]:
        """Return the number of outputs for such targets, their activation, and the loss."""

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
    ) -> Self:
        """Train on data, from the beginning. A fit that fails leaves the estimator as it was.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)
            A frame of pandas or polars, or an array. Values may be missing.
        y : array-like of shape (n_samples,) or, for a regressor, (n_samples, n_outputs)
            Classes or numbers.
        sample_weight : array-like of shape (n_samples,), optional
            Not negative; a weight of 2 is the sample twice, but for the draw of what is held out.
        X_val, y_val : optional
            What the best epoch is chosen by; without them some of X and y is held out.

        Returns
        -------
        self : estimator

        Raises
        ------
        TypeError, ValueError
            If an argument makes no sense, or the parameters stop being finite before there is a best epoch.
        KeyboardInterrupt
            After Ctrl-C in the first epoch. Later it ends the fit with a warning, and the best epoch so far is kept.
        """
        with _unchanged_if_it_fails(self):
            generator = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
            data = self._read(X, y, sample_weight)
            train, held_out = self._parts(data, X_val, y_val, generator)
            self._targets = self._targets_for(train)
            self._train(train, held_out, generator)
        return self

    def _read(self, X: Any, y: Any, sample_weight: Any) -> Part:  # noqa: ANN401
        """Return all samples that weigh something, and learn from them how X is encoded."""
        by_hand = self.categorical_features is not None and not isinstance(self.categorical_features, str)
        X = check_table(X, has_categories=by_hand, fewest=_FEWEST)
        validate_data(self, X, y, skip_check_array=True)
        check_consistent_length(X, y)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        if weights is not None and not weights.all():
            there = np.flatnonzero(weights)
            X, y, weights = _safe_indexing(X, there), _safe_indexing(y, there), weights[there]
        targets = self._read_targets(y)
        self._is_categorical = categorical_mask(X, self.categorical_features)
        columns = columns_of(X, self._is_categorical)
        self._encoder = Encoder.of(columns, weights)
        return Part(self._encoder.apply(columns, self.dtype), targets, weights)

    def _encoded(self, X: Any, dtype: str) -> Array:  # noqa: ANN401
        """Return further X as the network takes it."""
        X = check_table(X, has_categories=bool(self._is_categorical.any()))
        validate_data(self, X, skip_check_array=True, reset=False)
        return self._encoder.apply(columns_of(X, self._is_categorical), dtype)

    def _parts(self, data: Part, X_val: Any, y_val: Any, generator: np.random.Generator) -> tuple[Part, Part | None]:  # noqa: ANN401
        """Return the samples to train on, and those that the best epoch is chosen by."""
        if X_val is None and y_val is None:
            is_held = hold_out_of_each(self._labels(data.y), self.validation_fraction, generator)
            return data.rows(~is_held), data.rows(is_held) if is_held.any() else None
        if X_val is None or y_val is None:
            raise ValueError("One of X_val and y_val is missing: give both, or none, to have samples held out")
        held_out = Part(self._encoded(X_val, self.dtype), self._read_more_targets(y_val), None)
        check_consistent_length(held_out.X, held_out.y)
        if held_out.y.shape[1:] != data.y.shape[1:]:
            msg = f"y_val has {held_out.y.shape[1]} outputs, but y has {data.y.shape[1]}; expected as many"
            raise ValueError(msg)
        return data, held_out

    def _train(self, train: Part, held_out: Part | None, generator: np.random.Generator) -> None:
        n_samples = len(train.X)
        n_steps = max(1, n_samples // int(self.batch_size))
        batch_size = -(-n_samples // n_steps)
        net = self._network(train, batch_size, generator)
        watch = None if held_out is None else Watch(self._targets, held_out)
        try:
            net.fit(
                train.X,
                self._targets.rows(train.y, self.dtype),
                optimizer=_optimizer(float(self.learning_rate_init)),
                epochs=int(self.n_epochs),
                batch_size=batch_size,
                sample_weight=train.weights,
                callbacks=() if watch is None else (watch,),
                verbose=bool(self.verbose),
            )
        except KeyboardInterrupt:
            if net.history is None or not net.history.loss:
                raise
            warn("Training interrupted by user.")
        except DivergedError as error:
            if watch is None or watch.best is None:
                raise ValueError(NON_FINITE) from error
            message = f"Training diverged in epoch {error.epoch}; the parameters are those of the best epoch before"
            warn(message, ConvergenceWarning)
        self._keep(net, watch)

    def _network(self, train: Part, batch_size: int, generator: np.random.Generator) -> MLP:
        """Return a network with its first parameters."""
        hidden = hidden_sizes(self.hidden_layer_sizes)
        activations = (self.activation,) * len(hidden) if isinstance(self.activation, str) else tuple(self.activation)
        n_outputs, output, loss = self._outputs_for(train.y)
        sizes = (train.X.shape[1], *hidden, n_outputs)
        spec = NetworkSpec(sizes, activations, output, loss, self.dtype, input_scale=True)
        work = Work(len(train.X), int(self.n_epochs), batch_size)
        net = MLP(
            sizes,
            activations,
            output,
            loss,
            backend=backend_for(self.backend, spec, work, strict=False),
            dtype=self.dtype,
            threads=self.threads,
            seed=generator,
            input_scale=True,
        )
        _begin(net, generator)
        return net

    def _keep(self, net: MLP, watch: Watch | None) -> None:
        """Keep the network as it was after its best epoch, and how the training went."""
        history = net.history
        self.loss_curve_ = [] if history is None else list(history.loss)
        self.n_iter_ = len(self.loss_curve_)
        self.best_epoch_, self.validation_errors_ = self.n_iter_ - 1, None
        if watch is not None and watch.best is not None:
            net.parameters.flat[...] = watch.best
            self.best_epoch_, self.validation_errors_ = watch.best_epoch, watch.errors
        net.history = None  # whose optimizer's states are twice as large as the network
        self.network_ = net

    def _outputs(self, X: Any) -> Array:  # noqa: ANN401
        """Return the network's outputs, of shape (n_samples, n_outputs)."""
        check_is_fitted(self, "network_")
        return self.network_.predict(self._encoded(X, self.network_.spec.dtype))

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags


def _begin(net: MLP, generator: np.random.Generator) -> None:
    """Draw the parameters of the neural tangent parametrisation, Z = A V / sqrt(fan_in) + b, with W that product's.

    V and b are standard normal, those of the last layer zero.
    """
    for W, b in zip(net.weights[:-1], net.biases[:-1], strict=True):
        W[...] = generator.standard_normal(W.shape) / math.sqrt(len(W))
        b[...] = generator.standard_normal(b.shape)
    net.weights[-1][...] = net.biases[-1][...] = 0.0


def _optimizer(lr: float) -> Optimizer:
    """Return what trains V, b and the inputs' factors; see `_begin`."""
    adam = Adam(CosLog(lr), beta2=_BETA_2)
    return PerLayer(adam, biases=_RATE_OF_BIASES, multipliers="ntk", input_scale=_RATE_OF_SCALE)


@contextmanager
def _unchanged_if_it_fails(estimator: BaseTabularMLP) -> Iterator[None]:
    """Give an estimator its attributes back if something goes wrong."""
    before = dict(estimator.__dict__)
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise
