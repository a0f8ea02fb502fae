"""Every backend computes what the oracle says: for every pair of options, in both dtypes.

The networks are those of `networks.cover`: all pairs of activation, loss with output activation, shape, batch size,
dtype, sample weights, l2 and kind of targets. A test goes through many networks and names those that are wrong.
`pytest -m full` goes through the whole product of the options instead.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given

from fastmlp.backends import REFERENCE, available_backends, make_backend
from fastmlp.data import make_batch
from fastmlp.parameters import Parameters
from tests import analytic, checkers, networks, oracle, statistic
from tests.networks import Case

LOSSES = tuple(dict.fromkeys(loss for loss, _ in networks.PAIRS))


def turns(backend: str) -> range:
    """Return which covers a backend gets, of more than 700 networks each: the slow reference one, the others three."""
    return range(1 if backend == REFERENCE else 3)


def judge(cases: Iterable[Case], backend: str, *, strict: bool = False) -> list[str]:
    """Return what is wrong with these cases on a backend."""
    return [line for case in cases for line in checkers.conformance(case, case.build(backend, strict=strict))]


def report(found: list[str]) -> str:
    """Return the number of complaints and the first few of them."""
    return "\n".join([f"{len(found)} complaints", *found[:10]])


@pytest.mark.parametrize("loss", LOSSES)
def test_all_pairs_of_options_meet_the_oracle(backend: str, loss: str) -> None:
    cases = [case for turn in turns(backend) for case in networks.cover(turn) if case.loss == loss]
    found = judge(cases, backend)
    assert not found, report(found)


@pytest.mark.parametrize("loss", LOSSES)
def test_strict_mode_meets_the_oracle(backend: str, loss: str) -> None:
    found = judge([case for case in networks.cover() if case.loss == loss], backend, strict=True)
    assert not found, report(found)


@given(case=networks.cases())
def test_generated_networks_meet_the_oracle(case: Case) -> None:
    found = [line for backend in available_backends() for line in judge([case], backend)]
    assert not found, report(found)


@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("pair", networks.PAIRS, ids="-".join)
def test_whole_product_meets_the_oracle(backend: str, pair: tuple[str, str]) -> None:
    found = judge(networks.whole_product(pair), backend)
    assert not found, report(found)


def test_networks_are_enough() -> None:
    """The promised numbers of generated networks: 300 on the reference, 2,000 on each of the others."""
    assert len(networks.cover()) >= 300
    assert len({case for turn in turns("numpy") for case in networks.cover(turn)}) >= 2000


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "selu"])
def test_data_takes_both_branches(name: str) -> None:
    """A backend that ignores one side of a kink would not get away with it: all layers see both sides."""
    signs = set()
    for case in networks.cover():
        if name in case.activations:
            Zs, _ = oracle.forward(case.network, case.data.flat, case.data.X)
            for Z, activation in zip(Zs, case.activations, strict=False):
                if activation == name:
                    signs |= {(len(Zs), bool(sign)) for sign in np.unique(Z > 0)}
    assert {True, False} == {sign for _, sign in signs}
    assert len(signs) >= 8  # each depth from two to five layers, each side


def test_generated_inputs_have_both_signs() -> None:
    for case in networks.cover():
        if case.data.X.size > 8:
            assert case.data.X.min() < 0 < case.data.X.max()


SMALL = (
    Case((3, 4, 2), ("tanh",), "softmax", "cross_entropy", "float32", weighted=True),
    Case((9, 7, 3, 2), ("relu", "gelu"), "identity", "mse", "float64", l2=0.125, n_samples=6),
)
"""Two networks for tests of how arrays are handled."""


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("strict", [False, True])
def test_inputs_are_not_written_to(backend: str, case: Case, *, strict: bool) -> None:
    """The generated data is read-only already; here it is writable, and a backend that writes is found out."""
    net = case.build(backend, strict=strict)
    data = case.data._replace(X=case.data.X.copy(), Y=case.data.Y.copy())
    data = data._replace(w=None if data.w is None else data.w.copy())
    statistic.results(net, case.sizes, data)
    net.fit(data.X, data.Y, sample_weight=data.w, epochs=0)
    for before, after in zip(case.data[1:], data[1:], strict=True):
        assert np.array_equal(before, after) or before is after is None
    assert np.array_equal(net.parameters.flat, case.data.flat)


@pytest.mark.parametrize("case", SMALL)
def test_fit_does_not_write_to_the_data(backend: str, case: Case) -> None:
    data = case.data._replace(X=case.data.X.copy(), Y=case.data.Y.copy())
    case.build(backend, seed=0).fit(data.X, data.Y, epochs=2, batch_size=2, sample_weight=data.w)
    assert np.array_equal(data.X, case.data.X)
    assert np.array_equal(data.Y, case.data.Y)


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("strict", [False, True])
def test_gradient_is_written_whole(backend: str, case: Case, *, strict: bool) -> None:
    """What was in the gradient's memory before does not matter: here NaN."""
    net = case.build(backend, strict=strict)
    engine = make_backend(backend, net.spec, strict=strict, threads=None)
    gradient = Parameters(case.sizes, np.full(net.spec.n_params, np.nan, case.dtype))
    engine.loss_and_gradient(net.parameters, make_batch(net.spec, *case.data[1:]), gradient)
    assert checkers.digest([gradient.flat]) == checkers.digest([net.loss_and_gradient(*case.data[1:])[1].flat])


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("strict", [False, True])
def test_a_used_workspace_leaves_no_trace(backend: str, case: Case, *, strict: bool) -> None:
    """A larger batch that fills every buffer with NaN, then the same results as from a fresh network."""
    net = case.build(backend, strict=strict)
    fresh = checkers.strict_digest(case, net)
    larger = [np.concatenate([array] * 7) if array is not None else None for array in case.data[1:]]
    net.parameters.flat.fill(np.nan)
    statistic.results(net, case.sizes, statistic.Data(case.data.flat, *larger))
    net.parameters.flat[...] = case.data.flat
    assert checkers.strict_digest(case, net) == fresh


@pytest.mark.parametrize("name", analytic.ACTIVATIONS)
def test_results_have_memory_of_their_own(backend: str, name: str) -> None:
    """A second call does not change what a first one returned."""
    case = Case((3, 4, 4, 2), (name, name), "identity", "mse", n_samples=4)
    net = case.build(backend)
    first = statistic.results(net, case.sizes, case.data)
    copies = {key: array.copy() for key, array in first.items()}
    other = Case((3, 4, 4, 2), (name, name), "identity", "mse", n_samples=4, seed=1)
    statistic.results(net, case.sizes, other.data)
    assert all(np.array_equal(first[key], copies[key]) for key in first)
