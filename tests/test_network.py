"""MLP: the public interface, what it returns, and which backend computes it."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp import MLP, Adam, Parameters
from tests import bounds, checkers

GENERATOR = np.random.default_rng(31)
X, Y = GENERATOR.normal(size=(5, 3)), GENERATOR.normal(size=(5, 2))

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def network(backend: str = "numpy", **options: Any) -> MLP:
    return MLP((3, 4, 6, 2), "tanh", backend=backend, seed=3, **options)


# --- the public interface ---

SIGNATURES: dict[Callable[..., Any], str] = {
    MLP: (
        "(layer_sizes, activation='relu', output_activation='identity', loss='mse', *, backend='auto', "
        "dtype='float32', strict=False, threads=None, seed=None, init='auto', l2=0.0, dropout=0.0, quantiles=None, "
        "input_scale=False)"
    ),
    MLP.predict: "(self, X)",
    MLP.loss: "(self, X, Y, sample_weight=None)",
    MLP.loss_and_gradient: "(self, X, Y, sample_weight=None)",
    MLP.input_gradient: "(self, X, Y, sample_weight=None)",
    MLP.hidden_activations: "(self, X)",
    MLP.fit: (
        "(self, X, Y, *, optimizer='adam', epochs=10, batch_size=32, shuffle=True, sample_weight=None, "
        "validation_data=None, metrics=(), early_stopping=None, callbacks=(), verbose=False, state=None)"
    ),
    MLP.with_backend: "(self, backend, *, strict=None, threads=None)",
    MLP.summary: "(self)",
    fastmlp.SGD: "(lr=0.01, momentum=0.0, nesterov=False)",
    fastmlp.Adam: "(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08)",
    fastmlp.AdamW: "(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.01)",
    fastmlp.EarlyStopping: "(patience=10, min_delta=0.0, restore_best=True)",
    fastmlp.available_backends: "()",
}


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__qualname__)
def test_signatures_are_those_others_write_against(function: Callable[..., Any]) -> None:
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == SIGNATURES[function]


def test_backends_by_name_the_reference_first() -> None:
    assert fastmlp.available_backends() == ("naive", "numpy", "numba")


# --- results ---


@both_dtypes
def test_results_have_the_networks_dtype_and_their_shape(backend: str, dtype: str) -> None:
    net = network(backend, dtype=dtype)
    loss, gradient = net.loss_and_gradient(X, Y)
    assert type(loss) is type(net.loss(X, Y)) is float
    assert isinstance(gradient, Parameters)
    arrays = [net.predict(X), gradient.flat, net.input_gradient(X, Y), *net.hidden_activations(X)]
    assert [array.shape for array in arrays] == [(5, 2), (net.spec.n_params,), (5, 3), (5, 4), (5, 6)]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}
    assert [W.shape for W in gradient.weights] == [(3, 4), (4, 6), (6, 2)]
    assert [b.shape for b in gradient.biases] == [(4,), (6,), (2,)]


def test_results_belong_to_the_caller(backend: str) -> None:
    """No workspace shows through: what was returned stays as it is, and may be written to."""
    net = network(backend)
    kept = [net.predict(X), net.loss_and_gradient(X, Y)[1].flat, net.input_gradient(X, Y), *net.hidden_activations(X)]
    before = checkers.digest(kept)
    net.fit(-X, -Y, epochs=1)
    for other in (net.predict(-X), net.loss_and_gradient(-X, Y)[1].flat, *net.hidden_activations(-X)):
        other[...] = np.nan
    assert checkers.digest(kept) == before


@pytest.mark.parametrize("strict", [True, False])
def test_hidden_activations_are_what_the_next_layer_gets(backend: str, strict: bool) -> None:
    """Bit for bit in strict mode; else a layer may add up in another order where it is the first."""
    net = network(backend, dtype="float64", strict=strict)
    hidden = net.hidden_activations(X)
    for layer, A in enumerate(hidden):
        rest = MLP(net.spec.layer_sizes[layer + 1 :], "tanh", backend=backend, dtype="float64", strict=strict)
        rest.parameters.flat[...] = net.parameters.flat[-rest.spec.n_params :]
        allowed = 0.0 if strict else bounds.GRADIENT
        assert np.max(np.abs(rest.predict(A) - net.predict(X))) <= allowed


def test_a_network_without_a_hidden_layer_has_no_hidden_activations(backend: str) -> None:
    assert MLP((3, 2), backend=backend).hidden_activations(X) == []


@pytest.mark.parametrize("n_samples", [1, 1023, 1024, 1025, 4096, 4097, 9000])
def test_rows_do_not_depend_on_how_many_there_are(n_samples: int) -> None:
    """Large inputs are computed block by block; the seams do not show."""
    many = np.resize(X, (n_samples, 3))
    for backend in ("numpy", "numba"):
        net = network(backend, dtype="float64", strict=True)
        np.testing.assert_array_equal(net.predict(many), np.resize(net.predict(X), (n_samples, 2)))
        for A, few in zip(net.hidden_activations(many), net.hidden_activations(X), strict=True):
            np.testing.assert_array_equal(A, np.resize(few, A.shape))
    in_blocks = {
        net.with_backend(name, strict=True).loss(many, np.resize(Y, (n_samples, 2))) for name in ("numpy", "numba")
    }
    assert len(in_blocks) == 1


# --- parameters ---


def test_writing_to_a_view_counts_at_once(backend: str) -> None:
    net = network(backend, dtype="float64")
    net.predict(X)
    net.fit(X, Y, epochs=1)
    net.weights[2][...] = 0.0
    net.biases[2][...] = [1.0, 2.0]
    np.testing.assert_array_equal(net.predict(X), np.tile([1.0, 2.0], (5, 1)))


def test_other_parameters_count_at_once(backend: str) -> None:
    """Computing again with as many rows: nothing kept from the call before may decide what comes out."""
    other = MLP((3, 4, 6, 2), "tanh", backend=backend, seed=4)

    def predict(net: MLP) -> Any:
        return net.predict(X)

    def activate(net: MLP) -> Any:
        return net.hidden_activations(X)[1]

    def measure(net: MLP) -> Any:
        return net.loss(X, Y)

    expected = {way: way(copy.deepcopy(other)) for way in (predict, activate, measure)}
    for first, then in itertools.product(expected, repeat=2):
        net = network(backend)
        first(net)
        net.parameters = other.parameters
        for way in (then, first):
            np.testing.assert_array_equal(way(net), expected[way])


def test_weights_and_biases_are_the_parameters_own() -> None:
    net = network()
    assert net.weights is net.parameters.weights
    assert net.biases is net.parameters.biases
    assert all(np.shares_memory(view, net.parameters.flat) for view in (*net.weights, *net.biases))


def test_views_survive_a_fit(backend: str) -> None:
    """Training writes to the same memory."""
    net = network(backend)
    flat, W = net.parameters.flat, net.weights[0]
    before = W.copy()
    net.fit(X, Y, epochs=1)
    assert net.parameters.flat is flat
    assert net.weights[0] is W
    assert (before != W).any()


# --- another backend ---


def test_with_backend_shares_parameters_and_generator(backend: str) -> None:
    net = network("numpy", dtype="float64", dropout=0.25)
    net.fit(X, Y, epochs=1)
    other = net.with_backend(backend)
    assert (other.backend, net.backend) == (backend, "numpy")
    assert other.parameters is net.parameters
    assert other.generator is net.generator
    assert other.spec is net.spec
    assert other.history is None
    assert net.history is not None
    before = net.predict(X)
    other.fit(X, Y, epochs=1)
    assert (net.predict(X) != before).any()


def test_with_backend_keeps_strict_unless_told() -> None:
    net = network(strict=True)
    assert net.with_backend("numba").strict is True
    assert net.with_backend("numba", strict=False).strict is False
    assert net.strict is True
    assert network().with_backend("numba", strict=True).strict is True


def test_strict_is_computed_strictly() -> None:
    """The flag arrives: on numpy, other bits than in fast mode, and the reference's."""
    net = network("naive", dtype="float64")
    many = GENERATOR.normal(size=(200, 3))
    reference = net.predict(many)
    assert (net.with_backend("numpy").predict(many) != reference).any()
    np.testing.assert_array_equal(net.with_backend("numpy", strict=True).predict(many), reference)


# --- copies and texts ---


def used(backend: str) -> MLP:
    net = network(backend, dropout=0.25)
    net.fit(X, Y, epochs=1)
    return net


COPIES: dict[str, Callable[[MLP], MLP]] = {
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),  # noqa: S301  our own bytes
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_goes_on_alike_and_apart(way: str, backend: str) -> None:
    net = used(backend)
    twin = COPIES[way](net)
    assert twin.spec == net.spec
    assert (twin.backend, twin.history.loss) == (net.backend, net.history.loss)
    assert not np.shares_memory(twin.parameters.flat, net.parameters.flat)
    assert all(np.shares_memory(view, twin.parameters.flat) for view in (*twin.weights, *twin.biases))
    twin.fit(X, Y, optimizer=Adam(0.1), epochs=2)
    before = twin.parameters.flat.copy()
    net.fit(X, Y, optimizer=Adam(0.1), epochs=2)  # draws the same order and masks, from a generator of its own
    np.testing.assert_array_equal(before, net.parameters.flat)
    np.testing.assert_array_equal(before, twin.parameters.flat)


def test_a_shallow_copy_shares_the_parameters(backend: str) -> None:
    net = used(backend)
    assert copy.copy(net).parameters is net.parameters


def test_a_pickle_holds_no_workspace(backend: str) -> None:
    net = network(backend)
    before = len(pickle.dumps(net))
    net.predict(np.resize(X, (10_000, 3)))
    assert len(pickle.dumps(net)) == before


def test_summary_is_a_table_with_totals() -> None:
    net = MLP((64, 1000, 10), "relu", "softmax", "cross_entropy", backend="numpy", l2=0.01, dropout=0.5)
    assert net.summary().splitlines() == [
        "layer  W          activation  parameters",
        "0      64 x 1000  relu        65,000",
        "1      1000 x 10  softmax     10,010",
        "75,010 parameters, 300,040 bytes of float32; loss cross_entropy; backend numpy; l2 0.01; dropout 0.5",
    ]


def test_summary_leaves_out_what_is_not_there() -> None:
    assert "l2" not in network().summary()
    assert "dropout" not in network().summary()


def test_repr_is_a_line() -> None:
    assert repr(network()) == "MLP(3-4-6-2, tanh, identity output, mse, float32, backend='numpy')"
    assert repr(network("naive", strict=True)).endswith("float32, backend='naive', strict)")


# --- parameters that cannot be written to ---


@pytest.mark.parametrize("train", [lambda net: net.fit(X, Y, epochs=1), lambda net: net.learn_one(X[0], Y[0])])
def test_parameters_that_are_read_only_answer_but_are_not_trained(backend: str, train: Any) -> None:
    """As those of a network loaded into mapped memory are, to which a kernel that writes would end the process."""
    net = fastmlp.MLP((3, 4, 2), backend=backend, seed=0)
    before = net.predict(X)
    net.parameters.flat.flags.writeable = False
    np.testing.assert_array_equal(net.predict(X), before)
    net.loss_and_gradient(X, Y)
    with pytest.raises(ValueError, match=r"^the network's parameters are read-only, .* train a copy, copy\.deepcopy"):
        train(net)
    twin = copy.deepcopy(net)
    train(twin)
    assert (twin.predict(X) != before).any()
    np.testing.assert_array_equal(net.predict(X), before)
    twin.learn_one(X[0], Y[0])
    twin.parameters.flat.flags.writeable = False  # it had been learning already
    with pytest.raises(ValueError, match="read-only"):
        twin.learn_one(X[0], Y[0])


def test_a_network_that_was_learning_goes_on_from_mapped_memory(backend: str, tmp_path: Path) -> None:
    """As joblib's workers get it: what is large is read-only, its optimizer's states and last sample, too."""
    joblib = pytest.importorskip("joblib")
    net = fastmlp.MLP((3, 4, 2), backend=backend, seed=0)
    net.learn_one(X[0], Y[0], optimizer="adam")
    joblib.dump(net, tmp_path / "net")
    mapped = joblib.load(tmp_path / "net", mmap_mode="r")
    with pytest.raises(ValueError, match=r"read-only, .* train a copy"):
        mapped.learn_one(X[1], Y[1])
    twin = copy.deepcopy(mapped)
    assert [twin.learn_one(X[i], Y[i]) for i in (1, 2)] == [net.learn_one(X[i], Y[i]) for i in (1, 2)]
    np.testing.assert_array_equal(twin.parameters.flat, net.parameters.flat)
