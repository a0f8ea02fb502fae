"""What the benchmark tests share: the runs over the table of cases, and what is written beside a timing."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import CASES, Case
from benchmarks.measure import matmul_peak

every_run = pytest.mark.parametrize(
    ("case", "backend"),
    [pytest.param(case, name, id=f"{case.name}-{name}") for case in CASES.values() for name in case.backends],
)


def describe(benchmark: BenchmarkFixture, case: Case, flops: int, n_steps: int = 1) -> None:
    """Write sizes and speeds to ``benchmark.extra_info``.

    Parameters
    ----------
    benchmark : BenchmarkFixture
        After it has run.
    case : Case
    flops : int
        Floating-point operations of a batch.
    n_steps : int
        Batches of a timed call.
    """
    benchmark.extra_info |= {
        "layer_sizes": case.layer_sizes,
        "batch_size": case.batch_size,
        "dtype": case.dtype,
        "batches": n_steps,
    }
    if benchmark.stats is None:  # with --benchmark-disable
        return
    seconds = benchmark.stats.stats.median / n_steps
    speed, peak = flops / seconds / 1e9, matmul_peak(case.dtype)
    benchmark.extra_info |= {
        "samples_per_second": case.batch_size / seconds,
        "gflops": speed,
        "matmul_peak_gflops": peak,
        "share_of_peak": speed / peak,
    }
