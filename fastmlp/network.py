"""MLP: the object that a user holds. It checks what comes in, keeps the parameters, and asks a backend."""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastmlp import metrics as metric_table
from fastmlp.backends import AUTO, Work, choose, make_backend, resolve
from fastmlp.backends.base import Backend, Batch
from fastmlp.data import check_X, is_plain, make_batch, make_sample
from fastmlp.errors import DivergedError
from fastmlp.history import EarlyStopping, History
from fastmlp.online import OnlineLearner
from fastmlp.optimizers import SGD, Optimizer, as_optimizer
from fastmlp.parameters import Array, Parameters, initialise
from fastmlp.predictor import Predictor
from fastmlp.spec import make_spec
from fastmlp.training import Callback, Plan, fit
from fastmlp.training_state import TrainingState


class MLP:
    """A multilayer perceptron.

    Parameters
    ----------
    layer_sizes : sequence of int
        (n_in, *hidden, n_out); (n_in, n_out) is a network without a hidden layer.
    activation : str or sequence of str
        Of the hidden layers, one name for all or one for each: "identity", "sigmoid", "tanh", "relu",
        "leaky_relu" (slope 0.01), "elu" (alpha 1), "selu", "softplus", "gelu" (tanh form), "silu" or "mish".
    output_activation : str
        One of those, "softmax" or "exp".
    loss : str
        The weighted mean over samples of: "mse", the mean over outputs of (a - y)**2; "squared_error", half
        the sum of (a - y)**2; "mae", the mean of abs(a - y); "huber" (delta 1), its mean; "cross_entropy",
        -sum y log a, with softmax; "binary_cross_entropy", -sum y log a + (1 - y) log(1 - a), with sigmoid;
        "poisson", sum a - y log a, with a positive output such as "exp"; "quantile", the mean of q (y - a) where a is
        below y, of (1 - q) (a - y) above.
    backend : str
        "naive", "numpy", "numba", or "auto": chosen for each call from the size of its work. The environment
        variable FASTMLP_BACKEND, where set, says what "auto" means.
    dtype : str or dtype
        "float32" or "float64".
    strict : bool
        Whether results are the same bits on every backend and machine, at the price of speed.
    threads : int or None
        At most so many threads; None leaves it to the backend.
    seed : int, None, or anything `numpy.random.default_rng` takes
        Of initial parameters, shuffling and dropout.
    init : str
        "auto", "he", "glorot", "lecun", "uniform" (weights and biases from (-1, 1)) or "zeros".
    l2 : float
        ``0.5 * l2 * sum(W**2)`` is added to the loss.
    dropout : float
        Probability of dropping a hidden output during a fit; what stays is scaled by 1 / (1 - dropout).
    quantiles : float or sequence of float, optional
        For the loss "quantile": the q of all outputs, or of each, between 0 and 1; by default 0.5, the median.
    input_scale : bool
        Whether each feature is multiplied with a parameter of its own before it enters the first layer, ``X * s``. The
        factors begin as ones and are trained as the weights are, but neither l2 nor AdamW's decay acts on them.

    Attributes
    ----------
    spec : NetworkSpec
    parameters : Parameters
    backend, strict, threads
        As given.
    generator : numpy.random.Generator
        Made from `seed`; every fit moves it on.
    history : History or None
        Of the last fit, also of one that raised.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the pair of loss and output activation, makes no sense.
    ImportError
        If a backend needs a package that is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLP, SGD
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> y = np.array([0, 1, 1, 0])
    >>> net = MLP((2, 8, 1), activation="tanh", seed=0)
    >>> history = net.fit(X, y, optimizer=SGD(lr=0.1), epochs=2000, batch_size=4)
    >>> net.predict(X).ravel().round()
    array([0., 1., 1., 0.], dtype=float32)
    """

    def __init__(  # noqa: PLR0913  the public interface
        self,
        layer_sizes: Sequence[int],
        activation: str | Sequence[str] = "relu",
        output_activation: str = "identity",
        loss: str = "mse",
        *,
        backend: str = "auto",
        dtype: object = "float32",
        strict: bool = False,
        threads: int | None = None,
        seed: Any = None,  # noqa: ANN401  what NumPy takes
        init: str = "auto",
        l2: float = 0.0,
        dropout: float = 0.0,
        quantiles: float | Sequence[float] | None = None,
        input_scale: bool = False,
    ) -> None:
        self.spec = make_spec(
            *(layer_sizes, activation, output_activation, loss),
            dtype=dtype,
            l2=l2,
            dropout=dropout,
            quantiles=quantiles,
            input_scale=input_scale,
        )
        self.generator = np.random.default_rng(seed)
        self._set_backend(backend, strict=strict, threads=threads)
        self.parameters = initialise(self.spec, init, self.generator)
        self.history: History | None = None
        self._learner: OnlineLearner | None = None

    def _set_backend(self, backend: str, *, strict: bool, threads: int | None) -> None:
        _check_threads(threads)
        self.backend = resolve(backend)
        self.strict = bool(strict)
        self.threads = threads
        self._backends: dict[str, Backend] = {}
        self._only: Backend | None = None  # the one that was asked for, where one was
        self._backend_for(1)  # so that what it cannot do is an error now

    def _backend_for(self, n_samples: int, epochs: int = 0, batch_size: int = 32) -> Backend:
        if self._only is not None:
            return self._only
        name = choose(self.backend, self.spec, Work(n_samples, epochs, batch_size), strict=self.strict).name
        if name not in self._backends:
            self._backends[name] = make_backend(name, self.spec, strict=self.strict, threads=self.threads)
        if self.backend != AUTO:
            self._only = self._backends[name]
        return self._backends[name]

    @property
    def weights(self) -> tuple[Array, ...]:
        """W of each layer, shape (fan_in, fan_out): views, so ``net.weights[0][...] = W`` changes the network."""
        return self.parameters.weights

    @property
    def biases(self) -> tuple[Array, ...]:
        """The b of each layer, shape (fan_out,): views."""
        return self.parameters.biases

    @property
    def input_scale(self) -> Array | None:
        """What each feature is multiplied with, shape (n_in,), a view; None without ``input_scale=True``."""
        return self.parameters.input_scale

    # ---- computing

    def predict(self, X: object) -> Array:
        """Return the network's outputs.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_in)

        Returns
        -------
        ndarray of shape (n_samples, n_out), of the network's dtype
            The output activation applied.

        Raises
        ------
        TypeError, ValueError
            If `X` is not such an array of finite numbers.
        """
        spec = self.spec
        inputs = X if is_plain(X, spec) else check_X(spec, X)
        n_rows = len(inputs)
        out = np.empty((n_rows, spec.layer_sizes[-1]), inputs.dtype)
        backend = self._only or self._backend_for(n_rows)  # for a single row, a call more is a tenth of all
        if not backend.answer(self.parameters, inputs, out):
            check_X(spec, inputs)  # raises, and says where
        return out

    def predictor(self, batch_size: int = 1) -> Predictor:
        """Return the network as it is now, as a function for up to `batch_size` rows at a time.

        It costs less a call than `predict`, and belongs to one thread at a time.

        Parameters
        ----------
        batch_size : int

        Returns
        -------
        Predictor
            ``p(x)`` returns the outputs, ``p.into(x, out)`` writes them.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLP
        >>> net = MLP((4, 64, 64, 2), "tanh", seed=0)
        >>> policy = net.predictor()
        >>> policy(np.zeros(4, np.float32)).shape
        (2,)
        """
        rows = _check_count("batch_size", batch_size, 1)
        return Predictor(self.spec, self._backend_for(rows).responder(self.parameters.copy(), rows), rows)

    def hidden_activations(self, X: object) -> list[Array]:
        """Return the activations of every hidden layer, each of shape (n_samples, size).

        Parameters
        ----------
        X : array_like of shape (n_samples, n_in)
        """
        inputs = check_X(self.spec, X)
        return self._backend_for(len(inputs)).hidden_activations(self.parameters, inputs)

    def loss(self, X: object, Y: object, sample_weight: object = None) -> float:
        """Return the loss, l2 included.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_in)
        Y : array_like of shape (n_samples, n_out), or (n_samples,)
            The second for a network with one output, or for class indices with "cross_entropy".
        sample_weight : array_like of shape (n_samples,), optional
            Not negative, not all zero; the loss is divided by their sum.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.
        """
        batch = make_batch(self.spec, X, Y, sample_weight)
        return self._backend_for(len(batch.X)).loss(self.parameters, batch)

    def loss_and_gradient(self, X: object, Y: object, sample_weight: object = None) -> tuple[float, Parameters]:
        """Return the loss and its gradient with respect to the parameters.

        Parameters
        ----------
        X, Y, sample_weight
            As for `loss`.

        Returns
        -------
        loss : float
        gradient : Parameters
            ``gradient.weights``, ``gradient.biases`` and ``gradient.flat``; with an input scale, also
            ``gradient.input_scale``.
        """
        batch = make_batch(self.spec, X, Y, sample_weight)
        gradient = Parameters.empty(self.spec)
        loss = self._backend_for(len(batch.X)).loss_and_gradient(self.parameters, batch, gradient)
        return loss, gradient

    def input_gradient(self, X: object, Y: object, sample_weight: object = None) -> Array:
        """Return the derivative of the loss with respect to X.

        Parameters
        ----------
        X, Y, sample_weight
            As for `loss`.

        Returns
        -------
        ndarray of shape (n_samples, n_in)
        """
        batch = make_batch(self.spec, X, Y, sample_weight)
        return self._backend_for(len(batch.X)).input_gradient(self.parameters, batch)

    # ---- training

    def fit(  # noqa: PLR0913  the public interface
        self,
        X: object,
        Y: object,
        *,
        optimizer: str | Optimizer = "adam",
        epochs: int = 10,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: object = None,
        validation_data: tuple[Any, ...] | None = None,
        metrics: Iterable[str] = (),
        early_stopping: EarlyStopping | None = None,
        callbacks: Iterable[Callback] = (),
        verbose: bool = False,
        state: TrainingState | None = None,
    ) -> History:
        """Train, from the current parameters on.

        Parameters
        ----------
        X, Y, sample_weight
            As for `loss`. A mini-batch's loss is divided by the weights of its own samples; one whose weights
            are all zero is skipped.
        optimizer : str or Optimizer
            "sgd", "adam", "adamw", "rmsprop", or one such as ``fastmlp.Adam(lr=1e-3)``.
        epochs : int
            Times that all samples are seen.
        batch_size : int
            Samples of a step; the last batch of an epoch may be smaller. At least n_samples: full batches.
        shuffle : bool
            Whether each epoch draws a new order of the samples; one whose batches hold all of them needs none.
        validation_data : tuple (X, Y) or (X, Y, sample_weight), optional
            Its loss is computed after each epoch.
        metrics : iterable of str
            "rmse", "mae", "r2", "accuracy": computed after each epoch, on the training and validation data.
        early_stopping : EarlyStopping, optional
            Ends the fit when the validation loss, or else the training loss, has stopped falling.
        callbacks : iterable of callable
            Called ``callback(net, epoch_info)`` after each epoch; True ends the fit.
        verbose : bool
            Whether progress is shown.
        state : TrainingState, optional
            ``history.state`` of an earlier fit: this one goes on exactly where that one stopped.

        Returns
        -------
        History
            Also kept as ``net.history``.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described; the network is untouched.
        DivergedError
            If a loss or parameter stops being finite; the parameters are those at the epoch's start.
        KeyboardInterrupt
            After Ctrl-C, once the steps under way are done: ``net.history.state`` allows going on.
        """
        batch = make_batch(self.spec, X, Y, sample_weight)
        optimizer = as_optimizer(optimizer)
        plan = Plan(
            optimizer=optimizer,
            epochs=_check_count("epochs", epochs, 0),
            batch_size=_check_count("batch_size", batch_size, 1),
            shuffle=bool(shuffle) and batch_size < len(batch.X),  # a batch of all samples has no order
            validation=None if validation_data is None else self._validation(validation_data),
            metrics=metric_table.check(metrics),
            early_stopping=_check_early_stopping(early_stopping),
            callbacks=_check_callbacks(callbacks),
            verbose=bool(verbose),
            is_steady=optimizer.has_constant_rate,
        )
        backend = self._backend_for(len(batch.X), plan.epochs, plan.batch_size)
        return fit(self, backend, batch, plan, state)

    def _validation(self, data: tuple[Any, ...]) -> Batch:
        if not isinstance(data, tuple | list) or len(data) not in {2, 3}:
            kind = f"{len(data)} entries" if isinstance(data, tuple | list) else f"type {type(data).__name__}"
            msg = f"validation_data has {kind}; expected (X, Y) or (X, Y, sample_weight)"
            raise ValueError(msg)
        try:
            return make_batch(self.spec, *data)
        except (TypeError, ValueError) as error:
            msg = f"validation_data: {error}"
            raise type(error)(msg) from None

    def learn_one(self, x: object, y: object, *, optimizer: str | Optimizer | None = None) -> float:
        """Do one step on one sample, as it comes in.

        The optimizer and its state stay with the network from call to call, until another is given. They are not
        those of `fit`, which begins afresh.

        Parameters
        ----------
        x : array_like of shape (n_in,)
        y : number, or array_like of shape (n_out,)
            A number where there is one output, or a class index with "cross_entropy".
        optimizer : str or Optimizer, optional
            As for `fit`; ``SGD(lr=0.01)`` at the beginning.

        Returns
        -------
        float
            The loss before the step, l2 included.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described; the network is untouched.
        DivergedError
            If the loss is not finite; the step is not done.

        Examples
        --------
        >>> from fastmlp import MLP
        >>> net = MLP((2, 8, 1), "tanh", seed=0)
        >>> losses = [net.learn_one([0.5, -1.0], 0.25, optimizer="adam") for _ in range(200)]
        >>> losses[-1] < 0.01 * losses[0]
        True
        """
        row, target = make_sample(self.spec, x, y)
        learner = self._learner_for(optimizer, takes_labels=isinstance(target, int))
        loss = learner.learn(self._backend_for(1), row, target)
        if not math.isfinite(loss):
            raise DivergedError(0, 0, None)
        return loss

    def _learner_for(self, optimizer: str | Optimizer | None, *, takes_labels: bool) -> OnlineLearner:
        """Return what learns with an optimizer: what there is, unless another is asked for."""
        learner = self._learner
        if learner is not None and optimizer is None and learner.takes_labels == takes_labels:
            return learner
        current = SGD() if learner is None else learner.optimizer
        chosen = current if optimizer is None else as_optimizer(optimizer)
        if learner is None or learner.optimizer != chosen or learner.takes_labels != takes_labels:
            groups = chosen.groups(self.spec)  # before the draw: where it is no optimizer for this network, all stays
            seed = int(self.generator.integers(1 << 32)) if self.spec.dropout else 0
            learner = OnlineLearner(
                self.spec, self.parameters, chosen, groups=groups, takes_labels=takes_labels, seed=seed
            )
            self._learner = learner
        return learner

    # ---- looking

    def with_backend(self, backend: str, *, strict: bool | None = None, threads: int | None = None) -> MLP:
        """Return this network on another backend: the same parameters, shared, and the same generator.

        Parameters
        ----------
        backend : str
            "naive", "numpy", "numba" or "auto".
        strict : bool, optional
            None keeps what this network has.
        threads : int, optional
            At most so many threads.
        """
        other = copy.copy(self)
        other.history = other._learner = None  # noqa: SLF001
        other._set_backend(backend, strict=self.strict if strict is None else strict, threads=threads)  # noqa: SLF001
        return other

    def explain_backend(self, n_samples: int = 1, epochs: int = 0, batch_size: int = 32) -> str:
        """Return, in a sentence, which backend a call would take and why.

        Parameters
        ----------
        n_samples : int
            Rows of X.
        epochs : int
            Of a fit; 0 for any other call.
        batch_size : int
            Of a fit.
        """
        work = Work(
            _check_count("n_samples", n_samples, 1),
            _check_count("epochs", epochs, 0),
            _check_count("batch_size", batch_size, 1),
        )
        return f"This call takes {choose(self.backend, self.spec, work, strict=self.strict).reason}."

    def summary(self) -> str:
        """Return the network as a table: a line for each layer, and totals."""
        spec = self.spec
        head = ("layer", "W", "activation", "parameters")
        rows = [
            (str(i), f"{fan_in} x {fan_out}", name, f"{(fan_in + 1) * fan_out:,}")
            for i, ((fan_in, fan_out), name) in enumerate(zip(spec.shapes, spec.all_activations, strict=True))
        ]
        if spec.input_scale:
            rows.insert(0, ("input scale", str(spec.n_inputs), "", f"{spec.n_inputs:,}"))
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
        size = self.parameters.flat.nbytes
        total = (
            f"{spec.n_params:,} parameters, {size:,} bytes of {spec.dtype}; loss {spec.loss}; backend {self.backend}"
        )
        extras = [f"{name} {value:g}" for name, value in (("l2", spec.l2), ("dropout", spec.dropout)) if value]
        extras += [f"quantiles {', '.join(map(str, spec.quantiles))}"] if spec.quantiles else []
        return "\n".join([*(line.rstrip() for line in lines), "; ".join([total, *extras])])

    def __repr__(self) -> str:
        strict = ", strict" if self.strict else ""
        return f"MLP({self.spec.describe()}, backend={self.backend!r}{strict})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {
            "_backends": {},
            "_only": None,
        }  # kernels and workspaces stay; they are made again when needed


def _check_threads(threads: int | None) -> None:
    if threads is not None:
        _check_count("threads", threads, 1)


def _check_count(what: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        msg = f"{what} is {value!r}; expected a whole number"
        raise TypeError(msg)
    if value < least:
        msg = f"{what} is {value!r}; expected at least {least}"
        raise ValueError(msg)
    return int(value)


def _check_early_stopping(value: EarlyStopping | None) -> EarlyStopping | None:
    if value is not None and not isinstance(value, EarlyStopping):
        msg = f"early_stopping is {value!r}; expected fastmlp.EarlyStopping(...) or None"
        raise TypeError(msg)
    return value


def _check_callbacks(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    listed = (callbacks,) if callable(callbacks) else tuple(callbacks)
    for callback in listed:
        if not callable(callback):
            msg = f"callbacks holds {callback!r}; expected functions that take (net, epoch_info)"
            raise TypeError(msg)
    return listed
