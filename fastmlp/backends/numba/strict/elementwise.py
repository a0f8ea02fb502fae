"""What acts on one number at a time, as loops: activations, derivatives, losses, optimizer rules.

The functions are the tables' own, computed in binary64 and rounded to the arrays' dtype when stored, so all
backends share them. Each loop has its function compiled in; which loop runs is decided once for an array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp import activations, losses, optimizers
from fastmlp.backends.numba.calls import ACTIVATION_CODES, LOSS_CODES, RULE_CODES
from fastmlp.backends.numba.jit import exact
from fastmlp.elementary import exp, log, sigmoid, softplus, tanh

_IDENTITY, _SIGMOID, _TANH, _RELU, _LEAKY_RELU, _ELU, _SELU, _SOFTPLUS, _GELU, _SILU, _MISH, _ = (
    ACTIVATION_CODES[name] for name in activations.ACTIVATIONS
)
SOFTMAX = ACTIVATION_CODES[activations.SOFTMAX]


def _named(loop: Callable[..., None], function: Callable[..., Any]) -> Any:
    """Compile a loop under its function's name.

    A linker takes compiled functions of one name for the same, and Numba's names hold the qualified name, the types,
    and a number that another process gives to another function: kernels kept by two processes would mix them up.
    """
    loop.__qualname__ = f"loop_over_{function.__name__}"
    return exact(loop)


def _forward_loop(function: Callable[[Any], Any]) -> Any:
    def loop(Z: Any, A: Any) -> None:
        for i in range(Z.size):
            A[i] = function(np.float64(Z[i]))

    return _named(loop, function)


def _derivative_loop(function: Callable[[Any, Any], Any]) -> Any:
    def loop(Z: Any, A: Any, delta: Any) -> None:
        for i in range(Z.size):
            delta[i] = np.float64(delta[i]) * function(np.float64(Z[i]), np.float64(A[i])) + 0.0

    return _named(loop, function)


_sigmoid, _sigmoid_derivative = _forward_loop(sigmoid), _derivative_loop(activations.sigmoid_derivative)
_tanh, _tanh_derivative = _forward_loop(tanh), _derivative_loop(activations.tanh_derivative)
_relu, _relu_derivative = _forward_loop(activations.relu), _derivative_loop(activations.relu_derivative)
_leaky_relu, _leaky_relu_derivative = (
    _forward_loop(activations.leaky_relu),
    _derivative_loop(activations.leaky_relu_derivative),
)
_elu, _elu_derivative = _forward_loop(activations.elu), _derivative_loop(activations.elu_derivative)
_selu, _selu_derivative = _forward_loop(activations.selu), _derivative_loop(activations.selu_derivative)
_softplus, _softplus_derivative = _forward_loop(softplus), _derivative_loop(activations.softplus_derivative)
_gelu, _gelu_derivative = _forward_loop(activations.gelu), _derivative_loop(activations.gelu_derivative)
_silu, _silu_derivative = _forward_loop(activations.silu), _derivative_loop(activations.silu_derivative)
_mish, _mish_derivative = _forward_loop(activations.mish), _derivative_loop(activations.mish_derivative)
_exp = _forward_loop(exp)


@exact
def activate(code: int, z: Any, a: Any) -> None:
    """Write the activation of z to a, both flat; softmax has a function of its own."""
    if code == _RELU:
        _relu(z, a)
    elif code == _IDENTITY:
        for i in range(z.size):
            a[i] = z[i]
    elif code == _TANH:
        _tanh(z, a)
    elif code == _SIGMOID:
        _sigmoid(z, a)
    elif code == _LEAKY_RELU:
        _leaky_relu(z, a)
    elif code == _ELU:
        _elu(z, a)
    elif code == _SELU:
        _selu(z, a)
    elif code == _SOFTPLUS:
        _softplus(z, a)
    elif code == _GELU:
        _gelu(z, a)
    elif code == _SILU:
        _silu(z, a)
    elif code == _MISH:
        _mish(z, a)
    else:
        _exp(z, a)


@exact
def multiply_derivative(code: int, z: Any, a: Any, delta: Any) -> None:
    """Multiply delta with the derivative of a hidden activation; all of shape (n * size,)."""
    if code == _RELU:
        _relu_derivative(z, a, delta)
    elif code == _TANH:
        _tanh_derivative(z, a, delta)
    elif code == _SIGMOID:
        _sigmoid_derivative(z, a, delta)
    elif code == _LEAKY_RELU:
        _leaky_relu_derivative(z, a, delta)
    elif code == _ELU:
        _elu_derivative(z, a, delta)
    elif code == _SELU:
        _selu_derivative(z, a, delta)
    elif code == _SOFTPLUS:
        _softplus_derivative(z, a, delta)
    elif code == _GELU:
        _gelu_derivative(z, a, delta)
    elif code == _SILU:
        _silu_derivative(z, a, delta)
    elif code == _MISH:
        _mish_derivative(z, a, delta)
    else:  # identity: times 1
        for i in range(delta.size):
            delta[i] = delta[i] + delta.dtype.type(0)


@exact
def derivative(code: int, z: float, a: float) -> float:
    """Return the derivative of an output activation, softmax apart, at one place."""
    if code == _IDENTITY:
        return activations.identity_derivative(z, a)
    if code == _SIGMOID:
        return activations.sigmoid_derivative(z, a)
    if code == _TANH:
        return activations.tanh_derivative(z, a)
    if code == _RELU:
        return activations.relu_derivative(z, a)
    if code == _LEAKY_RELU:
        return activations.leaky_relu_derivative(z, a)
    if code == _ELU:
        return activations.elu_derivative(z, a)
    if code == _SELU:
        return activations.selu_derivative(z, a)
    if code == _SOFTPLUS:
        return activations.softplus_derivative(z, a)
    if code == _GELU:
        return activations.gelu_derivative(z, a)
    if code == _SILU:
        return activations.silu_derivative(z, a)
    if code == _MISH:
        return activations.mish_derivative(z, a)
    return activations.exp_derivative(z, a)


@exact
def top_of(z: Any) -> float:
    """Return the largest entry of a row."""
    top = np.float64(z[0])
    for j in range(1, z.size):
        if z[j] > top:
            top = np.float64(z[j])
    return top


@exact
def softmax(size: int, Z: Any, A: Any, wide: Any, log_sums: Any) -> None:
    """Write softmax of the rows of Z to A, and of each row log(sum of e**(z - top)), its largest entry being top."""
    powers = wide[:size]
    for i in range(log_sums.size):
        z, a = Z[i * size : (i + 1) * size], A[i * size : (i + 1) * size]
        top = top_of(z)
        for j in range(size):
            powers[j] = exp(np.float64(z[j]) - top)
        total = 0.0
        for j in range(size):
            total += powers[j]
        for j in range(size):
            a[j] = powers[j] / total
        log_sums[i] = log(total)


_MSE, _SQUARED_ERROR, _MAE, _HUBER, _QUANTILE, _CROSS_ENTROPY, _BINARY_CROSS_ENTROPY, _POISSON = (
    LOSS_CODES[name] for name in losses.LOSSES
)


@exact
def loss_value(code: int, linked: int, z: float, a: float, y: float, p: float) -> float:
    """Return an output's share of the loss."""
    if code == _MSE:
        return losses.mse(z, a, y, p)
    if code == _SQUARED_ERROR:
        return losses.squared_error(z, a, y, p)
    if code == _MAE:
        return losses.mae(z, a, y, p)
    if code == _HUBER:
        return losses.huber(z, a, y, p)
    if code == _QUANTILE:
        return losses.quantile(z, a, y, p)
    if code == _CROSS_ENTROPY:
        return losses.cross_entropy(z, a, y, p)
    if code == _BINARY_CROSS_ENTROPY:
        return losses.binary_cross_entropy(z, a, y, p)
    return losses.poisson_link(z, a, y, p) if linked else losses.poisson(z, a, y, p)


@exact
def loss_slope(code: int, a: float, y: float, p: float) -> float:
    """Return the derivative of that share with respect to a, for a loss without its natural link."""
    if code == _MSE:
        return losses.mse_slope(a, y, p)
    if code == _SQUARED_ERROR:
        return losses.squared_error_slope(a, y, p)
    if code == _MAE:
        return losses.mae_slope(a, y, p)
    if code == _HUBER:
        return losses.huber_slope(a, y, p)
    if code == _QUANTILE:
        return losses.quantile_slope(a, y, p)
    return losses.poisson_slope(a, y, p)


_MOMENTUM = RULE_CODES["momentum"]


@exact
def apply_rule(rule: int, w: Any, g: Any, s: Any, t: Any, row: Any) -> None:
    """Do one step for parameters w, of shape (n,), with a row of coefficients."""
    c = (row[0], row[1], row[2], row[3], row[4], row[5])
    if rule == _MOMENTUM:
        for i in range(w.size):
            s[i] = optimizers.momentum_states(np.float64(g[i]), np.float64(s[i]), 0.0, c)[0]
            w[i] = optimizers.momentum_parameter(np.float64(w[i]), np.float64(g[i]), np.float64(s[i]), 0.0, c)
    else:
        for i in range(w.size):
            s[i], t[i] = optimizers.adam_states(np.float64(g[i]), np.float64(s[i]), np.float64(t[i]), c)
            w[i] = optimizers.adam_parameter(np.float64(w[i]), np.float64(g[i]), np.float64(s[i]), np.float64(t[i]), c)
