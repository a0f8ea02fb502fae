"""check_gradients accepts what is right, refuses what is wrong, and says where it is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fastmlp
from fastmlp.backends.numpy import NumpyBackend
from fastmlp.gradcheck import central_differences, check_gradients, compare_backends
from fastmlp.gradcheck import check as gradcheck
from fastmlp.parameters import Parameters
from tests import bounds, networks, planted
from tests.gradients import PIECES, SCALED, WIDE, check, wrong_gradient
from tests.networks import Case
from tests.textbook import Textbook

# --- what is right ------------------------------------------------------------------------------------------


def test_the_bound_of_the_complex_step_is_that_of_the_contract() -> None:
    assert gradcheck.COMPLEX_STEP_ERROR == bounds.GRADIENT


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_right_gradients_are_accepted(dtype: str) -> None:
    cases = [case for case in networks.cover(2) if case.dtype == dtype][:250]
    assert len(cases) > 200
    for case in cases:
        report = check(case)
        assert report, f"{case}\n{report}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_right_gradients_are_accepted_by_central_differences(dtype: str) -> None:
    for case in [case for case in networks.cover() if case.dtype == dtype][::6]:
        report = check(case, method="central", max_parameters=2 * len(case.sizes))
        assert report, f"{case}\n{report}"


@pytest.mark.parametrize("input_scale", [False, True])
def test_a_network_on_the_verge_of_its_kinks_is_accepted(backend: str, *, input_scale: bool) -> None:
    """Inputs and parameters that are multiples of 0.1 make sums that are 0 but for rounding."""
    generator = np.random.default_rng(0)
    n_undecided = 0
    for _ in range(20):
        options = {"dtype": "float32", "backend": backend, "seed": 0, "input_scale": input_scale}
        net = fastmlp.MLP((3, 4, 4, 2), "relu", loss="mae", **options)
        net.parameters.flat[...] = generator.integers(-3, 4, net.spec.n_params) / 10
        if net.input_scale is not None:  # powers of two: the scaled inputs are such multiples, too
            net.input_scale[...] = 2.0 ** generator.integers(-1, 2, 3)
        X, Y = generator.integers(-3, 4, (6, 3)) / 10, generator.integers(-3, 4, (6, 2)) / 100
        report = check_gradients(net, X, Y)
        assert report, str(report)
        n_undecided += "bounds allow for either side" in str(report)
    assert n_undecided > 0


@pytest.mark.parametrize("activation", networks.KINKED)
def test_central_differences_allow_for_a_kink_anywhere_within_their_steps(activation: str) -> None:
    net = fastmlp.MLP((1, 1, 1), activation, dtype="float64", seed=0, backend="numpy")
    for distance in np.arange(-2.5, 2.75, 0.25):
        net.parameters.flat[...] = [0.75, distance * central_differences.STEP - 0.75, -1.25, 0.5]
        report = check_gradients(net, [[1.0]], [[2.0]], method="central")
        assert report, str(report)
        assert not check_gradients(net, [[1.0]], [[2.0]], gradient=-np.ones(4), method="central")


def test_nothing_is_written_to() -> None:
    case = Case((3, 4, 2), ("relu",), "softmax", "cross_entropy", dtype="float32", weighted=True)
    net, data = case.build("numpy"), case.data  # the data is read-only
    net.parameters.flat.flags.writeable = False
    for method in ("complex", "central"):
        assert check_gradients(net, data.X, data.Y, sample_weight=data.w, method=method)
    assert compare_backends(net, data.X, data.Y, data.w, backends=["numpy"])


# --- what is wrong ------------------------------------------------------------------------------------------


FIRST_WRONG = {
    planted.DroppedBiasGradient: "biases[2]",
    planted.MissingMean: "biases[2]",
    planted.SkippedRemainderColumns: "weights[2]",
    planted.SkippedRemainderRows: "[2]",
    planted.TransposedWeights: "[1]",
    planted.MissingDerivative: "[1]",
    planted.ScaledGradient: "weights[2]",
    planted.LastSampleLeftOut: "weights[2]",
    planted.MissingRegularisation: "weights[2]",
    planted.RegularisedBiases: "biases[2]",
    planted.IgnoredSampleWeights: "[2]",
    planted.SwallowedNegatives: "[2]",
    planted.ShiftedLabels: "[2]",
    planted.DroppedScaleGradient: "input_scale",
    planted.ScaleGradientFromScaledInputs: "input_scale",
    planted.WeightGradientFromUnscaledInputs: "weights[0]",
    planted.RegularisedScale: "input_scale",
    planted.HiddenErrorWithoutOutputDerivative: "[1]",
    planted.RateInPropagatedError: "[1]",
    planted.HiddenBiasStepOnOutputBias: "biases[2]",
    planted.SignSwappedBetweenLayers: "[1]",
    planted.OutputWeightsFromInput: "weights[2]",
    planted.OutputWeightsFromTarget: "weights[2]",
}
"""The tensor, or the layer, in which each planted bug enters on the way back from the output."""


def test_all_planted_bugs_are_here_and_show() -> None:
    weights = WIDE.data.w
    assert weights is not None
    assert weights[-1] > 0.0
    assert set(FIRST_WRONG) == {*planted.SLIPS, *planted.PUBLISHED} - {planted.UnscaledInputGradient}


def case_for(bug: type[Textbook]) -> Case:
    """Return a case in which a bug shows."""
    if bug in planted.SCALES:
        return SCALED
    return PIECES if bug is planted.SwallowedNegatives else WIDE


@pytest.mark.parametrize("method", ["complex", "central"])
@pytest.mark.parametrize("bug", FIRST_WRONG)
def test_planted_bugs_are_refused_and_located(bug: type[Textbook], method: str) -> None:
    case = case_for(bug)
    report = check(case, wrong_gradient(bug, case), method=method)
    assert not report
    assert FIRST_WRONG[bug] in report.worst, str(report)
    assert report.worst in str(report).splitlines()[-1]
    assert report.max_relative_error > bounds.GRADIENT


@pytest.mark.parametrize("bug", sorted(set(FIRST_WRONG) - {planted.ScaledGradient}, key=lambda bug: bug.__name__))
def test_planted_bugs_are_refused_in_float32(bug: type[Textbook]) -> None:
    """All but a factor of 1 + 1e-6, which is 17 units of roundoff: float32 cannot tell."""
    case = replace(case_for(bug), dtype="float32")
    report = check(case, wrong_gradient(bug, case))
    assert not report
    assert FIRST_WRONG[bug] in report.worst, str(report)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_textbook_without_a_bug_is_accepted(dtype: str) -> None:
    for plain in (WIDE, PIECES, SCALED):
        case = replace(plain, dtype=dtype)
        report = check(case, wrong_gradient(Textbook, case))
        assert report, str(report)


def test_every_single_parameter_is_looked_at() -> None:
    case = Case((2, 3, 2), ("tanh",), "softmax", "cross_entropy", n_samples=3, input_scale=True)
    right = case.build("numpy").loss_and_gradient(*case.data[1:])[1]
    for index in range(right.flat.size):
        wrong = right.copy()
        wrong.flat[index] *= 1.0 + 1e-6
        report = check(case, wrong)
        marked = Parameters(right.layer_sizes, np.arange(right.flat.size))
        kind, *numbers = report.worst.replace("[", " ").replace("]", " ").replace(",", " ").split()
        tensor, place = getattr(marked, kind), tuple(map(int, numbers))
        assert not report
        assert (tensor[place] if kind == "input_scale" else tensor[place[0]][place[1:]]) == index


@pytest.mark.parametrize("method", ["complex", "central"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_refused(value: float, method: str) -> None:
    case = Case((2, 3, 2), ("tanh",), "identity", "mse")
    wrong = case.build("numpy").loss_and_gradient(*case.data[1:])[1]
    wrong.weights[0][1, 2] = value
    report = check(case, wrong, method=method)
    assert not report
    assert report.worst == "weights[0][1, 2]"
    assert report.max_relative_error == np.inf
    assert str(value) in str(report)


def test_a_loss_that_is_not_finite_has_no_right_gradient() -> None:
    net = fastmlp.MLP((1, 1), output_activation="exp", dtype="float64", backend="numpy", seed=0)
    net.biases[0][...] = 1e3
    assert not check_gradients(net, [[1.0]], [[1.0]], gradient=np.zeros(2))


def test_central_differences_see_a_wrong_loss_and_the_complex_step_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case((2, 3, 2), ("tanh",), "identity", "mse")
    right = NumpyBackend.loss
    monkeypatch.setattr(NumpyBackend, "loss", lambda *args: right(*args) * 1.001)
    assert check(case)
    assert not check(case, method="central")


# --- the sample of a big network, and the table -------------------------------------------------------------


def test_of_a_big_network_a_sample_from_every_tensor_is_checked() -> None:
    case = Case((30, 40, 3, 20), ("tanh", "tanh"), "identity", "mse")
    report = check(case, max_parameters=500)
    assert report
    assert [row.n_checked for row in report.table] == [257, 40, 120, 3, 60, 20]
    assert [row.n_checked for row in check(case, max_parameters=2000).table] == [1200, 40, 120, 3, 60, 20]
    assert [row.n_checked for row in check(case, max_parameters=6).table] == [1] * 6
    wrong = case.build("numpy").loss_and_gradient(*case.data[1:])[1]
    wrong.weights[0][...] *= 2.0
    found = {check(case, wrong, max_parameters=60, seed=seed).worst for seed in (0, 0, 1, 2)}
    assert 1 < len(found) < 4
    assert all(name.startswith("weights[0]") for name in found)
    assert "2 times the gradient" in check(case, wrong, max_parameters=60).explanation


def test_the_table_has_a_row_for_each_tensor() -> None:
    case = Case((2, 3, 1), ("tanh",), "identity", "mse")
    report = check(case)
    assert [(row.name, row.shape, row.n_checked, row.ok) for row in report.table] == [
        ("weights[0]", (2, 3), 6, True),
        ("biases[0]", (3,), 3, True),
        ("weights[1]", (3, 1), 3, True),
        ("biases[1]", (1,), 1, True),
    ]
    title, head, *rows, conclusion = str(report).splitlines()
    assert "2-3-1" in title
    assert "complex steps" in title
    assert head.split() == ["gradient", "of", "shape", "checked", "difference", "relative", "allowed"]
    assert [row.split()[0] for row in rows] == [row.name for row in report.table]
    assert len({len(row) for row in rows}) == 1
    assert report.worst in conclusion
    assert report.max_relative_error == max(row.relative_error for row in report.table)
