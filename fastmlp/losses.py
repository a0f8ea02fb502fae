"""The losses: a table with one row each.

A row gives an output's share of a sample's loss, and the slope of that share, as functions of Z, A, the target y and
p, the number that the loss has for the output (its quantile). The sum over a row's outputs (its mean, for the losses
that are means) is the sample's loss; the weighted mean over samples is the loss. With softmax, Z stands for log A.

A loss with its natural link (the output activation whose derivative cancels the loss's) is computed from
logits, and its delta is a - y: exact, with no clipping, for logits of any size.

References
----------
C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 4.3.6 (canonical link functions).
P. J. Huber, *Robust Estimation of a Location Parameter*, 1964.
R. Koenker and G. Bassett, *Regression Quantiles*, Econometrica 46, 1978 (the loss of a quantile).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastmlp.activations import OUTPUT_ACTIVATIONS, POSITIVE_OUTPUTS, SOFTMAX
from fastmlp.elementary import Real, exp, log, log1p, where

HUBER_DELTA = 1.0
QUANTILE = "quantile"
MEDIAN = 0.5

DOMAINS = {
    "real": "finite numbers",
    "nonnegative": "numbers not below 0",
    "unit": "numbers between 0 and 1",
    "distribution": "class indices, or rows that sum to one",
}


Value = Callable[[Any, Any, Any, Any], Any]


def _absent(*arguments: Any) -> Any:
    raise TypeError("this loss has no such function: it is computed through its natural link, or has none")


@dataclass(frozen=True)
class Loss:
    """A row of the table.

    Attributes
    ----------
    outputs : tuple of str
        Output activations that the loss makes sense with.
    value : callable
        An output's share of the loss, from z, a, y and p. Not there, like `slope`, where only the natural link
        is allowed.
    slope : callable
        The derivative of that share with respect to a, from a, y and p.
    link : str or None
        The natural link. With it `link_value` stands for `value`, and delta is a - y.
    link_value : callable
        An output's share of the loss from logits: from z, a, y and p.
    averaged : bool
        Whether a sample's loss is the mean over its outputs, not the sum.
    domain : str
        The targets allowed, a key of `DOMAINS`.
    """

    outputs: tuple[str, ...] = OUTPUT_ACTIVATIONS
    value: Value = _absent
    slope: Callable[[Any, Any, Any], Any] = _absent
    link: str | None = None
    link_value: Value = _absent
    averaged: bool = False
    domain: str = "real"

    def value_with(self, output: str) -> Value:
        """Return what gives an output's share of the loss under an output activation."""
        return self.link_value if output == self.link else self.value


def squared_error(z: Real, a: Real, y: Real, p: Real) -> Real:
    """Return (a - y)**2 / 2."""
    return 0.5 * ((a - y) * (a - y))


def squared_error_slope(a: Real, y: Real, p: Real) -> Real:
    """Return a - y."""
    return a - y


def mse(z: Real, a: Real, y: Real, p: Real) -> Real:
    """Return (a - y)**2."""
    return (a - y) * (a - y)


def mse_slope(a: Real, y: Real, p: Real) -> Real:
    """Return 2 (a - y)."""
    return 2.0 * (a - y)


def mae(z: Real, a: Real, y: Real, p: Real) -> Real:
    """Return abs(a - y)."""
    return where(a < y, y - a, a - y)


def mae_slope(a: Real, y: Real, p: Real) -> Real:
    """Return the sign of a - y, 0 at 0."""
    return where(a < y, -1.0, where(a > y, 1.0, a - y))


def huber(z: Real, a: Real, y: Real, p: Real) -> Real:
    """Return half the square of a - y up to delta, and the tangent line beyond."""
    distance = where(a < y, y - a, a - y)
    return where(distance <= HUBER_DELTA, 0.5 * (distance * distance), HUBER_DELTA * (distance - 0.5 * HUBER_DELTA))


def huber_slope(a: Real, y: Real, p: Real) -> Real:
    """Return a - y, cut off at delta."""
    error = a - y
    return where(error > HUBER_DELTA, HUBER_DELTA, where(error < -HUBER_DELTA, -HUBER_DELTA, error))


def quantile(z: Real, a: Real, y: Real, p: Real) -> Real:
    """Return p (y - a) below y, (1 - p) (a - y) above: in expectation least where y is below a with probability p."""
    return where(a < y, p * (y - a), (1.0 - p) * (a - y))


def quantile_slope(a: Real, y: Real, p: Real) -> Real:
    """Return -p below y, 1 - p above, 0 at y."""
    return where(a < y, 0.0 - p, where(a > y, 1.0 - p, a - y))


def cross_entropy(log_a: Real, a: Real, y: Real, p: Real) -> Real:
    """Return -y log a, from log a."""
    return where(y == 0.0, 0.0, -(y * log_a))


def binary_cross_entropy(z: Real, a: Real, y: Real, p: Real) -> Real:
    """Return -y log a - (1 - y) log(1 - a) for a = sigmoid(z), from z."""
    return (where(z < 0.0, 0.0, z) - y * z) + log1p(exp(where(z < 0.0, z, -z)))


def poisson(z: Real, a: Real, y: Real, p: Real) -> Real:
    """Return a - y log a; y = 0 leaves a, even at a = 0."""
    return a - where(y == 0.0, 0.0, y * log(a))


def poisson_slope(a: Real, y: Real, p: Real) -> Real:
    """Return 1 - y/a."""
    at_zero = a == 0.0
    return 1.0 - where(y == 0.0, 0.0, where(at_zero, y * math.inf, y / where(at_zero, 1.0, a)))


def poisson_link(z: Real, a: Real, y: Real, p: Real) -> Real:
    """Return a - y log a for a = exp(z), from z."""
    return a - y * z


LOSSES = {
    "mse": Loss(value=mse, slope=mse_slope, averaged=True),
    "squared_error": Loss(value=squared_error, slope=squared_error_slope),
    "mae": Loss(value=mae, slope=mae_slope, averaged=True),
    "huber": Loss(value=huber, slope=huber_slope, averaged=True),
    QUANTILE: Loss(value=quantile, slope=quantile_slope, averaged=True),
    "cross_entropy": Loss((SOFTMAX,), link=SOFTMAX, link_value=cross_entropy, domain="distribution"),
    "binary_cross_entropy": Loss(("sigmoid",), link="sigmoid", link_value=binary_cross_entropy, domain="unit"),
    "poisson": Loss(
        POSITIVE_OUTPUTS, poisson, poisson_slope, link="exp", link_value=poisson_link, domain="nonnegative"
    ),
}
