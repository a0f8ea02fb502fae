"""A room: memory for a network, and the programs that run in it, kept from call to call."""

from __future__ import annotations

from enum import Enum

import numpy as np

from fastmlp.backends.base import Indices
from fastmlp.backends.numba.calls import Key, Steps, stripes
from fastmlp.backends.numba.fast.codes import Call
from fastmlp.backends.numba.fast.layout import Layout, Network
from fastmlp.backends.numba.fast.program import Writer, assemble
from fastmlp.groups import ONE_GROUP, ParameterGroups
from fastmlp.parameters import Array
from fastmlp.spec import NetworkSpec


class Purpose(Enum):
    """What a room is for."""

    EVALUATING = "evaluating"
    TRAINING = "training"
    GRADIENT = "gradient"
    BOTH_GRADIENTS = "both gradients"


_MOST_KEPT = 8  # sets of programs: those of a fit, its validation, and a few more


class Room:
    """Memory for batches of up to some rows, laid out for a purpose, and programs.

    Parameters
    ----------
    spec : NetworkSpec
    purpose : Purpose
    n_rows, n_threads : int
    is_sparse : bool
    """

    def __init__(
        self, spec: NetworkSpec, purpose: Purpose, n_rows: int, n_threads: int = 1, *, is_sparse: bool = False
    ) -> None:
        both = purpose is Purpose.BOTH_GRADIENTS
        self.layout = Layout(
            spec,
            n_rows,
            training=purpose is not Purpose.EVALUATING,
            keeps_gradient=both or purpose is Purpose.GRADIENT,
            has_inputs=both,
            n_threads=n_threads,
            is_sparse=is_sparse,
        )
        self.memory = self.layout.memory()
        self._kept: dict[tuple[object, ...], tuple[Array, dict[int, list[int]]]] = {}
        self._evaluation: tuple[Array, int, bool, Network, Steps] | None = None
        self._training: tuple[Indices, int, list[Network]] | None = None

    def take_entries(self, n_entries: int) -> None:
        """Have memory for so many entries of a block of samples that are compressed."""
        if not self.memory.ends.size or self.memory.rows.size < n_entries:
            ends, rows = (np.zeros(n, np.int64) for n in (self.layout.spec.n_inputs + 2, n_entries))
            self.memory = self.memory._replace(
                ends=ends, rows=rows, numbers=np.zeros(n_entries, self.layout.spec.dtype)
            )

    def evaluation(self, flat: Array, n_rows: int, *, measuring: bool) -> tuple[Network, Steps]:
        """Return the network with programs that take so many rows forward, and its steps: the last ones, if right."""
        known = self._evaluation
        if known is None or known[0] is not flat or known[1:3] != (n_rows, measuring):
            steps = stripes(n_rows, self.layout.block_rows)
            sizes = steps.stops - steps.starts
            known = self._evaluation = flat, n_rows, measuring, self._forward(flat, sizes, measuring=measuring), steps
        return known[3:]

    def _forward(self, flat: Array, sizes: Indices, *, measuring: bool) -> Network:
        """Return the network with the programs that take batches of these sizes forward."""
        distinct = _distinct(sizes)
        key = ("evaluation", distinct, measuring)
        if key not in self._kept:
            writer = Writer(self.layout, dropping=False)
            self._keep(key, {n: [writer.forward(n, measuring=measuring)] for n in distinct}, [])
        table, rows = self._kept[key]
        return self._network(flat, table, rows, sizes, 0)

    def training(
        self, flat: Array, sizes: Indices, *, groups: ParameterGroups | None, key: Key, n_threads: int
    ) -> list[Network]:
        """Return, for each thread, the network with the programs that train on batches of these sizes.

        Without `groups` they write gradients and update nothing. A run comes in pieces, and its sizes are an array of
        its own: for the same one it is what it was the last time.
        """
        known = self._training
        if known is None or known[0] is not sizes or known[1] != n_threads:
            known = self._training = sizes, n_threads, self._step(flat, sizes, groups, key[0], n_threads)
        return known[2]

    def _step(
        self, flat: Array, sizes: Indices, groups: ParameterGroups | None, dropping: bool, n_threads: int
    ) -> list[Network]:
        learning, groups = groups is not None, groups or ONE_GROUP
        distinct = _distinct(sizes)
        key = ("training", distinct, learning, groups.layers, groups.input_scale, dropping, n_threads)
        if key not in self._kept:
            writer = Writer(self.layout, dropping=dropping, groups=groups)
            programs = {
                n: [writer.step(n, learning=learning, thread=t, n_threads=n_threads) for t in range(n_threads)]
                for n in distinct
            }
            self._keep(key, programs, writer.transpose_all())
        table, rows = self._kept[key]
        return [self._network(flat, table, rows, sizes, thread) for thread in range(n_threads)]

    def _keep(self, key: tuple[object, ...], programs: dict[int, list[list[Call]]], first: list[Call]) -> None:
        """Write programs down, one for each size and thread, behind a first one."""
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        table, starts = assemble([first, *(program for each in programs.values() for program in each)])
        places = iter(starts[1:])
        self._kept[key] = table, {n: [next(places) for _ in each] for n, each in programs.items()}

    def _network(self, flat: Array, table: Array, rows: dict[int, list[int]], sizes: Indices, thread: int) -> Network:
        if len(rows) == 1:
            entries = np.full(sizes.size, next(iter(rows.values()))[thread])
        else:
            entries = np.array([rows[n][thread] for n in sizes.tolist()], np.int64)
        return self.layout.network(flat, table, entries)


def _distinct(sizes: Indices) -> tuple[int, ...]:
    """Return the different sizes: mostly one, of thousands of steps."""
    least, most = int(sizes.min()), int(sizes.max())
    return (least,) if least == most else tuple(sorted(set(sizes.tolist())))
