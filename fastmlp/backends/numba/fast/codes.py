"""The calls that a step's program consists of: their numbers, and what stands behind each."""

from __future__ import annotations

from typing import Any

import numpy as np

# Offsets are in `Memory.values` unless said otherwise.
_codes: Any = map(np.int64, range(43))
(
    END,  # ends a program
    PRODUCT,  # a, a_row, a_column, b, b_row, init, init_row, c, c_row, k, m, vectors, and maybe ending, gate
    FROM_INPUTS,  # the same, but a counts from where the caller's inputs begin
    ACTIVATE,  # z, a, n, activation
    DERIVATIVE,  # z, a, delta, n, activation
    SOFTMAX,  # z, a, rows, size, width, whether z is to be its logarithm
    SOFTMAX_DELTA,  # a, y, delta, rows, width, linked
    MEASURE,  # z, a, y, delta, first row, rows, size, width, case, stripe, the loss's numbers
    SCALE,  # delta, first row, rows, size, width
    MULTIPLY,  # x, y, out, n
    DROP,  # factors, rows, size, width, layer, first row of the batch
    OF_ROWS,  # a as in FROM_INPUTS, place of the first row, b, b_row, init, init_row, c, c_row, k, m, vectors, ending
    OVER_ROWS,  # the same without an ending
    DOTS,  # a, a_row, w, w_row, init, c, c_row, k, m, columns
    PLACES,  # first row of the batch, rows, first row of the block
    TARGETS,  # first row of the batch, rows, y, y_row, y_column, first row of the block
    UPDATE,  # w, g, place in both states, n, how many of them are weights, the group of the weights, of the biases
    TRANSPOSE,  # w, w_row, m, vectors, t, t_row
    CHECK,  # number of stripes, whether the loss is complete
    MEET,  # threads wait for each other
    FINITE,  # z, rows, row, z_row: notes whether all are
    PENALISE,  # g, w, n: adds l2 w to a gradient that nobody will step by
    HAND_OUT,  # source, rows, row, column, size, first row of the batch: to the caller's rows, if any are wanted
    DOTS_TO_COLUMNS,  # as DOTS, but in place of c_row how far it is from one column to the next
    MEASURE_COLUMNS,  # as MEASURE, but in place of the width how far it is from one column to the next
    SCALE_COLUMNS,  # as SCALE, likewise
    SOFTMAX_COLUMNS,  # as SOFTMAX, likewise
    SOFTMAX_DELTA_COLUMNS,  # a, y, delta, rows, size, column, linked
    SUMS_OF_COLUMNS,  # x, rows, size, column, init, init_row, sums, out
    GATHER,  # first row of the batch, rows, out, out_row: copies X of samples
    PACK,  # a, a_row, out, size, rows: some columns of rows, for the products that follow
    PACK_INPUTS,  # column, place of the first row, out, size, rows: the same of X
    OF_PACKED,  # a, b, b_row, init, init_row, c, c_row, k, m, vectors
    SUMS_OF_ROWS,  # x, x_row, init, out, rows, vectors
    SPREAD,  # a, a_row, a_column, w, w_row, c, c_row, size, m, columns, ending, gate
    OF_SPARSE,  # first row of the batch, b, b_row, init, c, c_row, m, vectors
    OF_SPARSE_IN_PLACE,  # first row of the batch, b_row, init, c, c_row, m: W and init, the bias, are the user's own
    TURN,  # first row of the batch, rows: makes of samples that are compressed the entries of each feature
    OVER_SPARSE,  # first feature, b, b_row, init, init_row, c, c_row, m, vectors
    MULTIPLY_ROWS,  # rows, factors, out, number of rows, row, size
    ROW_GRADIENT,  # how many rows behind it are no calls, but what `simd.row_gradient` reads
    SOFTMAX_LOSS,  # as MEASURE, but a is not there yet, and delta gets the samples' shares
    UPDATE_ALL,  # w, g, place in both states, n, group, how many calls behind it do the same where l2 or decay is not 0
) = _codes
WIDTH = 15

Call = tuple[Any, ...]  # one of them and its arguments
