"""Fixtures and settings of all tests: the backends, the long run, the profile of the generated examples."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest

import fastmlp
from fastmlp.backends.numba.entry import EntryPoint
from tests import checked_calls

hypothesis.settings.register_profile(
    "fixed",
    derandomize=True,  # the same examples in every run: a failure in CI is a failure at home
    database=None,
    deadline=None,  # the first example of a jitted backend compiles
    max_examples=50,
)
hypothesis.settings.register_profile("full", parent=hypothesis.settings.get_profile("fixed"), max_examples=2000)


def wants_full(config: pytest.Config) -> bool:
    """Tell whether the marker expression asks for the long run."""
    return "full" in config.getoption("markexpr")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and load the profile."""
    config.addinivalue_line("markers", "full: the whole product of options; run with `pytest -m full`")
    hypothesis.settings.load_profile("full" if wants_full(config) else "fixed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long run out unless it is asked for."""
    if not wants_full(config):
        long = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session", autouse=True)
def _calls_are_looked_at() -> Iterator[None]:
    """See what kernels are called with, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EntryPoint, "_load", checked_calls.load)
        yield


@pytest.fixture
def pythons_own_handler() -> Iterator[None]:
    """Have Ctrl-C handled as in a program in the foreground: one in the background may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(params=fastmlp.available_backends())
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    return request.param


@pytest.fixture
def heights(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many rows of sparse samples are made dense at a time."""
    from fastmlp.estimators.sparse import SparseRows  # noqa: PLC0415  an extra, which not every test has

    seen, usual = [], SparseRows.__getitem__

    def noting(rows: SparseRows, which: Any) -> np.ndarray:
        dense = usual(rows, which)
        seen.append(len(dense))
        return dense

    monkeypatch.setattr(SparseRows, "__getitem__", noting)
    return seen
