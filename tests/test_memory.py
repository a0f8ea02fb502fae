"""What a fit takes in memory beside data and parameters: what belongs to network and batch, and little more."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fastmlp import MLP

SIZES = (256, 512, 10)
BYTES_A_SAMPLE = 32
"""An order of samples, and what a step of 32 has of its own: coefficients, where it begins and ends, a loss."""
COPIES = {"numpy": 6, "numba": 10}
"""Of the parameters, beside themselves: the gradient, what a fit goes back to, two states; for the kernels these in
their own layout, with the weights for the way back. The gradients are touched where a batch is larger than a block."""
WORKSPACE = 500_000


def peak(backend: str, n_samples: int) -> int:
    """Return the most bytes that a fit had allocated beyond what there was."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((n_samples, SIZES[0])).astype(np.float32)
    Y = generator.integers(0, SIZES[-1], n_samples)
    net = MLP(SIZES, "relu", "softmax", "cross_entropy", backend=backend, threads=None if backend == "numpy" else 1)
    net.with_backend(backend).fit(X[:32], Y[:32], epochs=1)  # what is imported or compiled does not count
    tracemalloc.start()
    try:
        net.fit(X, Y, epochs=2)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_fit_takes_memory_for_its_network_and_hardly_any_for_its_samples(backend: str) -> None:
    few, many = (peak(backend, n) for n in (1024, 33_792))
    parameters = 4 * MLP(SIZES).spec.n_params
    assert few <= COPIES[backend] * parameters + WORKSPACE
    assert many - few <= BYTES_A_SAMPLE * 32_768  # the samples themselves have 1,032 bytes
