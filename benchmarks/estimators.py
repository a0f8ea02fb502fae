"""Time the estimators beside scikit-learn's of the same names, and keep it: ``python -m benchmarks.estimators``.

Both fit the same data with the same parameters, their defaults, and the same `random_state`, so that they do the same
work; they prove it before they are timed, by as many epochs and as good a score. A fit is timed per epoch, by a new
estimator each time; a prediction is of one row, of texts of all. One thread and one core each, compilation apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

import fastmlp
from benchmarks import machine
from benchmarks.measure import Call, Clock, Contender, Pairs, one_thread, timed_in_pairs
from benchmarks.peers.tables import aligned

RESULTS = Path(__file__).parent / "results" / "estimators.json"
PAIRS = 9
BACKENDS = ("numba", "auto")
PREDICT_BAR = 8.0
_CALLS = 1000  # predictions are timed so many at a time: one takes microseconds
_FEWEST_CALLS = 10  # of many rows
_SCORES_DIFFER_BY = 5e-3  # at most: rounding, which hundreds of epochs multiply, moves a few samples over a border

Data = Callable[[], tuple[Any, np.ndarray]]


class WrongResultError(Exception):
    """The two did not do the same work."""


@dataclass(frozen=True)
class Workload:
    """What is fitted.

    Attributes
    ----------
    kind : str
        "MLPClassifier" or "MLPRegressor", in either library.
    data : callable
        Returns X and y.
    fit_bar : float
        How many times as long scikit-learn's fit has to take.
    options : dict
        Parameters that are not the defaults.
    predicts_all : bool
        Whether a prediction is of all rows, and has but to be as fast as theirs.
    """

    kind: str
    data: Data
    fit_bar: float
    options: dict[str, Any] = field(default_factory=dict)
    predicts_all: bool = False

    def theirs(self) -> Any:  # noqa: ANN401  it has no types
        """Return scikit-learn's estimator."""
        return getattr(neural_network, self.kind)(random_state=0, **self.options)

    def ours(self, backend: str) -> Any:  # noqa: ANN401
        """Return fastmlp's."""
        return getattr(fastmlp, self.kind)(random_state=0, backend=backend, **self.options)


def _scaled(load: Callable[..., Any]) -> Data:
    def data() -> tuple[np.ndarray, np.ndarray]:
        X, y = load(return_X_y=True)
        return StandardScaler().fit_transform(X), y

    return data


def _large() -> tuple[np.ndarray, np.ndarray]:
    X, y = datasets.make_classification(100_000, 20, random_state=0)
    return X, y


def _texts() -> tuple[Any, np.ndarray]:
    """Return sparse samples such as counts of words are: a hundredth of the features are there, some tell the class."""
    generator = np.random.default_rng(0)
    columns = np.concatenate([generator.choice(5000, 50, replace=False) for _ in range(2000)])
    X = sparse.csr_array((generator.random(columns.size), columns, np.arange(0, columns.size + 1, 50)), (2000, 5000))
    return X, (X @ generator.standard_normal(5000) > 0).astype(int)


WORKLOADS = {
    "digits": Workload("MLPClassifier", lambda: datasets.load_digits(return_X_y=True), 4.0),
    "breast_cancer": Workload("MLPClassifier", _scaled(datasets.load_breast_cancer), 6.0),
    "wine": Workload("MLPClassifier", _scaled(datasets.load_wine), 6.0),
    "diabetes": Workload("MLPRegressor", lambda: datasets.load_diabetes(return_X_y=True), 6.0),
    "large": Workload("MLPClassifier", _large, 5.0, {"max_iter": 3}),
    "texts": Workload("MLPClassifier", _texts, 2.0, {"max_iter": 3}, predicts_all=True),
}


@dataclass(frozen=True)
class Row:
    """A workload on a backend.

    Attributes
    ----------
    workload, what, backend : str
        `what` is "fit", whose seconds are of an epoch, or "predict", of one row.
    seconds, theirs : float
        The medians, ours and scikit-learn's.
    ratio : float
        Theirs over ours: the median over pairs.
    quartiles : tuple of float
        Of that ratio.
    at_least : float
        The bar.
    n_epochs : int
        Of a fit.
    """

    workload: str
    what: str
    backend: str
    seconds: float
    theirs: float
    ratio: float
    quartiles: tuple[float, float]
    at_least: float
    n_epochs: int

    @property
    def is_met(self) -> bool:
        """Whether the ratio reaches the bar."""
        return self.ratio >= self.at_least


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; return 1 if a bar was missed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.pairs < 1:
        parser.error(f"--pairs is {options.pairs}; expected at least 1")
    clock, cores = process_time if options.processor_time else perf_counter, machine.Cores()
    with ExitStack() as stack:
        stack.enter_context(cores.held(1))
        stack.enter_context(one_thread())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", ConvergenceWarning)  # the defaults end most fits before they have converged
        rows = [row for name in options.workload for row in measured(name, options.pairs, clock)]
    record = _record(rows) | {"pairs": options.pairs, "clock": clock.__name__, "held_to_one_core": cores.can_hold}
    print("\n", "\n".join(_told(record, rows)), sep="")
    file = options.output or (RESULTS if set(options.workload) == set(WORKLOADS) else None)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record, indent=2) + "\n")
    return 0 if all(row.is_met for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    what = "Time fastmlp's estimators beside scikit-learn's: the ratio is its time over fastmlp's."
    parser = argparse.ArgumentParser("python -m benchmarks.estimators", description=what)
    parser.add_argument("--pairs", type=int, default=PAIRS, metavar="N", help="of each comparison (%(default)s)")
    parser.add_argument(
        "--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME", help="all by default"
    )
    parser.add_argument("--processor-time", action="store_true", help="steadier on a busy machine")
    kept = f"a JSON file; by default {RESULTS.name} of the results, if all workloads are timed, else none"
    parser.add_argument("--output", type=Path, metavar="FILE", help=kept)
    return parser


# ---- measuring


def measured(name: str, n_pairs: int, clock: Clock = perf_counter) -> Iterator[Row]:
    """Yield the rows of a workload, each once it has shown that both do the same.

    Raises
    ------
    WrongResultError
        If they do not.
    """
    workload = WORKLOADS[name]
    X, y = workload.data()
    theirs = workload.theirs().fit(X, y)
    for backend in BACKENDS:
        ours = workload.ours(backend).fit(X, y)
        check(name, ours, theirs, X, y)
        pairs = timed_in_pairs(*_fits(workload, backend, X, y, theirs.n_iter_), n_pairs, clock)
        yield _row(name, "fit", backend, pairs, workload.fit_bar, theirs.n_iter_)
        asked, bar = (X, 1.0) if workload.predicts_all else (X[:1].copy(), PREDICT_BAR)
        both = _predictions("theirs", theirs, asked), _predictions("ours", ours, asked)
        yield _row(name, "predict", backend, timed_in_pairs(*both, n_pairs, clock), bar, theirs.n_iter_)


def check(name: str, ours: Any, theirs: Any, X: Any, y: np.ndarray) -> None:  # noqa: ANN401
    """Raise WrongResultError unless two fits had as many epochs and led to as good a score."""
    if ours.n_iter_ != theirs.n_iter_:
        msg = f"{name}: fastmlp's fit had {ours.n_iter_} epochs, scikit-learn's {theirs.n_iter_}; expected the same"
        raise WrongResultError(msg)
    scores = ours.score(X, y), theirs.score(X, y)
    if not abs(scores[0] - scores[1]) <= _SCORES_DIFFER_BY:
        msg = f"{name}: fastmlp's score is {scores[0]:.6g}, scikit-learn's {scores[1]:.6g}; expected the same"
        raise WrongResultError(msg)


def _fits(workload: Workload, backend: str, X: Any, y: np.ndarray, n_epochs: int) -> tuple[Contender, Contender]:  # noqa: ANN401
    """Return what fits a new estimator of either library; a step is an epoch."""

    def fitting(make: Callable[[], Any]) -> Callable[[], Call]:
        def prepare() -> Call:
            estimator = make()
            return lambda: estimator.fit(X, y)

        return prepare

    theirs = Contender("theirs", fitting(workload.theirs), n_epochs)
    return theirs, Contender("ours", fitting(lambda: workload.ours(backend)), n_epochs)


def _predictions(name: str, estimator: Any, rows: Any) -> Contender:  # noqa: ANN401
    n_calls = max(_FEWEST_CALLS, _CALLS // rows.shape[0])

    def call() -> None:
        for _ in repeat(None, n_calls):
            estimator.predict(rows)

    return Contender(name, lambda: call, n_calls)


def _row(name: str, what: str, backend: str, pairs: Pairs, bar: float, n_epochs: int) -> Row:
    times = median(pairs.b), median(pairs.a)
    row = Row(name, what, backend, *times, pairs.ratio, pairs.quartiles, bar, int(n_epochs))
    print(f"{name}, {what}, {backend}: {_micro(row.theirs)} / {_micro(row.seconds)} µs", file=sys.stderr, flush=True)
    return row


# ---- telling


def _record(rows: Sequence[Row]) -> dict[str, Any]:
    return machine.record(["scikit-learn"]) | {"rows": [asdict(row) | {"is_met": row.is_met} for row in rows]}


def _told(record: dict[str, Any], rows: Sequence[Row]) -> Iterator[str]:
    yield f"{record['processor']}, {record['system']}"
    yield ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    yield f"one thread each; medians of {record['pairs']} pairs, with quartiles; µs an epoch, and a prediction"
    yield ""
    heading = ["workload", "what", "backend", "scikit-learn", "fastmlp", "ratio", "quartiles", "must", "verdict"]
    yield from aligned([heading, *map(_cells, rows)])


def _cells(row: Row) -> list[str]:
    low, high = row.quartiles
    times = [_micro(row.theirs), _micro(row.seconds), f"{row.ratio:.3g}", f"{low:.3g} to {high:.3g}"]
    return [row.workload, row.what, row.backend, *times, f"{row.at_least:g}", "met" if row.is_met else "MISSED"]


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.3g}" if seconds < 1e-3 else f"{seconds * 1e6:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
