"""Steps as programs: lists of calls of leaves, made once for a size of batch and a thread.

Everything about a step but its numbers is known beforehand: which rows go through all layers together, which part of
which panel a product writes, where its operands begin. So it is written down in Python, a row of integers for each
call, and a kernel (`kernels.perform`) does what stands there, without loops over layers, panels or chunks of its own.

The rows go in stripes, each through all layers, forward and back to deltas, while they are in the cache. Then come the
parameters in chunks: a chunk's gradient over all rows of the block, the optimizer's rule, and its transposed copy. A
batch that is larger than a block goes a block at a time, and its gradient adds up. What is split, and in which order
it is added, depends on the problem alone: threads share out stripes and chunks, and change no bit.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from fastmlp.backends.numba.fast import single_row
from fastmlp.backends.numba.fast.chunks import Chunks
from fastmlp.backends.numba.fast.codes import CHECK, END, HAND_OUT, MEET, TARGETS, TURN, WIDTH, Call
from fastmlp.backends.numba.fast.layout import Layout
from fastmlp.backends.numba.fast.rows import Rows
from fastmlp.groups import ONE_GROUP, ParameterGroups


class Writer:
    """Writes a network's programs.

    Parameters
    ----------
    layout : Layout
    dropping : bool
        Whether units are dropped.
    groups : ParameterGroups
        Of what is updated.
    """

    def __init__(self, layout: Layout, *, dropping: bool, groups: ParameterGroups = ONE_GROUP) -> None:
        self.layout, self._rows = layout, Rows(layout, dropping=dropping)
        self._chunks = Chunks(layout, dropping=dropping, groups=groups)

    def forward(self, n: int, *, measuring: bool) -> list[Call]:
        """Return the program that takes n rows, where they are, forward and, if wanted, sums up their losses."""
        last = self.layout.layers[-1]
        calls = [*self._rows.forward(0, n, 0, in_place=True, measuring=measuring)]
        if measuring:
            calls.insert(0, (TARGETS, 0, n, self.layout.y, last.stride, last.column, 0))
            calls += [self._rows.measure(0, n, 0, last.z), (CHECK, 1, False)]
        else:
            calls.append((HAND_OUT, last.a, n, last.stride, last.column, last.fan_out, 0))
        return [*calls, (END,)]

    def step(self, n: int, *, learning: bool, thread: int, n_threads: int) -> list[Call]:
        """Return one thread's program for a batch of n rows: a step, or with `learning` False its gradient alone."""
        if n == 1 and learning and self.layout.takes_single_rows and not self._rows.dropping:
            return single_row.step(self.layout, self._chunks)
        size, chunks = self.layout.block_rows, self._chunks
        calls: list[Call] = []
        for first in range(0, n, size):
            rows, is_last = min(size, n - first), first + size >= n
            stripes = self.layout.stripes(rows)
            for stripe, (start, n_rows) in enumerate(stripes):
                if stripe % n_threads == thread:
                    calls += self._rows.stripe(start, n_rows, first, stripe)
            if self.layout.is_sparse and thread == 0:
                calls.append((TURN, first, rows))
            calls += [(MEET,), (CHECK, len(stripes), is_last)]
            single = is_last and not first and learning
            for group in chunks.share_of(thread, n_threads):
                calls += chunks.packed_inputs(group[0], rows, thread)
                for chunk in group:
                    calls += chunks.gradient(chunk, rows, thread, adding=first > 0, kept=not single)
                    if is_last:
                        calls += chunks.update(chunk, thread, kept=not single) if learning else chunks.penalise(chunk)
            if self.layout.is_scaled and thread == n_threads - 1:
                calls += chunks.scale_gradient(rows, adding=first > 0)
                calls += chunks.update_scale() if is_last and learning else ()
            if self.layout.has_inputs and thread == 0:
                calls += self._rows.input_gradient(rows, first)
            calls.append((MEET,))
        return [call for call in (*calls, (END,)) if n_threads > 1 or call[0] != MEET]

    def transpose_all(self) -> list[Call]:
        """Return the program that makes the transposed copies."""
        return [*self._chunks.transpose_all(), (END,)]


def assemble(programs: list[list[Call]]) -> tuple[Any, list[int]]:
    """Return programs as one array of integers, (n_calls, WIDTH), and the row at which each begins."""
    calls = [call for program in programs for call in program]
    table, lengths = np.zeros((len(calls), WIDTH), np.int64), np.array([*map(len, calls)])
    table[np.arange(WIDTH) < lengths[:, None]] = np.fromiter(chain.from_iterable(calls), np.int64)
    starts = np.cumsum([0, *map(len, programs[:-1])])
    return table, [int(start) for start in starts]
