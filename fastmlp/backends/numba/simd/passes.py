"""What runs over arrays once: activations and their derivatives, dropout, optimizer rules, sums and copies.

Each formula is the tables' own, in registers (`formulas`). Arrays are padded: a row is a whole number of registers, and
what lies beyond its true end may be read and written. `n` counts numbers, padding included, and is a multiple of a
register's lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from fastmlp import dropout
from fastmlp.activations import ACTIVATIONS
from fastmlp.backends.numba.calls import ACTIVATION_CODES, RULE_CODES
from fastmlp.backends.numba.simd.formulas import twin
from fastmlp.backends.numba.simd.lanes import Choice, Whole, splat, where
from fastmlp.backends.numba.simd.leaf import INT, Cases, Code, leaf
from fastmlp.optimizers import N_COEFFICIENTS, RULES

# ---- activations


def _each_activation(write: Callable[[Any], None]) -> Cases:
    return {ACTIVATION_CODES[name]: partial(write, row) for name, row in ACTIVATIONS.items()}


@leaf("vv ii")
def activate(code: Code, z: Any, a: Any, n: Any, activation: Any) -> None:
    """Write the activation of z to a, which may be z; softmax has a pass of its own."""

    def write(row: Any) -> None:
        function = twin(row.forward, code.kind.dtype)
        with code.loop(n, code.kind.lanes) as i:
            code.store(function(code.load(z, i)), a, i)

    code.switch(activation, _each_activation(write))


@leaf("vvv ii")
def multiply_derivative(code: Code, z: Any, a: Any, delta: Any, n: Any, activation: Any) -> None:
    """Multiply delta with the derivative of an activation at z, where it is a."""

    def write(row: Any) -> None:
        slope = twin(row.derivative, code.kind.dtype)
        with code.loop(n, code.kind.lanes) as i:
            product = code.load(delta, i) * slope(code.load(z, i), code.load(a, i))
            code.store(product + 0.0, delta, i)  # a masked delta is +0.0

    code.switch(activation, _each_activation(write))


@leaf("vvv i")
def multiply(code: Code, x: Any, y: Any, out: Any, n: Any) -> None:
    """Write x * y."""
    with code.loop(n, code.kind.lanes) as i:
        code.store(code.load(x, i) * code.load(y, i), out, i)


# ---- dropout


@leaf("iii", returns="i")
def dropout_key(code: Code, seed: Any, step: Any, layer: Any) -> Any:
    """Return what the masks of a layer share in one step (`fastmlp.dropout.layer_key`)."""
    return dropout.layer_key(*(Whole(code.builder, value) for value in (seed, step, layer))).value  # type: ignore[attr-defined, arg-type]


@leaf("v iii ii if")
def drop(
    code: Code, factors: Any, rows: Any, size: Any, width: Any, key: Any, first: Any, below: Any, kept: Any
) -> None:
    """Write a layer's dropout factors: 0 where a unit's hash is below a number, `kept` elsewhere, 0 in padding.

    The first of the rows is the batch's row `first`.
    """
    builder, kind = code.builder, code.kind
    narrow = (
        (lambda value: builder.trunc(value, kind.integers.element)) if kind.bits < INT.width else (lambda value: value)
    )

    def whole(value: Any) -> Whole:
        return Whole(builder, splat(builder, kind.integers, narrow(value)))

    own_key, limit = whole(key), whole(below)
    with code.loop(rows) as i:
        row = whole(code.add(first, i))
        with code.loop(width, kind.lanes) as j:
            units = builder.add(whole(j).value, ir.Constant(kind.integers, list(range(kind.lanes))))
            hashes = dropout.unit_hash(own_key, row, Whole(builder, units))
            stays = Choice(builder, kind, builder.icmp_unsigned(">=", hashes.value, limit.value))
            factor = where(stays & code.below(code.sub(size, j)), code.splat(kept), 0.0)
            code.store(factor, factors, code.add(code.mul(i, width), j))


# ---- optimizer rules


@leaf("vvvv i d ff i")
def update(
    code: Code, w: Any, g: Any, s: Any, t: Any, n: Any, coefficients: Any, l2: Any, decay: Any, rule: Any
) -> None:
    """Do one step of a rule for n parameters: l2 enters the gradient, the decay comes before the rule."""

    def write(name: str) -> None:
        states, parameter = twin(RULES[name].states, code.kind.dtype), twin(RULES[name].parameter, code.kind.dtype)
        c = [code.splat(code.scalar(coefficients, i)) for i in range(N_COEFFICIENTS)]
        if name == _WITH_EPSILON:  # rounded to float32 it could be 0, and 0/0 would come of a gradient that is 0
            c[1] = where(c[1] > _SMALLEST, c[1], _SMALLEST)
        penalty, decayed = code.splat(l2), code.splat(decay)
        with code.loop(n, code.kind.lanes) as i:
            old = code.load(w, i)
            gradient = code.load(g, i) + penalty * old
            second = code.load(t, i) if RULES[name].n_states > 1 else code.lanes(0.0)
            first, second = states(gradient, code.load(s, i), second, c)
            code.store(first, s, i)
            if RULES[name].n_states > 1:
                code.store(second, t, i)
            code.store(parameter(old - decayed * old, gradient, first, second, c), w, i)

    code.switch(rule, {RULE_CODES[name]: partial(write, name) for name in RULES})


_WITH_EPSILON = "adam"
_SMALLEST = 2.0**-126


@leaf("vv i f")
def add_scaled(code: Code, out: Any, x: Any, n: Any, factor: Any) -> None:
    """Add factor * x to `out`."""
    with code.loop(n, code.kind.lanes) as i:
        code.store(code.load(out, i) + code.splat(factor) * code.load(x, i), out, i)


# ---- sums


_SUMS_AT_ONCE = (4, 2, 1)  # registers: additions to one would wait for each other


@leaf("v i vv ii")
def sums_of_rows(code: Code, x: Any, x_row: Any, init: Any, out: Any, rows: Any, vectors: Any) -> None:
    """Write the sums of columns of rows, of so many registers each, to `out`, from those at `init` upwards."""
    done: Any = code.whole(0)
    for count in _SUMS_AT_ONCE:
        stop = code.add(done, code.mul(code.builder.sdiv(code.sub(vectors, done), code.whole(count)), count))
        with code.loop(stop, count, done) as j:
            columns = [code.mul(code.add(j, step), code.kind.lanes) for step in range(count)]
            sums = [cgutils.alloca_once_value(code.builder, code.load(init, column).value) for column in columns]
            with code.loop(rows) as i:
                row = code.at(x, code.mul(i, x_row))
                for own, column in zip(sums, columns, strict=True):
                    code.store(code.load(own) + code.load(row, column), own)
            for own, column in zip(sums, columns, strict=True):
                code.store(code.load(own), out, column)
        done = stop


# ---- sums in float64


def wide(code: Code) -> ir.Type:
    """Return the type of as many numbers of float64 as are in a register."""
    return ir.VectorType(ir.DoubleType(), code.kind.lanes)


def add_product(code: Code, total: Any, numbers: Any, share: Any) -> None:
    """Add numbers, widened to float64, times a share to a sum."""
    if numbers.type != wide(code):
        numbers = code.builder.fpext(numbers, wide(code))
    product = code.builder.fmul(numbers, share, flags=("contract",))
    code.builder.store(code.builder.fadd(code.builder.load(total), product, flags=("contract",)), total)


def sum_wide(code: Code, numbers: Any) -> Any:
    """Return the sum of a register's lanes, in float64, from the first up."""
    total: Any = ir.Constant(ir.DoubleType(), 0.0)
    for lane in range(code.kind.lanes):
        total = code.builder.fadd(total, code.builder.extract_element(numbers, ir.Constant(ir.IntType(32), lane)))
    return total


@leaf("v i", returns="f")
def sum_of_squares(code: Code, x: Any, n: Any) -> Any:
    """Return the sum of n squares, in float64."""
    total = cgutils.alloca_once_value(code.builder, ir.Constant(wide(code), [0.0] * code.kind.lanes))
    with code.loop(n, code.kind.lanes) as i:
        numbers = code.load(x, i).value
        if numbers.type != wide(code):
            numbers = code.builder.fpext(numbers, wide(code))
        add_product(code, total, numbers, numbers)
    return sum_wide(code, code.builder.load(total))


# ---- moving numbers


@leaf("vv i")
def copy(code: Code, x: Any, out: Any, n: Any) -> None:
    """Copy n numbers, any number of them; not one beyond them is read or written."""
    _copy(code, x, out, n)


@leaf("v i v i ii")
def copy_rows(code: Code, x: Any, x_row: Any, out: Any, out_row: Any, rows: Any, n: Any) -> None:
    """Copy rows of n numbers; from row to row it is so many numbers."""
    with code.loop(rows) as i:
        _copy(code, code.at(x, code.mul(i, x_row)), code.at(out, code.mul(i, out_row)), n)


@leaf("v q i v ii")
def gather_rows(code: Code, x: Any, order: Any, size: Any, out: Any, out_row: Any, rows: Any) -> None:
    """Copy rows of x, of so many numbers each, in an order."""
    with code.loop(rows) as i:
        row = code.mul(code.scalar(order, i), size)
        _copy(code, code.at(x, row), code.at(out, code.mul(i, out_row)), size)


def _copy(code: Code, x: Any, out: Any, n: Any) -> None:
    """Copy n numbers by registers, the last of which overlaps the one before; or, if they are fewer, one by one."""
    lanes, builder = code.kind.lanes, code.builder
    with builder.if_else(builder.icmp_signed(">=", n, code.whole(lanes))) as (many, few):
        with many:
            last = code.sub(n, lanes)
            with code.loop(last, lanes) as i:
                code.store(code.load(x, i), out, i)
            code.store(code.load(x, last), out, last)
        with few, code.loop(n) as i:
            builder.store(code.scalar(x, i), code.at(out, i))


@leaf("v i f")
def fill(code: Code, out: Any, n: Any, value: Any) -> None:
    """Write a value to n places."""
    number = code.splat(value)
    with code.loop(n, code.kind.lanes) as i:
        code.store(number, out, i)


@leaf("v i", returns="i")
def is_finite(code: Code, x: Any, n: Any) -> Any:
    """Return 1 if all of n numbers, any number of them, are finite, else 0: zero times them is zero, or NaN."""
    lanes = code.kind.lanes
    zero = ir.Constant(code.kind.scalar, 0.0)
    sums = cgutils.alloca_once_value(code.builder, code.lanes(0.0).value)
    rest = cgutils.alloca_once_value(code.builder, zero)
    whole = code.sub(n, code.builder.srem(n, code.whole(lanes)))
    with code.loop(whole, lanes) as i:
        code.builder.store((code.lanes(code.builder.load(sums)) + code.load(x, i) * 0.0).value, sums)
    with code.loop(n, 1, whole) as i:
        product = code.builder.fmul(code.scalar(x, i), zero)
        code.builder.store(code.builder.fadd(code.builder.load(rest), product), rest)
    total = code.builder.fadd(code.lanes(code.builder.load(sums)).sum(), code.builder.load(rest))
    return code.builder.zext(code.builder.fcmp_ordered("==", total, zero), INT)


@leaf("v iii", returns="i")
def rows_are_finite(code: Code, x: Any, rows: Any, size: Any, width: Any) -> Any:
    """Return 1 if all numbers of padded rows, the first `size` of each `width`, are finite, else 0."""
    sums = cgutils.alloca_once_value(code.builder, code.lanes(0.0).value)
    with code.loop(rows) as i:
        start = code.mul(i, width)
        with code.loop(size, code.kind.lanes) as j:
            so_far = code.lanes(code.builder.load(sums))
            code.builder.store((so_far + code.load(x, code.add(start, j)) * 0.0).value, sums)
    total = code.lanes(code.builder.load(sums)).sum()
    return code.builder.zext(code.builder.fcmp_ordered("==", total, ir.Constant(code.kind.scalar, 0.0)), INT)
