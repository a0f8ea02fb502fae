"""What a process whose kernels check their indices, or are plain Python, computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastmlp
from fastmlp.backends.base import Backend, Run
from fastmlp.backends.numba import make
from fastmlp.optimizers import N_COEFFICIENTS
from fastmlp.parameters import Parameters
from tests import checkers
from tests.networks import Case

CASES = (
    Case((13, 37, 5), ("tanh",), "softmax", "cross_entropy", l2=0.125, weighted=True, targets="vector", n_samples=19),
    Case((1, 1), (), "identity", "mse", n_samples=1),
    Case((3, 17, 2), ("gelu",), "sigmoid", "mae", n_samples=7),
)
OPTIMIZERS = (
    fastmlp.Adam(0.01),
    fastmlp.SGD(0.01, momentum=0.5),
    fastmlp.AdamW(0.01, weight_decay=0.1),
    fastmlp.PerLayer(fastmlp.AdamW(0.01, weight_decay=0.1), biases=0.1, multipliers="ntk"),
)


def use(modes: list[bool]) -> list[str]:
    """Compute and fit with the fast kernels, False, or the strict ones, True; return what is wrong."""
    found = []
    for case in CASES:
        for strict in modes:
            net = case.build("numba", strict=strict, dropout=0.25, seed=2)
            found += checkers.conformance(case, net)
            net.predict(case.data.X[:1])
            for optimizer in OPTIMIZERS:
                net.fit(*case.data[1:3], sample_weight=case.data.w, optimizer=optimizer, epochs=2, batch_size=5)
            if not np.isfinite(net.parameters.flat).all():
                found.append(f"parameters are not finite: {case}")
    return found


def run_without(missing: str, case: Case, backend: Backend) -> Run:
    """Return a run of two steps in which one of the arrays with an entry a step has only one."""
    _, X, Y, _ = case.data
    empty = np.empty(0, case.dtype)
    numbers: dict[str, Any] = {
        "order": np.arange(len(X)),
        "starts": np.array([0, 3]),
        "stops": np.array([3, 6]),
        "totals": np.full(2, 3.0),
        "coefficients": np.zeros((2, N_COEFFICIENTS)),
        "decay": np.zeros((2, 1)),
        "l2": np.zeros(2),
        "losses": np.zeros(2),
        "penalties": np.zeros(2),
    }
    numbers[missing] = numbers[missing][:1]
    own = Parameters(case.sizes, case.data.flat.copy())
    states = (backend.pack_state(np.zeros_like(own.flat)), empty)
    return Run(own, states, "momentum", X, Y, None, **numbers, seed=0, first_step=0)


def use_too_short(modes: list[bool]) -> list[str]:
    """Leave out the second step's entry of one array after the other; name those that nobody missed."""
    case, survived = CASES[2], []
    for strict in modes:
        for missing in ("decay", "l2", "losses", "penalties"):
            backend = make(case.build("numba").spec, strict=strict, threads=1)
            run = run_without(missing, case, backend)
            if not _refuses(lambda backend=backend, run=run: backend.train(run, 0, 2)):
                survived.append(f"{missing}, strict: {strict}")
    return survived


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except IndexError:
        return True
    return False


def use_and_use_too_short(modes: list[bool]) -> list[list[str]]:
    """Do both."""
    return [use(modes), use_too_short(modes)]
