"""Each optimizer against a loop written from its published formula, step by step, on every backend."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import fastmlp
from fastmlp import MLP, SGD, Adam, AdamW, Optimizer, RMSprop, schedules
from fastmlp.optimizers import as_optimizer
from tests import bounds

STEPS = 12
GENERATOR = np.random.default_rng(3)
X, Y = GENERATOR.normal(size=(7, 3)), GENERATOR.normal(size=(7, 2))

Update = tuple[np.ndarray, np.ndarray]
"""What a textbook adds to the parameters, and the same with every term's absolute value: what its rounding is relative to."""


@dataclass
class Textbook:
    """A published loop: the update of step t (from 1) for parameters w with gradient g.

    `is_weight` tells weights from biases; `slots` is the loop's memory, and its `sizes` the same with absolute values.
    """

    is_weight: np.ndarray
    slots: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def mean(self, name: str, rate: float, value: np.ndarray) -> np.ndarray:
        """Return a running mean, rate * before + (1 - rate) * value."""
        self.slots[name] = rate * self.slots.get(name, np.zeros_like(value)) + (1.0 - rate) * value
        return self.slots[name]

    def momentum(self, name: str, mu: float, value: np.ndarray) -> np.ndarray:
        """Return a velocity, mu * before + value."""
        self.slots[name] = mu * self.slots.get(name, np.zeros_like(value)) + value
        return self.slots[name]


def sgd(loop: Textbook, w: np.ndarray, g: np.ndarray, t: int, lr: float) -> Update:
    """Step along -g."""
    return -lr * g, lr * np.abs(g)


def momentum(loop: Textbook, w: np.ndarray, g: np.ndarray, t: int, lr: float) -> Update:
    """v = mu v - lr g; w += v."""
    return loop.momentum("v", 0.75, -lr * g), loop.momentum("size", 0.75, lr * np.abs(g))


def nesterov(loop: Textbook, w: np.ndarray, g: np.ndarray, t: int, lr: float) -> Update:
    """v = mu v - lr g; w += mu v - lr g."""
    v, size = loop.momentum("v", 0.75, -lr * g), loop.momentum("size", 0.75, lr * np.abs(g))
    return 0.75 * v - lr * g, 0.75 * size + lr * np.abs(g)


def adam(loop: Textbook, w: np.ndarray, g: np.ndarray, t: int, lr: float, eps: float = 0.01) -> Update:
    """Algorithm 1 of the paper, its means corrected before they are used; epsilon large enough to show its place."""
    m = loop.mean("m", 0.8, g) / (1.0 - 0.8**t)
    size = loop.mean("size", 0.8, np.abs(g)) / (1.0 - 0.8**t)
    v = loop.mean("v", 0.95, g * g) / (1.0 - 0.95**t)
    return -lr * m / (np.sqrt(v) + eps), lr * size / (np.sqrt(v) + eps)


def adamw(loop: Textbook, w: np.ndarray, g: np.ndarray, t: int, lr: float) -> Update:
    """Adam, and the weights, not the biases, shrink by lr * weight_decay of themselves."""
    update, size = adam(loop, w, g, t, lr)
    decay = np.where(loop.is_weight, lr * 0.5 * w, 0.0)
    return update - decay, size + np.abs(decay)


def rmsprop(loop: Textbook, w: np.ndarray, g: np.ndarray, t: int, lr: float) -> Update:
    """v = rho v + (1 - rho) g^2; w -= lr g / (sqrt(v) + eps)."""
    v = loop.mean("v", 0.9, g * g)
    return -lr * g / (np.sqrt(v) + 0.01), lr * np.abs(g) / (np.sqrt(v) + 0.01)


CASES: dict[str, tuple[Optimizer, Callable[..., Update]]] = {
    "sgd": (SGD(0.1), sgd),
    "momentum": (SGD(0.1, momentum=0.75), momentum),
    "nesterov": (SGD(0.1, momentum=0.75, nesterov=True), nesterov),
    "adam": (Adam(0.05, beta1=0.8, beta2=0.95, eps=0.01), adam),
    "adamw": (AdamW(0.05, beta1=0.8, beta2=0.95, eps=0.01, weight_decay=0.5), adamw),
    "rmsprop": (RMSprop(0.05, rho=0.9, eps=0.01), rmsprop),
}


def network(backend: str, dtype: str, *, strict: bool) -> MLP:
    return MLP((3, 4, 2), "tanh", backend=backend, dtype=dtype, strict=strict, seed=5, init="uniform")


def paths(net: MLP, optimizer: Optimizer, **options: Any) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Train with full batches; yield, for every step, parameters and gradient before it and parameters after it."""
    before = [net.parameters.flat.copy()]
    net.fit(
        X,
        Y,
        optimizer=optimizer,
        epochs=STEPS,
        batch_size=len(X),
        shuffle=False,
        callbacks=[lambda net, _: before.append(net.parameters.flat.copy())],
        **options,
    )
    for start, end in zip(before[:-1], before[1:], strict=True):
        net.parameters.flat[...] = start
        yield start, net.loss_and_gradient(X, Y)[1].flat, end


def disagreements(net: MLP, optimizer: Optimizer, update: Callable[..., Update], rates: list[float]) -> list[int]:
    """Return the steps in which the library is further from the textbook than rounding takes it."""
    weights = fastmlp.Parameters(net.spec.layer_sizes, np.zeros(net.spec.n_params))
    for W in weights.weights:
        W[...] = 1.0
    loop, wrong = Textbook(weights.flat == 1.0), []
    for t, (start, gradient, end) in enumerate(paths(net, optimizer), start=1):
        w, g = start.astype(np.float64), gradient.astype(np.float64)
        change, size = update(loop, w, g, t, rates[t - 1])
        allowed = bounds.gamma(bounds.ROUNDINGS_OF_STEP * t, net.spec.dtype) * (np.abs(w) + size)
        if not (np.abs(w + change - end) <= allowed).all():
            wrong.append(t)
    return wrong


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_every_step_is_the_textbooks(name: str, dtype: str, backend: str, *, strict: bool) -> None:
    optimizer, update = CASES[name]
    assert not disagreements(network(backend, dtype, strict=strict), optimizer, update, [optimizer.lr] * STEPS)


@pytest.mark.parametrize("name", CASES)
def test_the_rate_of_every_step_is_its_schedules(name: str, backend: str) -> None:
    optimizer, update = CASES[name]
    schedule = schedules.Warmup(schedules.Step(optimizer.lr, every=2, factor=0.5), 4)
    net = network(backend, "float64", strict=False)
    rates = [schedule(step) for step in range(STEPS)]
    assert not disagreements(net, dataclasses.replace(optimizer, lr=schedule), update, rates)
    assert net.history.learning_rate == rates


@pytest.mark.parametrize("name", CASES)
def test_the_comparison_tells_the_optimizers_apart(name: str) -> None:
    """No loop accepts another optimizer's steps, but for the first of those that begin alike."""
    for other, (optimizer, _) in CASES.items():
        if other != name:
            net = network("numpy", "float64", strict=False)
            assert len(disagreements(net, optimizer, CASES[name][1], [optimizer.lr] * STEPS)) >= STEPS - 1


def test_without_momentum_the_three_forms_are_one(backend: str) -> None:
    """In binary64; in float32 the velocity rounds once more than Nesterov's own step of the gradient."""
    ends = set()
    for optimizer in (SGD(0.1), SGD(0.1, momentum=0.0), SGD(0.1, momentum=0.0, nesterov=True)):
        net = network(backend, "float64", strict=True)
        list(paths(net, optimizer))
        ends.add(net.parameters.flat.tobytes())
    assert len(ends) == 1


def test_adamw_without_decay_is_adam(backend: str) -> None:
    ends = set()
    for optimizer in (Adam(0.05), AdamW(0.05, weight_decay=0.0)):
        net = network(backend, "float32", strict=False)
        list(paths(net, optimizer))
        ends.add(net.parameters.flat.tobytes())
    assert len(ends) == 1


def test_decay_shrinks_weights_and_leaves_biases(backend: str) -> None:
    """A network that is already right has no gradient, so decay is all that moves it."""
    net = MLP((3, 2), backend=backend, dtype="float64", seed=0)
    net.weights[0][...] = 1.0
    net.biases[0][...] = 1.0
    net.fit(np.zeros((4, 3)), np.ones((4, 2)), optimizer=AdamW(0.5, weight_decay=0.5), epochs=1, batch_size=4)
    assert (net.weights[0] == 0.75).all()
    assert (net.biases[0] == 1.0).all()


# --- an optimizer of one's own ---


@dataclass(frozen=True)
class Dampened(Optimizer):
    """Momentum whose velocity is a running mean of the gradients: v = mu v + (1 - mu) g; w -= lr v."""

    rule: ClassVar[str] = "momentum"
    mu: float = 0.75

    def coefficients(self, rates: np.ndarray, powers: tuple[float, float]) -> tuple[np.ndarray, tuple[float, float]]:
        """The rule's velocity is s = c1 s - c0 g, and its step c2 s - c3 c0 g: here s = -v, and the step is lr s."""
        rows = np.zeros((rates.size, 6))
        rows[:, 0], rows[:, 1], rows[:, 2] = 1.0 - self.mu, self.mu, rates
        return rows, powers


def dampened(loop: Textbook, w: np.ndarray, g: np.ndarray, t: int, lr: float) -> Update:
    return -lr * loop.mean("v", 0.75, g), lr * loop.mean("size", 0.75, np.abs(g))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_optimizer_of_ones_own_runs_on_every_backend(backend: str, dtype: str) -> None:
    optimizer = Dampened(0.1)
    assert not disagreements(network(backend, dtype, strict=False), optimizer, dampened, [0.1] * STEPS)


def test_optimizer_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Optimizer(0.1)  # type: ignore[abstract]


# --- arguments ---


def test_defaults() -> None:
    assert (SGD().lr, SGD().momentum, SGD().nesterov) == (0.01, 0.0, False)
    for kind in (Adam, AdamW):
        assert (kind().lr, kind().beta1, kind().beta2, kind().eps) == (1e-3, 0.9, 0.999, 1e-8)
    assert AdamW().weight_decay == 1e-2
    assert (RMSprop().lr, RMSprop().rho) == (1e-3, 0.99)


@pytest.mark.parametrize(("name", "kind"), [("sgd", SGD), ("adam", Adam), ("adamw", AdamW), ("rmsprop", RMSprop)])
def test_a_name_stands_for_the_defaults(name: str, kind: type[Optimizer]) -> None:
    assert as_optimizer(name) == kind()


def test_optimizers_are_values() -> None:
    assert Adam(0.1) == Adam(0.1)
    assert Adam(0.1) != Adam(0.2)
    assert Adam(0.1) != AdamW(0.1, weight_decay=0.0)
    assert {SGD(0.1): 1}[SGD(0.1)] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        Adam().lr = 0.1  # type: ignore[misc]


def positive_number(name: str) -> list[tuple[dict[str, Any], type[Exception], str]]:
    return [
        ({name: value}, ValueError, f"{name} is {value!r}; expected a positive")
        for value in (0.0, -0.1, math.nan, math.inf)
    ]


def share(name: str) -> list[tuple[dict[str, Any], type[Exception], str]]:
    return [
        *(({name: value}, ValueError, f"{name} is {value!r}; expected a number in") for value in (1.0, -0.1, math.nan)),
        *(({name: value}, TypeError, f"{name} is {value!r}; expected a number") for value in (None, "0.5", True)),
    ]


BAD: dict[type[Optimizer], list[tuple[dict[str, Any], type[Exception], str]]] = {
    SGD: share("momentum"),
    Adam: [
        *share("beta1"),
        *share("beta2"),
        *(({"eps": value}, ValueError, f"eps is {value!r}") for value in (0.0, -1e-8, math.inf, math.nan)),
        ({"eps": True}, TypeError, "eps is True"),
    ],
    AdamW: [
        *share("beta1"),
        *(({"weight_decay": value}, ValueError, f"weight_decay is {value!r}") for value in (-1e-9, math.inf, math.nan)),
        ({"weight_decay": "0"}, TypeError, "weight_decay is '0'"),
    ],
    RMSprop: [*share("rho"), ({"eps": 0.0}, ValueError, "eps is 0.0")],
}
BAD_RATES: list[tuple[Any, type[Exception]]] = [
    (0.0, ValueError),
    (-0.1, ValueError),
    (math.nan, ValueError),
    (math.inf, ValueError),
    (True, TypeError),
    ("0.1", TypeError),
    (None, TypeError),
    (schedules.Cosine, TypeError),
]


@pytest.mark.parametrize(("kind", "bad"), [(kind, bad) for kind, listed in BAD.items() for bad in listed])
def test_bad_arguments_are_refused(kind: type[Optimizer], bad: tuple[dict[str, Any], type[Exception], str]) -> None:
    arguments, error, message = bad
    with pytest.raises(error, match=message):
        kind(**arguments)


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(("lr", "error"), BAD_RATES)
def test_bad_rates_are_refused(kind: type[Optimizer], lr: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="lr"):
        kind(lr=lr)


@pytest.mark.parametrize(
    ("optimizer", "error", "message"),
    [
        ("Adam", ValueError, "optimizer is 'Adam'; expected one of sgd, adam, adamw, rmsprop"),
        (None, TypeError, r"optimizer is None; expected one of sgd, .*, or an optimizer such as fastmlp.Adam\(\)"),
        (Adam, TypeError, "optimizer is <class .*Adam'>; expected one of"),
        (0.1, TypeError, "optimizer is 0.1; expected one of"),
    ],
)
def test_what_is_no_optimizer_is_refused(optimizer: Any, error: type[Exception], message: str) -> None:
    net = MLP((3, 2))
    with pytest.raises(error, match=f"^{message}"):
        net.fit(X, Y, optimizer=optimizer)
    assert net.history is None
