"""Softmax, its loss and its deltas in one pass: within their roundings, row by row, and nothing beyond them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

import fastmlp
from fastmlp.activations import SOFTMAX
from fastmlp.backends.numba.calls import LOSS_CODES, loss_case
from fastmlp.backends.numba.fast import codes
from fastmlp.backends.numba.fast.layout import Layout
from fastmlp.backends.numba.fast.program import Writer
from fastmlp.backends.numba.simd.registers import lanes
from fastmlp.losses import LOSSES
from tests import analytic, bounds, leaf_calls

Array = np.ndarray

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
CASE = loss_case(LOSS_CODES["cross_entropy"], 1)
BEYOND = 7.0  # in the padding of z, it must not count


@pytest.fixture(autouse=True)
def _leaves(dtype: str) -> None:
    leaf_calls.load(dtype)


class Rows:
    """Rows for a call, and what it wrote; behind the rows lie some that may be written, and one that may not.

    Parameters
    ----------
    z, y : ndarray of shape (rows, size)
    shares : ndarray of shape (rows,)
    spare : int
        Registers that a row has more than it needs.
    """

    def __init__(self, z: Array, y: Array, shares: Array, spare: int = 0) -> None:
        self.n, self.size = z.shape
        self.lanes = lanes(z.dtype.name)
        self.width = (-(-self.size // self.lanes) + spare) * self.lanes
        padded = -(-self.n // self.lanes) * self.lanes
        self.z = np.full((padded, self.width), BEYOND, z.dtype)
        self.z[: self.n, : self.size] = z
        self.y = np.full((self.n, self.width), 0.0, z.dtype)
        self.y[:, : self.size] = y
        self.a, self.delta = (np.full((padded + 1, self.width), np.nan, z.dtype) for _ in range(2))
        arrays = self.z, self.a, self.y, self.delta, np.zeros(self.width, z.dtype)
        self.loss = leaf_calls.softmax_loss(*arrays, shares, (self.n, self.size, self.width), CASE)

    @property
    def deltas(self) -> Array:
        """Of the rows, without padding."""
        return self.delta[: self.n, : self.size]

    def is_clean(self) -> bool:
        """Return whether padding is zero and nothing is written behind it."""
        behind = np.concatenate([self.delta[-1], self.a[-1]])
        return not self.delta[: self.n, self.size :].any() and bool(np.isnan(behind).all())


def cases(dtype: str) -> Iterator[tuple[Array, Array, Array, int]]:
    """Yield logits, targets, shares and spare registers: rows and outputs around one and two registers."""
    n = lanes(dtype)
    heights, sizes = {1, 2, n - 1, n, n + 1, 2 * n + 3} - {0}, {2, 3, n - 1, n, n + 1, 2 * n + 1} - {0, 1}
    for rows, size, spare in itertools.product(sorted(heights), sorted(sizes), (0, 1)):
        generator = np.random.default_rng((rows, size, spare))
        z = (generator.standard_normal((rows, size)) * generator.choice([1.0, 30.0], (rows, 1))).astype(dtype)
        y = generator.dirichlet(np.ones(size), rows)
        if spare:
            y = np.eye(size)[generator.integers(0, size, rows)]
        y *= generator.uniform(0.5, 2.0, (rows, 1))  # their sums are part of the gradient
        yield z, y.astype(dtype), generator.uniform(0.1, 2.0, rows), spare


@both_dtypes
def test_losses_and_deltas_are_within_their_roundings(dtype: str) -> None:
    for z, y, shares, spare in cases(dtype):
        rows = Rows(z, y, shares, spare)
        wide_z, wide_y = z.astype(np.float64), y.astype(np.float64)
        a, own = analytic.softmax(wide_z), shares.astype(dtype).astype(np.float64)[:, None]
        roundings = bounds.gamma(z.shape[1] + 3, dtype)
        below_top = np.abs(wide_z - wide_z.max(axis=1, keepdims=True))
        error_of_a = bounds.SOFTMAX_ULPS * bounds.ulp(a, dtype) * (1.0 + below_top) + roundings * a
        total = wide_y.sum(axis=1, keepdims=True)
        exact = (a * total - wide_y) * own
        allowed = own * (error_of_a * total + roundings * (a * total + wide_y))
        assert (np.abs(rows.deltas - exact) <= allowed).all()
        losses = analytic.cross_entropy_of_logits(wide_z, wide_y)
        u = bounds.UNIT_ROUNDOFF[dtype]
        allowed_loss = wide_y * (2 * u * bounds.SOFTMAX_ULPS * (1.0 + below_top) + roundings * (1.0 + losses[:, None]))
        assert abs(rows.loss - shares @ losses) <= shares @ allowed_loss.sum(axis=1)
        assert rows.is_clean()


@both_dtypes
def test_rows_do_not_depend_on_their_neighbours(dtype: str) -> None:
    for z, y, shares, spare in cases(dtype):
        together = Rows(z, y, shares, spare)
        alone = [Rows(z[i : i + 1], y[i : i + 1], shares[i : i + 1], spare) for i in range(len(z))]
        assert np.array_equal(together.deltas, np.concatenate([row.deltas for row in alone]))


@both_dtypes
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_logits_may_be_of_any_size(dtype: str, size: float) -> None:
    z = np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, -1.0], [1.0, 1.0, 1.0]]) * size
    rows = Rows(z.astype(dtype), np.eye(3, dtype=dtype), np.ones(3))
    third, roundings = np.float64(1 / 3), bounds.gamma(z.size, dtype)
    expected = np.array([[-1, 1, 0], [0, 0, 0], [third, third, third - 1]])
    assert (np.abs(rows.deltas - expected) <= roundings).all()
    exact = size + np.log(3.0)
    assert abs(rows.loss - exact) <= roundings * exact


@both_dtypes
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row_and_in_the_loss(dtype: str, wrong: float) -> None:
    for place in range(3):
        z = np.zeros((3, 3), dtype)
        z[1, place] = wrong
        rows = Rows(z, np.eye(3, dtype=dtype), np.ones(3))
        assert np.isnan(rows.deltas[1]).any()
        assert np.isfinite(rows.deltas[[0, 2]]).all()
        assert not np.isfinite(rows.loss)


@both_dtypes
def test_steps_use_it_wherever_softmax_is_the_loss_s_link(dtype: str) -> None:
    for name, row in LOSSES.items():
        if SOFTMAX not in row.outputs:
            continue
        for n_outputs in (2, 5, 40):
            spec = fastmlp.MLP((6, 8, n_outputs), output_activation=SOFTMAX, loss=name, dtype=dtype).spec
            layout = Layout(spec, 100, training=True)
            program = Writer(layout, dropping=False).step(100, learning=True, thread=0, n_threads=1)
            expected = row.link == SOFTMAX and not layout.layers[-1].is_in_columns
            assert any(call[0] == codes.SOFTMAX_LOSS for call in program) == expected, (name, n_outputs)


@both_dtypes
def test_stripes_are_whole_registers_but_for_the_last(dtype: str) -> None:
    """What a stripe's last register writes beyond it must not be the next one's."""
    spec = fastmlp.MLP((6, 900, 40), output_activation=SOFTMAX, loss="cross_entropy", dtype=dtype).spec
    for n in (1, 7, 100, 333, 5000):
        layout = Layout(spec, n, training=True)
        stripes = layout.stripes(min(n, layout.block_rows))
        assert all(rows % lanes(dtype) == 0 for _, rows in stripes[:-1])
