"""Training with all samples at once: L-BFGS of SciPy, on a backend's loss and gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import count
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from fastmlp.backends.base import Backend, Batch, Floats
from fastmlp.estimators.telling import warn
from fastmlp.parameters import Parameters


class Limits(NamedTuple):
    """Where a minimisation ends: the parameters of an estimator that say so."""

    max_iter: int
    max_fun: int
    tol: float


class Found(NamedTuple):
    """The loss at the end, and how many iterations led there."""

    loss: float
    n_iter: int


def minimise(
    backend: Backend,
    parameters: Parameters,
    batch: Batch,
    limits: Limits,
    iteration_ends: Callable[[int, float], bool],
) -> Found:
    """Bring the parameters to a minimum of the batch's loss.

    `iteration_ends` gets the number of each iteration, and its loss; where it returns True, that was the last.

    Warns
    -----
    ConvergenceWarning
        If a limit, or rounding, ended it before the gradient fell below `tol`.
    """
    gradient = Parameters.empty(backend.spec)

    def loss_and_gradient(flat: Floats) -> tuple[float, Floats]:
        parameters.flat[...] = flat
        loss = backend.loss_and_gradient(parameters, batch, gradient)
        return loss, gradient.flat.astype(np.float64)

    numbers, wants_more = count(1), True

    # SciPy passes the result so far only to a parameter of this name.
    def each(intermediate_result) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        nonlocal wants_more
        parameters.flat[...] = intermediate_result.x
        wants_more = not iteration_ends(next(numbers), float(intermediate_result.fun))
        if not wants_more:
            raise StopIteration

    with _linear_algebra().limit(limits=1):
        result = minimize(
            loss_and_gradient,
            parameters.flat.astype(np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=each,
            options={"maxfun": limits.max_fun, "maxiter": limits.max_iter, "gtol": limits.tol},
        )
    parameters.flat[...] = result.x
    n_iter = min(int(result.nit), limits.max_iter)
    if result.status != 0 and wants_more:
        message = (
            f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}): {result.message}; "
            f"raise max_iter (now {limits.max_iter}) or max_fun (now {limits.max_fun}), or scale the data"
        )
        warn(message, ConvergenceWarning)
    return Found(float(result.fun), n_iter)


@cache
def _linear_algebra() -> ThreadpoolController:
    """Return what limits the threads of SciPy's BLAS, but not of NumPy's own.

    Between two gradients L-BFGS does a hundred short products, for which waking up a second thread takes longer than
    the product: up to 28 times longer, all in all, on a machine that has other things to do.
    """
    controller = ThreadpoolController()
    others = [library["filepath"] for library in controller.info() if "numpy.libs" not in library["filepath"]]
    return controller.select(filepath=others)
