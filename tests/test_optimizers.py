"""Each optimizer against a loop written from its published formula, step by step, on every backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest

import fastmlp
from fastmlp import MLP, SGD, Adam, AdamW, Optimizer, RMSprop, schedules
from tests import bounds

STEPS = 12
GENERATOR = np.random.default_rng(3)
X, Y = GENERATOR.normal(size=(7, 3)), GENERATOR.normal(size=(7, 2))

Update = tuple[np.ndarray, np.ndarray]
"""What a textbook adds to the parameters, and the sum of its terms' absolute values, to which rounding is relative."""


@dataclass
class Textbook:
    """A published loop at step t (from 1): parameters w, their gradient g, the rate lr, and what it remembers."""

    is_weight: np.ndarray
    w: np.ndarray
    g: np.ndarray
    lr: float = 0.0
    t: int = 0
    memory: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def mean(self, name: str, rate: float, value: np.ndarray) -> np.ndarray:
        """Return a running mean, rate * before + (1 - rate) * value."""
        self.memory[name] = rate * self.memory.get(name, np.zeros_like(value)) + (1.0 - rate) * value
        return self.memory[name]

    def velocity(self, name: str, mu: float, value: np.ndarray) -> np.ndarray:
        """Return mu * before + value."""
        self.memory[name] = mu * self.memory.get(name, np.zeros_like(value)) + value
        return self.memory[name]


def sgd(at: Textbook) -> Update:
    """Step along -g."""
    return -at.lr * at.g, at.lr * np.abs(at.g)


def momentum(at: Textbook) -> Update:
    """v = mu v - lr g; w += v."""
    return at.velocity("v", 0.75, -at.lr * at.g), at.velocity("size", 0.75, at.lr * np.abs(at.g))


def nesterov(at: Textbook) -> Update:
    """v = mu v - lr g; w += mu v - lr g."""
    v, size = momentum(at)
    return 0.75 * v - at.lr * at.g, 0.75 * size + at.lr * np.abs(at.g)


def adam(at: Textbook) -> Update:
    """Algorithm 1 of the paper, its means corrected before they are used; epsilon large enough to show its place."""
    m = at.mean("m", 0.8, at.g) / (1.0 - 0.8**at.t)
    size = at.mean("size", 0.8, np.abs(at.g)) / (1.0 - 0.8**at.t)
    v = at.mean("v", 0.95, at.g**2) / (1.0 - 0.95**at.t)
    return -at.lr * m / (np.sqrt(v) + 0.01), at.lr * size / (np.sqrt(v) + 0.01)


def adamw(at: Textbook) -> Update:
    """Adam, and the weights, not the biases, shrink by lr * weight_decay of themselves."""
    update, size = adam(at)
    decay = np.where(at.is_weight, at.lr * 0.5 * at.w, 0.0)
    return update - decay, size + np.abs(decay)


def rmsprop(at: Textbook) -> Update:
    """v = rho v + (1 - rho) g^2; w -= lr g / (sqrt(v) + eps)."""
    v = at.mean("v", 0.9, at.g**2)
    return -at.lr * at.g / (np.sqrt(v) + 0.01), at.lr * np.abs(at.g) / (np.sqrt(v) + 0.01)


CASES: dict[str, tuple[Optimizer, Callable[[Textbook], Update]]] = {
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
    for start, end in pairwise(before):
        net.parameters.flat[...] = start
        yield start, net.loss_and_gradient(X, Y)[1].flat, end


def disagreements(
    net: MLP, optimizer: Optimizer, update: Callable[[Textbook], Update], rates: list[float]
) -> list[int]:
    """Return the steps in which the library is further from the textbook than rounding takes it."""
    nothing = np.zeros(net.spec.n_params)
    at, wrong = Textbook(which_are_weights(net), nothing, nothing), []
    for t, (start, gradient, end) in enumerate(paths(net, optimizer), start=1):
        at.w, at.g, at.lr, at.t = start.astype(np.float64), gradient.astype(np.float64), rates[t - 1], t
        change, size = update(at)
        allowed = bounds.gamma(bounds.ROUNDINGS_OF_STEP * t, net.spec.dtype) * (np.abs(at.w) + size)
        if not (np.abs(at.w + change - end) <= allowed).all():
            wrong.append(t)
    return wrong


def which_are_weights(net: MLP) -> np.ndarray:
    """Return a flag for each parameter: whether it is a weight, and no bias."""
    flags = fastmlp.Parameters(net.spec.layer_sizes, np.zeros(net.spec.n_params, bool))
    for W in flags.weights:
        W[...] = True
    return flags.flat


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


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5), (0.5, 0.0)])
@pytest.mark.parametrize("pieces", [(1500,), (1, 399, 1100), (700, 800)])
def test_corrections_are_those_of_a_loop_however_long_it_is(
    betas: tuple[float, float], pieces: tuple[int, ...]
) -> None:
    """Bit for bit; where a power of beta no longer counts, it is none, so that it never becomes a denormal number."""
    optimizer, powers, rows = Adam(0.25, *betas), (1.0, 1.0), []
    for n in pieces:
        own, powers = optimizer.coefficients(np.full(n, 0.25), powers)
        rows.append(own)
    power1 = power2 = 1.0
    for row in np.concatenate(rows):
        power1, power2 = power1 * betas[0], power2 * betas[1]
        correction = np.sqrt(1.0 - power2)
        assert row[0] == 0.25 * correction / (1.0 - power1)
        assert row[1] == 1e-8 * correction
    assert powers[0] == 0.0  # of 1500 steps
    assert powers[1] in {0.0, power2}


def test_powers_do_not_depend_on_where_a_run_is_cut() -> None:
    """Around the step from which a power of beta is none, too."""
    optimizer, powers, alone = Adam(0.25, 0.9, 0.5), (1.0, 1.0), []
    for _ in range(500):
        _, powers = optimizer.coefficients(np.full(1, 0.25), powers)
        alone.append(powers)
    together = [optimizer.coefficients(np.full(n, 0.25), (1.0, 1.0))[1] for n in range(1, 501)]
    assert together == alone
    assert [powers[0] > 0.0 for powers in alone] == sorted((powers[0] > 0.0 for powers in alone), reverse=True)
    assert alone[-1] == (0.0, 0.0)


# --- an optimizer of one's own ---


@dataclass(frozen=True)
class Dampened(Optimizer):
    """Momentum whose velocity is a running mean of the gradients: v = mu v + (1 - mu) g; w -= lr v."""

    rule: ClassVar[str] = "momentum"
    mu: float = 0.75

    def coefficients(self, rates: np.ndarray, powers: tuple[float, float]) -> tuple[np.ndarray, tuple[float, float]]:
        """Return rows for the rule s = c1 s - c0 g; w += c2 s - c3 c0 g: with s = -v, the step is lr s."""
        rows = np.zeros((rates.size, 6))
        rows[:, 0], rows[:, 1], rows[:, 2] = 1.0 - self.mu, self.mu, rates
        return rows, powers


def dampened(at: Textbook) -> Update:
    """v = mu v + (1 - mu) g; w -= lr v."""
    return -at.lr * at.mean("v", 0.75, at.g), at.lr * at.mean("size", 0.75, np.abs(at.g))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_optimizer_of_ones_own_runs_on_every_backend(backend: str, dtype: str) -> None:
    optimizer = Dampened(0.1)
    assert not disagreements(network(backend, dtype, strict=False), optimizer, dampened, [0.1] * STEPS)


class Short(Dampened):
    """One whose rows do not go with the steps."""

    def coefficients(self, rates: np.ndarray, powers: tuple[float, float]) -> tuple[np.ndarray, tuple[float, float]]:
        """Return one row."""
        return super().coefficients(rates[:1], powers)


def test_rows_that_do_not_go_with_the_steps_are_refused(backend: str) -> None:
    net = network(backend, "float64", strict=False)
    before = net.parameters.flat.copy()
    with pytest.raises(ValueError, match=r"Short.coefficients returned an array of shape \(1, 6\); expected \(7, 6\)"):
        net.fit(X, Y, optimizer=Short(0.1), batch_size=1)
    assert np.array_equal(net.parameters.flat, before)


def test_optimizer_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Optimizer(0.1)  # type: ignore[abstract]
