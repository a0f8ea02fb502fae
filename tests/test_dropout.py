"""Dropout: masks that look random, are the same however they are computed, and leave what they keep unbiased."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, SGD, EpochInfo, dropout, schedules
from fastmlp.backends.numba import overloads  # noqa: F401  teaches Numba the hash
from fastmlp.backends.numba.jit import exact
from tests import bounds, checkers

KNOWN = {
    (0, 0, 0, 0, 0): 0,
    (1, 0, 0, 0, 0): 3992525086,
    (0, 1, 0, 0, 0): 3703876647,
    (0, 0, 1, 0, 0): 1317927411,
    (0, 0, 0, 1, 0): 3405691463,
    (0, 0, 0, 0, 1): 2261973619,
    (2**32 - 1, 2**31, 7, 1023, 511): 2414646853,
    (2**32 + 5, 2**32 + 5, 0, 3, 4): 3637462752,
}


def unit_hash(seed: int, step: int, layer: int, row: Any, unit: Any) -> Any:
    return dropout.unit_hash(dropout.layer_key(seed, step, layer), row, unit)


def mix_of_uint32(h: np.ndarray) -> np.ndarray:
    """Compute the hash again, in the arithmetic modulo 2**32 for which it was made."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x735A2D97)
    return h ^ (h >> np.uint32(15))


# --- the hash ---


@pytest.mark.parametrize("place", KNOWN)
def test_known_values(place: tuple[int, int, int, int, int]) -> None:
    """They never change: a seed written down in a paper gives the same training in the next version."""
    assert unit_hash(*place) == KNOWN[place]


def test_mix_is_the_published_one() -> None:
    h = np.random.default_rng(0).integers(0, 2**32, 10_000)
    np.testing.assert_array_equal(dropout.mix(h), mix_of_uint32(h.astype(np.uint32)))


def test_mix_loses_nothing() -> None:
    """A bijection has no two arguments with the same result; checked on two runs of 2**16 neighbours."""
    h = np.concatenate([np.arange(2**16), 2**32 - 1 - np.arange(2**16)])
    assert np.unique(dropout.mix(h)).size == h.size


@exact
def fill_with_hashes(seed: int, step: int, layer: int, out: Any) -> None:
    key = dropout.layer_key(seed, step, layer)
    for row in range(out.shape[0]):
        for unit in range(out.shape[1]):
            out[row, unit] = dropout.unit_hash(key, row, unit)


@pytest.mark.parametrize("seed", [0, 1, 0xFFFFFFFF])
@pytest.mark.parametrize("step", [0, 1, 2**31, 2**32 - 1, 2**40])
def test_integers_arrays_and_kernels_agree(seed: int, step: int) -> None:
    """Also past 32 bits: nothing overflows in 64 signed ones, and nothing becomes a float."""
    rows, units = 9, 13
    in_python = [[unit_hash(seed, step, 2, row, unit) for unit in range(units)] for row in range(rows)]
    in_arrays = unit_hash(seed, step, 2, np.arange(rows)[:, None], np.arange(units))
    in_kernel = np.empty((rows, units), np.int64)
    fill_with_hashes(seed, step, 2, in_kernel)
    assert in_arrays.dtype == np.int64
    np.testing.assert_array_equal(in_arrays, in_python)
    np.testing.assert_array_equal(in_kernel, in_python)
    assert 0 <= in_arrays.min() <= in_arrays.max() < 2**32


# --- what it looks like ---

ROWS, UNITS = np.arange(400)[:, None], np.arange(250)


def share_is_near(share: float, expected: float, n: int) -> bool:
    """Tell whether n independent trials of a probability may well succeed this often, by a binomial's deviation."""
    return abs(share - expected) <= bounds.DEVIATIONS * math.sqrt(expected * (1.0 - expected) / n)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("place", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (123456789, 1000, 3)])
def test_the_wanted_share_is_dropped(place: tuple[int, int, int], rate: float) -> None:
    dropped = unit_hash(*place, ROWS, UNITS) < dropout.threshold(rate)
    assert share_is_near(dropped.mean(), rate, dropped.size)


@pytest.mark.parametrize("axis", [0, 1])
def test_no_row_and_no_unit_is_dropped_more_often(axis: int) -> None:
    """Each of some hundred means is within the bound of a single one: p = 1e-4 in all for a good hash."""
    dropped = unit_hash(5, 6, 1, ROWS, UNITS) < dropout.threshold(0.25)
    n = dropped.shape[axis]
    assert all(share_is_near(share, 0.25, n) for share in dropped.mean(axis=axis))


def test_every_bit_is_set_half_of_the_time() -> None:
    hashes = unit_hash(5, 6, 1, ROWS, UNITS)
    assert all(share_is_near(((hashes >> bit) & 1).mean(), 0.5, hashes.size) for bit in range(32))


NEIGHBOURS = {
    "seed": (8, 20, 1, ROWS, UNITS),
    "step": (7, 21, 1, ROWS, UNITS),
    "layer": (7, 20, 2, ROWS, UNITS),
    "row": (7, 20, 1, ROWS + 1, UNITS),
    "unit": (7, 20, 1, ROWS, UNITS + 1),
    "row and unit": (7, 20, 1, UNITS[:, None], ROWS[:, 0]),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbours_know_nothing_of_each_other(name: str) -> None:
    """Two independent masks agree in a share p**2 + (1 - p)**2 of their units, 5/8 for p = 1/4."""
    here = unit_hash(7, 20, 1, *(ROWS, UNITS)) < dropout.threshold(0.25)
    there = unit_hash(*NEIGHBOURS[name]) < dropout.threshold(0.25)
    if name == "row and unit":  # swapped: the diagonal is the same place
        off = ~np.eye(*here.shape, dtype=bool)
        here, there = here[off], there.T[off]
    assert share_is_near((here == there).mean(), 0.625, here.size)


def test_thresholds() -> None:
    assert dropout.threshold(0.0) == 0
    assert dropout.threshold(0.5) == 2**31
    assert dropout.threshold(math.nextafter(1.0, 0.0)) < 2**32


# --- what a fit makes of it ---


def probe(backend: str, rate: float) -> MLP:
    """Return a network with 64 linear hidden units."""
    return MLP(
        (1, 64, 1), "identity", "identity", "squared_error", backend=backend, dtype="float64", seed=4, dropout=rate
    )


def observed_factors(net: MLP, n_samples: int = 1, n_steps: int = 1) -> list[np.ndarray]:
    """Return what each training step multiplied each hidden unit with: the mean over the samples.

    Every hidden unit is 1 and every output 0, which is 1 too much: so a step of rate one takes, from each weight to
    the output, the mean of what dropout made of its unit's 1.
    """
    factors: list[np.ndarray] = []

    def begin(net: MLP) -> None:
        net.parameters.flat[...] = 0.0
        net.biases[0][...] = 1.0

    def read(net: MLP, _: EpochInfo) -> None:
        factors.append(-net.weights[1][:, 0])
        begin(net)

    begin(net)
    X, Y = np.zeros((n_samples, 1)), np.full((n_samples, 1), -1.0)
    net.fit(X, Y, optimizer=SGD(1.0), epochs=n_steps, batch_size=n_samples, callbacks=[read])
    return factors


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_what_stays_is_scaled_so_that_the_mean_stays(backend: str, rate: float) -> None:
    (factors,) = observed_factors(probe(backend, rate))
    assert set(factors.tolist()) == {0.0, 1.0 / (1.0 - rate)}


def test_masks_are_those_of_the_hash_on_every_backend(backend: str) -> None:
    """The seed is the next 32 bits of the network's generator; the step counts on."""
    net = probe(backend, 0.5)
    twin = np.random.default_rng()
    twin.bit_generator.state = net.generator.bit_generator.state
    seed = int(twin.integers(2**32))
    for step, factors in enumerate(observed_factors(net, n_steps=3)):
        kept = unit_hash(seed, step, 0, 0, np.arange(64)) >= dropout.threshold(0.5)
        np.testing.assert_array_equal(factors > 0.0, kept)


def test_steps_of_one_epoch_have_masks_of_their_own(backend: str) -> None:
    """Of two steps in one epoch the first has next to no rate: what is left is the mask of the second."""
    net = probe(backend, 0.5)
    net.parameters.flat[...] = 0.0
    net.biases[0][...] = 1.0
    second_alone = SGD(schedules.Step(1e-200, every=1, factor=1e200))
    history = net.fit([[0.0]] * 2, [[-1.0]] * 2, optimizer=second_alone, epochs=1, batch_size=1)
    kept = unit_hash(history.state.seed, 1, 0, 0, np.arange(64)) >= dropout.threshold(0.5)
    np.testing.assert_array_equal(net.weights[1][:, 0] < -1.0, kept)


def test_each_fit_has_masks_of_its_own(backend: str) -> None:
    net = probe(backend, 0.5)
    assert observed_factors(net)[0].tobytes() != observed_factors(net)[0].tobytes()


def test_each_row_has_a_mask_of_its_own(backend: str) -> None:
    """Of two rows with factors of 0 and 2, the mean is 1 where they differ."""
    (factors,) = observed_factors(probe(backend, 0.5), n_samples=2)
    assert set(factors.tolist()) == {0.0, 1.0, 2.0}


def test_only_a_fit_drops(backend: str) -> None:
    """All else computes with the whole network."""
    X, Y = np.random.default_rng(0).normal(size=(2, 5, 3))
    whole = MLP((3, 8, 3), "tanh", backend=backend, seed=0)
    net = MLP((3, 8, 3), "tanh", backend=backend, seed=0, dropout=0.5)
    for compute in (
        lambda net: [net.predict(X)],
        lambda net: net.hidden_activations(X),
        lambda net: [net.loss_and_gradient(X, Y)[1].flat],
        lambda net: [net.input_gradient(X, Y)],
        lambda net: [np.array(net.loss(X, Y))],
    ):
        assert checkers.digest(compute(net)) == checkers.digest(compute(whole))


def test_validation_does_not_drop(backend: str) -> None:
    X, Y = np.random.default_rng(0).normal(size=(2, 5, 3))
    net = MLP((3, 8, 3), "tanh", backend=backend, seed=0, dropout=0.5)
    history = net.fit(X, Y, epochs=1, validation_data=(X, Y))
    assert history.validation_loss == [net.loss(X, Y)]
    assert history.loss != history.validation_loss
