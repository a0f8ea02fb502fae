"""`MLP.loss_and_gradient` of a batch. Verified first, which also compiles; then timed."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import verify
from benchmarks.cases import Case
from benchmarks.runs import describe, every_run


@every_run
def test_gradient(benchmark: BenchmarkFixture, case: Case, backend: str) -> None:
    """Time loss and gradient."""
    net, (X, Y) = case.network(backend), case.batch()
    verify.check_gradient(net, X, Y)
    benchmark.group = f"gradient {case.name}"
    benchmark(net.loss_and_gradient, X, Y)
    describe(benchmark, case, case.gradient_flops)
