"""Networks to test with: random but reproducible, well conditioned, and covering all pairs of options.

A `Case` is a description from which everything follows: `draw` gives parameters and data, `Case.build` a network of
the library. The data is read-only and has both signs. What is drawn is judged before it is used: samples whose
ReLU input or residual lies within its own rounding error of a kink are redrawn, for there the derivative is a matter
of taste; networks whose gradient is nothing but cancellation are redrawn, for they would measure conditioning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

import fastmlp
from tests import analytic, bounds, oracle, pairwise, statistic, textbook
from tests.statistic import Data

HIDDEN = tuple(analytic.ACTIVATIONS)
KINKED = ("relu", "leaky_relu", "selu")
POSITIVE = ("exp", "softplus", "sigmoid", "softmax")
PAIRS = (
    ("cross_entropy", "softmax"),
    ("binary_cross_entropy", "sigmoid"),
    *(("poisson", output) for output in POSITIVE),
    *((loss, output) for loss in ("mse", "squared_error", "mae", "huber") for output in analytic.OUTPUTS),
)
"""Every loss with every output activation that it makes sense with."""

SHAPES = (
    (1, 1),
    (3, 1),
    (13, 7),
    (2, 2, 1),
    (1, 3, 1),
    (5, 4, 4),
    (7, 8, 9),
    (9, 7, 2),
    (8, 1, 3),
    (15, 16, 17),
    (17, 15, 2),
    (4, 3, 3, 1),
    (2, 3, 2, 3, 2),
    (1, 1, 1, 1, 1, 1),
    (3, 5, 4, 3, 4, 2),
)
"""One to five layers; widths of one, and widths on both sides of SIMD lanes and register tiles (8 and 16)."""

ATTEMPTS = 1000
"""Draws of a case before it is given up: a case that needs so many is described wrongly."""

BATCHES = (1, 2, 5, 8, 17)
L2 = 0.125

FACTORS: dict[str, tuple[Any, ...]] = {
    "pair": PAIRS,
    "shape": SHAPES,
    "activation": HIDDEN,
    "n_samples": BATCHES,
    "dtype": ("float32", "float64"),
    "mixed": (False, True),
    "weighted": (False, True),
    "l2": (0.0, L2),
    "targets": ("rows", "vector"),
    "input_scale": (False, True),
}


def is_valid(row: dict[str, Any]) -> bool:
    """Tell whether these options go together; missing ones count as fitting."""
    (loss, output), shape = row.get("pair", (None, None)), row.get("shape")
    if output == "softmax" and shape and shape[-1] == 1:
        return False
    if row.get("targets") != "vector" or loss == "cross_entropy":
        return True
    one_output = not shape or shape[-1] == 1  # then (n,) stands for (n, 1)
    return output != "softmax" and (one_output or not loss)


@dataclass(frozen=True)
class Case:
    """A network and its data, described."""

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    output: str
    loss: str
    dtype: str = "float64"
    l2: float = 0.0
    weighted: bool = False
    targets: str = "rows"
    n_samples: int = 5
    seed: int = 0
    input_scale: bool = False

    @property
    def network(self) -> oracle.Network:
        """What the oracle needs to know."""
        return oracle.Network(self.sizes, self.activations, self.output, self.loss, self.l2, self.input_scale)

    @property
    def data(self) -> Data:
        """Parameters, X, Y and sample weights, read-only."""
        return draw(self)

    def build(self, backend: str, *, strict: bool = False, **options: Any) -> fastmlp.MLP:
        """Return the library's network with the parameters of the case."""
        return library(backend, strict=strict, **options)(self.network, self.data.flat, self.dtype)


def library(backend: str, *, strict: bool = False, **options: Any) -> Callable[..., fastmlp.MLP]:
    """Return what makes a network of the library from what the oracle needs to know, parameters and a dtype."""

    def make(network: oracle.Network, flat: np.ndarray, dtype: str) -> fastmlp.MLP:
        sizes, activations, output, loss, l2, input_scale = network
        own = {"l2": l2, "input_scale": input_scale} | options
        net = fastmlp.MLP(sizes, activations, output, loss, backend=backend, dtype=dtype, strict=strict, **own)
        net.parameters.flat[...] = flat
        return net

    return make


def case_of(row: dict[str, Any], seed: int) -> Case:
    """Return the case that a row of factors describes."""
    first, step = HIDDEN.index(row["activation"]), 3 if row["mixed"] else 0
    activations = tuple(HIDDEN[(first + step * k) % len(HIDDEN)] for k in range(len(row["shape"]) - 2))
    loss, output = row["pair"]
    options = {name: row[name] for name in ("dtype", "l2", "weighted", "targets", "n_samples", "input_scale")}
    return Case(row["shape"], activations, output, loss, seed=seed, **options)


@lru_cache
def cover(turn: int = 0) -> tuple[Case, ...]:
    """Cases in which every pair of options occurs; each turn is another cover with other data."""
    rows = pairwise.all_pairs(FACTORS, is_valid, turn)
    return tuple(case_of(row, seed) for seed, row in enumerate(rows, start=len(rows) * turn))


PRODUCT = FACTORS | {
    "shape": ((1, 1), (5, 4, 4), (7, 8, 9), (9, 7, 2), (4, 3, 3, 1), (3, 5, 4, 3, 4, 2)),
    "n_samples": (1, 5, 8),
}
"""The options of the whole product: fewer shapes and batches, everything else."""


def is_distinct(row: dict[str, Any]) -> bool:
    """Tell whether a complete row is the only one that describes its network."""
    hidden = len(row["shape"]) - 2
    return not (row["mixed"] and hidden < 2) and (hidden > 0 or row["activation"] == HIDDEN[0])


def whole_product(pair: tuple[str, str]) -> Iterator[Case]:
    """Every valid combination of all options with one pair of loss and output activation."""
    rows = pairwise.full_product(PRODUCT | {"pair": (pair,)}, is_valid)
    for seed, row in enumerate(filter(is_distinct, rows)):
        yield case_of(row, seed)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Hypothesis strategy: any shape of up to five layers, any options that go together."""
    loss, output = draw(st.sampled_from(PAIRS))
    smallest = 2 if output == "softmax" else 1
    hidden = draw(st.lists(st.integers(1, 20), max_size=4))
    sizes = (draw(st.integers(1, 20)), *hidden, draw(st.integers(smallest, 20)))
    takes_vector = loss == "cross_entropy" or sizes[-1] == 1
    return Case(
        sizes,
        tuple(draw(st.sampled_from(HIDDEN)) for _ in hidden),
        output,
        loss,
        dtype=draw(st.sampled_from(("float32", "float64"))),
        l2=draw(st.sampled_from((0.0, L2))),
        weighted=draw(st.booleans()),
        targets=draw(st.sampled_from(("rows", "vector") if takes_vector else ("rows",))),
        n_samples=draw(st.integers(1, 20)),
        seed=draw(st.integers(0, 999)),
        input_scale=draw(st.booleans()),
    )


# --- drawing -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def draw(case: Case) -> Data:
    """Return the parameters and data of a case: random, of its dtype, fit to be compared, read-only."""
    for attempt in range(ATTEMPTS):
        generator = np.random.default_rng((case.seed, attempt))
        data = redraw_kinks(case, draw_once(case, generator), generator)
        if not near_a_kink(case, data).any() and is_well_conditioned(case, data):
            for array in data:
                if array is not None:
                    array.flags.writeable = False
            return data
    message = f"no well conditioned data for {case}"
    raise RuntimeError(message)


def draw_once(case: Case, generator: np.random.Generator) -> Data:
    """Draw parameters that keep activations of order one, inputs of both signs, targets and weights."""
    parts = []
    for fan_in, fan_out in zip(case.sizes[:-1], case.sizes[1:], strict=True):
        parts.append(generator.normal(0.0, 1.2 / np.sqrt(fan_in), fan_in * fan_out))
        parts.append(generator.normal(0.0, 0.5, fan_out))
    if case.input_scale:  # of both signs, and none so small that a feature is lost
        parts.append(generator.uniform(0.5, 1.5, case.sizes[0]) * generator.choice([-1.0, 1.0], case.sizes[0]))
    X = generator.normal(size=(case.n_samples, case.sizes[0]))
    w = generator.uniform(0.25, 2.0, case.n_samples) if case.weighted else None
    if w is not None and case.n_samples > 2:
        w[generator.integers(case.n_samples)] = 0.0
    return Data(np.concatenate(parts).astype(case.dtype), X.astype(case.dtype), draw_targets(case, generator), w)


def draw_targets(case: Case, generator: np.random.Generator) -> np.ndarray:
    """Draw targets in the domain of the loss; rows of probabilities sum to one as well as float32 can, never better."""
    n, n_outputs = case.n_samples, case.sizes[-1]
    if case.loss == "cross_entropy":
        if case.targets == "vector":
            return generator.integers(0, n_outputs, n)
        return generator.dirichlet(np.ones(n_outputs), n).astype("float32").astype(case.dtype)
    if case.loss == "binary_cross_entropy":
        Y = np.clip(generator.uniform(-0.5, 1.5, (n, n_outputs)), 0.0, 1.0)
    elif case.loss == "poisson":
        Y = generator.poisson(1.5, (n, n_outputs))
    else:
        Y = generator.normal(0.0, 1.5, (n, n_outputs))
    return (Y[:, 0] if case.targets == "vector" else Y).astype(case.dtype)


def redraw_kinks(case: Case, data: Data, generator: np.random.Generator) -> Data:
    """Redraw the samples on which rounding could decide which side of a kink is taken; a few times, then give up."""
    for _ in range(10):
        near = near_a_kink(case, data)
        if not near.any():
            break
        fresh = draw_once(case, generator)
        data.X[near], data.Y[near] = fresh.X[near], fresh.Y[near]
    return data


def near_a_kink(case: Case, data: Data) -> np.ndarray:
    """Tell for each sample whether a kinked unit, or a residual of `mae`, is within its rounding error of the kink.

    The error of Z is at most that of its inner product, gamma, plus what the error of the inputs becomes; an
    activation with a slope of at most `STEEPEST` passes it on.
    """
    Zs, As = oracle.forward(case.network, data.flat.astype(np.float64), data.X.astype(np.float64))
    A = oracle.scaled(case.network, data.flat.astype(np.float64), data.X.astype(np.float64))
    near, error = np.zeros(len(data.X), bool), bounds.gamma(case.input_scale, case.dtype) * np.abs(A)
    names = (*case.activations, case.output)
    for layer, (W, b) in enumerate(oracle.layers(case.sizes, data.flat.astype(np.float64))):
        terms = np.abs(A) @ np.abs(W) + np.abs(b)
        error = bounds.gamma(W.shape[0] + 2, case.dtype) * terms + error @ np.abs(W)
        if names[layer] in KINKED:
            near |= (np.abs(Zs[layer]) <= error).any(axis=1)
        A = As[layer]
        steepest = np.maximum(bounds.STEEPEST, np.abs(A))  # exp is as steep as it is large
        error = steepest * error + bounds.gamma(bounds.ACTIVATION_ROUNDINGS, case.dtype) * np.abs(A)
    if case.loss == "mae":
        near |= (np.abs(A - oracle.targets(case.network, data.Y)) <= error).any(axis=1)
    return near


def is_well_conditioned(case: Case, data: Data) -> bool:
    """Tell whether binary64's rounding stays well inside the bound of the complex step."""
    gradient = statistic.results(textbook.Textbook(case.network, data.flat), case.sizes, data)
    sigma = statistic.sigmas(case.network, data, "float64")
    return all(
        bounds.SIGMAS * sigma[name] <= bounds.GRADIENT * np.max(np.abs(gradient[name]))
        for name in gradient
        if not name.startswith("loss")
    )
