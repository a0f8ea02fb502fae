"""The checkers: each looks at one network and returns what it finds wrong, nothing for a pass.

They take anything that has the library's methods `predict`, `hidden_activations`, `loss_and_gradient` and
`input_gradient`, so that `test_planted_bugs.py` can show them wrong implementations. The evidence comes in layers,
each independent of the one before: cases in which nothing rounds, the complex step, rigorous bounds of single
primitives (`tests.primitives`), and the statistic of whole networks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from tests import bounds, oracle, statistic, textbook
from tests.networks import Case

Results = Mapping[str, np.ndarray]
Net = Any  # fastmlp.MLP, or a stand-in


LOSS = ("loss", "loss alone")


def differences(case: Case, actual: Results, expected: Results, allowed: Mapping[str, float]) -> list[str]:
    """Name every result in `allowed` of which some entry is further from `expected` than that, or is NaN."""
    found = []
    for name, bound in allowed.items():
        if actual[name].shape != expected[name].shape:
            found.append(f"{name} has shape {actual[name].shape}, expected {expected[name].shape}: {case}")
            continue
        worst = np.max(np.abs(actual[name] - expected[name]), initial=0.0)
        if not worst <= bound:
            found.append(f"{name} is off by {worst:.3g}, allowed are {bound:.3g}: {case}")
    return found


def wrong_dtypes(case: Case, actual: Results) -> list[str]:
    """Name every array result that does not have the network's dtype."""
    return [
        f"{name} is {array.dtype}: {case}"
        for name, array in actual.items()
        if name not in LOSS and array.dtype != case.dtype
    ]


@lru_cache(maxsize=4096)
def truth(case: Case) -> dict[str, np.ndarray]:
    """Return what the oracle says of a case, in binary64: the gradients by complex steps."""
    network, data = case.network, case.data
    *hidden, outputs = oracle.forward(network, data.flat.astype(np.float64), data.X.astype(np.float64))[1]
    loss = oracle.loss(network, data.flat.astype(np.float64), *data[1:])
    return {
        "loss": loss,
        "loss alone": loss,
        **statistic.tensors(case.sizes, oracle.gradient(network, *data)),
        "input gradient": oracle.input_gradient(network, *data),
        **{f"hidden[{layer}]": A for layer, A in enumerate(hidden)},
        "outputs": outputs,
    }


@lru_cache(maxsize=4096)
def rounding(case: Case) -> dict[str, float]:
    """Return the sigma of each result of a case."""
    return statistic.sigmas(case.network, case.data, case.dtype)


def complex_step(case: Case, net: Net) -> list[str]:
    """Hold the results in binary64 against the oracle: max|difference| / max|truth| of each tensor."""
    actual, expected = statistic.results(net, case.sizes, case.data), truth(case)
    allowed = {name: bounds.GRADIENT * np.max(np.abs(expected[name])) for name in expected if name not in LOSS}
    return wrong_dtypes(case, actual) + differences(case, actual, expected, allowed)


def whole_network(case: Case, net: Net) -> list[str]:
    """Hold the results in either dtype against the oracle, in units of their own rounding noise."""
    actual, expected = statistic.results(net, case.sizes, case.data), truth(case)
    allowed = {name: bounds.SIGMAS * sigma for name, sigma in rounding(case).items()}
    return wrong_dtypes(case, actual) + differences(case, actual, expected, allowed)


def conformance(case: Case, net: Net) -> list[str]:
    """Apply all that is known of a case: the statistic, and in binary64 the complex step beside it."""
    found = whole_network(case, net)
    return found + complex_step(case, net) if case.dtype == "float64" else found


def exact(case: Case, net: Net) -> list[str]:
    """Hold a case in which nothing rounds against its one possible result.

    The sign of a zero is left open: it may depend on whether a sum began with 0 or with its first term.
    """
    actual = statistic.results(net, case.sizes, case.data)
    expected = statistic.results(textbook.Textbook(case.network, case.data.flat), case.sizes, case.data)
    return wrong_dtypes(case, actual) + differences(case, actual, expected, dict.fromkeys(expected, 0.0))


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Return a hash of the bits, dtypes and shapes of arrays."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(f"{array.dtype}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def strict_digest(case: Case, net: Net) -> str:
    """Return a hash of everything that a network computes from a batch."""
    return digest(statistic.results(net, case.sizes, case.data).values())


def same_bits(digests: Mapping[str, str]) -> list[str]:
    """Name the digests if they are not all one."""
    return [] if len(set(digests.values())) == 1 else [f"{name}: {value}" for name, value in digests.items()]
