"""The strict kernels: forward, losses, gradient, and a whole run of training steps, each one call without Python.

They read top-down from `train`, at the end, to single layers, at the start; shapes are in `layout`. Nothing is
allocated: a batch of n samples uses the first values of `memory.values`, cut into blocks of n rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp import dropout
from fastmlp.backends.numba import overloads  # noqa: F401  overloads registers the tables' functions
from fastmlp.backends.numba.calls import Floats1, Key, ReadIntegers1, ReadIntegers2, Samples, Steps, Trainee
from fastmlp.backends.numba.jit import exact
from fastmlp.backends.numba.strict import layout
from fastmlp.backends.numba.strict.elementwise import (
    SOFTMAX,
    activate,
    apply_rule,
    derivative,
    loss_slope,
    loss_value,
    multiply_derivative,
    softmax,
    top_of,
)
from fastmlp.backends.numba.strict.layout import (
    AVERAGED,
    DROP_BELOW,
    HEADER,
    INPUT_SCALE,
    KEPT_FACTOR,
    LINKED,
    LOSS,
    LOSS_NUMBERS,
    N_LAYERS,
    Memory,
    Network,
)
from fastmlp.backends.numba.strict.products import (
    affine,
    back,
    bias_gradient,
    fill,
    weight_gradient,
)
from fastmlp.optimizers import N_COEFFICIENTS

_Z, _A, _DELTA = layout.Z, layout.A, layout.DELTA
_DROPPED, _FACTORS, _N_BLOCKS = layout.DROPPED, layout.FACTORS, layout.N_BLOCKS
_INPUT, _FIRST = layout.INPUT, layout.FIRST

# ---- where things are


@exact
def size_of(integers: Any, layer: int) -> int:
    """Return the number of a layer's outputs; of the network's inputs for layer -1."""
    return integers[HEADER + layer + 1]


@exact
def activation_of(integers: Any, layer: int) -> int:
    """Return the code of a layer's activation."""
    return integers[HEADER + integers[N_LAYERS] + 1 + layer]


@exact
def block(integers: Any, values: Any, n: int, layer: int, part: int) -> Any:
    """Return a layer's Z, A, delta, dropped A or dropout factors, flat with n rows.

    The network's inputs, scaled if there is a scale, count as the A of layer -1; the targets as its delta.
    """
    n_in, n_out = size_of(integers, _INPUT), size_of(integers, integers[N_LAYERS] - 1)
    if layer < 0:
        return values[: n * n_in] if part == _A else values[n * n_in : n * (n_in + n_out)]
    column = n_in + n_out
    for before in range(layer):
        column += _N_BLOCKS * size_of(integers, before)
    size = size_of(integers, layer)
    column += part * size
    return values[n * column : n * (column + size)]


@exact
def layer_of(integers: Any, flat: Any, layer: int) -> Any:
    """Return W (fan_in * fan_out,) and b (fan_out,) of a layer in a flat vector."""
    start = 0
    for before in range(layer):
        start += (size_of(integers, before - 1) + 1) * size_of(integers, before)
    fan_in, fan_out = size_of(integers, layer - 1), size_of(integers, layer)
    middle = start + fan_in * fan_out
    return flat[start:middle], flat[middle : middle + fan_out]


@exact
def scale_of(integers: Any, flat: Any) -> Any:
    """Return the input scale (n_in,), the last of a flat vector; nothing where there is none."""
    return flat[flat.size - (size_of(integers, _INPUT) if integers[INPUT_SCALE] else 0) :]


@exact
def inputs_of(net: Any, values: Any, n: int, layer: int, dropping: bool) -> Any:
    """Return what enters a layer: the A of the one before, after dropout, or the network's inputs."""
    return block(net.integers, values, n, layer - 1, _DROPPED if dropping and layer > 0 else _A)


# ---- forward


@exact
def forward(net: Any, n: int, memory: Any, key: Any) -> None:
    """Run n gathered samples through all layers: writes Z and A of each, and what dropout makes of A.

    `key` is (whether units are dropped, seed, step).
    """
    integers, values = net.integers, memory.values
    for layer in range(integers[N_LAYERS]):
        W, b = layer_of(integers, net.flat, layer)
        inputs = inputs_of(net, values, n, layer, key[0])
        Z, A = block(integers, values, n, layer, _Z), block(integers, values, n, layer, _A)
        affine(n, inputs, W, b, memory.wide, Z)
        if activation_of(integers, layer) == SOFTMAX:
            softmax(b.size, Z, A, memory.wide, memory.log_sums[:n])
        else:
            activate(activation_of(integers, layer), Z, A)
        if key[0] and layer < integers[N_LAYERS] - 1:
            drop(net, n, layer, values, key)


@exact
def drop(net: Any, n: int, layer: int, values: Any, key: Any) -> None:
    """Write a layer's dropout factors, and its A times them."""
    A, dropped = block(net.integers, values, n, layer, _A), block(net.integers, values, n, layer, _DROPPED)
    factors = block(net.integers, values, n, layer, _FACTORS)
    layer_key = dropout.layer_key(key[1], key[2], layer)
    below, kept, size = net.integers[DROP_BELOW], net.floats[KEPT_FACTOR], size_of(net.integers, layer)
    for i in range(n):
        for j in range(size):
            factor = kept if dropout.unit_hash(layer_key, i, j) >= below else 0.0
            factors[i * size + j] = factor
            dropped[i * size + j] = np.float64(A[i * size + j]) * factor


# ---- loss


@exact
def sample_loss(net: Any, n: int, memory: Any, i: int) -> float:
    """Return the loss of sample i of a batch of n whose forward is done."""
    integers = net.integers
    last = integers[N_LAYERS] - 1
    size = size_of(integers, last)
    z = block(integers, memory.values, n, last, _Z)[i * size : (i + 1) * size]
    a = block(integers, memory.values, n, last, _A)[i * size : (i + 1) * size]
    y = block(integers, memory.values, n, _INPUT, _DELTA)[i * size : (i + 1) * size]
    is_softmax = activation_of(integers, last) == SOFTMAX
    top = top_of(z) if is_softmax else 0.0
    total = 0.0
    for j in range(size):
        logit = np.float64(z[j])
        if is_softmax:  # the loss takes log A
            logit = (logit - top) - memory.log_sums[i]
        p = net.floats[LOSS_NUMBERS + j]
        total += loss_value(integers[LOSS], integers[LINKED], logit, np.float64(a[j]), np.float64(y[j]), p)
    return total / size if integers[AVERAGED] else total


@exact
def mean_loss(net: Any, n: int, weights: Any, total: float, memory: Any) -> float:
    """Return the loss of a batch whose forward is done; `weights` (n,) has no entries for all one."""
    loss = 0.0
    for i in range(n):
        value = sample_loss(net, n, memory, i)
        loss += value * weights[i] if weights.size else value
    return loss / total


@exact
def penalty(net: Any, l2: float) -> float:
    """Return what l2 adds to the loss."""
    return 0.5 * l2 * sum_of_squares(net) if l2 != 0.0 else 0.0


@exact
def sum_of_squares(net: Any) -> float:
    """Return the sum of all squared weights."""
    total = 0.0
    for layer in range(net.integers[N_LAYERS]):
        w, _ = layer_of(net.integers, net.flat, layer)
        subtotal = 0.0
        for i in range(w.size):
            subtotal += np.float64(w[i]) * np.float64(w[i])
        total += subtotal
    return total


# ---- backward


@exact
def output_delta(net: Any, n: int, weights: Any, total: float, memory: Any) -> None:
    """Write delta of the last layer."""
    integers, values = net.integers, memory.values
    last = integers[N_LAYERS] - 1
    size = size_of(integers, last)
    Z, A = block(integers, values, n, last, _Z), block(integers, values, n, last, _A)
    delta, Y = block(integers, values, n, last, _DELTA), block(integers, values, n, _INPUT, _DELTA)
    for i in range(n):
        start, stop = i * size, (i + 1) * size
        share = (weights[i] if weights.size else 1.0) / total
        if integers[AVERAGED]:
            share /= size
        row_delta(net, Z[start:stop], A[start:stop], Y[start:stop], share, delta[start:stop])


@exact
def row_delta(net: Any, z: Any, a: Any, y: Any, share: float, delta: Any) -> None:
    """Write the output delta of one sample that is `share` of its batch."""
    activation, loss = activation_of(net.integers, net.integers[N_LAYERS] - 1), net.integers[LOSS]
    p = net.floats[LOSS_NUMBERS:]
    if net.integers[LINKED]:
        mass = sum_of_row(y) if activation == SOFTMAX else 1.0
        for j in range(y.size):
            delta[j] = share * (np.float64(a[j]) * mass - np.float64(y[j]))
    elif activation == SOFTMAX:  # through the Jacobian, diag(a) - a a.T
        mean = mean_slope(loss, a, y, p)
        for j in range(y.size):
            slope = loss_slope(loss, np.float64(a[j]), np.float64(y[j]), p[j])
            delta[j] = share * (np.float64(a[j]) * (slope - mean))
    else:
        for j in range(y.size):
            slope = loss_slope(loss, np.float64(a[j]), np.float64(y[j]), p[j])
            delta[j] = share * (slope * derivative(activation, np.float64(z[j]), np.float64(a[j])))


@exact
def sum_of_row(y: Any) -> float:
    """Return the sum of a row."""
    total = 0.0
    for j in range(y.size):
        total += np.float64(y[j])
    return total


@exact
def mean_slope(loss: int, a: Any, y: Any, p: Any) -> float:
    """Return the mean of the loss's slopes under the distribution a."""
    mean = 0.0
    for j in range(y.size):
        mean += np.float64(a[j]) * loss_slope(loss, np.float64(a[j]), np.float64(y[j]), p[j])
    return mean


@exact
def backward(net: Any, n: int, memory: Any, dropping: bool, l2: float, gradient: Any) -> None:
    """Run delta back through the layers and write the gradient (n_params,)."""
    integers, values = net.integers, memory.values
    for layer in range(integers[N_LAYERS] - 1, -1, -1):
        W, _ = layer_of(integers, net.flat, layer)
        dW, db = layer_of(integers, gradient, layer)
        delta, inputs = block(integers, values, n, layer, _DELTA), inputs_of(net, values, n, layer, dropping)
        weight_gradient(n, inputs, delta, memory.wide, dW)
        bias_gradient(n, delta, memory.wide, db)
        if l2 != 0.0:
            add_scaled(l2, W, dW)
        if layer:
            back_through(net, n, layer, memory, dropping)


@exact
def back_through(net: Any, n: int, layer: int, memory: Any, dropping: bool) -> None:
    """Write delta of the layer before `layer`."""
    integers, values = net.integers, memory.values
    delta = block(integers, values, n, layer - 1, _DELTA)
    input_slopes(net, n, layer, memory, delta)
    if dropping:
        factors = block(integers, values, n, layer - 1, _FACTORS)
        for i in range(delta.size):
            delta[i] = np.float64(delta[i]) * np.float64(factors[i])
    z, a = block(integers, values, n, layer - 1, _Z), block(integers, values, n, layer - 1, _A)
    multiply_derivative(activation_of(integers, layer - 1), z, a, delta)


@exact
def input_slopes(net: Any, n: int, layer: int, memory: Any, out: Any) -> None:
    """Write delta @ W.T of a layer: the derivative of the loss with respect to its inputs, flat."""
    W, _ = layer_of(net.integers, net.flat, layer)
    delta = block(net.integers, memory.values, n, layer, _DELTA)
    back(n, delta, W, out)


@exact
def multiply_rows(rows: Any, factors: Any) -> None:
    """Multiply rows, flat, with factors (size,), if there are any."""
    for k in range(factors.size):
        for i in range(k, rows.size, factors.size):
            rows[i] = np.float64(rows[i]) * np.float64(factors[k])


@exact
def scale_gradient(net: Any, samples: Any, rows: Any, memory: Any, gradient: Any) -> None:
    """Write the gradient of the input scale; the gathered inputs, which nobody needs any more, are overwritten."""
    n, out = rows.size, scale_of(net.integers, gradient)
    slopes = block(net.integers, memory.values, n, _INPUT, _A)
    input_slopes(net, n, _FIRST, memory, slopes)
    for k in range(out.size):
        total = 0.0
        for i in range(n):
            total += np.float64(samples.X[rows[i], k]) * np.float64(slopes[i * out.size + k])
        out[k] = total


@exact
def add_scaled(factor: float, W: Any, out: Any) -> None:
    """Add factor * W to `out`."""
    for i in range(W.size):
        out[i] = np.float64(out[i]) + factor * np.float64(W[i])


# ---- the entry points: both begin by gathering the samples, so that one type of array runs through the rest


@exact
def gather(net: Any, samples: Any, rows: Any, memory: Any) -> Any:
    """Copy some samples to the front of the memory, X scaled, class indices as one-hot rows; return their weights."""
    n = rows.size
    X, Y = block(net.integers, memory.values, n, _INPUT, _A), block(net.integers, memory.values, n, _INPUT, _DELTA)
    n_in, n_out = size_of(net.integers, _INPUT), size_of(net.integers, net.integers[N_LAYERS] - 1)
    weights = memory.weights[: n if samples.weights.size else 0]
    scale = scale_of(net.integers, net.flat)
    if samples.labels.size:
        fill(Y, 0)
    for i in range(n):
        row = rows[i]
        for k in range(n_in):
            X[i * n_in + k] = samples.X[row, k]
        if samples.labels.size:
            Y[i * n_out + samples.labels[row]] = 1
        elif len(samples.Y):
            for j in range(n_out):
                Y[i * n_out + j] = samples.Y[row, j]
        if weights.size:
            weights[i] = samples.weights[row]
    multiply_rows(X, scale)
    return weights


@exact
def evaluate(net: Network, samples: Samples, rows: ReadIntegers1, memory: Memory, key: Key, losses: Floats1) -> None:
    """Run some samples forward and, if they have targets, write the loss of each to `losses` (n,).

    The caller reads the activations from the memory. `key` is (False, 0, 0).
    """
    gather(net, samples, rows, memory)
    forward(net, rows.size, memory, key)
    for i in range(losses.size):
        losses[i] = sample_loss(net, rows.size, memory, i)


@exact
def train(
    net: Network,
    samples: Samples,
    steps: Steps,
    trainee: Trainee,
    memory: Memory,
    span: tuple[int, int, int],
    key: Key,
    groups: ReadIntegers2,
) -> int:
    """Do the steps of `span`, (start, stop, rule), and return where it ended: early at a loss that is not finite.

    With rule -1 gradients are written and nothing is updated. `key` is (whether units are dropped, seed, number
    of the run's first step), `groups` (n_layers + 1, 2) are those of each layer's weights and biases, and twice that of
    the input scale.
    """
    rule = span[2]
    for step in range(span[0], span[1]):
        rows = steps.order[steps.starts[step] : steps.stops[step]]
        n, total, l2 = rows.size, steps.totals[step], steps.l2[step]
        weights = gather(net, samples, rows, memory)
        forward(net, n, memory, (key[0], key[1], key[2] + step))
        steps.penalties[step] = penalty(net, l2)
        loss = mean_loss(net, n, weights, total, memory) + steps.penalties[step]
        steps.losses[step] = loss
        if rule >= 0 and not np.isfinite(loss):
            return step
        output_delta(net, n, weights, total, memory)
        backward(net, n, memory, key[0], l2, trainee.gradient)
        if trainee.rows.size:
            input_slopes(net, n, _FIRST, memory, trainee.rows)
            multiply_rows(trainee.rows, scale_of(net.integers, net.flat))
        if net.integers[INPUT_SCALE]:
            scale_gradient(net, samples, rows, memory, trainee.gradient)
        if rule >= 0:
            update(net, steps, trainee, step, rule, groups)
    return span[1]


@exact
def update(net: Any, steps: Any, trainee: Any, step: int, rule: int, groups: Any) -> None:
    """Decay the weights, then apply the rule to all parameters, by the group that they are in."""
    start = 0
    for layer in range(net.integers[N_LAYERS]):
        W, b = layer_of(net.integers, net.flat, layer)
        decay = steps.decay[step, groups[layer, 0]]
        if decay != 0.0:
            add_scaled(-decay, W, W)
        middle, stop = start + W.size, start + W.size + b.size
        update_part(net, steps, trainee, step, rule, groups[layer, 0], (start, middle))
        update_part(net, steps, trainee, step, rule, groups[layer, 1], (middle, stop))
        start = stop
    if start < net.flat.size:
        update_part(net, steps, trainee, step, rule, groups[groups.shape[0] - 1, 0], (start, net.flat.size))


@exact
def update_part(net: Any, steps: Any, trainee: Any, step: int, rule: int, group: int, part: Any) -> None:
    """Apply the rule to a part of the flat vector, (start, stop), with the coefficients of a group."""
    start, stop = part
    first = group * N_COEFFICIENTS
    row = steps.coefficients[step, first : first + N_COEFFICIENTS]
    w, g = net.flat[start:stop], trainee.gradient[start:stop]
    apply_rule(rule, w, g, trainee.s[start:stop], trainee.t[start:stop], row)
