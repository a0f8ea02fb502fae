"""What a network is: derived numbers, equality, and every description that makes no sense refused with a remedy."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, NetworkSpec
from fastmlp.activations import ACTIVATIONS, HIDDEN_ACTIVATIONS, OUTPUT_ACTIVATIONS
from fastmlp.losses import LOSSES

SPEC = NetworkSpec((5, 4, 3, 2), ("tanh", "relu"), "softmax", "cross_entropy", "float64", l2=0.5, dropout=0.25)

NAMES = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "softplus", "gelu", "silu", "mish")
POSITIVE = ("exp", "sigmoid", "softplus", "softmax")
ANY_OUTPUT = (*NAMES, "softmax", "exp")
OUTPUTS = {
    "mse": ANY_OUTPUT,
    "squared_error": ANY_OUTPUT,
    "mae": ANY_OUTPUT,
    "huber": ANY_OUTPUT,
    "cross_entropy": ("softmax",),
    "binary_cross_entropy": ("sigmoid",),
    "poisson": POSITIVE,
}
LINKS = {("cross_entropy", "softmax"), ("binary_cross_entropy", "sigmoid"), ("poisson", "exp")}


def test_what_follows_from_the_sizes() -> None:
    assert (SPEC.n_inputs, SPEC.n_outputs, SPEC.n_layers) == (5, 2, 3)
    assert SPEC.shapes == ((5, 4), (4, 3), (3, 2))
    assert SPEC.n_params == (5 * 4 + 4) + (4 * 3 + 3) + (3 * 2 + 2)
    assert SPEC.all_activations == ("tanh", "relu", "softmax")


def test_an_input_scale_has_a_parameter_for_each_feature() -> None:
    scaled = dataclasses.replace(SPEC, input_scale=True)
    assert scaled.n_params == SPEC.n_params + 5
    assert scaled.describe() == f"{SPEC.describe()}, input scale"


def test_a_network_without_a_hidden_layer() -> None:
    spec = NetworkSpec((3, 1), ())
    assert (spec.n_layers, spec.n_params, spec.all_activations) == (1, 4, ("identity",))


def test_defaults() -> None:
    spec = NetworkSpec((1, 1), ())
    assert (spec.output_activation, spec.loss, spec.dtype) == ("identity", "mse", "float32")
    assert (spec.l2, spec.dropout, spec.input_scale) == (0.0, 0.0, False)


def test_equal_specs_are_one_key() -> None:
    twin = dataclasses.replace(SPEC)
    assert twin == SPEC
    assert twin is not SPEC
    assert {SPEC: 1}[twin] == 1
    assert dataclasses.replace(SPEC, l2=0.25) != SPEC


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.l2 = 0.0  # type: ignore[misc]


def test_a_replaced_field_is_checked() -> None:
    with pytest.raises(ValueError, match="dropout is 1"):
        dataclasses.replace(SPEC, dropout=1)


def test_describe_is_one_line() -> None:
    assert SPEC.describe() == "5-4-3-2, tanh, relu, softmax output, cross_entropy, float64"
    assert NetworkSpec((3, 1), ()).describe() == "3-1, no hidden layer, identity output, mse, float32"
    assert NetworkSpec((3, 2, 2, 1), ("elu", "elu")).describe().startswith("3-2-2-1, elu, identity output")


# --- names and pairs ---


def test_the_names_are_those_of_the_public_interface() -> None:
    assert HIDDEN_ACTIVATIONS == NAMES
    assert set(OUTPUT_ACTIVATIONS) == set(ANY_OUTPUT)
    assert set(LOSSES) == set(OUTPUTS)
    assert set(ACTIVATIONS) == {*NAMES, "exp"}


@pytest.mark.parametrize("loss", OUTPUTS)
@pytest.mark.parametrize("output", ANY_OUTPUT)
def test_every_pair_of_loss_and_output_is_taken_or_refused(loss: str, output: str) -> None:
    if output in OUTPUTS[loss]:
        assert NetworkSpec((2, 2), (), output, loss).is_linked == ((loss, output) in LINKS)
        return
    with pytest.raises(ValueError, match=f"loss '{loss}' makes no sense with output_activation '{output}'") as caught:
        NetworkSpec((2, 2), (), output, loss)
    remedy = str(caught.value).partition("use ")[2]
    suitable, others = remedy.split(", or keep ")
    assert set(suitable.split(", ")) == {f"{loss} with {name}" for name in OUTPUTS[loss]}
    assert set(others.partition("one of ")[2].split(", ")) == {name for name, row in OUTPUTS.items() if output in row}


def test_softmax_needs_two_outputs() -> None:
    with pytest.raises(ValueError, match="softmax over one output is always 1; use two outputs or more, or sigmoid"):
        NetworkSpec((3, 1), (), "softmax", "mse")


# --- a user's arguments ---


@pytest.mark.parametrize("sizes", [(3, 4, 2), [3, 4, 2], np.array([3, 4, 2]), (np.int8(3), 4, np.uint64(2))])
def test_sizes_become_pythons_integers(sizes: Any) -> None:
    sizes = MLP(sizes).spec.layer_sizes
    assert sizes == (3, 4, 2)
    assert {type(size) for size in sizes} == {int}


@pytest.mark.parametrize("dtype", ["float64", float, np.float64, np.dtype("float64")])
def test_dtype_becomes_a_name(dtype: object) -> None:
    assert MLP((1, 1), dtype=dtype).spec.dtype == "float64"


def test_one_name_stands_for_all_hidden_layers() -> None:
    assert MLP((1, 2, 3, 1), "elu").spec.activations == ("elu", "elu")
    assert MLP((1, 2, 3, 1), ["elu", "gelu"]).spec.activations == ("elu", "gelu")
    assert MLP((1, 1), "elu").spec.activations == ()


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"layer_sizes": ()}, ValueError, r"layer_sizes is \(\); expected at least two sizes"),
    ({"layer_sizes": (3,)}, ValueError, r"layer_sizes is \(3,\); expected at least two sizes, \(n_in, n_out\)"),
    ({"layer_sizes": (3, 0, 1)}, ValueError, r"layer_sizes is \(3, 0, 1\); expected every size to be at least 1"),
    ({"layer_sizes": (3, -2)}, ValueError, r"layer_sizes is \(3, -2\); expected every size to be at least 1"),
    ({"layer_sizes": (3, 2.0)}, TypeError, r"layer_sizes holds 2.0; expected integers"),
    ({"layer_sizes": (3, True)}, TypeError, r"layer_sizes holds True; expected integers"),
    ({"layer_sizes": "34"}, TypeError, r"layer_sizes is '34'; expected a sequence of integers"),
    ({"layer_sizes": 3}, TypeError, r"layer_sizes is 3; expected a sequence of integers"),
    ({"layer_sizes": {3, 4}}, TypeError, r"layer_sizes is \{3, 4\}; expected a sequence of integers"),
    ({"activation": "Relu"}, ValueError, r"activation is 'Relu'; expected one of identity, sigmoid, tanh, relu"),
    ({"activation": "softmax"}, ValueError, r"activation is 'softmax'; expected one of"),
    ({"activation": "exp"}, ValueError, r"activation is 'exp'; expected one of"),
    ({"activation": ("relu", "tanh")}, ValueError, r"activation has 2 names, but layer_sizes=\(3, 4, 2\) has 1 hidden"),
    ({"activation": ()}, ValueError, r"activation has 0 names, but layer_sizes=\(3, 4, 2\) has 1 hidden"),
    ({"activation": None}, TypeError, r"activation is None; expected a name"),
    ({"activation": (None,)}, TypeError, r"activation is None; expected a name"),
    ({"layer_sizes": (3, 2), "activation": "typo"}, ValueError, r"activation is 'typo'; expected one of"),
    ({"output_activation": "linear"}, ValueError, r"output_activation is 'linear'; expected one of identity"),
    ({"output_activation": None}, TypeError, r"output_activation is None; expected a name"),
    ({"loss": "MSE"}, ValueError, r"loss is 'MSE'; expected one of mse, squared_error"),
    ({"loss": 0}, TypeError, r"loss is 0; expected a name"),
    ({"dtype": "float16"}, ValueError, r"dtype is 'float16'; expected one of float32, float64"),
    ({"dtype": int}, ValueError, r"dtype is 'int64'; expected one of float32, float64"),
    ({"dtype": 32}, TypeError, r"dtype is 32; expected one of float32, float64"),
    ({"l2": -1e-9}, ValueError, r"l2 is -1e-09; expected a finite number not below 0"),
    ({"l2": math.nan}, ValueError, r"l2 is nan; expected a finite number not below 0"),
    ({"l2": math.inf}, ValueError, r"l2 is inf; expected a finite number not below 0"),
    ({"l2": "1"}, TypeError, r"l2 is '1'; expected a number"),
    ({"l2": True}, TypeError, r"l2 is True; expected a number"),
    ({"dropout": 1.0}, ValueError, r"dropout is 1.0; expected a number in \[0, 1\)"),
    ({"dropout": -0.1}, ValueError, r"dropout is -0.1; expected a number in \[0, 1\)"),
    ({"dropout": math.nan}, ValueError, r"dropout is nan; expected a number in \[0, 1\)"),
    ({"dropout": None}, TypeError, r"dropout is None; expected a number"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^{message}"):
        MLP(**{"layer_sizes": (3, 4, 2)} | arguments)
