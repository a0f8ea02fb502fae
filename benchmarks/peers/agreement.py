"""Before a peer is timed it has to compute what fastmlp computes.

From the same initial parameters, on the same batch, a peer's outputs, loss and gradient are each held against
binary64; and so are the losses of `verify.EPOCHS` epochs over the same first batches, in order, one step after the
other, begun anew after another training, as every timed run is. The bounds are those of fastmlp's own backends
(`benchmarks.verify`): 16 times what rounding errors do to that very result, measured by rerunning it with noise of
their size. The gradient is looked at for itself, since Adam divides by its size: a step with a gradient that is off
by a factor is a right step but for its epsilon.

Definitions may differ without any being wrong; then the peer says which it has, and is held against that:

- scikit-learn's Adam adds epsilon to the root of the *uncorrected* mean of squares. Ours has for every step its own
  epsilon (`fastmlp.optimizers`), so an `Optimizer` with those epsilons describes it exactly.
- scikit-learn's loss of numbers is half of ours, and its gradient is that of the sum over outputs, not of their
  mean: known factors, taken out of its loss and gradient, and put into its epsilon.
- scikit-learn's loss of classes takes no probability for less than the epsilon of its dtype, its gradient does.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from benchmarks import verify
from benchmarks.cases import SEED, Case
from benchmarks.peers.base import Module, Problem
from fastmlp.backends import REFERENCE
from fastmlp.gradcheck.rounding import GradientNoise, gradient_noise


def check_trainer(module: Module, case: Case, who: str, threads: int = 1) -> None:
    """Hold a peer's training of a case against the definition.

    Parameters
    ----------
    module : Module
    case : Case
    who : str
        The peer, for the message.
    threads : int

    Raises
    ------
    WrongResultError
        If its loss, its gradient or its training differs by more than rounding explains.
    """
    problem = Problem.of(case, verify.training_data(case), threads)
    trainer = module.trainer(problem)
    verify.check_loss_and_gradient(_noise(case), *trainer.gradient(*case.batch()), who)
    trainer.train(1, shuffle=False)
    trainer.reset()  # as before every timed run
    losses = trainer.train(verify.EPOCHS, shuffle=False)
    verify.check_losses(case, losses, f"training of {who}", trainer.definition)


def check_predictor(module: Module, case: Case, who: str) -> None:
    """Hold a peer's outputs against the definition; with biases, for training begins without.

    Raises
    ------
    WrongResultError
        If they differ by more than rounding explains.
    """
    net, generator = case.network(REFERENCE), np.random.default_rng(SEED)
    for b in net.biases:
        b[...] = generator.uniform(-1.0, 1.0, b.shape)
    X, Y = case.batch()
    outputs = module.predictor(Problem(case, *case.data(), net.parameters.flat))(X.copy())
    verify.check_outputs(net, X, Y, outputs, f"predictions of {who}")


@lru_cache(maxsize=1)
def _noise(case: Case) -> GradientNoise:
    """Return what all peers' gradients are held against."""
    return gradient_noise(case.network(REFERENCE), *case.batch())
