"""A gradient to be checked may come in several forms, and a wrong one is an error that names the shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastmlp.gradcheck import check_gradients
from fastmlp.parameters import Parameters
from tests.gradients import check
from tests.networks import Case


@pytest.mark.parametrize("input_scale", [False, True])
def test_a_gradient_may_be_given_in_any_form(*, input_scale: bool) -> None:
    case = Case((2, 3, 2), ("tanh",), "identity", "mse", input_scale=input_scale)
    right = case.build("numpy").loss_and_gradient(*case.data[1:])[1]
    tensors = [tensor for pair in zip(right.weights, right.biases, strict=True) for tensor in pair]
    tensors += [right.input_scale] if input_scale else []
    lists = [tensor.tolist() for tensor in tensors]
    for form in (right, right.flat, right.flat.tolist(), tensors, tuple(tensors), lists):
        assert check(case, form)
        assert not check(replace(case, seed=1), form)


def test_a_coarser_gradient_is_judged_by_its_own_rounding() -> None:
    """A float32 gradient of a float64 network is right when it is right in float32."""
    case = Case((2, 3, 2), ("tanh",), "identity", "mse")
    right = case.build("numpy").loss_and_gradient(*case.data[1:])[1]
    assert check(case, right.flat.astype("float32"))
    assert not check(case, right.flat.astype("float32").astype("float64"))
    assert check(case, right.flat.astype("float16"))


@pytest.mark.parametrize(
    ("gradient", "kind", "words"),
    [
        (np.zeros(16), ValueError, r"shape \(16,\), but the network's parameters have shape \(17,\)"),
        (np.zeros((17, 1)), ValueError, r"shape \(17, 1\), but the network's parameters have shape \(17,\)"),
        ([], ValueError, r"shape \(0,\)"),
        ([np.zeros((2, 3)), np.zeros(3)], ValueError, r"2 arrays \(\(2, 3\), \(3,\)\), .* 4: weights\[0\] \(2, 3\)"),
        (
            [np.zeros((2, 3)), np.zeros(3), np.zeros((2, 3)), np.zeros(2)],
            ValueError,
            r"gradient\[2\] has shape \(2, 3\), but weights\[1\] has shape \(3, 2\); is it transposed\?",
        ),
        (
            [np.zeros((2, 3)), np.zeros((1, 3)), np.zeros((3, 2)), np.zeros(2)],
            ValueError,
            r"gradient\[1\] has shape \(1, 3\), but biases\[0\] has shape \(3,\)$",
        ),
        (
            Parameters((2, 3, 2), np.zeros(19)),
            ValueError,
            "19 values, but the network has 17, no input scale among them",
        ),
        (Parameters((2, 2), np.zeros(6)), ValueError, r"layer_sizes=\(2, 2\), but the network has \(2, 3, 2\)"),
        ([[[1.0], [1.0, 2.0]], [1.0]], ValueError, r"gradient\[0\] is a ragged sequence"),
        (np.zeros(17, complex), TypeError, "dtype complex128"),
        (["a"] * 4, TypeError, r"gradient\[0\] has dtype"),
        (3.0, TypeError, "gradient is a float; expected Parameters"),
    ],
)
def test_a_gradient_of_the_wrong_form_is_an_error(gradient: object, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        check(Case((2, 3, 2), ("tanh",), "identity", "mse"), gradient)


def test_a_gradient_without_that_of_the_scale_is_an_error() -> None:
    with pytest.raises(ValueError, match="17 values, but the network has 19, an input scale among them"):
        check(Case((2, 3, 2), ("tanh",), "identity", "mse", input_scale=True), Parameters((2, 3, 2), np.zeros(17)))


def test_other_arguments_are_checked() -> None:
    case = Case((2, 3, 2), ("tanh",), "identity", "mse")
    with pytest.raises(ValueError, match="method is 'forward'; expected one of complex, central"):
        check(case, method="forward")
    with pytest.raises(ValueError, match="max_parameters is 3; expected at least 4"):
        check(case, max_parameters=3)
    with pytest.raises(ValueError, match="X has 1 features"):
        check_gradients(case.build("numpy"), [[1.0]], [[1.0, 2.0]])
