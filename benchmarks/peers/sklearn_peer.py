"""scikit-learn: `partial_fit` of MLPRegressor and MLPClassifier, an epoch a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from benchmarks.cases import SEED, Array, Case
from benchmarks.peers.base import ADAM, Predict, Problem, UnsuitedError
from benchmarks.verify import Definition
from fastmlp import Adam
from fastmlp.optimizers import Coefficients, Powers
from fastmlp.parameters import Parameters

_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic", "identity": "identity"}
# One step of plain descent tells the gradient: at a rate so large, and a power of two, that the parameter itself
# is lost beside the step and the step rounds once, relative to the gradient.
_GRADIENT_RATE = 2.0**20


@dataclass(frozen=True)
class UncorrectedAdam(Adam):
    """Adam with epsilon added to the root of the mean of squares as it is, before its correction."""

    def coefficients(self, rates: Any, powers: Powers) -> tuple[Coefficients, Powers]:  # noqa: ANN401
        """Return those of Adam, with the same epsilon for every step."""
        rows, powers = super().coefficients(rates, powers)
        rows[:, 1] = self.eps
        return rows, powers


class Trainer:
    """An estimator, begun at the given parameters."""

    def __init__(self, problem: Problem) -> None:
        case = problem.case
        self.X, self.Y, self.start = problem.X, _targets(case, problem.Y), problem.start
        self.case = case
        self.loss_factor, self.gradient_factor = (1.0, 1.0) if case.classes else (2.0, 2.0 / case.layer_sizes[-1])
        self.definition = Definition(
            UncorrectedAdam(ADAM.lr, eps=ADAM.eps * self.gradient_factor),
            least_probability=float(np.finfo(case.dtype).eps) if case.classes else 0.0,
        )
        self.model = _estimator(case, **_adam(ADAM))
        self._begin(self.model)

    def reset(self) -> None:
        """Go back to the initial parameters and a fresh optimizer."""
        self._begin(self.model)

    def gradient(self, X: Array, Y: Array) -> tuple[float, Array]:
        """Return loss and gradient."""
        model = _estimator(self.case, solver="sgd", learning_rate_init=_GRADIENT_RATE, momentum=0.0)
        self._begin(model)
        model.partial_fit(X, _targets(self.case, Y))
        step = self.start.astype(np.float64) - _flat(model)
        return model.loss_ * self.loss_factor, step * (self.gradient_factor / _GRADIENT_RATE)

    def train(self, epochs: int, *, shuffle: bool) -> list[float]:
        """Train on; its losses are those before each step, as ours."""
        self.model.shuffle = shuffle
        losses = []
        for _ in range(epochs):
            self.model.partial_fit(self.X, self.Y)
            losses.append(self.model.loss_ * self.loss_factor)
        return losses

    def _begin(self, model: Any) -> None:  # noqa: ANN401
        _put(model, self.case, self.X, self.Y, self.start)


def trainer(problem: Problem) -> Trainer:
    """Return the problem's network, ready to train."""
    return Trainer(problem)


def predictor(problem: Problem) -> Predict:
    """Return `predict`, or `predict_proba`."""
    case = problem.case
    model = _estimator(case)
    _put(model, case, problem.X, _targets(case, problem.Y), problem.start)
    if case.classes:
        return model.predict_proba  # type: ignore[no-any-return]
    shape = (-1, case.layer_sizes[-1])
    return lambda X: model.predict(X).reshape(shape)


def _adam(adam: Adam) -> dict[str, Any]:
    return {"learning_rate_init": adam.lr, "beta_1": adam.beta1, "beta_2": adam.beta2, "epsilon": adam.eps}


def _estimator(case: Case, **options: Any) -> Any:  # noqa: ANN401  it has no types
    """Return the estimator for a case's targets.

    Raises
    ------
    UnsuitedError
        If it would be another network than ours.
    """
    if case.classes and case.layer_sizes[-1] == 2:
        msg = "scikit-learn is left out: it gives two classes one output, not two"
        raise UnsuitedError(msg)
    kind = MLPClassifier if case.classes else MLPRegressor
    return kind(
        hidden_layer_sizes=case.layer_sizes[1:-1],
        activation=_ACTIVATIONS[case.activation],
        alpha=0.0,
        batch_size=case.batch_size,
        random_state=np.random.RandomState(SEED),  # a number would give every epoch the same order
        **options,
    )


def _targets(case: Case, Y: Array) -> Array:
    """Return the targets as scikit-learn wants them: a single output in one dimension."""
    return Y if case.classes or case.layer_sizes[-1] > 1 else Y.ravel()


def _put(model: Any, case: Case, X: Array, Y: Array, flat: Array) -> None:  # noqa: ANN401
    """Set parameters, and leave the optimizer to be made anew by the next `partial_fit`."""
    if not hasattr(model, "coefs_"):
        options = {"classes": np.arange(case.layer_sizes[-1])} if case.classes else {}
        model.partial_fit(X[: case.batch_size], Y[: case.batch_size], **options)
    parameters = Parameters(case.layer_sizes, flat.copy())
    model.coefs_, model.intercepts_ = list(parameters.weights), list(parameters.biases)
    vars(model).pop("_optimizer", None)  # no public way leads to a fresh one


def _flat(model: Any) -> Array:  # noqa: ANN401
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    return np.concatenate([tensor.ravel() for pair in pairs for tensor in pair])
