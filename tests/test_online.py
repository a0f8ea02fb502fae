"""Learning one sample at a time: the steps of a fit with batches of one, in the order in which samples come."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, SGD, Adam, AdamW, DivergedError, PerLayer, RMSprop, schedules
from fastmlp.backends import make_backend
from fastmlp.backends.base import sum_in_order

X, Y = np.random.default_rng(0).normal(size=(2, 7, 3))
OPTIMIZERS = {
    "sgd": SGD(lr=0.1, momentum=0.5),
    "adam": Adam(lr=schedules.Step(0.01, every=3, factor=0.5)),
    "adamw": AdamW(weight_decay=0.1),
    "rmsprop": RMSprop(),
    "by layers": PerLayer(AdamW(schedules.Step(0.01, every=3, factor=0.5)), (1.0, 0.5), 0.1, "ntk"),
}


def network(backend: str, **options: Any) -> MLP:
    return MLP((3, 5, 3), "tanh", backend=backend, seed=2, **options)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("strict", [False, True])
def test_it_is_a_fit_with_batches_of_one(backend: str, name: str, strict: bool) -> None:
    fitted, online = (network(backend, strict=strict, l2=0.01) for _ in range(2))
    losses = []
    fitted.fit(X, Y, optimizer=OPTIMIZERS[name], epochs=1, batch_size=1, shuffle=False)
    for x, y in zip(X, Y, strict=True):
        losses.append(online.learn_one(x, y, optimizer=OPTIMIZERS[name]))
    assert (fitted.parameters.flat == online.parameters.flat).all()
    assert fitted.history is not None
    assert sum_in_order(np.array(losses)) / len(X) == fitted.history.loss[0]


def test_an_optimizer_stays_until_another_comes(backend: str) -> None:
    named, kept, changed = (network(backend) for _ in range(3))
    for x, y in zip(X, Y, strict=True):
        named.learn_one(x, y, optimizer="adam")
        changed.learn_one(x, y, optimizer="sgd")
    kept.learn_one(X[0], Y[0], optimizer=Adam())
    for x, y in zip(X[1:], Y[1:], strict=True):
        kept.learn_one(x, y)
    assert (named.parameters.flat == kept.parameters.flat).all()
    assert (named.parameters.flat != changed.parameters.flat).any()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_more_steps_than_are_computed_at_once(backend: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates, and the masks of dropout, are those of the step."""
    whole, cut = (network(backend, dropout=0.5) for _ in range(2))
    for x, y in zip(X, Y, strict=True):
        whole.learn_one(x, y, optimizer=OPTIMIZERS[name])
    monkeypatch.setattr("fastmlp.online._STEPS", 2)
    for x, y in zip(X, Y, strict=True):
        cut.learn_one(x, y, optimizer=OPTIMIZERS[name])
    assert (whole.parameters.flat == cut.parameters.flat).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])  # noqa: S301
def test_a_copy_goes_on_where_the_network_was(backend: str, name: str, copied: Any) -> None:
    """With the optimizer's state, and without a tie to it."""
    net = network(backend)
    for x, y in zip(X[:3], Y[:3], strict=True):
        net.learn_one(x, y, optimizer=OPTIMIZERS[name])
    other = copied(net)
    for x, y in zip(X[3:], Y[3:], strict=True):
        assert net.learn_one(x, y) == other.learn_one(x, y)
    assert (net.parameters.flat == other.parameters.flat).all()
    before = net.parameters.flat.copy()
    other.learn_one(X[0], Y[0])
    assert (net.parameters.flat == before).all()


def test_a_copy_that_is_interrupted_at_its_first_step_goes_on_all_the_same(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While kernels compile, say: the states are laid out then, and must not be again."""
    net = network(backend)
    for x, y in zip(X, Y, strict=True):
        net.learn_one(x, y, optimizer="adam")
    twin = copy.deepcopy(net)
    kind = type(make_backend(backend, net.spec, strict=False, threads=None))

    def interrupt(_self: object, _run: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kind, "learner", interrupt)
        with pytest.raises(KeyboardInterrupt):
            twin.learn_one(X[0], Y[0])
    for each in (net, twin):
        each.learn_one(X[0], Y[0])
        each.learn_one(X[1], Y[1])
    np.testing.assert_array_equal(twin.parameters.flat, net.parameters.flat)


def test_what_is_written_to_a_view_counts(backend: str) -> None:
    net, fresh = network(backend), network(backend)
    net.learn_one(X[0], Y[0])
    net.parameters.flat[...] = fresh.parameters.flat
    assert net.learn_one(X[1], Y[1]) == fresh.learn_one(X[1], Y[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_of_the_dtype_are_taken_like_others(backend: str, dtype: str) -> None:
    plain, listed = (network(backend, dtype=dtype) for _ in range(2))
    for x, y in zip(X.astype(dtype), Y.astype(dtype), strict=True):
        assert plain.learn_one(x, y) == listed.learn_one(x.tolist(), y.tolist())
    assert (plain.parameters.flat == listed.parameters.flat).all()


@pytest.mark.parametrize("wrong", ["x", "y"])
def test_arrays_of_the_dtype_are_looked_at(backend: str, wrong: str) -> None:
    net = network(backend)
    sample = {"x": X[0].astype(np.float32), "y": Y[0].astype(np.float32)}
    sample[wrong][1] = np.nan
    before = net.parameters.flat.copy()
    with pytest.raises(ValueError, match=r"\[0, 1\] is nan; expected finite numbers"):
        net.learn_one(**sample)
    sample[wrong][1] = 1e30  # finite, if its square is not
    if wrong == "x":
        assert np.isfinite(net.learn_one(**sample))
    else:
        assert (net.parameters.flat == before).all()


@pytest.mark.parametrize("label", [-1, 3, 4, 0.5, np.nan])
def test_a_label_is_looked_at(backend: str, label: Any) -> None:
    net = MLP((3, 5, 3), "relu", "softmax", "cross_entropy", backend=backend, seed=0)
    with pytest.raises((TypeError, ValueError)):
        net.learn_one(X[0], label)


def test_labels_and_rows_are_both_taken(backend: str) -> None:
    nets = [MLP((3, 5, 3), "relu", "softmax", "cross_entropy", backend=backend, seed=0) for _ in range(2)]
    assert nets[0].learn_one(X[0], 1) == nets[1].learn_one(X[0], [0, 1, 0])
    assert (nets[0].parameters.flat == nets[1].parameters.flat).all()
    single = MLP((3, 1), backend=backend, seed=0)
    assert single.learn_one(X[0], 0.5) == MLP((3, 1), backend=backend, seed=0).learn_one(X[0], [0.5])


def test_dropout_is_seeded(backend: str) -> None:
    first, second = (network(backend, dropout=0.5) for _ in range(2))
    assert [first.learn_one(x, y) for x, y in zip(X, Y, strict=True)] == [
        second.learn_one(x, y) for x, y in zip(X, Y, strict=True)
    ]


@pytest.mark.parametrize(("x", "y"), [(X[0, :2], Y[0]), (X[0], Y[0, :2]), (X, Y), ([np.nan, 0, 0], Y[0]), (X[0], "a")])
def test_what_is_no_sample_changes_nothing(backend: str, x: Any, y: Any) -> None:
    net = network(backend)
    before = net.parameters.flat.copy()
    with pytest.raises((TypeError, ValueError)):
        net.learn_one(x, y)
    assert (net.parameters.flat == before).all()


def test_divergence_is_an_error_and_the_step_is_not_done(backend: str) -> None:
    net = network(backend)
    net.biases[0][...], net.weights[1][...] = 9.0, 3e38  # the outputs overflow
    before = net.parameters.flat.copy()
    with np.errstate(all="ignore"), pytest.raises(DivergedError):
        net.learn_one(X[0], Y[0])
    assert (net.parameters.flat == before).all()
