"""The door: what a user hands in is checked once, here, and comes out as arrays that backends can rely on.

Every message names the value, what was expected, and the remedy. Nothing is broadcast, nothing is changed.
"""

from __future__ import annotations

import math
import sys
from typing import TypeGuard

import numpy as np

from fastmlp._text import counted
from fastmlp.backends.base import Batch, Floats, sum_in_order
from fastmlp.losses import DOMAINS, LOSSES
from fastmlp.parameters import Array
from fastmlp.spec import DTYPES, NetworkSpec

_NUMBERS = "biuf"  # NumPy's kinds of real numbers
_MATRIX = 2
# A row of k numbers rounded to float32 sums to one within k * 2**-24, and as much again for what it came from.
_SUM_ULP = 2.0**-23


def make_batch(spec: NetworkSpec, X: object, Y: object, sample_weight: object = None) -> Batch:
    """Return the data of one gradient, checked.

    Raises
    ------
    TypeError, ValueError
        If `X`, `Y` or `sample_weight` is not what the network takes.
    """
    inputs = check_X(spec, X)
    targets = check_Y(spec, Y, len(inputs))
    weights = check_sample_weight(sample_weight, len(inputs))
    total = float(len(inputs)) if weights is None else sum_in_order(weights)
    return Batch(inputs, targets, weights, total, spec.l2)


def make_sample(spec: NetworkSpec, x: object, y: object) -> tuple[Array, Array | float]:
    """Return a single sample, checked: x and y as arrays of the spec's dtype, or y as one number.

    A number is the only output, or a class index, which is an int.

    Raises
    ------
    TypeError, ValueError
        If `x` or `y` is not what the network takes.
    """
    row = x if _is_plain_row(x, spec.n_inputs, spec.dtype) else check_X(spec, np.asarray(x)[None])[0]
    domain = LOSSES[spec.loss].domain
    if domain == "real" and _is_plain_row(y, spec.n_outputs, spec.dtype):
        return row, y
    if domain == "distribution" and type(y) is int and 0 <= y < spec.n_outputs:
        return row, y
    targets = np.asarray(y)
    target = check_Y(spec, targets[None] if targets.ndim else targets.reshape(1), 1)
    return row, int(target[0]) if target.ndim == 1 else target[0]


def _is_plain_row(x: object, n: int, dtype: str) -> TypeGuard[Array]:
    """Return whether x is n finite numbers as backends take them; of very large ones, say no."""
    return (
        type(x) is np.ndarray and x.dtype == _NATIVE[dtype] and x.shape == (n,) and math.isfinite(float(np.vdot(x, x)))
    )


def check_X(spec: NetworkSpec, X: object) -> Array:
    """Return X as a C-contiguous array of shape (n_samples, n_in) of the spec's dtype.

    Raises
    ------
    TypeError
        If it does not hold real numbers.
    ValueError
        If its shape is wrong, or a value is not finite or too large for the dtype.
    """
    if is_plain(X, spec) and math.isfinite(float(np.vdot(X, X))):  # or else it overflows, or X is not finite
        return X
    array = as_numbers("X", X)
    if array.ndim != _MATRIX:
        hint = "; for one sample use X.reshape(1, -1)" if array.ndim == 1 else ""
        msg = f"X has shape {array.shape}, but expected two dimensions, (n_samples, {spec.n_inputs}){hint}"
        raise ValueError(msg)
    if array.shape[1] != spec.n_inputs:
        msg = (
            f"X has {array.shape[1]} features (shape {array.shape}), but this network takes {spec.n_inputs} inputs "
            f"(layer_sizes={spec.layer_sizes})"
        )
        raise ValueError(msg)
    if not len(array):
        msg = f"X has no rows (shape {array.shape}); expected at least one sample"
        raise ValueError(msg)
    return _cast("X", array, spec.dtype)


_NATIVE = {name: np.dtype(name) for name in DTYPES}


def is_plain(X: object, spec: NetworkSpec) -> TypeGuard[Array]:
    """Return whether X is an array that backends take as it is, provided that it is finite."""
    if type(X) is not np.ndarray or X.dtype != _NATIVE[spec.dtype] or X.ndim != _MATRIX:
        return False
    (n_rows, n_columns), flags = X.shape, X.flags
    return n_columns == spec.layer_sizes[0] and n_rows > 0 and flags.c_contiguous and flags.aligned


def check_Y(spec: NetworkSpec, Y: object, n_samples: int) -> Array:
    """Return Y as an array of shape (n_samples, n_out) of the spec's dtype, or of (n_samples,) class indices.

    Raises
    ------
    TypeError
        If it does not hold real numbers.
    ValueError
        If its shape is wrong, or a value is not finite or outside of the loss's domain.
    """
    array = as_numbers("Y", Y)
    takes_labels = LOSSES[spec.loss].domain == "distribution"
    if takes_labels and array.shape == (n_samples,):
        return _check_labels(array, spec.n_outputs)
    if spec.n_outputs == 1 and array.shape == (n_samples,):
        array = array.reshape(-1, 1)
    if array.shape != (n_samples, spec.n_outputs):
        also = f" or class indices of shape ({n_samples},)" if takes_labels else ""
        also = also or (f" or ({n_samples},)" if spec.n_outputs == 1 else "")
        samples, outputs = counted(n_samples, "sample"), counted(spec.n_outputs, "output")
        msg = (
            f"Y has shape {array.shape}, but {samples} of X and {outputs} "
            f"(layer_sizes={spec.layer_sizes}) need shape ({n_samples}, {spec.n_outputs}){also}"
        )
        raise ValueError(msg)
    targets = _cast("Y", array, spec.dtype)
    _check_domain(targets, spec.loss)
    return targets


def check_sample_weight(sample_weight: object, n_samples: int) -> Floats | None:
    """Return the weights as a float64 array of shape (n_samples,), or None.

    Raises
    ------
    TypeError
        If they are not real numbers.
    ValueError
        If the shape is wrong, a weight is negative or not finite, or all are zero.
    """
    if sample_weight is None:
        return None
    array = as_numbers("sample_weight", sample_weight)
    if array.ndim != 1:
        msg = f"sample_weight has shape {array.shape}, but expected one weight a sample, shape ({n_samples},)"
        raise ValueError(msg)
    if len(array) != n_samples:
        msg = (
            f"sample_weight has shape {array.shape}, but X has {counted(n_samples, 'sample')}; give one weight a sample"
        )
        raise ValueError(msg)
    weights = _cast("sample_weight", array, "float64")
    if np.min(weights) < 0:
        row = int(np.argmax(weights < 0))
        msg = f"sample_weight[{row}] is {weights[row]:g}; expected weights not below 0"
        raise ValueError(msg)
    with np.errstate(over="ignore"):
        total = sum_in_order(weights)
    if not 0 < total < math.inf:
        msg = f"sample_weight sums to {total:g}; expected a positive, finite sum"
        raise ValueError(msg)
    return weights


def as_numbers(what: str, values: object) -> Array:
    """Return values as an array of real numbers, of whatever shape.

    Raises
    ------
    TypeError, ValueError
        If they are sparse, masked, ragged, or no real numbers; `what` is their name in the message.
    """
    if hasattr(values, "toarray") and not isinstance(values, np.ndarray):  # SciPy's sparse matrices
        msg = f"{what} is a {type(values).__name__}; expected a dense array, so use {what}.toarray()"
        raise TypeError(msg)
    if "numpy.ma" in sys.modules and np.ma.is_masked(values):  # nobody has such an array who has not imported it
        msg = f"{what} is a masked array with masked entries; expected a value everywhere, so fill or drop them"
        raise ValueError(msg)
    try:
        array: Array = np.asarray(values)
    except ValueError:
        msg = f"{what} is a ragged sequence; expected rows of equal length"
        raise ValueError(msg) from None
    if array.dtype.kind not in _NUMBERS:
        msg = f"{what} has dtype {array.dtype} (shape {array.shape}); expected real numbers"
        raise TypeError(msg)
    return array


def _cast(what: str, array: Array, dtype: str) -> Array:
    """Return the array in the dtype, C-contiguous and aligned, with every value finite before and after."""
    with np.errstate(over="ignore"):
        cast = np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])
    finite = np.isfinite(cast)
    if finite.all():
        return cast
    place = tuple(int(i) for i in np.argwhere(~finite)[0])
    value = array[place]
    index = ", ".join(map(str, place))
    if np.isfinite(value):
        msg = f"{what}[{index}] is {value:g}, too large for {dtype}; scale the data or use dtype='float64'"
        raise ValueError(msg)
    msg = f"{what}[{index}] is {value}; expected finite numbers, so drop or fill such samples"
    raise ValueError(msg)


def _check_labels(array: Array, n_classes: int) -> Array:
    """Return class indices as int64."""
    is_whole = np.equal(array, np.rint(array)) if array.dtype.kind == "f" else np.True_
    wrong = ~((array >= 0) & (array < n_classes) & is_whole)
    if wrong.any():
        row = int(np.argmax(wrong))
        msg = (
            f"Y[{row}] is {array[row]}; expected class indices, whole numbers from 0 to {n_classes - 1} for "
            f"{n_classes} outputs"
        )
        raise ValueError(msg)
    return np.require(array, np.int64, ["C_CONTIGUOUS", "ALIGNED"])


def _check_domain(Y: Array, loss: str) -> None:
    domain = LOSSES[loss].domain
    if domain == "real":
        return
    wrong = Y < 0
    if domain == "unit":
        wrong |= Y > 1
    rows = wrong.any(axis=1)
    if domain == "distribution":
        rows |= np.abs(Y.sum(axis=1, dtype=np.float64) - 1) > Y.shape[1] * _SUM_ULP
    if rows.any():
        row = int(np.argmax(rows))
        values = np.array2string(Y[row], precision=4, threshold=6)
        msg = f"Y[{row}] is {values}; loss {loss!r} expects {DOMAINS[domain]}"
        raise ValueError(msg)
