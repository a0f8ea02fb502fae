"""The fast kernels: a whole run of training steps in one call, without Python and without allocation.

What a step consists of is written down beforehand (`program`); here it is done. Leaves (`simd`) do the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.backends.numba.calls import (
    GIVEN_UP,
    Key,
    Numbers1,
    Numbers2,
    ReadIntegers2,
    ReadNumbers1,
    ReadNumbers2,
    Samples,
    Steps,
    Trainee,
)
from fastmlp.backends.numba.fast import codes
from fastmlp.backends.numba.fast.layout import Memory, Network
from fastmlp.backends.numba.fast.moving import (
    gather_labels,
    gather_shares,
    gather_targets,
    hand_out,
    pack,
    turn,
    unpack,
)
from fastmlp.backends.numba.jit import exact
from fastmlp.backends.numba.simd import outputs, passes
from fastmlp.backends.numba.simd.dots import dots, dots_to_columns, row_dots, spread
from fastmlp.backends.numba.simd.leaf import ahead, lanes_of, pointer
from fastmlp.backends.numba.simd.row_gradient import row_gradient
from fastmlp.backends.numba.simd.softmax_loss import softmax_loss
from fastmlp.backends.numba.simd.sparse import sparse_gradient, sparse_product, sparse_products_in_place
from fastmlp.backends.numba.simd.threads import meet
from fastmlp.backends.numba.simd.tiles import (
    pack_rows,
    pack_tiles,
    panel_product,
    product_of_packed,
    product_of_rows,
    product_over_rows,
    row_product,
    transpose,
)
from fastmlp.optimizers import N_COEFFICIENTS

_PRODUCT, _ACTIVATE, _DERIVATIVE, _SOFTMAX = codes.PRODUCT, codes.ACTIVATE, codes.DERIVATIVE, codes.SOFTMAX
_SOFTMAX_DELTA, _MEASURE, _SCALE, _MULTIPLY = codes.SOFTMAX_DELTA, codes.MEASURE, codes.SCALE, codes.MULTIPLY
_DROP, _PLACES, _TARGETS, _UPDATE = codes.DROP, codes.PLACES, codes.TARGETS, codes.UPDATE
_FROM_INPUTS, _OF_ROWS, _OVER_ROWS, _DOTS = codes.FROM_INPUTS, codes.OF_ROWS, codes.OVER_ROWS, codes.DOTS
_TRANSPOSE, _DOTS_TO_COLUMNS, _SUMS_OF_COLUMNS = codes.TRANSPOSE, codes.DOTS_TO_COLUMNS, codes.SUMS_OF_COLUMNS
_MEASURE_COLUMNS, _SCALE_COLUMNS = codes.MEASURE_COLUMNS, codes.SCALE_COLUMNS
_SOFTMAX_COLUMNS, _SOFTMAX_DELTA_COLUMNS = codes.SOFTMAX_COLUMNS, codes.SOFTMAX_DELTA_COLUMNS
_FINITE, _CHECK, _MEET, _PENALISE, _HAND_OUT = (
    *(codes.FINITE, codes.CHECK, codes.MEET),
    *(codes.PENALISE, codes.HAND_OUT),
)
_GATHER, _MULTIPLY_ROWS = codes.GATHER, codes.MULTIPLY_ROWS
_PACK, _PACK_INPUTS, _OF_PACKED = codes.PACK, codes.PACK_INPUTS, codes.OF_PACKED
_SUMS_OF_ROWS, _SPREAD = codes.SUMS_OF_ROWS, codes.SPREAD
_OF_SPARSE, _TURN, _OVER_SPARSE = codes.OF_SPARSE, codes.TURN, codes.OVER_SPARSE
_OF_SPARSE_IN_PLACE = codes.OF_SPARSE_IN_PLACE
_ROW_GRADIENT, _UPDATE_ALL, _SOFTMAX_LOSS = codes.ROW_GRADIENT, codes.UPDATE_ALL, codes.SOFTMAX_LOSS
_WIDTH = codes.WIDTH
_N_COEFFICIENTS: Any = np.int64(N_COEFFICIENTS)
# Of Python's integers, Numba compiles a function anew for each value.
_FIRST: Any = np.int64(0)
_ENTRIES: Any = np.int64(-1)


# ---- a step


@exact
def perform(  # noqa: PLR0915  one branch a call
    network: Any, samples: Any, steps: Any, trainee: Any, memory: Any, span: Any, key: Any, how: Any
) -> Any:
    """Do what stands in the programs of steps `span`, (start, stop, rule).

    `how` is (row of a program in place of the steps' own if not below 0, number of threads). Return where it ended,
    early at a loss that is not finite, and whether all was finite that it looked at. The loop over steps is in here,
    because handing over all these arguments takes as long as a small step.
    """
    row, n_threads = how
    rule, values, shares, X = span[2], pointer(memory.values), pointer(memory.shares), pointer(samples.X)
    n_in, finite, last_entry = samples.X.shape[1], True, network.entries.size - 1
    for number in range(span[0], span[1]):
        call = ahead(pointer(network.table), (network.entries[min(number, last_entry)] if row < 0 else row) * _WIDTH)
        inputs = ahead(X, steps.starts[number] * n_in)
        coefficients = ahead(pointer(steps.coefficients), number * steps.coefficients.shape[1])
        decays = steps.decay[number]
        l2 = steps.l2[number]
        loss = penalty(network, memory, l2) if l2 != 0.0 else 0.0
        steps.penalties[number] = loss
        while True:
            code = call[0]
            if code in (_PRODUCT, _FROM_INPUTS):
                panel_product(
                    ahead(inputs if code == _FROM_INPUTS else values, call[1]),
                    call[2],
                    call[3],
                    ahead(values, call[4]),
                    call[5],
                    ahead(values, call[6]),
                    call[7],
                    ahead(values, call[8]),
                    call[9],
                    call[10],
                    call[11],
                    call[12],
                    call[13],
                    ahead(values, call[14]),
                )
            elif code in (_OF_ROWS, _OVER_ROWS):
                a, places = ahead(X, call[1]), ahead(pointer(memory.places), call[2])
                b, init, c = ahead(values, call[3]), ahead(values, call[5]), ahead(values, call[7])
                if code == _OF_ROWS:
                    product_of_rows(
                        a, places, b, call[4], init, call[6], c, call[8], call[9], call[10], call[11], call[12]
                    )
                else:
                    product_over_rows(a, places, b, call[4], init, call[6], c, call[8], call[9], call[10], call[11])
            elif code == _OF_PACKED:
                a, b, init = ahead(values, call[1]), ahead(values, call[2]), ahead(values, call[4])
                c = ahead(values, call[6])
                product_of_packed(a, b, call[3], init, call[5], c, call[7], call[8], call[9], call[10])
            elif code in (_DOTS, _DOTS_TO_COLUMNS):
                a, w, init, c = (
                    ahead(values, call[1]),
                    ahead(values, call[3]),
                    ahead(values, call[5]),
                    ahead(values, call[6]),
                )
                if code == _DOTS:
                    dots(a, call[2], w, call[4], init, c, call[7], call[8], call[9], call[10])
                else:
                    dots_to_columns(a, call[2], w, call[4], init, c, call[7], call[8], call[9], call[10])
            elif code == _SPREAD:
                a, w, c = ahead(values, call[1]), ahead(values, call[4]), ahead(values, call[6])
                gate = ahead(values, call[12])
                spread(a, call[2], call[3], w, call[5], c, call[7], call[8], call[9], call[10], call[11], gate)
            elif code == _UPDATE:
                w, g, s, t = (
                    ahead(values, call[1]),
                    ahead(values, call[2]),
                    ahead(pointer(trainee.s), call[3]),
                    ahead(pointer(trainee.t), call[3]),
                )
                own, decay = ahead(coefficients, call[6] * _N_COEFFICIENTS), decays[call[6]]
                if l2 == 0.0 and decay == 0.0 and call[6] == call[7]:
                    passes.update(w, g, s, t, call[4], own, 0.0, 0.0, rule)
                else:  # l2 and decay are the weights' alone, and the biases may be in another group
                    n = call[5]
                    passes.update(w, g, s, t, n, own, l2, decay, rule)
                    w, g, s, t = ahead(w, n), ahead(g, n), ahead(s, n), ahead(t, n)
                    own = ahead(coefficients, call[7] * _N_COEFFICIENTS)
                    passes.update(w, g, s, t, call[4] - n, own, 0.0, 0.0, rule)
            elif code == _TRANSPOSE:
                transpose(ahead(values, call[1]), call[2], call[3], call[4], ahead(values, call[5]), call[6])
            elif code == _ACTIVATE:
                passes.activate(ahead(values, call[1]), ahead(values, call[2]), call[3], call[4])
            elif code == _DERIVATIVE:
                z, a, delta = ahead(values, call[1]), ahead(values, call[2]), ahead(values, call[3])
                passes.multiply_derivative(z, a, delta, call[4], call[5])
            elif code == _PLACES:
                first = steps.starts[number] + call[1]
                for i in range(call[2]):
                    memory.places[call[3] + i] = steps.order[first + i] * n_in
            elif code == _TARGETS:
                if samples.labels.size:
                    gather_labels(call, samples, steps, number, values)
                else:
                    gather_targets(call, samples, steps, number, values)
                gather_shares(call, network, samples, steps, number, shares)
            elif code in (_MEASURE, _MEASURE_COLUMNS, _SOFTMAX_LOSS):
                z, a, y, delta = (
                    ahead(values, call[1]),
                    ahead(values, call[2]),
                    ahead(values, call[3]),
                    ahead(values, call[4]),
                )
                p, own = ahead(values, call[11]), ahead(shares, call[5])
                if code == _SOFTMAX_LOSS:
                    own_loss = softmax_loss(z, a, y, delta, p, own, call[6], call[7], call[8], call[9])
                elif code == _MEASURE:
                    own_loss = outputs.measure(z, a, y, delta, p, own, call[6], call[7], call[8], call[9])
                else:
                    own_loss = outputs.measure_columns(z, a, y, delta, p, own, call[6], call[7], call[8], call[9])
                memory.losses[call[10]] = own_loss
            elif code == _SCALE:
                outputs.scale(ahead(values, call[1]), ahead(shares, call[2]), call[3], call[4], call[5])
            elif code == _SCALE_COLUMNS:
                outputs.scale_columns(ahead(values, call[1]), ahead(shares, call[2]), call[3], call[4], call[5])
            elif code == _CHECK:
                for stripe in range(call[1]):
                    loss += memory.losses[stripe]
                if call[2] != 0 and rule >= 0 and not np.isfinite(loss):
                    steps.losses[number] = loss
                    return number, False
            elif code == _SOFTMAX:
                outputs.softmax(ahead(values, call[1]), ahead(values, call[2]), call[3], call[4], call[5], call[6])
            elif code == _SOFTMAX_COLUMNS:
                z, a = ahead(values, call[1]), ahead(values, call[2])
                outputs.softmax_columns(z, a, call[3], call[4], call[5], call[6])
            elif code in (_SOFTMAX_DELTA, _SOFTMAX_DELTA_COLUMNS):
                a, y, delta = ahead(values, call[1]), ahead(values, call[2]), ahead(values, call[3])
                if code == _SOFTMAX_DELTA:
                    outputs.softmax_delta(a, y, delta, call[4], call[5], call[6])
                else:
                    outputs.softmax_delta_columns(a, y, delta, call[4], call[5], call[6], call[7])
            elif code == _SUMS_OF_COLUMNS:
                x, init, sums = ahead(values, call[1]), ahead(values, call[5]), ahead(values, call[7])
                out = ahead(values, call[8])
                outputs.sums_of_columns(x, call[2], call[3], call[4], init, call[6], sums, out)
            elif code == _MULTIPLY:
                passes.multiply(ahead(values, call[1]), ahead(values, call[2]), ahead(values, call[3]), call[4])
            elif code == _DROP:
                own_key = passes.dropout_key(key[1], key[2] + number, call[5])
                factors = ahead(values, call[1])
                passes.drop(factors, call[2], call[3], call[4], own_key, call[6], network.drop_below, network.kept)
            elif code == _MEET:
                if meet(pointer(memory.meeting), n_threads) != 0:
                    return number, False
            elif code == _FINITE:
                finite &= passes.rows_are_finite(ahead(values, call[1]), call[2], call[3], call[4]) != 0
            elif code == _PENALISE:
                if l2 != 0.0:
                    passes.add_scaled(ahead(values, call[1]), ahead(values, call[2]), call[3], l2)
            elif code == _HAND_OUT:
                if trainee.rows.size:
                    hand_out(call, values, ahead(pointer(trainee.rows), (steps.starts[number] + call[6]) * call[5]))
            elif code == _GATHER:
                order = ahead(pointer(steps.order), steps.starts[number] + call[1])
                passes.gather_rows(X, order, n_in, ahead(values, call[3]), call[4], call[2])
            elif code == _SUMS_OF_ROWS:
                x, init, out = ahead(values, call[1]), ahead(values, call[3]), ahead(values, call[4])
                passes.sums_of_rows(x, call[2], init, out, call[5], call[6])
            elif code == _PACK:
                pack_tiles(ahead(values, call[1]), call[2], ahead(values, call[3]), call[4], call[5])
            elif code == _PACK_INPUTS:
                a, places = ahead(X, call[1]), ahead(pointer(memory.places), call[2])
                pack_rows(a, places, ahead(values, call[3]), call[4], call[5])
            elif code == _OF_SPARSE:
                x, columns, starts = pointer(samples.numbers), pointer(samples.columns), pointer(samples.starts)
                order = ahead(pointer(steps.order), steps.starts[number] + call[1])
                b, init, c = ahead(values, call[2]), ahead(values, call[4]), ahead(values, call[5])
                sparse_product(x, columns, starts, order, b, call[3], init, c, call[6], call[7], call[8])
            elif code == _OF_SPARSE_IN_PLACE:
                x, columns, starts = pointer(samples.numbers), pointer(samples.columns), pointer(samples.starts)
                order, w = ahead(pointer(steps.order), steps.starts[number] + call[1]), pointer(network.flat)
                c = ahead(values, call[4])
                sparse_products_in_place(x, columns, starts, order, w, call[2], ahead(w, call[3]), c, call[5], call[6])
            elif code == _TURN:
                turn(samples, ahead(pointer(steps.order), steps.starts[number] + call[1]), call[2], n_in, memory)
            elif code == _OVER_SPARSE:
                x, rows, starts = pointer(memory.numbers), pointer(memory.rows), ahead(pointer(memory.ends), call[1])
                b, init, c = ahead(values, call[2]), ahead(values, call[4]), ahead(values, call[6])
                sparse_gradient(x, rows, starts, b, call[3], init, call[5], c, call[7], call[8], call[9])
            elif code == _MULTIPLY_ROWS:
                for i in range(call[4]):
                    row_start = i * call[5]
                    x, out = ahead(values, call[1] + row_start), ahead(values, call[3] + row_start)
                    passes.multiply(x, ahead(values, call[2]), out, call[6])
            elif code == _ROW_GRADIENT:
                loss += row_gradient(
                    *(X, pointer(samples.Y), pointer(samples.labels), pointer(samples.weights), values),
                    *(ahead(call, _WIDTH), _WIDTH, steps.order[steps.starts[number]], n_in),
                    *(samples.labels.size, samples.weights.size, steps.totals[number] * network.divisor),
                )
                if not np.isfinite(loss):
                    steps.losses[number] = loss
                    return number, False
                call = ahead(call, call[1] * _WIDTH)
            elif code == _UPDATE_ALL:
                if l2 == 0.0 and decays[call[5]] == 0.0:
                    w, g = ahead(values, call[1]), ahead(values, call[2])
                    s, t = ahead(pointer(trainee.s), call[3]), ahead(pointer(trainee.t), call[3])
                    passes.update(w, g, s, t, call[4], ahead(coefficients, call[5] * _N_COEFFICIENTS), 0.0, 0.0, rule)
                    call = ahead(call, call[6] * _WIDTH)
            else:
                steps.losses[number] = loss
                break
            call = ahead(call, _WIDTH)
    return span[1], finite


@exact
def penalty(network: Any, memory: Any, l2: float) -> float:
    """Return what l2 adds to the loss; biases are left out."""
    total = 0.0
    for i in range(network.weights.shape[0]):
        total += passes.sum_of_squares(ahead(pointer(memory.values), network.weights[i, 0]), network.weights[i, 1])
    return 0.5 * l2 * total


# ---- the entry points


@exact
def train(
    network: Network,
    samples: Samples,
    steps: Steps,
    trainee: Trainee,
    memory: Memory,
    span: tuple[int, int, int],
    key: Key,
    thread: tuple[int, int],
) -> int:
    """Do the steps of `span`, (start, stop, rule), and return where it ended: early at a loss that is not finite.

    With rule -1 gradients are written and nothing is updated. `key` is (whether units are dropped, seed, number of the
    run's first step), `thread` (this thread's number, how many there are), all of which call this with the same arrays
    and the entries of their own programs. Where one of them has given up, parameters stay as they were, and -1 is
    returned; but the states, which are updated where they are, may be those of half a step.
    """
    values, rule, moves = pointer(memory.values), span[2], network.moves
    if thread[0] == 0:
        pack(moves, pointer(network.flat), ahead(values, network.parts[0]))
        only = (span[0], span[0] + 1, rule)
        perform(network, samples, steps, trainee, memory, only, key, (_FIRST, thread[1]))  # transposed copies
    if meet(pointer(memory.meeting), thread[1]) != 0:
        return -1
    ended, _ = perform(network, samples, steps, trainee, memory, span, key, (_ENTRIES, thread[1]))
    if memory.meeting[GIVEN_UP] != 0:  # half of a step may be done
        return -1
    if thread[0] == 0:
        if rule < 0:
            unpack(moves, ahead(values, network.parts[1]), pointer(trainee.gradient))
        else:
            unpack(moves, ahead(values, network.parts[0]), pointer(network.flat))
    return ended


@exact
def evaluate(
    network: Network, samples: Samples, steps: Steps, trainee: Trainee, memory: Memory, laying_out: int, key: Key
) -> bool:
    """Run samples forward, a step at a time: write the outputs to the trainee's rows, or losses if there are Y.

    The samples are taken where they are, in order; `laying_out` says whether the weights must be laid out first.
    Return False if some of each row's first Z are not finite: they are if the sample and the weights are, unless a sum
    overflows; if one of its numbers is not, none of them is, since not even zero times that is finite.
    """
    if laying_out != 0:
        pack(network.moves, pointer(network.flat), ahead(pointer(memory.values), network.parts[0]))
    span = (np.int64(0), steps.starts.size, np.int64(-1))
    return perform(network, samples, steps, trainee, memory, span, key, (_ENTRIES, np.int64(1)))[1]


@exact
def answer(layers: ReadIntegers2, flat: ReadNumbers1, X: ReadNumbers2, values: Numbers1, out: Numbers2) -> bool:
    """Write the outputs for a few rows X to `out`, from parameters as they are; return whether all of X is finite.

    `layers` has a row each: where W and b begin, fan_in, fan_out, z, a, padded size, activation, whether that is
    softmax, whether the layer is narrow, where the input scale begins or -1, where the scaled inputs are. The bits are
    those of `evaluate`.
    """
    own, x, y, memory = pointer(flat), pointer(X), pointer(out), pointer(values)
    finite = True
    for i in range(X.shape[0]):
        source = ahead(x, i * X.shape[1])
        finite &= passes.is_finite(source, X.shape[1]) != 0
        if layers[0, 10] >= 0:
            sample, scale, source = source, ahead(own, layers[0, 10]), ahead(memory, layers[0, 11])
            for k in range(X.shape[1]):
                source[k] = sample[k] * scale[k]
        for layer in range(layers.shape[0]):
            row = layers[layer]
            z, a = ahead(memory, row[4]), ahead(memory, row[5])
            if row[9]:
                row_dots(source, ahead(own, row[0]), ahead(own, row[1]), z, row[2], row[3])
            else:
                row_product(source, ahead(own, row[0]), ahead(own, row[1]), z, row[2], row[3])
            if row[8] and row[9]:
                softmax_of_few(z, a, row[3], lanes_of(z))
            elif row[8]:
                outputs.softmax(z, a, 1, row[3], row[6], 0)
            else:
                passes.activate(z, a, row[6], row[7])
            source = a
        passes.copy(source, ahead(y, i * out.shape[1]), out.shape[1])
    return finite


@exact
def softmax_of_few(z: Any, a: Any, size: int, column: int) -> None:
    """Write softmax of one row of a few numbers to a, in columns for a while: its bits are those of many rows."""
    for j in range(size - 1, 0, -1):
        z[j * column] = z[j]
    outputs.softmax_columns(z, a, 1, size, column, 0)
    for j in range(1, size):
        a[j] = a[j * column]
