"""Measure, print, keep: ``python -m benchmarks.report``.

Every figure is of a training step: `MLP.fit` with Adam, its permutations and bookkeeping included, over the
number of its steps; one thread; verified before; compilation apart. Two contenders are timed in turns in one
process, and what is compared is the median of the ratios of the pairs, with the quartiles beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from benchmarks import machine
from benchmarks.cases import CASES, DIGITS, Case
from benchmarks.contenders import handwritten, on_one_thread
from benchmarks.measure import Clock, Contender, Pairs, matmul_peak, one_thread, timed_in_pairs

RESULTS = Path(__file__).parent / "results" / "backends.json"
PAIRS = 15
BASELINE = "numpy"  # what the other backends' times are divided by


@dataclass(frozen=True)
class Bar:
    """A ratio of two contenders' times on the digits, and how large it may be.

    Attributes
    ----------
    name : str
    ratio : float
    quartiles : tuple of float
    at_most : float
    """

    name: str
    ratio: float
    quartiles: tuple[float, float]
    at_most: float

    @property
    def is_met(self) -> bool:
        """Whether the ratio is within the bar."""
        return self.ratio <= self.at_most


@dataclass(frozen=True)
class Row:
    """A case on a backend.

    Attributes
    ----------
    case, backend : str
    seconds : float
        Of a step, the median.
    samples_per_second, gflops : float
        Of that; matrix products alone count as work.
    share_of_peak : float
        Of the measured matrix product.
    over_baseline : float
        The median ratio of its time to the baseline's; 1 for the baseline itself.
    quartiles : tuple of float
        Of that ratio.
    """

    case: str
    backend: str
    seconds: float
    samples_per_second: float
    gflops: float
    share_of_peak: float
    over_baseline: float
    quartiles: tuple[float, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the report; return 1 if a bar was missed."""
    options = _parser().parse_args(arguments)
    clock = process_time if options.processor_time else perf_counter
    with one_thread():
        rows = [row for name in options.cases for row in measured(CASES[name], options.pairs, clock)]
        bars = list(measured_bars(options.pairs, clock))
    print(_table(rows))
    for bar in bars:
        print(_sentence(bar))
    file = options.output or (RESULTS if set(options.cases) == set(CASES) else None)
    record = _record(rows, bars) | {"pairs": options.pairs, "clock": clock.__name__}
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record, indent=2) + "\n")
    return 0 if all(bar.is_met for bar in bars) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.report", description="Time the backends in pairs.")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each comparison (%(default)s)")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES), help="all by default")
    parser.add_argument("--processor-time", action="store_true", help="steadier on a busy machine")
    what = f"a JSON file; by default {RESULTS.name} of the results, if all cases are timed, else none"
    parser.add_argument("--output", type=Path, help=what)
    return parser


# ---- measuring


def measured(case: Case, n_pairs: int, clock: Clock) -> Iterator[Row]:
    """Yield a row for each backend of a case: the baseline, then the others in turns with it."""
    baseline = on_one_thread(case, BASELINE)
    others = [on_one_thread(case, name) for name in case.backends if name != BASELINE]
    pairs = {other.name: timed_in_pairs(other, baseline, n_pairs, clock) for other in others}
    own = [seconds for pair in pairs.values() for seconds in pair.b]
    yield row_of(case, BASELINE, Pairs(tuple(own), tuple(own)))
    for name, pair in pairs.items():
        yield row_of(case, name, pair)


def row_of(case: Case, backend: str, pairs: Pairs) -> Row:
    """Return the row of a backend whose times are the first of the pairs."""
    seconds = median(pairs.a)
    speed = case.gradient_flops / seconds / 1e9
    return Row(
        case=case.name,
        backend=backend,
        seconds=seconds,
        samples_per_second=case.batch_size / seconds,
        gflops=speed,
        share_of_peak=speed / matmul_peak(case.dtype),
        over_baseline=pairs.ratio,
        quartiles=pairs.quartiles,
    )


def measured_bars(n_pairs: int, clock: Clock) -> Iterator[Bar]:
    """Yield the comparisons that have a bar."""
    numpy = on_one_thread(DIGITS, "numpy")
    for a, b, at_most in ((numpy, handwritten(), 1.2), (on_one_thread(DIGITS, "numba"), numpy, 1.0)):
        pairs = timed_in_pairs(a, b, n_pairs, clock)
        yield Bar(_versus(a, b), pairs.ratio, pairs.quartiles, at_most)


def _versus(a: Contender, b: Contender) -> str:
    return f"{a.name} over {b.name}"


# ---- telling


def _table(rows: Sequence[Row]) -> str:
    """Return the rows as text, a line each."""
    numbers = f"{'µs a step':>12}{'samples/s':>13}{'GFLOP/s':>9}{'of peak':>9}"
    return "\n".join([f"{'case':10}{'backend':9}{numbers}  over {BASELINE}", *map(_line, rows)])


def _line(row: Row) -> str:
    low, high = row.quartiles
    return (
        f"{row.case:10}{row.backend:9}{row.seconds * 1e6:12,.1f}{row.samples_per_second:13,.0f}"
        f"{row.gflops:9.3g}{row.share_of_peak:9.1%}  {row.over_baseline:.3g} ({low:.3g} to {high:.3g})"
    )


def _sentence(bar: Bar) -> str:
    low, high = bar.quartiles
    verdict = f"at most {bar.at_most:g}: {'met' if bar.is_met else 'MISSED'}"
    return f"{DIGITS.name}: {bar.name} {bar.ratio:.3g} ({low:.3g} to {high:.3g}), {verdict}"


def _record(rows: Sequence[Row], bars: Sequence[Bar]) -> dict[str, Any]:
    """Return everything for the file."""
    return {
        **machine.record(),
        "matmul_peak_gflops": {dtype: matmul_peak(dtype) for dtype in ("float32", "float64")},
        "threads": 1,
        "bars": [asdict(bar) | {"is_met": bar.is_met} for bar in bars],
        "rows": [asdict(row) for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
