"""JAX drawing the order of an epoch itself, within the compiled epoch: how such a program is usually written.

`jax_peer` is the stronger form of it, and the one that bars are held against: there NumPy draws the order.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax

from benchmarks.cases import SEED
from benchmarks.peers import jax_peer
from benchmarks.peers.base import Problem
from benchmarks.peers.jax_peer import State


class Trainer(jax_peer.Trainer):
    """The same, but for the order."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.key = jax.random.key(SEED)
        self.shuffled = jax.jit(partial(_epoch, self.loss, problem.case.batch_size), donate_argnums=0)

    def train(self, epochs: int, *, shuffle: bool) -> list[float]:
        """Train on."""
        if not shuffle:
            return super().train(epochs, shuffle=False)
        means = []
        for _ in range(epochs):
            self.state, mean, self.key = self.shuffled(self.state, self.X, self.Y, self.key)
            means.append(mean)
        return [float(mean) for mean in jax.block_until_ready(means)]


def trainer(problem: Problem) -> Trainer:
    """Return the problem's network, ready to train."""
    return Trainer(problem)


def _epoch(
    loss: Any,  # noqa: ANN401
    batch_size: int,
    state: State,
    X: jax.Array,
    Y: jax.Array,
    key: jax.Array,
) -> tuple[State, jax.Array, jax.Array]:
    """Return the state after an epoch, its mean loss, and the key to go on with."""
    key, own = jax.random.split(key)
    batches = jax.random.permutation(own, len(X)).reshape(-1, batch_size)
    return (*jax_peer.epoch(loss, state, X, Y, batches), key)
