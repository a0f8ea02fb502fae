"""JAX: an epoch is one compiled call, a `lax.scan` over its batches.

What was measured: the order of an epoch comes from NumPy, since `jax.random.permutation` sorts, which takes a third
to two thirds of an epoch of the small networks on a CPU; batches are gathered within the scan, which on `mnist` takes
a fifth less than gathering the epoch before it; and the state's memory is given to the call to reuse.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import SEED, Array, Case
from benchmarks.peers.base import ADAM, Predict, Problem
from benchmarks.verify import OURS
from fastmlp.parameters import Parameters

Layers = list[tuple[jax.Array, jax.Array]]
State = tuple[Layers, Layers, Layers, jax.Array]  # parameters, running means of g and of g**2, steps done

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "identity": lambda Z: Z,
}
_LOG_BETAS = math.log(ADAM.beta1), math.log(ADAM.beta2)


class Trainer:
    """The network's state, and the compiled epoch."""

    def __init__(self, problem: Problem) -> None:
        _set_precision(problem.case)
        self.definition = OURS
        self.problem = problem
        self.X, self.Y = jnp.array(problem.X), jnp.array(problem.Y)
        self.generator = np.random.default_rng(SEED)
        self.loss = partial(_loss, problem.case)
        self.run = jax.jit(partial(epoch, self.loss), donate_argnums=0)
        self.reset()

    def reset(self) -> None:
        """Go back to the initial parameters and a fresh optimizer."""
        layers = _layers(self.problem)
        first, second = (jax.tree.map(jnp.zeros_like, layers) for _ in range(2))
        self.state: State = (layers, first, second, jnp.zeros((), self.problem.case.dtype))
        jax.block_until_ready(self.state)

    def gradient(self, X: Array, Y: Array) -> tuple[float, Array]:
        """Return loss and gradient."""
        loss, gradient = jax.jit(jax.value_and_grad(self.loss))(_layers(self.problem), jnp.array(X), jnp.array(Y))
        return float(loss), np.concatenate([np.ravel(tensor) for tensor in jax.tree.leaves(gradient)])

    def train(self, epochs: int, *, shuffle: bool) -> list[float]:
        """Train on."""
        n = len(self.X)
        means = []
        for _ in range(epochs):
            order = self.generator.permutation(n) if shuffle else np.arange(n)
            batches = order.astype(np.int32).reshape(-1, self.problem.case.batch_size)
            self.state, losses = self.run(self.state, self.X, self.Y, batches)
            means.append(losses)
        return [float(mean) for mean in jax.block_until_ready(means)]


def trainer(problem: Problem) -> Trainer:
    """Return the problem's network, ready to train."""
    return Trainer(problem)


def predictor(problem: Problem) -> Predict:
    """Return the compiled forward pass."""
    case = problem.case
    _set_precision(case)
    layers = _layers(problem)

    @jax.jit
    def forward(layers: Layers, X: jax.Array) -> jax.Array:
        logits = _logits(case, layers, X)
        return jax.nn.softmax(logits) if case.classes else logits

    return lambda X: np.asarray(forward(layers, X))


def _set_precision(case: Case) -> None:
    """Let JAX have float64 where the case does: a setting of the process, and a process does one case at a time."""
    jax.config.update("jax_enable_x64", case.dtype == "float64")


def _layers(problem: Problem) -> Layers:
    """Return the initial parameters, in memory of their own."""
    ours = Parameters(problem.case.layer_sizes, problem.start)
    return [(jnp.array(W), jnp.array(b)) for W, b in zip(ours.weights, ours.biases, strict=True)]


def _logits(case: Case, layers: Layers, X: jax.Array) -> jax.Array:
    A = X
    for W, b in layers[:-1]:
        A = _ACTIVATIONS[case.activation](A @ W + b)
    W, b = layers[-1]
    return A @ W + b


def _loss(case: Case, layers: Layers, X: jax.Array, Y: jax.Array) -> jax.Array:
    logits = _logits(case, layers, X)
    if not case.classes:
        return jnp.mean((logits - Y) ** 2)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), Y[:, None], 1))


def epoch(loss: Any, state: State, X: jax.Array, Y: jax.Array, batches: jax.Array) -> tuple[State, jax.Array]:  # noqa: ANN401
    """Return the state after the batches, and their mean loss."""

    def step(state: State, rows: jax.Array) -> tuple[State, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(state[0], X[rows], Y[rows])
        return _adam(state, gradient), value

    state, losses = jax.lax.scan(step, state, batches)
    return state, losses.mean()


def _adam(state: State, gradient: Layers) -> State:
    """Return the state after a step. 1 - beta**t is taken by expm1: in float32 the difference would lose half of it."""
    layers, first, second, done = state
    t = done + 1
    correction1, correction2 = (-jnp.expm1(t * log_beta) for log_beta in _LOG_BETAS)
    root = jnp.sqrt(correction2)
    rate, eps = cast("float", ADAM.lr) * root / correction1, ADAM.eps * root
    first = jax.tree.map(lambda m, g: ADAM.beta1 * m + (1 - ADAM.beta1) * g, first, gradient)
    second = jax.tree.map(lambda v, g: ADAM.beta2 * v + (1 - ADAM.beta2) * (g * g), second, gradient)
    layers = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + eps), layers, first, second)
    return layers, first, second, t
