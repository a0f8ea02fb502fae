"""Where a training stands: what a fit leaves behind, and another one goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from fastmlp.backends.base import Batch, empty_states
from fastmlp.history import EarlyStoppingState
from fastmlp.optimizers import Optimizer, Powers
from fastmlp.parameters import Array
from fastmlp.spec import NetworkSpec

if TYPE_CHECKING:
    from fastmlp.network import MLP
    from fastmlp.training import Plan


@dataclass
class TrainingState:
    """Where a training stands, besides the parameters: with them, all that it takes to go on exactly there.

    Attributes
    ----------
    spec : NetworkSpec
    optimizer : Optimizer
    batches : tuple
        (n_samples, batch_size, whether they are shuffled): what an epoch under way consists of.
    states : tuple of ndarray
        What the optimizer keeps for every parameter, now.
    generator : dict
        State of the random generator at the start of the epoch under way.
    powers : tuple of float
        Running products of the optimizer's, at the start of that epoch.
    step, epoch : int
        Steps and epochs done before that epoch.
    losses : list of float
        Losses of the steps done in it: none between epochs.
    seed : int
        Of the dropout masks.
    early_stopping : EarlyStoppingState
    best : ndarray or None
        Parameters of the best epoch, where early stopping keeps them.
    last : ndarray or None
        Parameters of the last epoch, where the best were put into the network in their place: a fit that goes on
        from here goes on from these.
    """

    spec: NetworkSpec
    optimizer: Optimizer
    batches: tuple[int, int, bool]
    states: tuple[Array, Array]
    generator: Mapping[str, Any]
    seed: int
    powers: Powers = (1.0, 1.0)
    step: int = 0
    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    early_stopping: EarlyStoppingState = field(default_factory=EarlyStoppingState)
    best: Array | None = None
    last: Array | None = None


def _batches(data: Batch, plan: Plan) -> tuple[int, int, bool]:
    return len(data.X), plan.batch_size, plan.shuffle


def fresh_state(net: MLP, data: Batch, plan: Plan) -> TrainingState:
    """Return the state at the start of a training."""
    seed = int(net.generator.integers(1 << 32)) if net.spec.dropout else 0
    states = empty_states(net.spec, plan.optimizer.rule)
    generator = net.generator.bit_generator.state
    return TrainingState(net.spec, plan.optimizer, _batches(data, plan), states, generator, seed)


def copy_of(state: TrainingState, net: MLP, data: Batch, plan: Plan) -> TrainingState:
    """Return a state of the fit's own, after checking that it belongs to this network and optimizer.

    The network's generator, and parameters that the best have replaced, are set to where the state has them.

    Raises
    ------
    TypeError, ValueError
        If it does not.
    """
    if not isinstance(state, TrainingState):
        msg = f"state is {state!r}; expected the TrainingState of an earlier fit, as in history.state"
        raise TypeError(msg)
    if state.spec != net.spec:
        name = next(f.name for f in fields(net.spec) if getattr(state.spec, f.name) != getattr(net.spec, f.name))
        theirs, ours = getattr(state.spec, name), getattr(net.spec, name)
        msg = f"state belongs to a network with {name}={theirs!r}, but this one has {name}={ours!r}"
        raise ValueError(msg)
    if state.optimizer != plan.optimizer:
        msg = f"state belongs to {state.optimizer}, but this fit has optimizer {plan.optimizer}; use the same"
        raise ValueError(msg)
    batches = _batches(data, plan)
    if state.losses and state.batches != batches:
        msg = (
            f"state stands within an epoch with (n_samples, batch_size, shuffle) = {state.batches}, but this fit has "
            f"{batches}; use the same"
        )
        raise ValueError(msg)
    net.generator.bit_generator.state = state.generator
    if state.last is not None:
        net.parameters.flat[...] = state.last
    first, second = (values.copy() for values in state.states)
    best = None if state.best is None else state.best.copy()
    return replace(state, batches=batches, states=(first, second), losses=list(state.losses), best=best, last=None)
