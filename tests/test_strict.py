"""Strict mode: the same bits on every backend, for every result of any network and after any training.

Everything is compared by hash: values, signs of zeros, shapes and dtypes.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastmlp
from fastmlp import schedules
from tests import checkers, networks
from tests.networks import Case
from tests.test_conformance import report

BACKENDS = fastmlp.available_backends()
LOSSES = tuple(dict.fromkeys(loss for loss, _ in networks.PAIRS))
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("turn", [0, 1, 2])
def test_results_have_the_same_bits(turn: int, loss: str) -> None:
    found = []
    for case in networks.cover(turn):
        if case.loss == loss:
            digests = {name: checkers.strict_digest(case, case.build(name, strict=True)) for name in BACKENDS}
            found += [f"{line} {case}" for line in checkers.same_bits(digests)]
    assert not found, report(found)


def test_the_reference_is_always_strict() -> None:
    for case in networks.cover()[::20]:
        digests = [checkers.strict_digest(case, case.build("naive", strict=strict)) for strict in (False, True)]
        assert digests[0] == digests[1]


def test_fast_mode_has_other_bits() -> None:
    """The comparison can fail: in fast mode most networks differ in some bit."""
    cases = networks.cover()[::20]
    differing = [
        case
        for case in cases
        if checkers.strict_digest(case, case.build("numpy")) != checkers.strict_digest(case, case.build("naive"))
    ]
    assert len(differing) > len(cases) / 2


OPTIMIZERS = {
    "sgd": fastmlp.SGD(0.1),
    "momentum": fastmlp.SGD(0.05, momentum=0.9),
    "nesterov": fastmlp.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": fastmlp.Adam(0.01),
    "adamw": fastmlp.AdamW(0.01, weight_decay=0.1),
    "rmsprop": fastmlp.RMSprop(0.01),
    "sgd by layers": fastmlp.PerLayer(fastmlp.SGD(0.05, momentum=0.9), weights=3.0, multipliers="ntk"),
    "adamw by layers": fastmlp.PerLayer(fastmlp.AdamW(0.03, weight_decay=0.1), biases=0.1, multipliers="ntk"),
}
SCHEDULES = {
    "constant": schedules.Constant(0.01),
    "step": schedules.Step(0.02, every=2),
    "cosine": schedules.Cosine(0.02),
    "cos_log": schedules.CosLog(0.05),
    "one_cycle": schedules.OneCycle(0.05),
    "inverse_scaling": schedules.InverseScaling(0.02),
    "warmup": schedules.Warmup(schedules.Cosine(0.02), 3),
}


def trained(
    case: Case, backend: str, optimizer: fastmlp.Optimizer, threads: int | None = None, **options: object
) -> str:
    """Return a hash of parameters and losses after three epochs of batches of four with a remainder."""
    net = case.build(backend, strict=True, seed=5, threads=threads, **options)
    _, X, Y, w = case.data
    try:
        net.fit(X, Y, optimizer=optimizer, epochs=3, batch_size=4, sample_weight=w)
    except fastmlp.DivergedError as error:  # then all must, at the same place
        return f"diverged at {error.epoch}, {error.batch}, {error.layer}: {checkers.digest([net.parameters.flat])}"
    return checkers.digest([net.parameters.flat, np.array(net.history.loss)])


def same_training(case: Case, optimizer: fastmlp.Optimizer, **options: object) -> list[str]:
    """Name the backends if they do not train a case to the same bits."""
    digests = {name: trained(case, name, optimizer, **options) for name in BACKENDS}
    return [f"{line} {case}" for line in checkers.same_bits(digests)]


def classifier(dtype: str, **options: object) -> Case:
    """Return a network with every kind of derivative, sample weights with a zero, l2 and a remainder of three."""
    activations = ("gelu", "relu", "tanh")
    options = {"l2": 0.125, "weighted": True, "targets": "vector", "n_samples": 11} | options
    return Case((4, 6, 9, 5, 3), activations, "softmax", "cross_entropy", dtype, **options)


@both_dtypes
@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_ends_in_the_same_bits(name: str, dropout: float, dtype: str) -> None:
    """Every optimizer, with dropout, sample weights and l2."""
    assert not same_training(classifier(dtype), OPTIMIZERS[name], dropout=dropout)


@both_dtypes
@pytest.mark.parametrize("optimizer", ["momentum", "adamw", "by layers"])
def test_training_of_an_input_scale_ends_in_the_same_bits(optimizer: str, dtype: str) -> None:
    by_layers = fastmlp.PerLayer(fastmlp.AdamW(0.03, weight_decay=0.1), 1.0, 0.1, "ntk", input_scale=6.0)
    chosen = OPTIMIZERS.get(optimizer, by_layers)
    assert not same_training(classifier(dtype, input_scale=True), chosen, dropout=0.25)


@both_dtypes
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_give_the_same_bits(name: str, dtype: str) -> None:
    schedule = SCHEDULES[name]
    optimizers = (
        fastmlp.SGD(schedule, momentum=0.5),
        fastmlp.Adam(schedule),
        fastmlp.AdamW(schedule, weight_decay=0.1),
    )
    assert not [line for optimizer in optimizers for line in same_training(classifier(dtype), optimizer, dropout=0.25)]


def test_every_pair_of_options_trains_to_the_same_bits() -> None:
    """A tenth of the cover, each with another optimizer: all losses, activations and shapes in the training kernel."""
    optimizers = list(OPTIMIZERS.values())
    found = []
    for k, case in enumerate(networks.cover(1)[::10]):
        found += same_training(case, optimizers[k % len(optimizers)], dropout=0.25 * (k % 2))
    assert not found, report(found)


@both_dtypes
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_bit(threads: int, dtype: str) -> None:
    case = classifier(dtype)
    alone = trained(case, "naive", OPTIMIZERS["adam"], dropout=0.25)
    assert trained(case, "numba", OPTIMIZERS["adam"], threads, dropout=0.25) == alone
    net = case.build("numba", strict=True, threads=threads)
    assert checkers.strict_digest(case, net) == checkers.strict_digest(case, case.build("naive"))


def test_order_of_memory_does_not_change_a_bit(backend: str) -> None:
    """Fortran order, a strided view and a list are the same data."""
    case = classifier("float64")
    net = case.build(backend, strict=True)
    _, X, Y, w = case.data
    expected = checkers.digest([net.loss_and_gradient(X, Y, w)[1].flat])
    wide = np.repeat(X, 2, axis=1)
    for same in (np.asfortranarray(X), wide[:, ::2], X.tolist(), X[::-1].copy()[::-1]):
        assert checkers.digest([net.loss_and_gradient(same, Y, w)[1].flat]) == expected


GOLDEN = {
    "float32": "5907444b8ac09d5d53eeb0dacc0b6410d02bdef57779bd214efe99d196a3e853",
    "float64": "d4d0d42aa51924bb60f5c957499bdfa5db41a0069b42da6f7888b5ed2f48c88b",
}
"""Hashes that must be the same on every machine, with every version of NumPy and Numba.

They change only with the definition of strict arithmetic, of an initialiser or of the dropout hash.
"""


@both_dtypes
def test_bits_are_those_of_every_other_machine(backend: str, dtype: str) -> None:
    """Data and parameters come from uniform draws and integers, which no libm has a part in."""
    generator = np.random.default_rng(2024)
    X, labels = 4.0 * generator.random((11, 4)) - 2.0, generator.integers(0, 3, 11)
    net = fastmlp.MLP(
        (4, 7, 5, 3),
        ("gelu", "tanh"),
        "softmax",
        "cross_entropy",
        backend=backend,
        dtype=dtype,
        strict=True,
        seed=1,
        init="uniform",
        l2=0.01,
        dropout=0.25,
    )
    history = net.fit(X, labels, optimizer=fastmlp.Adam(schedules.Cosine(0.05)), epochs=20, batch_size=4)
    assert checkers.digest([net.parameters.flat, np.array(history.loss), net.predict(X)]) == GOLDEN[dtype]
