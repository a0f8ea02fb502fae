"""One row through a whole network, forward and back, where each layer is one register wide.

In such a network a call of a leaf takes longer than what it computes. So here one call does all of a step but the
optimizer's rule: the products, which are short, are written out, and what goes from layer to layer stays in registers.
The formulas are the tables' own, as everywhere (`formulas`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from fastmlp.activations import ACTIVATIONS, SOFTMAX
from fastmlp.backends.numba.calls import ACTIVATION_CODES
from fastmlp.backends.numba.simd.formulas import formulas, twin
from fastmlp.backends.numba.simd.lanes import Lanes, splat, where
from fastmlp.backends.numba.simd.leaf import INT, Code, leaf
from fastmlp.backends.numba.simd.outputs import each_loss, formulas_of
from fastmlp.backends.numba.simd.passes import add_product, sum_wide, wide
from fastmlp.backends.numba.simd.tiles import fused

# What a program says of the network, and behind it of each of its layers: places in `values`, sizes and codes.
NETWORK = ("n_layers", "numbers", "loss", "is_linked", "is_softmax")
LAYER = ("source", "w", "bias", "t", "gradient", "fan_in", "fan_out", "z", "a", "delta", "activation", "is_narrow")


@leaf("vv q d v qi ii ii f", returns="f")
def row_gradient(
    code: Code,
    x: Any,
    y: Any,
    labels: Any,
    weights: Any,
    values: Any,
    table: Any,
    width: Any,
    sample: Any,
    n_in: Any,
    has_labels: Any,
    has_weights: Any,
    divisor: Any,
) -> Any:
    """Write the gradient of one sample, and return its loss times its share.

    Parameters
    ----------
    x, n_in
        X, and how many numbers a row has.
    y, labels, weights, has_labels, has_weights
        There may be labels in place of y, and no weights.
    values
        What everything else lies in.
    table, width
        A row of `width` integers of what `NETWORK` names, and behind it one of what `LAYER` names for each layer.
    sample
        Which one of the samples it is.
    divisor
        The share is the sample's weight over this.
    """
    row = _Row(code, values, table, width, code.at(x, code.mul(sample, n_in)))
    with row.each(row.network.n_layers) as number:
        row.forward(number)
    share = row.share(weights, sample, has_weights, divisor)
    loss = row.measure(row.targets(y, labels, sample, has_labels), share)
    with row.each(row.network.n_layers) as step:
        row.back(code.sub(code.sub(row.network.n_layers, 1), step))
    return loss


class _Row:
    """Writes what is done with the row.

    A layer's z, a and delta are in registers, a and delta in memory too: products take their numbers one by one.
    """

    def __init__(self, code: Code, values: Any, table: Any, width: Any, x: Any) -> None:
        self.code, self.builder, self.lanes = code, code.builder, code.kind.lanes
        self.values, self.table, self.width, self.x = values, table, width, x
        self.network = self._row(0, NETWORK)
        self.last = self.layer(code.sub(self.network.n_layers, 1))
        self.z, self.a, self.delta = (self._register() for _ in range(3))

    def _row(self, number: Any, names: tuple[str, ...]) -> Any:
        start = self.code.at(self.table, self.code.mul(number, self.width))
        return SimpleNamespace(**{name: self.code.scalar(start, i) for i, name in enumerate(names)})

    def layer(self, number: Any) -> Any:
        """Return what is said of a layer."""
        return self._row(self.code.add(number, 1), LAYER)

    def _register(self) -> Any:
        """Return where a register's numbers are kept: LLVM makes a register of it."""
        return cgutils.alloca_once(self.builder, self.code.kind.vector)

    def _at(self, place: Any, row: Any = 0) -> Any:
        """Return the pointer to a place, or to a register behind it."""
        return self.code.at(self.values, self.code.add(place, self.code.mul(row, self.lanes)))

    def _source(self, number: Any, layer: Any) -> Any:
        """Return where a layer's inputs are."""
        return self.builder.select(self._holds(number), self._at(layer.source), self.x)

    # ---- flow

    def _holds(self, value: Any) -> Any:
        return self.builder.icmp_signed("!=", value, self.code.whole(0))

    @contextmanager
    def each(self, count: Any) -> Iterator[Any]:
        """Yield i from 0 while i < count, at least once; the counts are too small for an unrolled loop."""
        builder = self.builder
        before, loop = builder.block, builder.function.append_basic_block("each")
        builder.branch(loop)
        builder.position_at_end(loop)
        i = builder.phi(INT)
        i.add_incoming(self.code.whole(0), before)
        yield i
        following, end = self.code.add(i, 1), builder.function.append_basic_block("end")
        i.add_incoming(following, builder.block)
        self.code.keep_rolled(builder.cbranch(builder.icmp_signed("<", following, count), loop, end))
        builder.position_at_end(end)

    def _choose(self, number: Any, cases: Mapping[int, Callable[[], Lanes]], otherwise: Lanes) -> Lanes:
        """Return what the case of a number returns."""
        code, result = self.code, self._register()
        code.store(otherwise, result)
        code.switch(number, {n: partial(lambda case: code.store(case(), result), case) for n, case in cases.items()})
        return code.load(result)

    # ---- what belongs to the sample

    def targets(self, y: Any, labels: Any, sample: Any, has_labels: Any) -> Lanes:
        """Return y, or a label as a one among zeros."""
        code, n_out, own = self.code, self.last.fan_out, self._register()
        with self.builder.if_else(self._holds(has_labels)) as (labelled, otherwise):
            with labelled:
                code.store(where(code.lane_is(code.scalar(labels, sample)), code.lanes(1.0), 0.0), own)
            with otherwise:
                code.store(code.load_some(y, code.mul(sample, n_out), code.below(n_out)), own)
        return code.load(own)

    def share(self, weights: Any, sample: Any, has_weights: Any, divisor: Any) -> Any:
        """Return the sample's share in its batch."""
        weight = cgutils.alloca_once_value(self.builder, ir.Constant(ir.DoubleType(), 1.0))
        with self.builder.if_then(self._holds(has_weights)):
            self.builder.store(self.code.scalar(weights, sample), weight)
        return self.builder.fdiv(self.builder.load(weight), divisor)

    # ---- forward

    def forward(self, number: Any) -> None:
        """Compute a layer's z and a."""
        code, layer = self.code, self.layer(number)
        code.store(code.load(self._at(layer.bias)), self.z)
        with self.builder.if_else(self._holds(layer.is_narrow)) as (narrow, otherwise):
            with narrow, self.each(layer.fan_out) as j:
                dot = code.splat((code.load(self.a) * code.load(self._at(layer.w, j))).sum())
                so_far = code.load(self.z)
                code.store(where(code.lane_is(j), so_far + dot, so_far), self.z)
            with otherwise:
                source = self._source(number, layer)
                with self.each(layer.fan_in) as k:
                    product = code.splat(code.scalar(source, k)), code.load(self._at(layer.w, k))
                    code.store(fused(*product, code.load(self.z).value), self.z)
        z = code.load(self.z)
        cases = {ACTIVATION_CODES[n]: partial(twin(row.forward, code.kind.dtype), z) for n, row in ACTIVATIONS.items()}
        a = self._choose(layer.activation, cases | {ACTIVATION_CODES[SOFTMAX]: self._softmax}, z)
        code.store(code.load(self.z), self._at(layer.z))
        code.store(a, self._at(layer.a))
        code.store(a, self.a)

    def _softmax(self) -> Lanes:
        """Return softmax of z, and make z its logarithm, as `outputs.softmax` does."""
        code, f, z = self.code, formulas(self.code.kind.dtype), self.code.load(self.z)
        is_output = code.below(self.last.fan_out)
        z = z - where(is_output, z, -math.inf).maximum()
        power = where(is_output, f.exp(z), 0.0)
        total = code.splat(power.sum())
        code.store(z - f.log(total), self.z)
        return power / total

    # ---- the loss

    def measure(self, y: Lanes, share: Any) -> Any:
        """Return the loss, and compute the last layer's delta, but for the activation's derivative."""
        code, network, builder = self.code, self.network, self.builder
        z, a, is_output = code.load(self.z), code.load(self.a), code.below(self.last.fan_out)
        numbers = code.load(self._at(network.numbers))
        loss = cgutils.alloca_once_value(builder, ir.Constant(wide(code), [0.0] * self.lanes))
        wide_share = splat(builder, wide(code), share)

        def write(name: str, linked: bool) -> None:
            value, slope = formulas_of(code, name, linked=linked)
            add_product(code, loss, where(is_output, value(z, a, y, numbers), 0.0).value, wide_share)
            code.store(slope(a, y, numbers), self.delta)

        code.switch(network.loss, each_loss(write))
        with builder.if_then(self._holds(network.is_softmax)):
            slope = code.load(self.delta)
            through_softmax = a * (slope - code.splat((a * slope).sum()))
            delta = self._choose(network.is_linked, {1: lambda: a * code.splat(y.sum()) - y}, through_softmax)
            code.store(delta, self.delta)
        code.store(where(is_output, code.load(self.delta) * code.splat(share), 0.0), self.delta)
        return sum_wide(code, builder.load(loss))

    # ---- back

    def back(self, number: Any) -> None:
        """Finish a layer's delta, write its gradient, and begin with the delta of the layer below."""
        code, builder, layer = self.code, self.builder, self.layer(number)
        delta, z, a = code.load(self.delta), self._at(layer.z), self._at(layer.a)

        def times_slope(row: Any) -> Lanes:
            product: Lanes = delta * twin(row.derivative, code.kind.dtype)(code.load(z), code.load(a))
            return product + 0.0  # a masked delta is +0.0

        cases = {ACTIVATION_CODES[n]: partial(times_slope, row) for n, row in ACTIVATIONS.items() if n != "identity"}
        is_last = builder.icmp_signed("==", code.add(number, 1), self.network.n_layers)
        is_done = builder.and_(is_last, self._holds(self.network.is_linked))
        delta = self._choose(builder.select(is_done, code.whole(-1), layer.activation), cases, delta)
        place, is_narrow = self._at(layer.delta), self._holds(layer.is_narrow)
        code.store(delta, place)
        with builder.if_then(self._holds(number)):
            rows_of_w = builder.select(is_narrow, self._at(layer.w), self._at(layer.t))
            code.store(code.lanes(0.0), self.delta)
            with self.each(layer.fan_out) as j:
                product = code.splat(code.scalar(place, j)), code.load(rows_of_w, code.mul(j, self.lanes))
                code.store(fused(*product, code.load(self.delta).value), self.delta)
        source, g = self._source(number, layer), self._at(layer.gradient)
        with builder.if_else(is_narrow) as (narrow, otherwise):
            with narrow:
                inputs = code.load(source)
                with self.each(layer.fan_out) as j:
                    code.store(code.splat(code.scalar(place, j)) * inputs, g, code.mul(j, self.lanes))
            with otherwise, self.each(layer.fan_in) as k:
                code.store(code.splat(code.scalar(source, k)) * delta, g, code.mul(k, self.lanes))
        n_rows = builder.select(is_narrow, layer.fan_out, layer.fan_in)
        code.store(delta, g, code.mul(n_rows, self.lanes))
