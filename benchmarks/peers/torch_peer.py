"""PyTorch: eager modules with the fused Adam, an epoch gathered at once into memory that stays.

What was measured: gathering an epoch at once is as fast as gathering batches, within 5 % either way, and spares the
smallest steps two operations; into fresh memory `mnist` takes a quarter longer. `torch.compile` was slower than eager
on these sizes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import nn

from benchmarks.cases import SEED, Array
from benchmarks.peers.base import ADAM, Predict, Problem
from benchmarks.verify import OURS
from fastmlp.parameters import Parameters

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "identity": nn.Identity}


class Trainer:
    """A module, its loss and its optimizer."""

    def __init__(self, problem: Problem) -> None:
        case = problem.case
        self.definition = OURS
        self.case, self.start, self.threads = case, problem.start, problem.threads
        self.X, self.Y = torch.tensor(problem.X), torch.tensor(problem.Y)
        self.X_ordered, self.Y_ordered = torch.empty_like(self.X), torch.empty_like(self.Y)
        self.generator = torch.Generator().manual_seed(SEED)
        self.loss = nn.CrossEntropyLoss() if case.classes else nn.MSELoss()
        self.module = _module(problem)
        self.reset()

    def reset(self) -> None:
        """Go back to the initial parameters and a fresh optimizer."""
        torch.set_num_threads(self.threads)
        _put(self.module, self.case.layer_sizes, self.start)
        rate, betas = cast("float", ADAM.lr), (ADAM.beta1, ADAM.beta2)
        self.adam = torch.optim.Adam(self.module.parameters(), rate, betas, ADAM.eps, fused=True)

    def gradient(self, X: Array, Y: Array) -> tuple[float, Array]:
        """Return loss and gradient."""
        self.adam.zero_grad()
        loss = self.loss(self.module(torch.tensor(X)), torch.tensor(Y))
        loss.backward()
        parts = [_ours(parameter.grad).ravel() for parameter in self.module.parameters()]
        return loss.item(), np.concatenate(parts)

    def train(self, epochs: int, *, shuffle: bool) -> list[float]:
        """Train on."""
        return [self._epoch(shuffle=shuffle) for _ in range(epochs)]

    def _epoch(self, *, shuffle: bool) -> float:
        n = len(self.X)
        order = torch.randperm(n, generator=self.generator) if shuffle else torch.arange(n)
        torch.index_select(self.X, 0, order, out=self.X_ordered)
        torch.index_select(self.Y, 0, order, out=self.Y_ordered)
        batches = zip(
            self.X_ordered.split(self.case.batch_size), self.Y_ordered.split(self.case.batch_size), strict=True
        )
        losses = [self._step(X, Y) for X, Y in batches]
        return torch.stack(losses).mean().item()

    def _step(self, X: torch.Tensor, Y: torch.Tensor) -> torch.Tensor:
        self.adam.zero_grad()
        loss: torch.Tensor = self.loss(self.module(X), Y)
        loss.backward()
        self.adam.step()
        return loss.detach()


def trainer(problem: Problem) -> Trainer:
    """Return the problem's network, ready to train."""
    return Trainer(problem)


def predictor(problem: Problem) -> Predict:
    """Return the module called in inference mode."""
    torch.set_num_threads(problem.threads)
    module = _module(problem)
    if problem.case.classes:
        module.append(nn.Softmax(dim=1))
    module.eval()

    @torch.inference_mode()
    def predict(X: Array) -> Array:
        return module(torch.from_numpy(X)).numpy()  # type: ignore[no-any-return]

    return predict


def _module(problem: Problem) -> nn.Sequential:
    """Return the network up to its logits, with the initial parameters."""
    case = problem.case
    dtype = getattr(torch, case.dtype)
    module = nn.Sequential()
    for fan_in, fan_out in pairwise(case.layer_sizes):
        module.append(nn.Linear(fan_in, fan_out, dtype=dtype))
        module.append(_ACTIVATIONS[case.activation]())
    del module[-1]
    _put(module, case.layer_sizes, problem.start)
    return module


def _put(module: nn.Sequential, sizes: tuple[int, ...], flat: Array) -> None:
    """Set parameters."""
    ours = Parameters(sizes, flat)
    linears = [layer for layer in module if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for linear, W, b in zip(linears, ours.weights, ours.biases, strict=True):
            linear.weight.copy_(torch.tensor(W.T))
            linear.bias.copy_(torch.tensor(b))


def _ours(tensor: torch.Tensor | None) -> Array:
    """Return a weight as (fan_in, fan_out), a bias as it is."""
    assert tensor is not None
    return tensor.numpy().T
