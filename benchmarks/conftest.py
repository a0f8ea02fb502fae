"""Benchmarks run on one thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.measure import one_thread


@pytest.fixture(autouse=True)
def single_threaded() -> Iterator[None]:
    """Hold BLAS to one thread."""
    with one_thread():
        yield
