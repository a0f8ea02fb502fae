"""The complex step inside the package against the tests' own, which shares no line with it, and on hard arguments."""

from __future__ import annotations

import numpy as np
import pytest

from fastmlp.activations import ACTIVATIONS, POSITIVE_OUTPUTS
from fastmlp.data import make_batch
from fastmlp.gradcheck import complex_functions, complex_step
from fastmlp.losses import LOSSES
from tests import analytic, bounds, networks, oracle, statistic


def of_case(case: networks.Case, indices: np.ndarray | None = None) -> np.ndarray:
    net, data = case.build("numpy"), case.data
    batch = make_batch(net.spec, data.X, data.Y, data.w)
    return complex_step.gradient(net.spec, net.parameters, batch, indices)


def assert_same(case: networks.Case, actual: np.ndarray, expected: np.ndarray) -> None:
    found, truth = statistic.tensors(case.sizes, actual), statistic.tensors(case.sizes, expected)
    for name, tensor in truth.items():
        allowed = bounds.GRADIENT * np.max(np.abs(tensor))
        assert np.max(np.abs(found[name] - tensor)) <= allowed, (name, case)


def test_it_agrees_with_the_oracle() -> None:
    for case in networks.cover()[::2]:
        assert_same(case, of_case(case), oracle.gradient(case.network, *case.data))


def test_the_oracle_would_notice_another_network() -> None:
    case = next(case for case in networks.cover() if "tanh" in case.activations)
    other = case.network._replace(activations=("sigmoid",) * len(case.activations))
    with pytest.raises(AssertionError):
        assert_same(case, of_case(case), oracle.gradient(other, *case.data))


def test_chunks_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = networks.Case((3, 5, 4, 2), ("tanh", "relu"), "softmax", "cross_entropy", l2=0.1, weighted=True, n_samples=9)
    whole = of_case(case)
    for rows, chunk in ((1, 1), (4, 60), (9, 100)):
        monkeypatch.setattr(complex_step, "ROWS", rows)
        monkeypatch.setattr(complex_step, "CHUNK", chunk)
        assert_same(case, of_case(case), whole)


def test_some_parameters_are_those_of_all() -> None:
    case = networks.Case((3, 5, 4, 2), ("gelu", "selu"), "identity", "huber", n_samples=4)
    indices = np.array([0, 14, 15, 19, 20, 43, 44, 50, 53])  # first and last of W and b, of some layers
    assert np.array_equal(of_case(case, indices), of_case(case)[indices])


def test_there_is_a_function_for_every_name() -> None:
    assert set(complex_functions.ACTIVATIONS) == set(ACTIVATIONS)
    assert set(complex_functions.SHARES) | set(complex_functions.SHARES_OF_LOGITS) == set(LOSSES)
    assert set(complex_functions.LOGARITHMS) == set(POSITIVE_OUTPUTS)
    assert set(complex_functions.AVERAGED) == {name for name, loss in LOSSES.items() if loss.averaged}


LOGITS = np.concatenate([sign * 10.0 ** np.arange(-300.0, 4.5, 0.25) for sign in (-1.0, 1.0)])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_keep_their_digits_for_logits_of_any_size(name: str) -> None:
    z = LOGITS[LOGITS < 700.0] if name == "exp" else LOGITS
    actual = complex_step.derivative(complex_functions.ACTIVATIONS[name], z)
    expected = np.imag(analytic.OUTPUTS[name](z + 1j * bounds.COMPLEX_STEP)) / bounds.COMPLEX_STEP
    assert np.isfinite(actual).all()
    # Where the slope itself is below the smallest number over the oracle's step, the oracle has lost it.
    seen = np.abs(expected) > bounds.SMALLEST_NORMAL["float64"] / bounds.COMPLEX_STEP
    assert np.all(np.abs(actual - expected)[seen] <= bounds.GRADIENT * np.abs(expected)[seen])


@pytest.mark.parametrize("size", [1.0, 40.0, 300.0, 1e4])
def test_a_certain_class_keeps_its_digits(size: float) -> None:
    z = size * np.array([[1.0, -0.25, -1.0], [-1.0, 1.0, 0.5], [0.75, 0.75, -1.0]])
    for unit in range(3):
        step = 1j * bounds.COMPLEX_STEP * np.eye(3)[unit]
        actual = complex_functions.log_softmax(z + step).imag / bounds.COMPLEX_STEP
        expected = -analytic.surprise(z + step).imag / bounds.COMPLEX_STEP
        assert np.all(np.abs(actual - expected) <= bounds.GRADIENT * np.abs(expected))


@pytest.mark.parametrize("name", POSITIVE_OUTPUTS)
def test_logarithms_are_those_of_the_outputs_and_survive_their_underflow(name: str) -> None:
    z = np.array([[-30.0, -1.0, 0.5], [-45.0, 0.0, 2.0], [-1e4, -800.0, 3.0]]) + 0j
    actual = complex_functions.LOGARITHMS[name](z)
    assert np.isfinite(actual).all()
    with np.errstate(divide="ignore"):
        expected = np.log(complex_functions.activate(name, z).real)
    seen = np.isfinite(expected)
    assert seen.any()
    assert not seen.all()
    assert np.all(np.abs(actual.real - expected)[seen] <= bounds.GRADIENT * np.maximum(1.0, np.abs(expected[seen])))


def test_a_step_is_small_beside_a_small_argument_too() -> None:
    x = 10.0 ** np.arange(-280.0, 280.0)
    actual = complex_step.derivative(np.log, x)
    assert np.all(np.abs(actual * x - 1.0) <= bounds.GRADIENT)
