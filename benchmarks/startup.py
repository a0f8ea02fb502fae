"""Time what is over before anything is computed, and keep it: ``python -m benchmarks.startup``.

What `import fastmlp` adds to importing NumPy; the first fit on the Numba backend where no kernel is kept yet; and what
a process with a first fit, whose kernels are kept, takes longer than one that imports Numba, which it does not, or
NumPy, which it does. Every run is a process of its own, those that are compared in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.measure import Call, Contender, timed_in_pairs

RESULTS = Path(__file__).parent / "results" / "startup.json"
RUNS = 9

IMPORT = "import fastmlp"
FIT = """
import time
import numpy
import fastmlp
X = numpy.linspace(-1.0, 1.0, 512).reshape(32, 16)
net = fastmlp.MLP((16, 64, 64, 1), backend="numba", seed=0)
begun = time.perf_counter()
net.fit(X, X[:, 0], epochs=1)
print(time.perf_counter() - begun)
"""


@dataclass(frozen=True)
class Figure:
    """A time, and how long it may be.

    Attributes
    ----------
    name : str
    seconds : float
        The median.
    quartiles : tuple of float
    at_most : float
        The bar.
    """

    name: str
    seconds: float
    quartiles: tuple[float, float]
    at_most: float

    @classmethod
    def of(cls, name: str, seconds: Sequence[float], at_most: float) -> Figure:
        """Return the figure that some runs give."""
        low, high = np.quantile(seconds, (0.25, 0.75))
        return cls(name, median(seconds), (float(low), float(high)), at_most)

    @property
    def is_met(self) -> bool:
        """Whether it is within the bar."""
        return self.seconds <= self.at_most


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 1 if a bar was missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.startup", description="Time imports and first fits.")
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help="of each (%(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FILE", help="a JSON file")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error(f"--runs is {options.runs}; expected at least 1")
    figures = []
    for figure in measured(options.runs):
        figures.append(figure)
        print(_sentence(figure), flush=True)
    rows = [asdict(figure) | {"is_met": figure.is_met} for figure in figures]
    record = machine.record() | {"runs": options.runs, "figures": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=2) + "\n")
    return 0 if all(figure.is_met for figure in figures) else 1


def measured(n_runs: int) -> Iterator[Figure]:
    """Yield the figures."""
    with TemporaryDirectory() as folder:
        yield Figure.of("import fastmlp, over import numpy", over(IMPORT, "import numpy", n_runs, folder), 0.15)
    yield Figure.of("first fit, no kernel kept", [cold_fit() for _ in range(n_runs)], 8.0)
    with TemporaryDirectory() as folder:  # the run that does not count fills it
        for package, at_most in (("numba", 0.5), ("numpy", 0.3)):
            name = f"first fit, kernels kept, over import {package}"
            yield Figure.of(name, over(FIT, f"import {package}", n_runs, folder), at_most)


def over(script: str, baseline: str, n_runs: int, cache: str) -> list[float]:
    """Return by how many seconds a process with a script takes longer than one with another, pair by pair."""

    def contender(name: str, own: str) -> Contender:
        def prepare() -> Call:
            return lambda: run(own, cache)

        return Contender(name, prepare, 1)

    pairs = timed_in_pairs(contender("script", script), contender("baseline", baseline), n_runs)
    return [a - b for a, b in zip(pairs.a, pairs.b, strict=True)]


def cold_fit() -> float:
    """Return what a fit takes that has to compile its kernels, and to import Numba, as the process itself tells."""
    with TemporaryDirectory() as folder:
        return float(run(FIT, folder))


def run(script: str, cache: str) -> str:
    """Run a script in a process that keeps kernels in a folder; return what it prints.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails; what it has to say stands on stderr.
    """
    environment: dict[str, Any] = {**os.environ, "FASTMLP_CACHE_DIR": cache}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  our own
    return done.stdout


def _sentence(figure: Figure) -> str:
    low, high = figure.quartiles
    verdict = "met" if figure.is_met else "MISSED"
    return f"{figure.name}: {figure.seconds:.3f} s ({low:.3f} to {high:.3f}); at most {figure.at_most:g} s: {verdict}"


if __name__ == "__main__":
    sys.exit(main())
