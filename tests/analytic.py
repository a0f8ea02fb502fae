"""Activations and losses of a complex argument whose imaginary part is infinitesimal.

The complex-step oracle is built on these. They import nothing from the package that they judge, and no derivative
stands among them. Functions with pieces (relu, leaky_relu, elu, selu, |x|, huber) branch on the real part, and every
function is written so that neither part overflows or cancels for arguments within +-1e4. All of them take real
arguments too.
"""

from __future__ import annotations

import numpy as np

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717
LEAKY_SLOPE = 0.01
GELU_SCALE = 0.7978845608028653558798921198687  # sqrt(2/pi)
GELU_CUBIC = 0.044715


# --- elementary functions of a complex argument whose imaginary part is infinitesimal ---------------------------


def log1p(z: np.ndarray) -> np.ndarray:
    """log(1 + z): log|1 + z| + i arg(1 + z), where |1 + z| is 1 + Re z because (Im z)^2 underflows."""
    if not np.iscomplexobj(z):
        return np.log1p(z)
    return np.log1p(z.real) + 1j * np.arctan2(z.imag, 1.0 + z.real)


def expm1(z: np.ndarray) -> np.ndarray:
    """exp(z) - 1: exp(x) cos(y) - 1 is expm1(x) because y^2 underflows."""
    if not np.iscomplexobj(z):
        return np.expm1(z)
    return np.expm1(z.real) + 1j * np.exp(z.real) * np.sin(z.imag)


def piecewise(z: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Choose by the sign of the real part; zero belongs to the negative side."""
    return np.where(z.real > 0, positive, negative)


def minus_abs(z: np.ndarray) -> np.ndarray:
    """-|z|, continued along the real axis."""
    return piecewise(z, -z, z)


# --- activations ------------------------------------------------------------------------------------------------


def identity(z: np.ndarray) -> np.ndarray:
    """z."""
    return z


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1/(1 + exp(-z)) with an exponential that never overflows."""
    e = np.exp(minus_abs(z))
    return piecewise(z, 1.0 / (1.0 + e), e / (1.0 + e))


def tanh(z: np.ndarray) -> np.ndarray:
    """(1 - exp(-2|z|)) / (1 + exp(-2|z|)) with the sign of z; NumPy's complex tanh loses the slope beyond 22."""
    t = expm1(2.0 * minus_abs(z))
    t = t / (2.0 + t)
    return piecewise(z, -t, t)


def relu(z: np.ndarray) -> np.ndarray:
    """max(z, 0)."""
    return piecewise(z, z, 0.0 * z)


def leaky_relu(z: np.ndarray) -> np.ndarray:
    """z or 0.01 z."""
    return piecewise(z, z, LEAKY_SLOPE * z)


def elu(z: np.ndarray) -> np.ndarray:
    """z or exp(z) - 1."""
    return piecewise(z, z, expm1(minus_abs(z)))


def selu(z: np.ndarray) -> np.ndarray:
    """Scaled elu with the two constants that keep mean 0 and variance 1."""
    return SELU_SCALE * piecewise(z, z, SELU_ALPHA * expm1(minus_abs(z)))


def softplus(z: np.ndarray) -> np.ndarray:
    """log(1 + exp(z))."""
    return log1p(np.exp(minus_abs(z))) + relu(z)


def gelu(z: np.ndarray) -> np.ndarray:
    """z/2 (1 + tanh(u)) = z sigmoid(2u), u = sqrt(2/pi)(z + 0.044715 z^3); the second form does not cancel."""
    return z * sigmoid(2.0 * GELU_SCALE * (z + GELU_CUBIC * z * z * z))


def silu(z: np.ndarray) -> np.ndarray:
    """Return z sigmoid(z)."""
    return z * sigmoid(z)


def mish(z: np.ndarray) -> np.ndarray:
    """Return z tanh(log(1 + exp(z)))."""
    return z * tanh(softplus(z))


def surprise(z: np.ndarray) -> np.ndarray:
    """-log softmax(z)_j = log(1 + sum_(k != j) exp(z_k - z_j)) over the last axis.

    With z_j subtracted before the logarithm of the sum, and the 1 left to log1p, value and derivative of a nearly
    certain class keep their digits.
    """
    d = z[..., None, :] - z[..., :, None]
    shift = d.real.max(axis=-1)
    others = (np.exp(d - shift[..., None]) * (1.0 - np.eye(z.shape[-1]))).sum(axis=-1)
    return shift + log1p(others + np.expm1(-shift))


def softmax(z: np.ndarray) -> np.ndarray:
    """exp(z_j) / sum_k exp(z_k) over the last axis."""
    return np.exp(-surprise(z))


ACTIVATIONS = {
    "identity": identity,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "softplus": softplus,
    "gelu": gelu,
    "silu": silu,
    "mish": mish,
}
OUTPUTS = {**ACTIVATIONS, "softmax": softmax, "exp": np.exp}


# --- losses: (..., n_samples, n_outputs) -> (..., n_samples) ----------------------------------------------------


def mse(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean over the outputs of (a - y)^2."""
    return ((a - y) ** 2).mean(axis=-1)


def squared_error(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Half the sum over the outputs of (a - y)^2."""
    return 0.5 * ((a - y) ** 2).sum(axis=-1)


def mae(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean over the outputs of |a - y|; a difference of exactly zero has derivative zero."""
    r = a - y
    return (np.sign(r.real) * r).mean(axis=-1)


def huber(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean over the outputs of r^2/2 where |r| <= 1, else |r| - 1/2."""
    r = a - y
    return np.where(np.abs(r.real) <= 1.0, 0.5 * r * r, np.sign(r.real) * r - 0.5).mean(axis=-1)


def levels(n_outputs: int) -> tuple[float, ...]:
    """Return the quantiles that outputs are to be in all tests: multiples of a quarter, which every dtype has."""
    return ((0.25, 0.75, 0.5) * n_outputs)[:n_outputs]


def quantile(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean over the outputs of q (y - a) where a is below y, of (1 - q) (a - y) above; at y the derivative is zero."""
    r, q = a - y, np.array(levels(y.shape[-1]))
    return np.where(r.real < 0, -q * r, np.where(r.real > 0, (1.0 - q) * r, 0.0 * r)).mean(axis=-1)


def poisson(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum over the outputs of a - y log a, for positive a."""
    return (a - y * np.log(a)).sum(axis=-1)


def cross_entropy_of_logits(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """-sum_j y_j log softmax(z)_j."""
    return (y * surprise(z)).sum(axis=-1)


def binary_cross_entropy_of_logits(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """-sum_j [y log sigmoid(z) + (1 - y) log(1 - sigmoid(z))] = sum_j y softplus(-z) + (1 - y) softplus(z)."""
    return (y * softplus(-z) + (1.0 - y) * softplus(z)).sum(axis=-1)


def poisson_of_logits(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum over the outputs of exp(z) - y z."""
    return (np.exp(z) - y * z).sum(axis=-1)


LOSSES = {
    "mse": mse,
    "squared_error": squared_error,
    "mae": mae,
    "huber": huber,
    "quantile": quantile,
    "poisson": poisson,
}
NATURAL_LINKS = {
    ("cross_entropy", "softmax"): cross_entropy_of_logits,
    ("binary_cross_entropy", "sigmoid"): binary_cross_entropy_of_logits,
    ("poisson", "exp"): poisson_of_logits,
}
