"""Learning rates of layers: each part of a network moves as under an optimizer of its own.

That training goes as the definition says, with multipliers too, is in `test_fit_oracle`; the same bits on all backends,
in `test_strict`; going on, in `test_resuming` and `test_online`.
"""

from __future__ import annotations

import math
import pickle
import re
from itertools import chain
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp import MLP, SGD, Adam, AdamW, Optimizer, PerLayer, RMSprop, schedules
from fastmlp.groups import Factors, ParameterGroups

GENERATOR = np.random.default_rng(12)
SIZES = ((3, 5, 4, 2), (3, 130, 70, 1), (60, 2), (1, 17, 1, 33))
"""Small ones; more than a chunk of rows and a panel of columns, and a narrow layer; none hidden; narrow ones amid."""

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
both_modes = pytest.mark.parametrize("strict", [False, True])


def fitted(sizes: tuple[int, ...], optimizer: Optimizer, epochs: int = 1, l2: float = 0.5, **options: Any) -> MLP:
    """Return a network after steps on full batches: one, unless said otherwise."""
    generator = np.random.default_rng(3)
    X, Y = generator.normal(size=(6, sizes[0])), generator.normal(size=(6, sizes[-1]))
    net = MLP(sizes, "tanh", seed=4, init="uniform", l2=l2, **options)
    net.fit(X, Y, optimizer=optimizer, epochs=epochs, batch_size=6)
    return net


def tensors(net: MLP) -> list[np.ndarray]:
    """Return W and b of each layer in turn."""
    return list(chain.from_iterable(zip(net.weights, net.biases, strict=True)))


def faster(optimizer: Optimizer, factor: float) -> Optimizer:
    return type(optimizer)(**{**vars(optimizer), "lr": optimizer.lr * factor})


OPTIMIZERS = (
    SGD(0.125, momentum=0.5, nesterov=True),
    AdamW(0.125, eps=0.25, weight_decay=0.5),
    RMSprop(0.125),
)


@both_dtypes
@both_modes
@pytest.mark.parametrize("l2", [0.0, 0.5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_each_part_steps_as_with_a_rate_of_its_own(
    sizes: tuple[int, ...], optimizer: Optimizer, l2: float, backend: str, dtype: str, *, strict: bool
) -> None:
    """To the bit, l2 and decay included: a first step depends on nothing but the parameters there are."""
    n = len(sizes) - 1
    weights, biases = [0.1, 3.0, 0.7][:n], [0.3, 0.1, 0.0][:n]
    options: dict[str, Any] = {"backend": backend, "dtype": dtype, "strict": strict, "l2": l2}
    found = tensors(fitted(sizes, PerLayer(optimizer, weights, biases), **options))
    for i, factor in enumerate(chain.from_iterable(zip(weights, biases, strict=True))):
        if factor:
            expected = tensors(fitted(sizes, faster(optimizer, factor), **options))[i]
        else:
            expected = tensors(MLP(sizes, "tanh", seed=4, init="uniform", dtype=dtype))[i]
        np.testing.assert_array_equal(found[i], expected)


@both_dtypes
@both_modes
def test_multipliers_are_other_rates_and_epsilons(backend: str, dtype: str, *, strict: bool) -> None:
    """Powers of two, so that nothing rounds on the way: c**2 the rate of SGD, c the rate of Adam and eps / c."""
    options: dict[str, Any] = {"backend": backend, "dtype": dtype, "strict": strict, "epochs": 1}
    multipliers, sizes = (2.0, 0.25, 0.5), SIZES[0]
    pairs = [
        (SGD(0.125, momentum=0.5), lambda c: SGD(0.125 * c * c, momentum=0.5)),
        (Adam(0.125, eps=0.25), lambda c: Adam(0.125 * c, eps=0.25 / c)),
        (RMSprop(0.125, eps=0.25), lambda c: RMSprop(0.125 * c, eps=0.25 / c)),
    ]
    for optimizer, of_multiple in pairs:
        found = fitted(sizes, PerLayer(optimizer, multipliers=multipliers), **options)
        for layer, c in enumerate(multipliers):
            expected = fitted(sizes, of_multiple(c), **options)
            np.testing.assert_array_equal(found.weights[layer], expected.weights[layer])
            np.testing.assert_array_equal(found.biases[layer], fitted(sizes, optimizer, **options).biases[layer])


def test_decay_follows_the_rate_and_not_the_multiplier(backend: str) -> None:
    """A network that is right already has no gradient: decay is all that moves it."""
    net = MLP((4, 2), backend=backend, dtype="float64", seed=0)
    net.weights[0][...] = net.biases[0][...] = 1.0
    optimizer = PerLayer(AdamW(0.5, weight_decay=0.5), weights=0.5, biases=3.0, multipliers=0.125)
    net.fit(np.zeros((4, 4)), np.ones((4, 2)), optimizer=optimizer, epochs=1, batch_size=4)
    assert (net.weights[0] == 0.875).all()
    assert (net.biases[0] == 1.0).all()


@both_dtypes
@both_modes
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_factors_of_one_change_no_bit(optimizer: Optimizer, backend: str, dtype: str, *, strict: bool) -> None:
    """Whether there is one group, or many of the same numbers."""
    options: dict[str, Any] = {"backend": backend, "dtype": dtype, "strict": strict, "epochs": 5}
    alone = fitted((3, 9, 2), optimizer, **options).parameters.flat
    assert (fitted((3, 9, 2), PerLayer(optimizer), **options).parameters.flat == alone).all()
    many = ParameterGroups((Factors(),) * 4, ((0, 1), (2, 3)))
    assert (fitted((3, 9, 2), grouped(optimizer, many), **options).parameters.flat == alone).all()


def grouped(optimizer: Optimizer, groups: ParameterGroups) -> Optimizer:
    """Return an optimizer with groups of one's own."""

    class Own(type(optimizer)):  # type: ignore[misc]
        def groups(self, spec: fastmlp.NetworkSpec) -> ParameterGroups:  # noqa: ARG002
            return groups

    return Own(**vars(optimizer))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_bit(threads: int) -> None:
    optimizer = PerLayer(AdamW(0.01), (1.0, 0.5), 0.1, "ntk")
    sizes, X, Y = (40, 300, 40), GENERATOR.normal(size=(700, 40)), GENERATOR.normal(size=(700, 40))
    nets = [MLP(sizes, "tanh", backend="numba", threads=n, seed=1) for n in (1, threads)]
    for net in nets:
        net.fit(X, Y, optimizer=optimizer, epochs=2, batch_size=700, shuffle=False)
    assert (nets[0].parameters.flat == nets[1].parameters.flat).all()


@both_modes
def test_a_second_fit_has_its_own_groups(backend: str, *, strict: bool) -> None:
    """What a backend keeps from one fit for the next does not hold the groups fast."""
    data = GENERATOR.normal(size=(6, 3)), GENERATOR.normal(size=(6, 2))
    options: dict[str, Any] = {"backend": backend, "strict": strict, "input_scale": True}
    net, fresh = (MLP((3, 9, 2), "tanh", seed=4, **options) for _ in range(2))
    for biases, scale in ((0.5, 1.0), (0.5, 0.5), ((0.25, 0.0), 0.5), (1.0, 2.0)):
        fresh.parameters.flat[...] = net.parameters.flat
        optimizer = PerLayer(AdamW(0.125), (1.0, 0.5), biases, input_scale=scale)
        net.fit(*data, optimizer=optimizer, epochs=2, batch_size=6)
        fresh.with_backend(backend, strict=strict).fit(*data, optimizer=optimizer, epochs=2, batch_size=6)
        assert (net.parameters.flat == fresh.parameters.flat).all()


def test_every_rate_is_the_schedules_times_the_factor(backend: str) -> None:
    """And the history tells the schedule's."""
    schedule = schedules.Cosine(0.5)
    nets = [
        fitted((3, 2), optimizer, epochs=4, backend=backend, dtype="float64")
        for optimizer in (PerLayer(SGD(schedule), 0.5, 0.5), SGD(schedules.Cosine(0.25)))
    ]
    assert (nets[0].parameters.flat == nets[1].parameters.flat).all()
    assert nets[0].history is not None
    assert nets[0].history.learning_rate == [schedule.over(4)(step) for step in range(4)]


@both_dtypes
@both_modes
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_an_input_scale_steps_with_a_rate_of_its_own(
    sizes: tuple[int, ...], optimizer: Optimizer, backend: str, dtype: str, *, strict: bool
) -> None:
    options: dict[str, Any] = {"backend": backend, "dtype": dtype, "strict": strict, "input_scale": True}
    for factor in (6.0, 0.3):
        found = fitted(sizes, PerLayer(optimizer, 0.7, 0.1, "ntk", factor), **options).input_scale
        expected = fitted(sizes, faster(optimizer, factor), **options).input_scale
        np.testing.assert_array_equal(found, expected)
    assert (fitted(sizes, PerLayer(optimizer, input_scale=0.0), **options).input_scale == 1.0).all()


# --- groups ---


def test_groups_are_of_equal_factors() -> None:
    spec = MLP((4, 16, 4)).spec
    assert PerLayer().groups(spec) == ParameterGroups((Factors(),), ((0, 0), (0, 0)))
    groups = PerLayer(weights=(1.0, 2.0), biases=0.1, multipliers="ntk").groups(spec)
    assert groups.factors == (Factors(1.0, 0.5), Factors(0.1, 1.0), Factors(2.0, 0.25))
    assert groups.layers == ((0, 1), (2, 1))
    scaled = MLP((4, 16, 4), input_scale=True).spec
    groups = PerLayer(weights=(1.0, 2.0), biases=0.1, multipliers="ntk", input_scale=6.0).groups(scaled)
    assert groups.factors == (Factors(1.0, 0.5), Factors(0.1, 1.0), Factors(2.0, 0.25), Factors(6.0, 1.0))
    assert (groups.layers, groups.input_scale) == (((0, 1), (2, 1)), 3)


def test_parts_are_as_few_as_there_are() -> None:
    parameters = MLP((2, 3, 1)).parameters
    sizes = [6, 3, 3, 1]
    ends = np.cumsum([0, *sizes]).tolist()
    assert ParameterGroups().slices(parameters) == [(slice(0, 13), 0)]
    groups = ParameterGroups((Factors(),) * 2, ((0, 1), (1, 0)))
    assert groups.slices(parameters) == [
        (slice(0, ends[1]), 0),
        (slice(ends[1], ends[3]), 1),
        (slice(ends[3], ends[4]), 0),
    ]
    scaled = MLP((2, 3, 1), input_scale=True).parameters
    assert ParameterGroups().slices(scaled) == [(slice(0, 15), 0)]
    assert ParameterGroups(groups.factors, groups.layers, 1).slices(scaled)[-2:] == [
        (slice(ends[3], ends[4]), 0),
        (slice(ends[4], ends[4] + 2), 1),
    ]


# --- a value ---


def test_it_is_a_value() -> None:
    one = PerLayer(Adam(0.5), [1, 2], np.array([0.5, 1.0]), 2)
    assert one == PerLayer(Adam(0.5), (1.0, 2.0), (0.5, 1.0), 2.0)
    assert hash(one) == hash(PerLayer(Adam(0.5), (1.0, 2.0), (0.5, 1.0), 2.0))
    assert one != PerLayer(Adam(0.25), (1.0, 2.0), (0.5, 1.0), 2.0)
    assert one != PerLayer(Adam(0.5), (1.0, 2.0), (0.5, 1.0), 3.0)
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301  our own bytes
    assert repr(one) == (
        f"PerLayer(optimizer={Adam(0.5)!r}, weights=(1.0, 2.0), biases=(0.5, 1.0), multipliers=2.0, input_scale=1.0)"
    )
    assert (one.lr, one.rule) == (0.5, "adam")
    assert PerLayer("sgd").optimizer == SGD()
    assert PerLayer().optimizer == Adam()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weights": -0.5}, ValueError, "PerLayer: weights is -0.5; expected a finite number not below 0"),
        ({"weights": (1.0, math.nan)}, ValueError, "PerLayer: weights[1] is nan; expected a finite number not below 0"),
        ({"biases": math.inf}, ValueError, "PerLayer: biases is inf; expected a finite number not below 0"),
        ({"biases": True}, TypeError, "PerLayer: biases is True; expected a number, or one for each layer"),
        ({"biases": ["1"]}, TypeError, "PerLayer: biases[0] is '1'; expected a number"),
        ({"multipliers": 0.0}, ValueError, "PerLayer: multipliers is 0.0; expected a finite number above 0"),
        (
            {"multipliers": "NTK"},
            TypeError,
            "PerLayer: multipliers is 'NTK'; expected a number, one for each layer, or 'ntk'",
        ),
        (
            {"multipliers": None},
            TypeError,
            "PerLayer: multipliers is None; expected a number, one for each layer, or 'ntk'",
        ),
        ({"input_scale": -1.0}, ValueError, "PerLayer: input_scale is -1.0; expected a finite number not below 0"),
        ({"input_scale": (1.0, 2.0)}, TypeError, "PerLayer: input_scale is (1.0, 2.0); expected a number"),
        ({"optimizer": "Adam"}, ValueError, "optimizer is 'Adam'; expected one of"),
        ({"optimizer": PerLayer()}, TypeError, "optimizer is PerLayer("),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        PerLayer(**arguments)


@pytest.mark.parametrize("name", ["weights", "biases", "multipliers"])
def test_as_many_numbers_as_layers_are_wanted(name: str) -> None:
    """And nothing has changed where there are not: no parameter, no draw, no history."""
    net = MLP((3, 4, 2), dropout=0.5, seed=0)
    before = net.parameters.flat.copy(), net.generator.bit_generator.state
    optimizer = PerLayer(**{name: (1.0, 2.0, 3.0)})
    message = (
        f"^PerLayer: {name} has 3 numbers, but this network has 2 layers; give one number, or one for each of them$"
    )
    with pytest.raises(ValueError, match=message):
        net.fit(np.ones((4, 3)), np.ones((4, 2)), optimizer=optimizer)
    with pytest.raises(ValueError, match=message):
        net.learn_one(np.ones(3), np.ones(2), optimizer=optimizer)
    assert (net.parameters.flat == before[0]).all()
    assert net.generator.bit_generator.state == before[1]
    assert net.history is None


def test_a_factor_for_a_scale_that_is_not_there_is_refused() -> None:
    net = MLP((3, 2))
    message = "^PerLayer: input_scale is 6.0, but this network has none; build it with input_scale=True, or leave the "
    with pytest.raises(ValueError, match=message):
        net.fit(np.ones((4, 3)), np.ones((4, 2)), optimizer=PerLayer(input_scale=6))
    assert net.history is None


# --- the comparison can fail ---


@pytest.mark.parametrize("bug", ["exchanged", "neighbours", "biases with the weights", "one for all"])
def test_wrong_groups_are_seen(backend: str, bug: str) -> None:
    right = PerLayer(AdamW(0.125), (0.1, 3.0), (0.3, 0.1)).groups(MLP((3, 9, 2)).spec)
    wrong = {
        "exchanged": tuple((b, W) for W, b in right.layers),
        "neighbours": right.layers[::-1],
        "biases with the weights": tuple((W, W) for W, _ in right.layers),
        "one for all": (),
    }[bug]
    nets = [
        fitted((3, 9, 2), grouped(AdamW(0.125), ParameterGroups(right.factors, layers)), backend=backend)
        for layers in (right.layers, wrong)
    ]
    assert any((a != b).any() for a, b in zip(tensors(nets[0]), tensors(nets[1]), strict=True))
