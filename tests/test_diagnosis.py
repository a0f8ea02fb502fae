"""A simple mistake in a gradient is named, and what only resembles one is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import fastmlp
from fastmlp.gradcheck import check_gradients
from fastmlp.parameters import Parameters
from tests import planted
from tests.gradients import SCALED, WIDE, check, wrong_gradient
from tests.networks import Case
from tests.textbook import Textbook


def scaled(factor: float) -> Callable[[Parameters, fastmlp.MLP], None]:
    def spoil(gradient: Parameters, _: fastmlp.MLP) -> None:
        gradient.weights[1][...] *= factor

    return spoil


def transposed(gradient: Parameters, _: fastmlp.MLP) -> None:
    gradient.weights[1][...] = gradient.weights[1].T.copy()


def with_penalty(times: float) -> Callable[[Parameters, fastmlp.MLP], None]:
    def spoil(gradient: Parameters, net: fastmlp.MLP) -> None:
        gradient.weights[1][...] += times * net.spec.l2 * net.weights[1]

    return spoil


def scaled_but_for_penalty(gradient: Parameters, net: fastmlp.MLP) -> None:
    penalty = net.spec.l2 * net.weights[1]
    gradient.weights[1][...] = 6.0 * (gradient.weights[1] - penalty) + penalty


def bias_with_penalty(gradient: Parameters, net: fastmlp.MLP) -> None:
    gradient.biases[1][...] += net.spec.l2 * net.biases[1]


def scale_with_penalty(gradient: Parameters, net: fastmlp.MLP) -> None:
    assert gradient.input_scale is not None
    gradient.input_scale[...] += net.spec.l2 * net.input_scale


def zero_scale(gradient: Parameters, _: fastmlp.MLP) -> None:
    assert gradient.input_scale is not None
    gradient.input_scale[...] = 0.0


def zero_bias(gradient: Parameters, _: fastmlp.MLP) -> None:
    gradient.biases[1][...] = 0.0


SQUARE = Case((4, 4, 4, 3), ("tanh", "sigmoid"), "identity", "mse", l2=0.125, n_samples=6, input_scale=True)
EXPLAINED: dict[str, tuple[Callable[[Parameters, fastmlp.MLP], None], str]] = {
    "batch": (scaled(6.0), "weights[1] is 6 times the gradient: is the division by the batch, 6 samples, missing?"),
    "batch twice": (scaled(1 / 6), "is it divided by the batch, 6 samples, twice?"),
    "batch and sign": (scaled(-6.0), "is the division by the batch, 6 samples, missing and a sign turned?"),
    "outputs": (scaled(3.0), "is the division by 3 outputs missing?"),
    "both": (scaled(18.0), "are the divisions by batch and outputs missing?"),
    "sign": (scaled(-1.0), "weights[1] is -1 times the gradient: is a sign turned?"),
    "two": (scaled(2.0), "is there a 2 too many?"),
    "half": (scaled(0.5), "is a 2 missing?"),
    "step": (scaled(0.1), "weights[1] is 0.1 times the gradient: is a step or other constant in it?"),
    "batch, not l2": (
        scaled_but_for_penalty,
        "weights[1] without its l2 term is 6 times the gradient: is the division by the batch, 6 samples, missing?",
    ),
    "transposed": (transposed, "weights[1] is the gradient transposed"),
    "no l2": (with_penalty(-1.0), "weights[1] is the gradient, but the l2 term is missing."),
    "l2 twice": (with_penalty(1.0), "the l2 term is twice in it"),
    "l2 turned": (with_penalty(-2.0), "the sign of the l2 term is turned"),
    "l2 of biases": (bias_with_penalty, "biases[1] is the gradient, but with an l2 term, which is for weights alone."),
    "l2 of the scale": (
        scale_with_penalty,
        "input_scale is the gradient, but with an l2 term, which is for weights alone.",
    ),
    "scale": (zero_scale, "The gradient is wrong in the input scale: "),
    "zero scale": (zero_scale, "input_scale is 0 everywhere: is it left out?"),
    "bias": (zero_bias, "biases[1] is 0 everywhere: is it left out?"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXPLAINED)
def test_a_simple_mistake_is_named(name: str, dtype: str) -> None:
    case = replace(SQUARE, dtype=dtype)
    net = case.build("numpy")
    gradient = net.loss_and_gradient(*case.data[1:])[1]
    spoil, words = EXPLAINED[name]
    spoil(gradient, net)
    report = check(case, gradient)
    assert not report
    assert words in str(report).splitlines()[-1]
    assert str(report).endswith(report.explanation)


@pytest.mark.parametrize(
    ("bug", "words"),
    [
        (planted.MissingMean, "is the division by the weights' sum, "),
        (planted.IgnoredSampleWeights, ""),
        (planted.MissingDerivative, "without the derivative of layer 1's activation, sigmoid"),
        (planted.HiddenErrorWithoutOutputDerivative, "without the derivative of layer 2's activation, sigmoid"),
        (planted.RateInPropagatedError, "is 0.1 times the gradient: is a step or other constant in it?"),
        (planted.SignSwappedBetweenLayers, "is -1 times the gradient: is a sign turned?"),
        (planted.ScaledGradient, "is 1.000001 times the gradient"),
        (planted.LastSampleLeftOut, ""),
    ],
)
def test_planted_bugs_are_explained_where_they_are_simple(bug: type[Textbook], words: str) -> None:
    explanation = check(WIDE, wrong_gradient(bug, WIDE)).explanation
    assert words in explanation
    assert bool(words) == bool(explanation)


@pytest.mark.parametrize(
    ("bug", "words"),
    [
        (planted.OutputWeightsFromInput, "from the network's input in place of the layer's own"),
        (planted.OutputWeightsFromTarget, "from the target in place of the layer's own"),
    ],
)
def test_a_wrong_input_of_a_layer_is_named(bug: type[Textbook], words: str) -> None:
    case = Case((4, 4, 4), ("tanh",), "identity", "squared_error", n_samples=6)
    assert words in check(case, wrong_gradient(bug, case)).explanation


@pytest.mark.parametrize(
    ("bug", "words"),
    [
        (
            planted.ScaleGradientFromScaledInputs,
            "input_scale is what comes from the scaled input in place of the input",
        ),
        (planted.WeightGradientFromUnscaledInputs, "weights[0] is what comes from the network's input in place of"),
    ],
)
def test_inputs_before_and_after_the_scale_are_told_apart(bug: type[Textbook], words: str) -> None:
    assert words in check(SCALED, wrong_gradient(bug, SCALED)).explanation


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (8.0, "weights[1] is {:g} times the gradient: is the division by the weights' sum, 8, missing"),
        (4.0, "weights[1] is {:g} times the gradient: is it divided by 2 samples, not by the weights' sum, 8"),
    ],
)
def test_a_mistake_with_sample_weights_is_named(factor: float, words: str, sign: float) -> None:
    net = fastmlp.MLP((2, 3, 1), "tanh", dtype="float64", seed=0, backend="numpy")
    X, Y, w = [[1.0, 2.0], [-1.0, 0.5]], [0.0, 1.0], [3.0, 5.0]
    gradient = net.loss_and_gradient(X, Y, w)[1]
    gradient.weights[1][...] *= sign * factor
    explanation = check_gradients(net, X, Y, sample_weight=w, gradient=gradient).explanation
    assert words.format(sign * factor) in explanation
    assert ("a sign turned" in explanation) == (sign < 0)


def test_what_only_resembles_a_mistake_is_not_explained() -> None:
    net = SQUARE.build("numpy")
    right = net.loss_and_gradient(*SQUARE.data[1:])[1]
    generator = np.random.default_rng(0)
    for spoil, _ in EXPLAINED.values():
        gradient = right.copy()
        spoil(gradient, net)
        gradient.flat[...] += (gradient.flat != right.flat) * generator.normal(0.0, 1e-3, right.flat.size)
        assert not check(SQUARE, gradient).explanation
