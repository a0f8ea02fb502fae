"""Steps of one row in networks whose layers are one register wide: one call does all but the optimizer's rule."""

from __future__ import annotations

from fastmlp.backends.numba.fast.chunks import Chunks
from fastmlp.backends.numba.fast.codes import END, ROW_GRADIENT, UPDATE, UPDATE_ALL, Call
from fastmlp.backends.numba.fast.layout import Layout


def step(layout: Layout, chunks: Chunks) -> list[Call]:
    """Return the program of a step: a row of each layer (`simd.row_gradient`) is behind the first two."""
    last, lanes, below = layout.layers[-1], layout.lanes, 0
    n_layers = len(layout.layers)
    calls: list[Call] = [
        (ROW_GRADIENT, 1 + n_layers),
        (n_layers, layout.numbers, layout.loss_case, layout.is_linked, last.is_softmax),
    ]
    updates: list[Call] = []
    for layer in layout.layers:
        (panel,) = layer.panels
        w, g = layout.weights + panel.start, layout.gradient + panel.start
        bias = layout.weights + layer.bias if layer.is_narrow else w + layer.fan_in * lanes
        t = layout.transposed + layer.transposed_panels[0].start if layer.transposed_panels else 0
        sizes, rows = (layer.fan_in, layer.fan_out), (layer.z, layer.a, layer.delta)
        calls.append((below, w, bias, t, g, *sizes, *rows, layer.activation, layer.is_narrow))
        updates += chunks.update((layer, panel, 0, layer.fan_in + 1), 0, kept=True)
        below = layer.a
    rules = [call for call in updates if call[0] == UPDATE]
    if not chunks.groups.layers:
        calls.append((UPDATE_ALL, layout.weights, layout.gradient, 0, layout.part_size, 0, len(rules)))
    return [*calls, *rules, *(call for call in updates if call[0] != UPDATE), (END,)]
