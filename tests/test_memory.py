"""What a fit takes in memory beside data and parameters: what belongs to network and batch, and little more."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fastmlp import MLP
from fastmlp.backends.numba.fast import FastBackend
from fastmlp.backends.numba.fast.layout import Layout
from fastmlp.backends.numba.fast.room import Purpose
from fastmlp.parameters import Parameters

SIZES = (256, 512, 10)
BYTES_A_SAMPLE = 32
"""An order of samples, and what a step of 32 has of its own: coefficients, where it begins and ends, a loss."""
COPIES = 4
"""Of the parameters, beside themselves and the optimizer's states: what a fit goes back to, the gradient and one more
for NumPy; for the kernels the weights in their own layout, those for the way back, and the gradient where a batch is
larger than a block."""
WORKSPACE = 150_000
"""Of a step of 32 samples: a quarter of the parameters."""


def peak(backend: str, n_samples: int, optimizer: str = "adam") -> int:
    """Return the most bytes that a fit had allocated beyond what there was."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((n_samples, SIZES[0])).astype(np.float32)
    Y = generator.integers(0, SIZES[-1], n_samples)
    net = MLP(SIZES, "relu", "softmax", "cross_entropy", backend=backend, threads=None if backend == "numpy" else 1)
    net.with_backend(backend).fit(X[:32], Y[:32], epochs=1)  # what is imported or compiled does not count
    tracemalloc.start()
    try:
        net.fit(X, Y, epochs=2, optimizer=optimizer)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_fit_takes_memory_for_its_network_and_hardly_any_for_its_samples(backend: str) -> None:
    few, many = (peak(backend, n) for n in (1024, 33_792))
    assert many - few <= BYTES_A_SAMPLE * 32_768  # the samples themselves have 1,032 bytes


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(("optimizer", "n_states"), [("sgd", 1), ("adam", 2)])
def test_a_fit_has_few_copies_of_the_parameters(backend: str, optimizer: str, n_states: int) -> None:
    parameters = 4 * MLP(SIZES).spec.n_params
    assert peak(backend, 1024, optimizer) <= (COPIES + n_states) * parameters + WORKSPACE


def test_the_kernels_have_a_whole_gradient_only_where_one_is_wanted() -> None:
    """A batch of one block uses up each chunk's at once; to that of a larger one, blocks add."""
    spec = MLP(SIZES).spec
    block = Layout(spec, 10**6, training=True).block_rows

    def size(n_rows: int, **wanted: bool) -> int:
        return Layout(spec, n_rows, training=True, **wanted).memory().values.size

    one = size(block)
    assert size(block + 1) - one == size(block, keeps_gradient=True) - one > spec.n_params
    assert size(10**6, keeps_gradient=True) == size(block + 1)
    small = Layout(spec, block, training=True)
    assert small.serves(block)
    assert not small.serves(block + 1)
    assert Layout(spec, block, training=True, keeps_gradient=True).serves(block + 1)


@pytest.mark.parametrize("sizes", [(3, 5, 2), (40, 70, 1), (7, 33, 65, 4), (1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("input_scale", [False, True])
def test_states_in_panels_are_those_in_order(sizes: tuple[int, ...], dtype: str, *, input_scale: bool) -> None:
    spec = MLP(sizes, dtype=dtype, input_scale=input_scale).spec
    backend, state = FastBackend(spec), np.arange(1, spec.n_params + 1).astype(dtype)
    packed = backend.pack_state(state)
    assert not np.shares_memory(packed, state)
    np.testing.assert_array_equal(np.sort(packed[packed > 0]), state)  # each once, and padding is zero
    np.testing.assert_array_equal(backend.unpack_state(packed), state)
    backend.predict(Parameters(sizes, state), np.zeros((20, sizes[0]), dtype))
    (room,) = backend._free[Purpose.EVALUATING, False]  # where kernels have laid out the same numbers as weights
    start = room.layout.weights
    np.testing.assert_array_equal(packed, room.memory.values[start : start + packed.size])
    state[:-1] = 0.0
    for values in (state, 0 * state):
        np.testing.assert_array_equal(backend.unpack_state(backend.pack_state(values)), values)
