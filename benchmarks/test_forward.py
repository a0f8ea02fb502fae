"""`MLP.predict` of a batch. Verified first, which also compiles; then timed."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import verify
from benchmarks.cases import Case
from benchmarks.runs import describe, every_run


@every_run
def test_forward(benchmark: BenchmarkFixture, case: Case, backend: str) -> None:
    """Time predictions."""
    net, (X, Y) = case.network(backend), case.batch()
    verify.check_predictions(net, X, Y)
    benchmark.group = f"forward {case.name}"
    benchmark(net.predict, X)
    describe(benchmark, case, case.forward_flops)
