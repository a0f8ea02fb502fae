"""Cases in which no operation rounds, so that whatever the order of its sums there is one possible result.

Weights, inputs and targets are small integers, activations identity or relu, sample weights and batch sizes such that
every division is by a power of two. All values are then multiples of `QUANTUM` and all sums of absolute terms stay
below what float32 holds exactly; a case in which they do not is redrawn. Widths and batches straddle the edges of
SIMD lanes and register tiles, where remainders are handled by other code.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import numpy as np

from tests import pairwise, textbook
from tests.networks import ATTEMPTS, Case
from tests.statistic import Data

EDGES = (1, 7, 8, 9, 13, 15, 16, 17, 31)
QUANTUM = 2.0**-9
"""Finest grid of all values: 1/32 from the batch, 1/2 from l2, 2/16 from a mean over outputs, with one bit to spare."""
LARGEST = QUANTUM * 2.0**24
"""Multiples of the quantum up to here are float32 numbers, and so are all their partial sums."""

FACTORS: dict[str, tuple[Any, ...]] = {
    "n_inputs": EDGES,
    "width": EDGES,
    "n_outputs": EDGES,
    "n_samples": (1, 2, 4, 8, 16, 32),
    "loss": ("squared_error", "mse", "mae"),
    "activation": ("identity", "relu"),
    "output": ("identity", "relu"),
    "dtype": ("float32", "float64"),
    "l2": (0.0, 0.5),
    "weighted": (False, True),
    "input_scale": (False, True),
}


class RoundingError(Exception):
    """A value is not a multiple of the quantum, or too large."""


class Watched(textbook.Textbook):
    """A textbook network that refuses to compute what could round."""

    def rounded(self, value: np.ndarray, terms: np.ndarray) -> np.ndarray:
        """Return the value if nothing was lost and nothing could have been in any order."""
        multiples = value / QUANTUM
        if np.max(terms) > LARGEST or not np.array_equal(multiples, np.rint(multiples)):
            raise RoundingError
        return value

    def summed(self, total: np.ndarray, terms: np.ndarray, n_terms: int) -> np.ndarray:  # noqa: ARG002  none drifts
        """Return the sum if it is exact in any order."""
        return self.rounded(total, terms)


def is_valid(row: dict[str, Any]) -> bool:
    """Means over outputs need a power of two of them."""
    n = row.get("n_outputs", 1)
    return row.get("loss") in {None, "squared_error"} or n & (n - 1) == 0


class IntegerCase(Case):
    """A case whose numbers are small integers."""

    @property
    def data(self) -> Data:
        """Parameters, X, Y and sample weights, read-only."""
        return draw(self)


@lru_cache
def cover() -> tuple[IntegerCase, ...]:
    """Integer cases in which every pair of options occurs; of every eighth also without a hidden layer and with two."""
    cases = []
    for seed, row in enumerate(pairwise.all_pairs(FACTORS, is_valid)):
        options = {name: row[name] for name in ("dtype", "l2", "weighted", "n_samples", "input_scale")}
        for hidden in [(row["width"],), (), (row["width"], 3)][: 1 if seed % 8 else 3]:
            sizes = (row["n_inputs"], *hidden, row["n_outputs"])
            activations = (row["activation"],) * len(hidden)
            cases.append(IntegerCase(sizes, activations, row["output"], row["loss"], seed=seed, **options))
    return tuple(cases)


@lru_cache(maxsize=4096)
def draw(case: IntegerCase) -> Data:
    """Return read-only integers for a case, drawn anew until no operation rounds."""
    for attempt in range(ATTEMPTS):
        data = draw_once(case, np.random.default_rng((case.seed, attempt)))
        watched = Watched(case.network, data.flat)
        try:
            watched.loss_and_gradient(data.X, data.Y, data.w)
            watched.input_gradient(data.X, data.Y, data.w)
        except RoundingError:
            continue
        for array in data:
            if array is not None:
                array.flags.writeable = False
        return data
    message = f"no data without rounding for {case}"
    raise RuntimeError(message)


def draw_once(case: IntegerCase, generator: np.random.Generator) -> Data:
    """Draw sparse weights of -1, 0 and 1, and inputs, targets and biases of a few units."""
    n, sizes = case.n_samples, case.sizes
    parts = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        parts += [generator.integers(-1, 2, fan_in * fan_out), generator.integers(-2, 3, fan_out)]
    if case.input_scale:
        parts.append(generator.integers(-1, 3, sizes[0]))
    X, Y = generator.integers(-3, 4, (n, sizes[0])), generator.integers(-4, 5, (n, sizes[-1]))
    w = None
    if case.weighted:
        w = np.ones(n)  # pairs of (2, 0) keep their sum a power of two
        w[: n // 2] += (tilt := generator.integers(-1, 2, n // 2))
        w[n - n // 2 :] -= tilt
    return Data(np.concatenate(parts).astype(case.dtype), X.astype(case.dtype), Y.astype(case.dtype), w)
