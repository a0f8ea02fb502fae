"""Predictors: the bits of `predict`, of the network as it was, in memory of their own."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, Predictor

SIZES = (3, 37, 5)
X = np.random.default_rng(0).normal(size=(9, 3))


def network(backend: str, dtype: str = "float32", **options: Any) -> MLP:
    return MLP(SIZES, "tanh", "softmax", "cross_entropy", backend=backend, dtype=dtype, seed=1, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 2, 3, 5])
def test_a_predictor_gives_the_bits_of_predict(backend: str, dtype: str, strict: bool, n_outputs: int) -> None:
    net = MLP((3, 37, n_outputs), "tanh", backend=backend, dtype=dtype, seed=1, strict=strict)
    one, many = net.predictor(), net.predictor(9)
    for x in X.astype(dtype):
        assert (one(x) == net.predict(x[None])[0]).all()
        assert (one(x[None]) == net.predict(x[None])).all()
    assert (many(X) == net.predict(X)).all()
    assert (many(X[:2]) == net.predict(X[:2])).all()
    if not strict and backend == "numba":
        assert (many(X)[4:5] == net.predict(X[4:5])).all()  # however many rows there are


@pytest.mark.parametrize("rows", [1, 9])
def test_a_predictor_is_the_network_as_it_was(backend: str, rows: int) -> None:
    net = network(backend)
    predictor, before = net.predictor(rows), net.predict(X[:1])
    net.weights[0][...] = 0.0
    assert (predictor(X[:1]) == before).all()
    assert (net.predict(X[:1]) != before).any()


def test_results_are_in_arrays_of_their_own(backend: str) -> None:
    predictor = network(backend).predictor()
    first = predictor(X[0])
    kept = first.copy()
    predictor(X[1])
    assert (first == kept).all()


@pytest.mark.parametrize("rows", [1, 9])
def test_into_writes_what_a_call_returns(backend: str, rows: int) -> None:
    predictor = network(backend).predictor(rows)
    row, matrix = np.full(5, np.nan, np.float32), np.full((rows, 5), np.nan, np.float32)
    predictor.into(X[0].astype(np.float32), row)
    predictor.into(X[:rows], matrix)
    assert (row == predictor(X[0])).all()
    assert (matrix == predictor(X[:rows])).all()


@pytest.mark.parametrize("x", [X[0].tolist(), X[0].astype(np.float16), X[:, ::-1][0], np.asfortranarray(X[:1])])
def test_anything_that_predict_takes_is_taken(backend: str, x: Any) -> None:
    rows = np.asarray(x).reshape(1, 3)
    assert (network(backend).predictor()(x).ravel() == network(backend).predict(rows)[0]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(backend: str, dtype: str, rows: int, value: float) -> None:
    x = X[0].astype(dtype)
    x[1] = value
    with pytest.raises(ValueError, match=re.escape(f"X[0, 1] is {value}; expected finite numbers")):
        network(backend, dtype).predictor(rows)(x)


@pytest.mark.parametrize("place", [(0, 0), (8, 2)])
def test_what_is_not_finite_is_refused_where_no_output_shows_it(backend: str, place: tuple[int, int]) -> None:
    """A unit that is off takes NaN for zero."""
    net = MLP(SIZES, "relu", backend=backend, seed=1)
    x = X.astype(np.float32)
    x[place] = np.nan
    for answer in (net.predict, net.predictor(9)):
        with pytest.raises(ValueError, match=re.escape(f"X[{place[0]}, {place[1]}] is nan; expected finite numbers")):
            answer(x)


def test_a_sum_that_overflows_is_no_fault_of_the_input(backend: str) -> None:
    net = network(backend)
    net.weights[0][...] = 1e20
    x = np.full((9, 3), 1e30, np.float32)
    expected = net.predict(x[:1])[0]
    assert np.isfinite(expected).all()
    for answer in (net.predict, net.predictor(9)):
        assert (np.argmax(answer(x), axis=1) == np.argmax(expected)).all()


def test_large_numbers_are_finite(backend: str) -> None:
    x = np.full(3, 1e30, np.float32)  # whose squares are not
    assert np.isfinite(network(backend).predictor()(x)).all()
    assert np.isfinite(network(backend).predictor(9)(x)).all()
    assert np.isfinite(network(backend).predict(x[None])).all()


@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (4,), (1, 4), (1, 1, 3)])
def test_another_shape_is_refused(backend: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x has shape|X has"):
        network(backend).predictor()(np.zeros(shape, np.float32))


WRONG = {
    "another shape": (np.zeros(4, np.float32), r"out has shape \(4,\), float32; expected an array of shape \(5,\)"),
    "another dtype": (np.zeros(5), "out has shape .*float64; expected an array of shape .* float32"),
    "no array": ([0.0] * 5, "out has type list"),
    "every other place": (np.zeros(10, np.float32)[::2], "out .* is read-only or not C-contiguous"),
}


@pytest.mark.parametrize("case", WRONG)
def test_another_out_is_refused_and_kept(backend: str, case: str) -> None:
    out, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        network(backend).predictor().into(X[0], out)
    assert not np.any(out)


def test_a_read_only_out_is_refused(backend: str) -> None:
    out = np.zeros(5, np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        network(backend).predictor().into(X[0], out)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True])
def test_a_batch_size_is_a_positive_integer(batch_size: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="batch_size"):
        network("numpy").predictor(batch_size)


def test_it_has_a_type_of_its_own() -> None:
    predictor = network("numpy").predictor(3)
    assert isinstance(predictor, Predictor)
    assert predictor.batch_size == 3
