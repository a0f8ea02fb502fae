"""MLP: the public interface, what it returns, and which backend computes it."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import threadpoolctl

import fastmlp
from fastmlp import MLP, SGD, Adam, Parameters
from fastmlp.backends.numpy.fast import FastArithmetic
from tests import checkers

GENERATOR = np.random.default_rng(31)
X, Y = GENERATOR.normal(size=(5, 3)), GENERATOR.normal(size=(5, 2))

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def network(backend: str = "numpy", **options: Any) -> MLP:
    return MLP((3, 4, 6, 2), "tanh", backend=backend, seed=3, **options)


# --- the public interface ---

SIGNATURES: dict[Callable[..., Any], str] = {
    MLP: (
        "(layer_sizes, activation='relu', output_activation='identity', loss='mse', *, backend='auto', "
        "dtype='float32', strict=False, threads=None, seed=None, init='auto', l2=0.0, dropout=0.0)"
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


def test_hidden_activations_are_what_the_next_layer_gets(backend: str) -> None:
    net = network(backend, dtype="float64")
    hidden = net.hidden_activations(X)
    for layer, A in enumerate(hidden):
        rest = MLP(net.spec.layer_sizes[layer + 1 :], "tanh", backend=backend, dtype="float64")
        rest.parameters.flat[...] = net.parameters.flat[-rest.spec.n_params :]
        np.testing.assert_array_equal(rest.predict(A), net.predict(X))


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


@pytest.mark.parametrize("name", ["torch", "Numpy", ""])
def test_unknown_backends_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^backend is '{name}'; expected one of naive, numpy, numba, auto"):
        network(name)
    with pytest.raises(ValueError, match=f"^backend is '{name}'; expected one of"):
        network().with_backend(name)


# --- auto ---


def test_the_environment_says_what_auto_means(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setenv("FASTMLP_BACKEND", backend)
    assert network("auto").backend == backend
    assert network("numpy").backend == "numpy"  # what was asked for is not overruled
    assert network("numpy").with_backend("auto").backend == backend


@pytest.mark.parametrize("value", ["", "auto"])
def test_an_environment_that_says_nothing(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FASTMLP_BACKEND", value)
    assert network("auto").backend == "auto"


def test_an_environment_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTMLP_BACKEND", "torch")
    with pytest.raises(ValueError, match="^the environment's FASTMLP_BACKEND is 'torch'; expected one of naive"):
        network("auto")
    assert network("naive").backend == "naive"


@pytest.fixture
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTMLP_BACKEND", raising=False)


@pytest.mark.usefixtures("_plain_environment")
def test_explain_backend_answers_in_a_sentence() -> None:
    asked_for = network("naive").explain_backend(n_samples=10**6, epochs=100)
    assert asked_for == "This call takes the naive backend, because it was asked for."
    single = network("auto").explain_backend(n_samples=10**6, epochs=0)
    assert single == "This call takes the numpy backend, because a single call would not pay for compiling kernels."
    long = network("auto").explain_backend(n_samples=10**5, epochs=1000, batch_size=1)
    assert long.startswith("This call takes the numba backend, because this fit is an estimated ")
    assert long.endswith(" with numba, its compilation included.")


@pytest.mark.usefixtures("_plain_environment")
@pytest.mark.parametrize(("chosen", "work"), [("numpy", (5, 3, 2)), ("numba", (1000, 400, 1))])
def test_auto_does_what_it_explains(chosen: str, work: tuple[int, int, int]) -> None:
    n_samples, epochs, batch_size = work
    net = network("auto")
    assert f"the {chosen} backend" in net.explain_backend(n_samples, epochs, batch_size)
    data = np.resize(X, (n_samples, 3)), np.resize(Y, (n_samples, 2))
    assert net.fit(*data, optimizer=SGD(1e-4), epochs=epochs, batch_size=batch_size).backend == chosen
    assert net.backend == "auto"


@pytest.mark.usefixtures("_plain_environment")
def test_more_work_never_goes_back_to_numpy() -> None:
    """The choice changes once, from numpy to numba, as epochs are added."""
    sentences = [network("auto").explain_backend(100, 2**k, 8) for k in range(25)]
    chosen = ["numba" if "the numba backend" in sentence else "numpy" for sentence in sentences]
    assert chosen == sorted(chosen, reverse=True)
    assert set(chosen) == {"numpy", "numba"}


@pytest.mark.parametrize("arguments", [{"n_samples": 0}, {"epochs": -1}, {"batch_size": 0}])
def test_explain_backend_takes_sizes(arguments: dict[str, int]) -> None:
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"^{name} is {value}; expected at least"):
        network("auto").explain_backend(**arguments)


# --- threads ---


@pytest.mark.parametrize("threads", [None, 1])
def test_every_backend_takes_one_thread(threads: int | None, backend: str) -> None:
    assert network(backend, threads=threads).predict(X).shape == (5, 2)


def test_naive_has_no_more() -> None:
    with pytest.raises(ValueError, match="^threads is 2, but the naive backend computes on one; use threads=None"):
        network("naive", threads=2)
    with pytest.raises(ValueError, match="^threads is 2, but the naive backend"):
        network("numpy").with_backend("naive", threads=2)


@pytest.mark.parametrize(("threads", "kind"), [(0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError)])
def test_threads_are_a_count(threads: Any, kind: type[Exception], backend: str) -> None:
    with pytest.raises(kind, match=f"^threads is {threads}; expected"):
        network(backend, threads=threads)


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.skipif(max(blas_threads(), default=1) == 1, reason="NumPy's BLAS has one thread here")
def test_numpy_holds_its_blas_to_the_threads_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    affine = FastArithmetic.affine

    def spying(*arguments: Any) -> None:
        seen.append(blas_threads())
        affine(*arguments)

    monkeypatch.setattr(FastArithmetic, "affine", spying)
    before = blas_threads()
    network("numpy").predict(X)
    assert seen[-1] == before
    network("numpy", threads=1).predict(X)
    assert seen[-1] == [1] * len(before)
    network("numpy", threads=1).fit(X, Y, epochs=1)
    assert seen[-1] == [1] * len(before)
    assert blas_threads() == before


def test_numpy_needs_threadpoolctl_for_that_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(ImportError, match="^threads is 2, but .* `pip install threadpoolctl`, or use threads=None"):
        network("numpy", threads=2)
    assert network("numpy").predict(X).shape == (5, 2)
    assert network("numba", threads=2).predict(X).shape == (5, 2)


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
