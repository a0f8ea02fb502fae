"""Teaches Numba the functions that all backends share.

The tables' functions are plain Python over floats. Registered here, jitted code may call them as they are: one
definition, three backends. Only the four helpers of `fastmlp.elementary` that look at the kind of their argument
get a form of their own; `power_of_two` is a shift of bits, so that loops over exp turn into vector instructions.
"""

from __future__ import annotations

import inspect
import math
from types import ModuleType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload, register_jitable

from fastmlp import activations, dropout, elementary, losses, optimizers

_EXPONENT_BIAS, _MANTISSA_BITS = 1023, 52
_MANTISSA = (1 << _MANTISSA_BITS) - 1
_HALF = (_EXPONENT_BIAS - 1) << _MANTISSA_BITS  # the exponent of 0.5, where it stands
_SMALLEST_NORMAL = 2.0**-1022
_INTO_NORMAL_BITS = 54
_INTO_NORMAL = 2.0**_INTO_NORMAL_BITS


@intrinsic
def _float_of_bits(typing_context: Any, bits: Any) -> Any:  # noqa: ARG001  Numba passes it
    """Return the binary64 whose bits are those of an int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic
def _bits_of_float(typing_context: Any, x: Any) -> Any:  # noqa: ARG001  Numba passes it
    """Return the bits of a binary64 as an int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


# An implementation's signature, annotations included, must be that of its overload.


@overload(elementary.where)
def _where(condition: Any, yes: Any, no: Any) -> Any:  # noqa: ARG001
    def where(condition: Any, yes: Any, no: Any) -> Any:
        return yes if condition else no

    return where


@overload(elementary.power_of_two)
def _power_of_two(k: Any) -> Any:  # noqa: ARG001
    def power_of_two(k: Any) -> Any:
        return _float_of_bits((np.int64(k) + _EXPONENT_BIAS) << _MANTISSA_BITS)

    return power_of_two


@overload(elementary.split)
def _split(x: Any) -> Any:  # noqa: ARG001
    def split(x: Any) -> Any:
        is_small = x < _SMALLEST_NORMAL
        bits = _bits_of_float(x * _INTO_NORMAL if is_small else x)
        exponent = (bits >> _MANTISSA_BITS) - (_EXPONENT_BIAS - 1)
        mantissa = _float_of_bits((bits & _MANTISSA) | _HALF)
        return mantissa, float(exponent - _INTO_NORMAL_BITS if is_small else exponent)

    return split


@overload(elementary.sqrt)
def _sqrt(x: Any) -> Any:  # noqa: ARG001
    def sqrt(x: Any) -> Any:
        return math.sqrt(x)

    return sqrt


_OVERLOADED = {"where", "power_of_two", "split", "sqrt"}


def _register(module: ModuleType) -> None:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__ and name not in _OVERLOADED:
            register_jitable(function)


for _module in (elementary, activations, losses, optimizers, dropout):
    _register(_module)
