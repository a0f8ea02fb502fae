"""The arguments of optimizers: defaults, values, and everything that makes no sense refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, SGD, Adam, AdamW, Optimizer, RMSprop, schedules
from fastmlp.optimizers import as_optimizer


def test_defaults() -> None:
    assert (SGD().lr, SGD().momentum, SGD().nesterov) == (0.01, 0.0, False)
    for kind in (Adam, AdamW):
        assert (kind().lr, kind().beta1, kind().beta2, kind().eps) == (1e-3, 0.9, 0.999, 1e-8)
    assert AdamW().weight_decay == 1e-2
    assert (RMSprop().lr, RMSprop().rho) == (1e-3, 0.99)


@pytest.mark.parametrize(("name", "kind"), [("sgd", SGD), ("adam", Adam), ("adamw", AdamW), ("rmsprop", RMSprop)])
def test_a_name_stands_for_the_defaults(name: str, kind: type[Optimizer]) -> None:
    assert as_optimizer(name) == kind()


def test_optimizers_are_values() -> None:
    assert Adam(0.1) == Adam(0.1)
    assert Adam(0.1) != Adam(0.2)
    assert Adam(0.1) != AdamW(0.1, weight_decay=0.0)
    assert {SGD(0.1): 1}[SGD(0.1)] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        Adam().lr = 0.1  # type: ignore[misc]


def positive_number(name: str) -> list[tuple[dict[str, Any], type[Exception], str]]:
    return [
        ({name: value}, ValueError, f"{name} is {value!r}; expected a positive")
        for value in (0.0, -0.1, math.nan, math.inf)
    ]


def share(name: str) -> list[tuple[dict[str, Any], type[Exception], str]]:
    return [
        *(({name: value}, ValueError, f"{name} is {value!r}; expected a number in") for value in (1.0, -0.1, math.nan)),
        *(({name: value}, TypeError, f"{name} is {value!r}; expected a number") for value in (None, "0.5", True)),
    ]


BAD: dict[type[Optimizer], list[tuple[dict[str, Any], type[Exception], str]]] = {
    SGD: share("momentum"),
    Adam: [
        *share("beta1"),
        *share("beta2"),
        *(({"eps": value}, ValueError, f"eps is {value!r}") for value in (0.0, -1e-8, math.inf, math.nan)),
        ({"eps": True}, TypeError, "eps is True"),
    ],
    AdamW: [
        *share("beta1"),
        *(({"weight_decay": value}, ValueError, f"weight_decay is {value!r}") for value in (-1e-9, math.inf, math.nan)),
        ({"weight_decay": "0"}, TypeError, "weight_decay is '0'"),
    ],
    RMSprop: [*share("rho"), ({"eps": 0.0}, ValueError, "eps is 0.0")],
}
BAD_RATES: list[tuple[Any, type[Exception]]] = [
    (0.0, ValueError),
    (-0.1, ValueError),
    (math.nan, ValueError),
    (math.inf, ValueError),
    (True, TypeError),
    ("0.1", TypeError),
    (None, TypeError),
    (schedules.Cosine, TypeError),
]


@pytest.mark.parametrize(("kind", "bad"), [(kind, bad) for kind, listed in BAD.items() for bad in listed])
def test_bad_arguments_are_refused(kind: type[Optimizer], bad: tuple[dict[str, Any], type[Exception], str]) -> None:
    arguments, error, message = bad
    with pytest.raises(error, match=message):
        kind(**arguments)


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(("lr", "error"), BAD_RATES)
def test_bad_rates_are_refused(kind: type[Optimizer], lr: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="lr"):
        kind(lr=lr)


@pytest.mark.parametrize(
    ("optimizer", "error", "message"),
    [
        ("Adam", ValueError, "optimizer is 'Adam'; expected one of sgd, adam, adamw, rmsprop"),
        (None, TypeError, r"optimizer is None; expected one of sgd, .*, or an optimizer such as fastmlp.Adam\(\)"),
        (Adam, TypeError, "optimizer is <class .*Adam'>; expected one of"),
        (0.1, TypeError, "optimizer is 0.1; expected one of"),
    ],
)
def test_what_is_no_optimizer_is_refused(optimizer: Any, error: type[Exception], message: str) -> None:
    net = MLP((3, 2))
    with pytest.raises(error, match=f"^{message}"):
        net.fit(np.ones((4, 3)), np.ones((4, 2)), optimizer=optimizer)
    assert net.history is None
