"""The fast kernels: a whole run of training steps in one call, without Python and without allocation.

A step goes through its rows in stripes, each through all layers, forward and back to deltas, while they are in the
cache. Then come the parameters in chunks: the chunk's gradient over all rows, the optimizer's rule, and its transposed
copy. A batch that is larger than a block goes a block at a time, and its gradient adds up. What is split, and in which
order it is added, depends on the problem alone, so threads, which share out stripes and chunks, change no bit.

Functions take a plan's integers (`plan`) and the pointer to its memory; leaves (`simd`) do the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.backends.numba.cache import cached
from fastmlp.backends.numba.fast import plan as at
from fastmlp.backends.numba.fast.plan import FIELDS, HEADER
from fastmlp.backends.numba.jit import exact
from fastmlp.backends.numba.simd import passes
from fastmlp.backends.numba.simd.leaf import ahead, lanes_of, pointer
from fastmlp.backends.numba.simd.threads import meet
from fastmlp.backends.numba.simd.tiles import panel_product, row_product, transpose


@exact
def field(plan: Any, layer: int, name: int) -> int:
    """Return a field of a layer."""
    return plan[HEADER + FIELDS * layer + name]


# ---- parameters, into panels and out of them


@exact
def pack(plan: Any, values: Any, flat: Any, part: int) -> None:
    """Lay parameters, or an optimizer's states, out in panels."""
    for layer in range(plan[at.N_LAYERS]):
        fan_in, fan_out, start = (
            field(plan, layer, at.FAN_IN),
            field(plan, layer, at.FAN_OUT),
            field(plan, layer, at.FLAT),
        )
        row, panel = field(plan, layer, at.ROW), plan[at.PANEL]
        for column in range(0, row, panel):
            width, true = min(panel, row - column), min(panel, fan_out - column)
            target = ahead(values, plan[part] + field(plan, layer, at.W_AT) + column * (fan_in + 1))
            for k in range(fan_in + 1):
                own = ahead(target, k * width)
                if true < width:  # padding is zero again, whatever a training that diverged left there
                    passes.fill(own, width, 0.0)
                passes.copy(ahead(flat, start + k * fan_out + column), own, true)


@exact
def unpack(plan: Any, values: Any, part: int, flat: Any) -> None:
    """Write what lies in panels back."""
    for layer in range(plan[at.N_LAYERS]):
        fan_in, fan_out, start = (
            field(plan, layer, at.FAN_IN),
            field(plan, layer, at.FAN_OUT),
            field(plan, layer, at.FLAT),
        )
        row, panel = field(plan, layer, at.ROW), plan[at.PANEL]
        for column in range(0, row, panel):
            width, true = min(panel, row - column), min(panel, fan_out - column)
            source = plan[part] + field(plan, layer, at.W_AT) + column * (fan_in + 1)
            for k in range(fan_in + 1):
                passes.copy(ahead(values, source + k * width), ahead(flat, start + k * fan_out + column), true)


@exact
def transpose_chunk(plan: Any, values: Any, layer: int, column: int, first: int, stop: int) -> None:
    """Refresh the transposed copy of some rows of a panel; `first` is a multiple of a register's lanes."""
    lanes, panel, row, in_row = (
        lanes_of(values),
        plan[at.PANEL],
        field(plan, layer, at.ROW),
        field(plan, layer, at.IN_ROW),
    )
    width = min(panel, row - column)
    w = ahead(values, plan[at.WEIGHTS] + field(plan, layer, at.W_AT) + column * (field(plan, layer, at.FAN_IN) + 1))
    t = ahead(values, plan[at.TRANSPOSED] + field(plan, layer, at.T_AT))
    for k in range(first, stop, lanes):
        t_column = k - k % panel
        t_width = min(panel, in_row - t_column)
        target = ahead(t, t_column * row + column * t_width + k % panel)
        passes_rows = min(lanes, stop - k)
        transpose(ahead(w, k * width), width, passes_rows, width // lanes, target, t_width)


@exact
def transpose_all(plan: Any, values: Any, first: int) -> None:
    """Make the transposed copies of the layers from `first` on."""
    for layer in range(first, plan[at.N_LAYERS]):
        for column in range(0, field(plan, layer, at.ROW), plan[at.PANEL]):
            transpose_chunk(plan, values, layer, column, at.START, field(plan, layer, at.FAN_IN))


# ---- rows: forward


@exact
def forward(network: Any, values: Any, inputs: Any, first: int, n: int, key: Any) -> None:
    """Run n rows from the block's row `first` on through all layers; `inputs` is where their X begins."""
    plan = network.integers
    source, source_row = inputs, plan[at.X_ROW]
    last = plan[at.N_LAYERS] - 1
    for layer in range(last + 1):
        fan_in, row, panel = field(plan, layer, at.FAN_IN), field(plan, layer, at.ROW), plan[at.PANEL]
        lanes = lanes_of(values)
        z, a = (
            ahead(values, field(plan, layer, at.Z) + first * row),
            ahead(values, field(plan, layer, at.A) + first * row),
        )
        weights = plan[at.WEIGHTS] + field(plan, layer, at.W_AT)
        for column in range(0, row, panel):
            width = min(panel, row - column)
            w = ahead(values, weights + column * (fan_in + 1))
            bias = ahead(w, fan_in * width)
            panel_product(source, source_row, 1, w, width, bias, 0, ahead(z, column), row, fan_in, n, width // lanes)
        if field(plan, layer, at.ACTIVATION) == at.SOFTMAX_CODE:
            passes.softmax(z, a, n, field(plan, layer, at.FAN_OUT), row)
        else:
            passes.activate(z, a, n * row, field(plan, layer, at.ACTIVATION))
        source, source_row = a, row
        if key[0] and layer < last:
            source = ahead(values, field(plan, layer, at.DROPPED) + first * row)
            drop(network, values, layer, first, n, key)


@exact
def drop(network: Any, values: Any, layer: int, first: int, n: int, key: Any) -> None:
    """Write a layer's dropout factors, and its A times them. `key` also holds the batch's rows before this block."""
    plan = network.integers
    row, size = field(plan, layer, at.ROW), field(plan, layer, at.FAN_OUT)
    factors = ahead(values, field(plan, layer, at.FACTORS) + first * row)
    layer_key = passes.dropout_key(key[1], key[2], layer)
    passes.drop(factors, n, size, row, layer_key, key[3] + first, plan[at.DROP_BELOW], network.floats[0])
    a, dropped = field(plan, layer, at.A) + first * row, field(plan, layer, at.DROPPED) + first * row
    passes.multiply(ahead(values, a), factors, ahead(values, dropped), n * row)


# ---- rows: loss, and back to deltas


@exact
def measure(plan: Any, values: Any, shares: Any, first: int, n: int) -> float:
    """Return the loss of n rows whose forward is done, and write their output delta."""
    layer = plan[at.N_LAYERS] - 1
    size, row, activation = (
        field(plan, layer, at.FAN_OUT),
        field(plan, layer, at.ROW),
        field(plan, layer, at.ACTIVATION),
    )
    start = first * row
    z, a = ahead(values, field(plan, layer, at.Z) + start), ahead(values, field(plan, layer, at.A) + start)
    y, delta = ahead(values, plan[at.Y] + start), ahead(values, field(plan, layer, at.DELTA) + start)
    own = ahead(shares, first)
    loss = passes.measure(z, a, y, delta, own, n, size, row, plan[at.LOSS_CASE])
    if activation == at.SOFTMAX_CODE:
        passes.softmax_delta(a, y, delta, n, row, plan[at.LINKED])
    elif not plan[at.LINKED]:
        passes.multiply_derivative(z, a, delta, n * row, activation)
    passes.scale(delta, own, n, size, row)
    return loss


@exact
def back(plan: Any, values: Any, first: int, n: int, dropping: bool) -> None:
    """Run n rows' delta back from the last layer to the first."""
    for layer in range(plan[at.N_LAYERS] - 1, 0, -1):
        row = field(plan, layer - 1, at.ROW)
        delta = ahead(values, field(plan, layer - 1, at.DELTA) + first * row)
        back_product(plan, values, layer, first, n, delta, row)
        if dropping:
            factors = ahead(values, field(plan, layer - 1, at.FACTORS) + first * row)
            passes.multiply(delta, factors, delta, n * row)
        z = ahead(values, field(plan, layer - 1, at.Z) + first * row)
        a = ahead(values, field(plan, layer - 1, at.A) + first * row)
        passes.multiply_derivative(z, a, delta, n * row, field(plan, layer - 1, at.ACTIVATION))


@exact
def back_product(plan: Any, values: Any, layer: int, first: int, n: int, out: Any, out_row: int) -> None:
    """Write delta @ W.T of n rows of a layer."""
    fan_out, row, panel, lanes = (
        field(plan, layer, at.FAN_OUT),
        field(plan, layer, at.ROW),
        plan[at.PANEL],
        lanes_of(values),
    )
    delta = ahead(values, field(plan, layer, at.DELTA) + first * row)
    transposed = plan[at.TRANSPOSED] + field(plan, layer, at.T_AT)
    zeros = ahead(values, plan[at.ZEROS])
    for column in range(0, out_row, panel):
        width = min(panel, out_row - column)
        t = ahead(values, transposed + column * row)
        panel_product(delta, row, 1, t, width, zeros, 0, ahead(out, column), out_row, fan_out, n, width // lanes)


# ---- parameters


@exact
def inputs_of(plan: Any, values: Any, layer: int, dropping: bool) -> Any:
    """Return where the block's inputs of a layer begin, and how long a row of them is."""
    if layer == 0:
        return ahead(values, plan[at.X]), plan[at.X_ROW]
    part = field(plan, layer - 1, at.DROPPED if dropping else at.A)
    return ahead(values, part), field(plan, layer - 1, at.ROW)


@exact
def learn_chunk(plan: Any, values: Any, chunk: Any, n: int, adding: bool, dropping: bool) -> None:
    """Write, or add to, the gradient of rows `first` to `stop` of a panel, from a block of n rows of the batch.

    Row fan_in is the bias, whose input is one.
    """
    layer, column, first, stop = chunk
    lanes, row, fan_in = lanes_of(values), field(plan, layer, at.ROW), field(plan, layer, at.FAN_IN)
    width = min(plan[at.PANEL], row - column)
    g = ahead(values, plan[at.GRADIENT] + field(plan, layer, at.W_AT) + column * (fan_in + 1) + first * width)
    delta = ahead(values, field(plan, layer, at.DELTA) + column)
    inputs, inputs_row = inputs_of(plan, values, layer, dropping)
    start, start_row = (g, width) if adding else (ahead(values, plan[at.ZEROS]), np.int64(0))
    vectors = width // lanes
    if first < fan_in:
        m = min(stop, fan_in) - first
        panel_product(ahead(inputs, first), 1, inputs_row, delta, row, start, start_row, g, width, n, m, vectors)
    if stop > fan_in:
        skipped = fan_in - first
        one = ahead(values, plan[at.ONE])
        panel_product(
            one,
            0,
            0,
            delta,
            row,
            ahead(start, skipped * start_row),
            start_row,
            ahead(g, skipped * width),
            width,
            n,
            1,
            vectors,
        )


@exact
def update_chunk(plan: Any, values: Any, chunk: Any, change: Any) -> None:
    """Apply the optimizer to rows `first` to `stop` of a panel; l2 and decay are the weights' alone."""
    layer, column, first, stop = chunk
    row, fan_in = field(plan, layer, at.ROW), field(plan, layer, at.FAN_IN)
    width = min(plan[at.PANEL], row - column)
    start = field(plan, layer, at.W_AT) + column * (fan_in + 1) + first * width
    w, g = ahead(values, plan[at.WEIGHTS] + start), ahead(values, plan[at.GRADIENT] + start)
    s, t = ahead(values, plan[at.FIRST_STATE] + start), ahead(values, plan[at.SECOND_STATE] + start)
    coefficients, l2, decay, rule = change
    n = (stop - first) * width
    if rule < 0:
        if l2 != 0.0:
            passes.add_scaled(g, w, (min(stop, fan_in) - first) * width, l2)
        return
    if l2 == 0.0 and decay == 0.0:
        passes.update(w, g, s, t, n, coefficients, 0.0, 0.0, rule)
    else:
        own = (min(stop, fan_in) - first) * width
        passes.update(w, g, s, t, own, coefficients, l2, decay, rule)
        passes.update(ahead(w, own), ahead(g, own), ahead(s, own), ahead(t, own), n - own, coefficients, 0.0, 0.0, rule)
    if layer > 0:
        transpose_chunk(plan, values, layer, column, first, min(stop, fan_in))


@exact
def learn(
    plan: Any, values: Any, n: int, adding: bool, complete: bool, dropping: bool, change: Any, thread: Any
) -> None:
    """Do the chunks of all parameters that are this thread's: their gradient and, where it is complete, the rule."""
    number = 0
    for layer in range(plan[at.N_LAYERS]):
        n_rows = field(plan, layer, at.FAN_IN) + 1
        height = plan[at.CHUNK_ROWS]
        for column in range(0, field(plan, layer, at.ROW), plan[at.PANEL]):
            first = 0
            while first < n_rows:
                stop = min(first + height, n_rows)
                if stop == n_rows - 1:
                    stop = n_rows  # the bias goes with the last weights
                if number % thread[1] == thread[0]:
                    learn_chunk(plan, values, (layer, column, first, stop), n, adding, dropping)
                    if complete:
                        update_chunk(plan, values, (layer, column, first, stop), change)
                number += 1
                first = stop


# ---- a step


@exact
def gather_inputs(plan: Any, values: Any, samples: Any, rows: Any, first: int) -> None:
    """Copy X of samples to the block's rows from `first` on."""
    n_in, X = field(plan, at.START, at.FAN_IN), pointer(samples.X)
    for i in range(rows.size):
        x = ahead(values, plan[at.X] + (first + i) * plan[at.X_ROW])
        passes.copy(ahead(X, rows[i] * n_in), x, n_in)


@exact
def gather_targets(plan: Any, values: Any, samples: Any, rows: Any, first: int, total: float, shares: Any) -> None:
    """Copy Y of samples to the block's rows from `first` on, padded, labels as one-hot; and write each one's share."""
    last = plan[at.N_LAYERS] - 1
    n_out, y_row = field(plan, last, at.FAN_OUT), field(plan, last, at.ROW)
    divisor = total * n_out if plan[at.AVERAGED] else total
    Y = pointer(samples.Y)
    for i in range(rows.size):
        sample = rows[i]
        y = ahead(values, plan[at.Y] + (first + i) * y_row)
        if samples.labels.size:
            passes.fill(y, y_row, 0.0)
            y[samples.labels[sample]] = 1
        elif samples.Y.size:
            passes.copy(ahead(Y, sample * n_out), y, n_out)
        shares[first + i] = (samples.weights[sample] if samples.weights.size else 1.0) / divisor


@exact
def penalty(plan: Any, values: Any, l2: float) -> float:
    """Return what l2 adds to the loss."""
    total = 0.0
    for layer in range(plan[at.N_LAYERS]):
        fan_in = field(plan, layer, at.FAN_IN)
        row, panel = field(plan, layer, at.ROW), plan[at.PANEL]
        for column in range(0, row, panel):
            width = min(panel, row - column)
            w = ahead(values, plan[at.WEIGHTS] + field(plan, layer, at.W_AT) + column * (fan_in + 1))
            total += passes.sum_of_squares(w, fan_in * width)
    return 0.5 * l2 * total


@exact
def rows_of_block(network: Any, memory: Any, samples: Any, rows: Any, total: float, key: Any, thread: Any) -> None:
    """Take a block's rows through all layers and back, in this thread's stripes; writes the loss of each stripe."""
    plan, values = network.integers, pointer(memory.values)
    shares, losses = pointer(memory.shares), memory.losses
    inputs, stripe = ahead(values, plan[at.X]), plan[at.STRIPE_ROWS]
    for first in range(thread[0] * stripe, rows.size, thread[1] * stripe):
        n = min(stripe, rows.size - first)
        gather_inputs(plan, values, samples, rows[first : first + n], first)
        gather_targets(plan, values, samples, rows[first : first + n], first, total, memory.shares)
        forward(network, values, ahead(inputs, first * plan[at.X_ROW]), first, n, key)
        losses[first // stripe] = measure(plan, values, shares, first, n)
        back(plan, values, first, n, key[0])


@exact
def step(network: Any, samples: Any, steps: Any, trainee: Any, memory: Any, what: Any, key: Any, thread: Any) -> bool:
    """Do one step, `what` being (number, rule); return whether its loss was finite, else nothing is updated."""
    number, rule = what
    plan, values, meeting = network.integers, pointer(memory.values), pointer(memory.meeting)
    total, l2 = steps.totals[number], steps.l2[number]
    change = (ahead(pointer(steps.coefficients), number * steps.coefficients.shape[1]), l2, steps.decay[number], rule)
    start, stop = steps.starts[number], steps.stops[number]
    loss = 0.0
    if l2 != 0.0:
        loss = penalty(plan, values, l2)
    for first in range(start, stop, plan[at.BLOCK_ROWS]):
        last = min(first + plan[at.BLOCK_ROWS], stop)
        block_key = (key[0], key[1], key[2] + number, first - start)
        rows_of_block(network, memory, samples, steps.order[first:last], total, block_key, thread)
        meet(meeting, thread[1])
        n_stripes = (last - first + plan[at.STRIPE_ROWS] - 1) // plan[at.STRIPE_ROWS]
        for stripe in range(n_stripes):
            loss += memory.losses[stripe]
        complete = last == stop
        if complete and rule >= 0 and not np.isfinite(loss):
            steps.losses[number] = loss
            return False
        learn(plan, values, last - first, first > start, complete, key[0], change, thread)
        if trainee.input_gradient.size and thread[0] == 0:
            in_row = field(plan, at.START, at.IN_ROW)
            out = ahead(pointer(trainee.input_gradient), (first - start) * in_row)
            back_product(plan, values, at.START, at.START, last - first, out, in_row)
        meet(meeting, thread[1])
    steps.losses[number] = loss
    return True


# ---- the entry points


@exact
def train(network: Any, samples: Any, steps: Any, trainee: Any, memory: Any, span: Any, key: Any, thread: Any) -> int:
    """Do the steps of `span`, (start, stop, rule), and return where it ended: early at a loss that is not finite.

    With rule -1 gradients are written and nothing is updated. `key` is (whether units are dropped, seed, number of the
    run's first step), `thread` (this thread's number, how many there are), all of which call this with the same arrays.
    """
    plan, rule = network.integers, span[2]
    values, own = pointer(memory.values), pointer(network.flat)
    first = 0 if trainee.input_gradient.size else 1
    if thread[0] == 0:
        pack(plan, values, own, at.WEIGHTS)
        if trainee.s.size:
            pack(plan, values, pointer(trainee.s), at.FIRST_STATE)
        if trainee.t.size:
            pack(plan, values, pointer(trainee.t), at.SECOND_STATE)
        transpose_all(plan, values, first)
    meet(pointer(memory.meeting), thread[1])
    ended = span[1]
    for number in range(span[0], span[1]):
        if not step(network, samples, steps, trainee, memory, (number, rule), key, thread):
            ended = number
            break
    if thread[0] == 0:
        if rule < 0:
            unpack(plan, values, at.GRADIENT, pointer(trainee.gradient))
        else:
            unpack(plan, values, at.WEIGHTS, own)
        if trainee.s.size:
            unpack(plan, values, at.FIRST_STATE, pointer(trainee.s))
        if trainee.t.size:
            unpack(plan, values, at.SECOND_STATE, pointer(trainee.t))
    return ended


@exact
def evaluate(network: Any, samples: Any, order: Any, memory: Any, out: Any, how: Any) -> float:
    """Run samples forward; write the outputs to `out` (n, n_out) if it has rows, and return the loss if they have Y.

    The loss is the sum of the samples', each times its weight, with no penalty. `order` is 0, 1, ...; `how` says
    whether the weights must be laid out first, and holds a key.
    """
    plan, values = network.integers, pointer(memory.values)
    if how[0]:
        pack(plan, values, pointer(network.flat), at.WEIGHTS)
    key = (how[1][0], how[1][1], how[1][2], 0)
    n, n_in, last = samples.X.shape[0], field(plan, at.START, at.FAN_IN), plan[at.N_LAYERS] - 1
    size, row, stripe = field(plan, last, at.FAN_OUT), field(plan, last, at.ROW), plan[at.STRIPE_ROWS]
    loss = 0.0
    for first in range(0, n, stripe):
        m = min(stripe, n - first)
        forward(network, values, ahead(pointer(samples.X), first * n_in), at.START, m, key)
        for i in range(min(m, out.shape[0])):
            a = ahead(values, field(plan, last, at.A) + i * row)
            passes.copy(a, ahead(pointer(out), (first + i) * size), size)
        if samples.Y.size or samples.labels.size:
            gather_targets(plan, values, samples, order[first : first + m], at.START, 1.0, memory.shares)
            loss += measure(plan, values, pointer(memory.shares), at.START, m)
    return loss


@exact
def lay_out(plan: Any, flat: Any, values: Any) -> None:
    """Lay weights out for `evaluate`."""
    pack(plan, pointer(values), pointer(flat), at.WEIGHTS)


@exact
def answer(plan: Any, flat: Any, X: Any, values: Any, out: Any) -> bool:
    """Write the outputs for a few rows X to `out`, from parameters as they are, unpacked.

    Return whether all of X is finite. The bits are those of `evaluate`.
    """
    own, x, y, memory = pointer(flat), pointer(X), pointer(out), pointer(values)
    last = plan[at.N_LAYERS] - 1
    size = field(plan, last, at.FAN_OUT)
    finite = True
    for i in range(X.shape[0]):
        source = ahead(x, i * X.shape[1])
        for k in range(X.shape[1]):
            finite &= np.isfinite(source[k])
        for layer in range(last + 1):
            fan_in, fan_out, row = (
                field(plan, layer, at.FAN_IN),
                field(plan, layer, at.FAN_OUT),
                field(plan, layer, at.ROW),
            )
            z, a = ahead(memory, field(plan, layer, at.Z)), ahead(memory, field(plan, layer, at.A))
            w = ahead(own, field(plan, layer, at.FLAT))
            row_product(source, w, ahead(w, fan_in * fan_out), z, fan_in, fan_out)
            if field(plan, layer, at.ACTIVATION) == at.SOFTMAX_CODE:
                passes.softmax(z, a, 1, fan_out, row)
            else:
                passes.activate(z, a, row, field(plan, layer, at.ACTIVATION))
            source = a
        passes.copy(source, ahead(y, i * size), size)
    return finite


ENTRY_POINTS = (cached(evaluate), cached(train), cached(answer), cached(lay_out))
