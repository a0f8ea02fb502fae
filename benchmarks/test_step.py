"""A training step: `MLP.fit` with Adam, anew each time. Verified first, which also compiles; then timed."""

from __future__ import annotations

from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case
from benchmarks.contenders import on_one_thread
from benchmarks.measure import Call
from benchmarks.runs import describe, every_run

ROUNDS = 9


@every_run
def test_step(benchmark: BenchmarkFixture, case: Case, backend: str) -> None:
    """Time a training."""
    contender = on_one_thread(case, backend)
    benchmark.group = f"training {case.name}"

    def begin() -> tuple[tuple[Call], dict[str, Any]]:
        return (contender.prepare(),), {}

    timed: Any = benchmark.pedantic  # has no types
    timed(lambda run: run(), setup=begin, rounds=ROUNDS, warmup_rounds=1)
    describe(benchmark, case, case.gradient_flops, contender.n_steps)
