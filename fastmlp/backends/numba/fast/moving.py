"""Moving numbers between what a caller has and what kernels compute in: parameters, targets, outputs."""

from __future__ import annotations

from typing import Any

from fastmlp.backends.numba.jit import exact
from fastmlp.backends.numba.simd import passes
from fastmlp.backends.numba.simd.leaf import ahead, pointer

# ---- parameters, into panels and out of them


@exact
def pack(moves: Any, flat: Any, values: Any) -> None:
    """Lay parameters out in panels; padding is zero again, whatever is left there."""
    for i in range(moves.shape[0]):
        source, step, source_row = ahead(flat, moves[i, 0]), moves[i, 1], moves[i, 2]
        own, own_row, rows, n = ahead(values, moves[i, 3]), moves[i, 4], moves[i, 5], moves[i, 6]
        if n < moves[i, 7]:
            for j in range(rows):
                passes.fill(ahead(own, j * own_row), moves[i, 7], 0.0)
        if step == 1:
            passes.copy_rows(source, source_row, own, own_row, rows, n)
        else:
            for j in range(rows):
                for k in range(n):
                    own[j * own_row + k] = source[j * source_row + k * step]


@exact
def unpack(moves: Any, values: Any, flat: Any) -> None:
    """Write what lies in panels back."""
    for i in range(moves.shape[0]):
        target, step, target_row = ahead(flat, moves[i, 0]), moves[i, 1], moves[i, 2]
        own, own_row, rows, n = ahead(values, moves[i, 3]), moves[i, 4], moves[i, 5], moves[i, 6]
        if step == 1:
            passes.copy_rows(own, own_row, target, target_row, rows, n)
        else:
            for j in range(rows):
                for k in range(n):
                    target[j * target_row + k * step] = own[j * own_row + k]


# ---- samples, into blocks and out of them


@exact
def gather_targets(call: Any, samples: Any, steps: Any, number: int, values: Any) -> None:
    """Copy Y of samples to a block."""
    order, n_out, Y = (
        ahead(pointer(steps.order), steps.starts[number] + call[1]),
        samples.Y.shape[1],
        pointer(samples.Y),
    )
    y_row, y_column = call[4], call[5]
    for i in range(call[2]):
        y, row = ahead(values, call[3] + i * y_row), ahead(Y, order[i] * n_out)
        if y_column == 1:
            passes.copy(row, y, n_out)
        else:
            for j in range(n_out):
                y[j * y_column] = row[j]


@exact
def gather_labels(call: Any, samples: Any, steps: Any, number: int, values: Any) -> None:
    """Write labels of samples to a block, as one-hot rows."""
    order, labels = ahead(pointer(steps.order), steps.starts[number] + call[1]), pointer(samples.labels)
    y, y_row, y_column = ahead(values, call[3]), call[4], call[5]
    if y_column == 1:
        passes.fill(y, call[2] * y_row, 0.0)
    else:
        for j in range(samples.Y.shape[1]):
            for i in range(call[2]):
                y[i * y_row + j * y_column] = 0
    for i in range(call[2]):  # with nothing beside it, so that labels come from memory side by side
        y[i * y_row + labels[order[i]] * y_column] = 1


@exact
def gather_shares(call: Any, network: Any, samples: Any, steps: Any, number: int, shares: Any) -> None:
    """Write the share of each sample of a block in its batch."""
    order, own = ahead(pointer(steps.order), steps.starts[number] + call[1]), ahead(shares, call[6])
    divisor = steps.totals[number] * network.divisor
    if samples.weights.size:
        for i in range(call[2]):
            own[i] = samples.weights[order[i]] / divisor
    else:
        even = 1.0 / divisor
        for i in range(call[2]):
            own[i] = even


@exact
def hand_out(call: Any, values: Any, out: Any) -> None:
    """Copy rows of numbers to a caller's array."""
    row, column, size = call[3], call[4], call[5]
    for i in range(call[2]):
        source, target = ahead(values, call[1] + i * row), ahead(out, i * size)
        if column == 1:
            passes.copy(source, target, size)
        else:
            for j in range(size):
                target[j] = source[j * column]


@exact
def turn(samples: Any, order: Any, n_rows: int, n_columns: int, memory: Any) -> None:
    """Write the entries of each feature in some rows: their rows and numbers, those of a row before those of the next.

    Those of feature j are from ``ends[j]`` up to ``ends[j + 1]``: each end was where the next one's began, and moved.
    """
    ends, rows, numbers = pointer(memory.ends), pointer(memory.rows), pointer(memory.numbers)
    for j in range(n_columns + 2):
        ends[j] = 0
    for i in range(n_rows):
        for entry in range(samples.starts[order[i]], samples.starts[order[i] + 1]):
            ends[samples.columns[entry] + 2] += 1
    for j in range(n_columns):
        ends[j + 2] += ends[j + 1]
    for i in range(n_rows):
        for entry in range(samples.starts[order[i]], samples.starts[order[i] + 1]):
            place = ends[samples.columns[entry] + 1]
            rows[place], numbers[place] = i, samples.numbers[entry]
            ends[samples.columns[entry] + 1] = place + 1
