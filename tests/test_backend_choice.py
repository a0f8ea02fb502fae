"""Which backend computes, and on how many threads: by name, by the environment, or from the size of the work."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from fastmlp import MLP, SGD
from fastmlp.backends.numpy.fast import FastArithmetic

GENERATOR = np.random.default_rng(31)
X, Y = GENERATOR.normal(size=(5, 3)), GENERATOR.normal(size=(5, 2))


def network(backend: str, **options: Any) -> MLP:
    return MLP((3, 4, 6, 2), "tanh", backend=backend, seed=3, **options)


@pytest.mark.parametrize("name", ["torch", "Numpy", ""])
def test_unknown_backends_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^backend is '{name}'; expected one of naive, numpy, numba, auto"):
        network(name)
    with pytest.raises(ValueError, match=f"^backend is '{name}'; expected one of"):
        network("numpy").with_backend(name)


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
    with pytest.raises(ValueError, match=r"^the environment's FASTMLP_BACKEND is 'torch'; expected one of naive"):
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
    assert single == "This call takes the numpy backend, because a single call would not pay for loading kernels."
    long = network("auto").explain_backend(n_samples=10**5, epochs=1000, batch_size=1)
    assert long.startswith("This call takes the numba backend, because this fit is an estimated ")
    assert long.endswith(" with numba, half of loading kernels included.")


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


@pytest.mark.usefixtures("_plain_environment")
@pytest.mark.parametrize(
    ("chosen", "layer_sizes", "work"),
    [
        ("numpy", (2, 3, 1), (4, 500, 4)),  # an exclusive or
        ("numpy", (4, 100, 3), (150, 100, 150)),  # a table of some rows
        ("numba", (30, 100, 1), (569, 200, 200)),  # a larger one: it takes 0.12 s with numpy, a third by activations
        ("numba", (64, 100, 10), (1797, 200, 200)),  # images of digits
        ("numba", (1, 500, 1), (2000, 20, 2000)),  # hardly any products
    ],
)
def test_auto_takes_numba_where_loading_its_kernels_pays(
    chosen: str, layer_sizes: tuple[int, ...], work: tuple[int, int, int]
) -> None:
    assert f"the {chosen} backend" in MLP(layer_sizes).explain_backend(*work)


@pytest.mark.usefixtures("_plain_environment")
def test_products_of_float64_count_twice() -> None:
    """A fit that takes 36 ms with NumPy in float64 takes 10 with kernels: the second one in a process is ahead."""
    for dtype, chosen in (("float32", "numpy"), ("float64", "numba")):
        assert f"the {chosen} backend" in MLP((13, 100, 3), dtype=dtype).explain_backend(178, 200, 178)


@pytest.mark.usefixtures("_plain_environment")
def test_strict_arithmetic_is_estimated_as_such() -> None:
    """NumPy's takes ten times as long as its fast one, so that kernels pay sooner."""
    work = (178, 100, 178)
    assert "the numpy backend" in MLP((13, 100, 3)).explain_backend(*work)
    assert "the numba backend" in MLP((13, 100, 3), strict=True).explain_backend(*work)


@pytest.mark.usefixtures("_plain_environment")
def test_auto_does_without_kernels_where_numba_may_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, chosen in (("0", "numba"), ("", "numba"), ("1", "numpy")):
        monkeypatch.setenv("NUMBA_DISABLE_JIT", value)
        assert f"the {chosen} backend" in network("auto").explain_backend(10**6, 100)


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
    with pytest.raises(ValueError, match=r"^threads is 2, but the naive backend computes on one; use threads=None"):
        network("naive", threads=2)
    with pytest.raises(ValueError, match=r"^threads is 2, but the naive backend"):
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
    with pytest.raises(ImportError, match=r"^threads is 2, but .* `pip install threadpoolctl`, or use threads=None"):
        network("numpy", threads=2)
    assert network("numpy").predict(X).shape == (5, 2)
    assert network("numba", threads=2).predict(X).shape == (5, 2)
