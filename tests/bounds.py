"""Every number that a test compares with, and where it comes from.

No other module of the tests holds a tolerance. A bound is either exact (nothing rounds, so nothing may differ),
derived from the unit roundoff and the number of operations, or measured over a stated population and then rounded
up; which of the three it is stands beside it.
"""

from __future__ import annotations

import numpy as np

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}
"""u: half the distance from 1 to the next larger number (IEEE 754, rounding to nearest)."""

SMALLEST_NORMAL = {"float32": 2.0**-126, "float64": 2.0**-1022}
"""Below it a number has fewer digits, and relative bounds no longer hold (IEEE 754)."""

COMPLEX_STEP = 1e-200
"""h of the complex step: f(x + ih) = f(x) + ih f'(x) - h^2/2 f''(x) ...

Its square underflows to zero, so the formula Im f(x + ih)/h has no truncation error at all, and h itself is far
enough from the smallest normal number (1e-308) that derivatives down to 1e-108 keep all their digits.
"""

GRADIENT = 1e-12
"""max|difference| / max|gradient| of one tensor in binary64, against the complex step.

The complex step does not truncate; what is left is the rounding of two different orders of the same sums. An
entry goes through at most some 200 rounded operations in the networks generated here (depth up to five, fan-in and
batch up to 31), so 200 u = 2e-14 without cancellation; the rest of the room, a factor of 45, is for sums that
cancel. Networks whose own rounding noise (`SIGMAS` sigmas of it) would not fit are redrawn: they would measure their
conditioning, not the implementation. A wrong factor of 1 + 1e-6 is a million times larger, and central differences,
good to 5e-8, could not be held to this.
"""

SIGMAS = 16.0
"""Largest difference of one tensor in units of its own rounding noise (`statistic.sigmas`).

Measured, not derived: the worst-case bound propagated through a network exceeds the real error by many orders and
would let every bug pass, and C * u * max|g| fails on ill-conditioned networks. Rounding errors behave like
independent noise of size u(|A||B| + |b|) in every primitive; over 25,000 random networks the largest difference
seen was 7.7 of the sigmas estimated from six such reruns.  16 is twice that.
"""

RERUNS = 6
"""Noisy reruns from which sigma is estimated.

The estimate from six Gaussian draws of a single entry is below a quarter of the true value once in 1,000 times (the
chi-squared distribution with six degrees of freedom), and more entries make that rarer.
"""

DRIFT = 0.25
"""What a sum of n terms adds to the noise: u DRIFT sqrt(n) |sum| beside u (sum of |terms|).

A running sum that grows steadily to S is on the way S/sqrt(3) large (root mean square) and rounded n times, each time
by some 0.4 u of its size (root mean square over all mantissas, at most 0.58): sqrt(n) 0.4/sqrt(3) = 0.23 sqrt(n) in
units of u S. Without it batches of more than some thousand samples in float32 leave the 16 sigmas.
"""

SIGMA_SPREAD = 8.0
"""Largest ratio of two such estimates: a quarter and twice the true value are each rarer than 1 in 1,000."""

NOISE = 2.0**-40
"""Size of the noise in the reruns, which are computed in binary64, in place of u.

The reaction to noise of this size is linear, so it is scaled to the u of either dtype afterwards. It lies in the
middle: large against u = 2**-53, so that adding it is not itself rounded away, and small against the distances to
the next kink, which are u = 2**-24 and more.
"""

STEEPEST = 1.76
"""No activation but exp has a slope above this: selu has 1.7581, scale times alpha; the others stay below 1.13."""

ACTIVATION_ROUNDINGS = 8
"""Relative roundings that one activation may cost; the table of ulps below stays under it where A is not tiny."""


ROUNDINGS_OF_DELTA = 4
"""What a term of a gradient's inner product loses beside the sum: 1/n, its storage, the product with it, and one for
the scaling of the result in backends that divide last."""

ACTIVATION_ULPS = {
    "identity": 0.0,
    "relu": 0.0,
    "leaky_relu": 1.0,
    "exp": 3.0,
    "tanh": 3.0,
    "elu": 3.0,
    "sigmoid": 4.0,
    "softplus": 4.0,
    "selu": 4.0,
    "silu": 4.0,
    "mish": 4.0,
    "gelu": 4.0,
}
"""Largest error of an activation for an exact argument, in ulp of its result, on any backend and in either dtype.

Identity and relu copy. For the others this is a requirement, set where careful implementations are: an exponential
within 1 ulp (2.5 for the vectorised float32 one of NumPy), plus half an ulp for each further operation. Largest
seen over `primitives.points`: 2.5, and 3.2 of mish, whose gate takes e**z twice.
"""

MIXED_ERROR = ("gelu",)
"""Activations whose error is counted in ulp of the argument beside those of the result.

The exponent of gelu's gate is itself computed, and its relative error weighs as much as the exponent is large, up to
745 where the gate underflows; seen from z it is still an error of a few ulp.
"""

SOFTMAX_ULPS = 4.0
"""The same for softmax, in ulp of the result times 1 + (largest logit - own logit): the difference of logits rounds,
and the exponential passes its absolute error on as a relative one. Largest seen: 1.4."""

SLOPE_ROUNDINGS = 8
"""Largest error of a derivative, in units of u. Derivatives are of order one (`STEEPEST`); those computed from the
output inherit its ulp, times 2 for tanh, 1 - a^2. Largest seen: 4.3."""


def gamma(n: int, dtype: str) -> float:
    """Return gamma_n = n u / (1 - n u): the bound of n successive roundings.

    A computed inner product of k terms plus a bias, in whatever order and with or without fused multiply-add,
    satisfies |computed - exact| <= gamma_(k+1) (|a|.|b| + |bias|): N. Higham, Accuracy and Stability of Numerical
    Algorithms, 2nd ed., section 3.1. Two computed values may therefore differ by twice that.
    """
    nu = n * UNIT_ROUNDOFF[dtype]
    return nu / (1.0 - nu)


def ulp(value: np.ndarray, dtype: str) -> np.ndarray:
    """Return the distance between neighbouring numbers of `dtype` at `value` (gradual underflow included)."""
    floor = SMALLEST_NORMAL[dtype]
    _, exponent = np.frexp(np.maximum(np.abs(value), floor))
    return np.ldexp(2.0 * UNIT_ROUNDOFF[dtype], exponent - 1)


# --- random draws ---

DEVIATIONS = 5.0
"""How far a mean of many independent draws may be from what is expected of it, in standard deviations of that mean.

Such a mean is nearly normal, and a normal number is further out once in 1.7 million times.  Seeds are fixed: a test
that passes goes on passing.  How large the standard deviation is follows from the distribution, where it is used.
"""

# --- elementary functions ---

ELEMENTARY_ULPS = {
    "exp": 1.0,
    "log": 1.0,
    "expm1": 2.0,
    "log1p": 2.0,
    "tanh": 3.0,
    "sigmoid": 3.0,
    "sigmoid_slope": 4.0,
    "softplus": 3.0,
}
"""Largest error of our own functions in ulp of binary64: what their docstrings promise, no less.

exp and log lose half an ulp in their last operation and less than that before it: the reduced argument is good to
2**-53 of an ulp of its integer part, the polynomials to 2**-57.  The others add half an ulp for each further operation
(tanh: two sums, one quotient, on twice the relative error of expm1 at most; sigmoid_slope: two products and a
quotient).
"""

COSINE_ERROR = 4e-16
"""Largest absolute error of cos between 0 and pi, as its docstring promises: less than 2 ulp of 1 (2.2e-16).

Each of the reflections at pi/2 and pi/4 rounds once, the constants pi and pi/2 are off by 1.2e-16, the nine terms fall
off so fast that only the first two roundings count, and the tenth is below 1e-18.
"""

# --- optimizers ---

ROUNDINGS_OF_STEP = 16
"""Roundings that one step of an optimizer adds to a parameter, relative to the sizes of its terms.

Each running mean: two products, a sum, its storage, and the square of the gradient; the root, which halves what came
in, and epsilon; the correction of the means, a power of beta, a difference, a root and two quotients; the rate's
product and the quotient; the share that decays; the sum with the parameter.  16 in the longest of them, and after t
steps less than 16 t, for of the earlier ones only the running means are left.  Largest seen: 2.
"""

# --- losses of large logits ---

ROUNDINGS_OF_LOGIT_LOSS = 16
"""Roundings in a cross-entropy, or in its delta, of one sample with up to three outputs.

Each logit, its difference from the largest, and the result once: 3.  An exponential, their sum, its logarithm and the
quotient: 2 + 2 + 2 + 2, the elementary functions counted with 2 units of u for their 1 ulp.  11 in all.  For the loss
they are relative to the loss and the 1 of which the logarithm is taken (log of 1 + e**-z, or of a sum that begins with
e**0); for delta, to what is subtracted, a and y.
"""

# --- scikit-learn's estimators ---

PARITY = {"float64": 1e-9, "float32": 2e-3}
"""max|difference| / max|value| of one array of coefficients or losses, ours against scikit-learn's, after some epochs.

Rounding of either side is of size u a step, and training multiplies it: by less than 10 a step on the problems of the
tests, whose rates are small.  Measured over the generated product and rounded up: 6e-13 and 1e-4 are the largest seen,
and a training that follows other draws, or another rule, is off by 1e-3 and more in binary64.
"""

PINBALL_EXCESS = 1.004
"""How many times the least pinball loss of a linear model gradients may leave: the loss has kinks, around which steps
go to and fro, so the end is a neighbourhood. The largest seen was 1.0004, over 20 draws of the data and 3 quantiles."""

CENTRAL_DIFFERENCE = 1e-6
"""Largest error of (f(x + h) - f(x - h)) / 2h with h = 1e-5 for a loss, beside its slope, or 1 where that is smaller.

What is cut off is h^2/6 times a third derivative of order one, 2e-11; what rounds is u f/h, 1e-11 times a loss of up to
some ten thousand over a slope as large.  Rounded up, and still far from a wrong factor or a forgotten term.
"""
