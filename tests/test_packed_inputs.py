"""Inputs that are gathered, or packed, before products read them: where they are read from changes no bit.

Whether it pays depends on sizes that no test needs to be patient with: here a layout is told that it always does, or
never.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp.backends.numba.fast import chunks, layout
from tests import checkers, threaded
from tests.networks import Case

NEVER, ALWAYS = 10**9, 0
CASES = (
    Case((101, 37, 19, 3), ("relu", "tanh"), "softmax", "cross_entropy", dtype="float32", weighted=True, n_samples=64),
    Case((9, 130, 70, 2), ("gelu", "relu"), "identity", "mse", l2=0.125, n_samples=64),
    Case((53, 66, 1), ("relu",), "identity", "mse", dtype="float32", input_scale=True, n_samples=64),
    Case((49, 48, 5), ("tanh",), "identity", "mse", n_samples=64),  # biases are a chunk of their own, or nearly
)
both = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.sizes)) + case.dtype)


def arrange(patch: pytest.MonkeyPatch, *, gathering: bool, packing: bool) -> None:
    """Have layouts from now on gather, or pack, all inputs or none."""
    patch.setattr(layout, "_GATHERED_BYTES", NEVER if gathering else ALWAYS)
    patch.setattr(layout, "_PANELS_WORTH_PACKING", ALWAYS if packing else NEVER)
    patch.setattr(layout, "_BYTES_WORTH_PACKING", ALWAYS)


def results(case: Case, threads: int) -> str:
    """Return a hash of gradients and of a training."""
    net, (_, X, Y, w) = case.build("numba", threads=threads, dropout=0.25, seed=3), case.data
    loss, gradient = net.loss_and_gradient(X, Y, w)
    found = [np.array(loss), gradient.flat.copy(), net.input_gradient(X, Y, w)]
    net.fit(X, Y, sample_weight=w, optimizer=fastmlp.Adam(0.01), epochs=2, batch_size=27)
    return checkers.digest([*found, net.parameters.flat, *net.history.state.states])


def all_results(case: Case, patch: pytest.MonkeyPatch, counts: tuple[int, ...]) -> dict[str, str]:
    found = {}
    for gathering, packing in itertools.product((False, True), repeat=2):
        arrange(patch, gathering=gathering, packing=packing)
        for threads in counts:
            found[f"gathering {gathering}, packing {packing}, {threads} threads"] = results(case, threads)
    return found


@both
def test_where_inputs_are_read_from_changes_no_bit(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    found = all_results(case, monkeypatch, (1,))
    assert not checkers.same_bits(found)


@both
def test_nor_does_it_on_several_threads(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which share out what is packed together, and the panels of what is left over; there are more than panels, too."""
    threaded.use_threads_for_everything(monkeypatch)
    found = all_results(case, monkeypatch, (1, 2, 3, 7))
    assert not checkers.same_bits(found)


def test_layouts_do_what_these_tests_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for gathering, packing in itertools.product((False, True), repeat=2):
        arrange(monkeypatch, gathering=gathering, packing=packing)
        own = layout.Layout(CASES[0].build("numba").spec, 64, training=True)
        assert own.is_gathered == gathering
        assert {layer.is_packed for layer in own.layers if not layer.is_narrow} == {packing}


@both
def test_a_wrong_place_is_seen(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of packed inputs: a column too early, in every chunk but the first."""
    genuine = chunks.Chunks.packed_inputs

    def mistaken(self: Any, chunk: Any, *given: Any) -> Any:
        layer, panel, first, stop = chunk
        return genuine(self, (layer, panel, max(first - 1, 0), stop), *given)

    monkeypatch.setattr(chunks.Chunks, "packed_inputs", mistaken)
    wide = replace(case, sizes=(150, *case.sizes[1:]))
    assert checkers.same_bits(all_results(wide, monkeypatch, (1,)))


def test_large_layers_are_packed_and_small_ones_are_not() -> None:
    own = layout.Layout(fastmlp.MLP((256, 1024, 1024, 10)).spec, 256, training=True)
    assert own.is_gathered
    assert [layer.is_packed for layer in own.layers] == [True, True, False]
    small = layout.Layout(fastmlp.MLP((16, 64, 64, 1)).spec, 32, training=True)
    assert small.is_gathered
    assert not any(layer.is_packed for layer in small.layers)
