"""Good data, however it lies in memory and whatever its kind of number: the same bits, and never written to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastmlp import MLP
from fastmlp.data import check_X
from tests import checkers

if TYPE_CHECKING:
    from pathlib import Path

X = np.array([[0.5, -1.0, 2.0], [1.0, 0.25, -3.0]])
Y = np.array([[1.0, 0.0], [0.5, -2.0]])


def regressor(**options: Any) -> MLP:
    return MLP((3, 4, 2), "tanh", seed=1, **options)


def misaligned(array: np.ndarray) -> np.ndarray:
    """Return the same values, beginning at an odd byte."""
    raw = bytearray(array.nbytes + 1)
    odd = np.frombuffer(raw, array.dtype, array.size, offset=1).reshape(array.shape)
    odd[...] = array
    assert not odd.flags.aligned
    return odd


def mapped(array: np.ndarray, folder: Path) -> np.ndarray:
    """Return the same values in a file."""
    path = folder / f"{array.shape}.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def read_only(array: np.ndarray) -> np.ndarray:
    frozen = array.copy()
    frozen.flags.writeable = False
    return frozen


LAYOUTS: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "read-only": lambda array, _: read_only(array),
    "Fortran order": lambda array, _: np.asfortranarray(array),
    "misaligned": lambda array, _: misaligned(array),
    "in a file": mapped,
    "every other column": lambda array, _: np.repeat(array, 2, axis=1)[:, ::2],
    "backwards": lambda array, _: array[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda array, _: array.T.copy().T,
    "the other byte order": lambda array, _: array.astype(array.dtype.newbyteorder()),
    "nested lists": lambda array, _: array.tolist(),
    "tuple of arrays": lambda array, _: tuple(array),
    "masked array with nothing masked": lambda array, _: np.ma.masked_array(array, mask=False),
    "a wider dtype": lambda array, _: array.astype(np.longdouble),
    "the same values in float32": lambda array, _: array.astype(np.float32),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_change_a_bit(layout: str, backend: str, tmp_path: Path) -> None:
    net = regressor(backend=backend, dtype="float64")
    laid_out = (LAYOUTS[layout](array, tmp_path) for array in (X, Y))
    assert everything(net, *laid_out) == everything(net, X, Y)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_backends_get_arrays_of_one_kind(layout: str, tmp_path: Path) -> None:
    """Contiguous, aligned and of the network's dtype: kernels are compiled for nothing else."""
    array = check_X(regressor(dtype="float64").spec, LAYOUTS[layout](X, tmp_path))
    assert (array.dtype, array.flags.c_contiguous, array.flags.aligned) == (np.float64, True, True)
    assert array.dtype.isnative


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16"])
def test_every_kind_of_real_number_is_taken(dtype: str, backend: str) -> None:
    net = regressor(backend=backend)
    some, more = np.array([[1, 0, 1], [0, 1, 1]], dtype), np.array([[1, 0], [0, 1]], dtype)
    assert everything(net, some, more) == everything(net, some.astype(float), more.astype(float))


def everything(net: MLP, X: Any, Y: Any) -> str:
    """Hash of all that is computed from a batch, and of the parameters after training on it."""
    trained = regressor(backend=net.backend, dtype=net.spec.dtype)
    trained.fit(X, Y, epochs=2, batch_size=1)
    loss, gradient = net.loss_and_gradient(X, Y)
    results = [net.predict(X), gradient.flat, net.input_gradient(X, Y), trained.parameters.flat]
    return checkers.digest([*results, np.array([loss, net.loss(X, Y)])])


def test_data_is_never_written_to(backend: str) -> None:
    """Of the network's dtype and contiguous, so that nothing is copied at the door."""
    net = MLP((3, 4, 3), "tanh", "softmax", "cross_entropy", backend=backend, dtype="float64", dropout=0.5)
    mine, labels, weights = X.copy(), np.array([2, 0]), np.array([1.0, 2.0])
    before = checkers.digest([mine, labels, weights])
    net.fit(mine, labels, sample_weight=weights, epochs=2, batch_size=1, validation_data=(mine, labels, weights))
    net.loss_and_gradient(mine, labels, weights)
    net.input_gradient(mine, labels, weights)
    net.predict(mine)[...] = -1.0  # and what comes out is not the data either
    assert checkers.digest([mine, labels, weights]) == before
