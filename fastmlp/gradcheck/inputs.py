"""The door for a gradient that a user computed: its forms, and what is wrong with its shapes."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data import as_numbers
from fastmlp.parameters import Parameters
from fastmlp.spec import NetworkSpec


def as_gradient(spec: NetworkSpec, gradient: object) -> tuple[Parameters, str]:
    """Return a user's gradient in float64, and the dtype whose rounding it has.

    Parameters
    ----------
    spec : NetworkSpec
    gradient : Parameters, array_like of shape (n_params,), or sequence of array_like
        The last two in the order W0, b0, W1, b1, ..., the input scale last.

    Returns
    -------
    gradient : Parameters
    dtype : str
        The coarsest of the spec's and the arrays'.

    Raises
    ------
    TypeError
        If it does not hold real numbers.
    ValueError
        If the number of arrays, or a shape, is not that of the parameters.
    """
    if isinstance(gradient, Parameters):
        _check_sizes(spec, gradient)
        arrays = [gradient.flat]
    elif isinstance(gradient, np.ndarray) or _is_flat(gradient):
        arrays = [as_numbers("gradient", gradient)]
        _check_flat(spec, arrays[0])
    elif isinstance(gradient, Sequence):
        arrays = [as_numbers(f"gradient[{i}]", tensor) for i, tensor in enumerate(gradient)]
        _check_tensors(spec, arrays)
    else:
        kind = type(gradient).__name__
        msg = f"gradient is a {kind}; expected Parameters, a flat vector, or a sequence W0, b0, W1, b1, ..."
        raise TypeError(msg)
    flat = np.concatenate([array.ravel().astype(np.float64) for array in arrays])
    dtypes = [np.dtype(spec.dtype), *(array.dtype for array in arrays if array.dtype.kind == "f")]
    return Parameters(spec.layer_sizes, flat), max(dtypes, key=lambda dtype: float(np.finfo(dtype).eps)).name


def tensor_shapes(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Return the shapes of weights[0], biases[0], weights[1], ..., by these names."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (fan_in, fan_out) in enumerate(spec.shapes):
        shapes |= {f"weights[{layer}]": (fan_in, fan_out), f"biases[{layer}]": (fan_out,)}
    return shapes | ({"input_scale": (spec.n_inputs,)} if spec.input_scale else {})


def _is_flat(gradient: object) -> bool:
    return isinstance(gradient, Sequence) and all(isinstance(value, numbers.Real) for value in gradient)


def _check_sizes(spec: NetworkSpec, gradient: Parameters) -> None:
    if gradient.layer_sizes != spec.layer_sizes:
        msg = f"gradient has layer_sizes={gradient.layer_sizes}, but the network has {spec.layer_sizes}"
        raise ValueError(msg)
    if (gradient.input_scale is not None) != spec.input_scale:
        found = "an input scale" if spec.input_scale else "no input scale"
        msg = f"gradient has {gradient.flat.size} values, but the network has {spec.n_params}, {found} among them"
        raise ValueError(msg)


def _check_flat(spec: NetworkSpec, flat: NDArray[Any]) -> None:
    if flat.shape != (spec.n_params,):
        msg = (
            f"gradient has shape {flat.shape}, but the network's parameters have shape ({spec.n_params},); "
            "expected that, or a sequence W0, b0, W1, b1, ..."
        )
        raise ValueError(msg)


def _check_tensors(spec: NetworkSpec, arrays: list[NDArray[Any]]) -> None:
    shapes = tensor_shapes(spec)
    if len(arrays) != len(shapes):
        given = ", ".join(str(array.shape) for array in arrays)
        expected = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        msg = f"gradient has {len(arrays)} arrays ({given}), but the network has {len(shapes)}: {expected}"
        raise ValueError(msg)
    for i, (array, (name, shape)) in enumerate(zip(arrays, shapes.items(), strict=True)):
        if array.shape != shape:
            hint = "; is it transposed?" if array.shape == shape[::-1] else ""
            msg = f"gradient[{i}] has shape {array.shape}, but {name} has shape {shape}{hint}"
            raise ValueError(msg)
