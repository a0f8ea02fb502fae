"""What the tabular estimators' defaults are worth: ``python -m benchmarks.tabular``.

Each estimator learns each table as it is, five times on four fifths of it, the same for all, and is judged by the rest:
by accuracy, or by R². None is tuned. It needs scikit-learn and pandas, and takes some minutes; time is not its subject.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks import machine
from benchmarks.tabular_data import CLASSES, NUMBERS, SEED, Table
from fastmlp import TabularMLPClassifier, TabularMLPRegressor

RESULTS = Path(__file__).parent / "results" / "tabular.json"
TABLE = Path(__file__).parent / "TABULAR.md"
N_FOLDS = 5
OURS = "TabularMLP"
ACCURACY, R2 = "accuracy", "R²"
PROBLEMS = CLASSES | NUMBERS


def ours(table: Table, *, has_classes: bool) -> BaseEstimator:  # noqa: ARG001  it takes any
    """Return the tabular estimator."""
    return (TabularMLPClassifier if has_classes else TabularMLPRegressor)(random_state=SEED)


def perceptron(table: Table, *, has_classes: bool) -> BaseEstimator:
    """Return scikit-learn's multilayer perceptron, behind what makes standardized numbers of a table."""
    prepare = StandardScaler()
    if hasattr(table.X, "columns"):
        numbers, categories = (make_column_selector(dtype_include=kind) for kind in ("number", "category"))
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        prepare = make_column_transformer((make_pipeline(SimpleImputer(), prepare), numbers), (one_hot, categories))
    return make_pipeline(prepare, (MLPClassifier if has_classes else MLPRegressor)(random_state=SEED))


def boosting(table: Table, *, has_classes: bool) -> BaseEstimator:
    """Return scikit-learn's gradient boosting, one for each output."""
    if has_classes:
        return HistGradientBoostingClassifier(random_state=SEED)
    single = HistGradientBoostingRegressor(random_state=SEED)
    return MultiOutputRegressor(single) if table.y.ndim > 1 else single


ESTIMATORS: dict[str, Callable[..., BaseEstimator]] = {
    OURS: ours,
    "MLP of scikit-learn": perceptron,
    "HistGradientBoosting": boosting,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and write the results and the table."""
    options = _parser().parse_args(arguments)
    rows = []
    for row in measured(options.data):
        rows.append(row)
        print(_line(row))
    record = {**machine.record(("scikit-learn", "pandas")), "folds": N_FOLDS, "rows": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=2) + "\n")
    options.table.write_text(page(record), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.tabular", description="Compare defaults on tables.")
    parser.add_argument("--data", nargs="*", choices=PROBLEMS, default=list(PROBLEMS), help="all by default")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a JSON file")
    parser.add_argument("--table", type=Path, default=TABLE, help="a Markdown file")
    return parser


def measured(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the scores of all estimators on some data, fold by fold."""
    for name in names:
        has_classes, table = name in CLASSES, PROBLEMS[name]()
        n_samples, n_features = table.X.shape
        yield {
            "data": name,
            "samples": n_samples,
            "features": n_features,
            "score": ACCURACY if has_classes else R2,
            "scores": {model: scores(make, table, has_classes=has_classes) for model, make in ESTIMATORS.items()},
        }


def scores(make: Callable[..., BaseEstimator], table: Table, *, has_classes: bool) -> list[float]:
    """Return the score on each fold."""
    folds = (StratifiedKFold if has_classes else KFold)(N_FOLDS, shuffle=True, random_state=SEED)
    estimator = make(table, has_classes=has_classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # scikit-learn's 200 epochs are its default
        found: list[float] = cross_val_score(estimator, *table, cv=folds, error_score="raise").tolist()
    return found


# ---- telling


INTRODUCTION = """# Defaults on tables

Accuracy in percent, or R²: the mean of {folds} folds ± their standard deviation. All estimators have their defaults and
the same folds; scikit-learn's perceptron stands behind a `StandardScaler`, and for categories and missing values behind
an encoder and an imputer. The best mean is in bold. Made with `python -m benchmarks.tabular`;
[the score on every fold](results/tabular.json).
"""

REMARK = """A gap that is smaller than the spreads says little: most are, among classes. Of the 20 rows of linnerud
nobody learns anything: R² below 0 is worse than the mean of the targets."""


def page(record: Mapping[str, Any]) -> str:
    """Return the page for a record."""
    rows = record["rows"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [
        INTRODUCTION.format(folds=record["folds"]),
        f"| data | samples × features | score | {' | '.join(ESTIMATORS)} |",
        f"|---|---|---|{'---|' * len(ESTIMATORS)}",
        *map(_row, rows),
        "",
        *(_tally(rows, model) for model in ESTIMATORS if model != OURS),
        "",
        REMARK,
        "",
        f"{record['processor']}, {record['system']}; {versions}.",
    ]
    return "\n".join(lines) + "\n"


def _row(row: Mapping[str, Any]) -> str:
    means = {model: mean(row["scores"][model]) for model in ESTIMATORS}
    cells = [_cell(row, model, is_best=means[model] == max(means.values())) for model in ESTIMATORS]
    return f"| {row['data']} | {row['samples']:,} × {row['features']} | {row['score']} | {' | '.join(cells)} |"


def _cell(row: Mapping[str, Any], model: str, *, is_best: bool = False) -> str:
    found = row["scores"][model]
    text = _number(row, mean(found))
    return f"{f'**{text}**' if is_best else text} ± {_number(row, pstdev(found))}"


def _number(row: Mapping[str, Any], score: float) -> str:
    """Return an accuracy in percent, and R² with three places."""
    return f"{100.0 * score:.1f}" if row["score"] == ACCURACY else f"{score:.3f}"


def _tally(rows: Sequence[Mapping[str, Any]], model: str) -> str:
    """Tell where ours is ahead of another, and where behind."""
    gaps = [(row, mean(row["scores"][OURS]) - mean(row["scores"][model])) for row in rows]
    behind = [f"{row['data']} by {_number(row, -gap)}" for row, gap in gaps if gap < 0]
    n_ahead = sum(gap > 0 for _, gap in gaps)
    return f"- {OURS} is ahead of {model} on {n_ahead} of {len(gaps)}, and behind on {', '.join(behind) or 'none'}."


def _line(row: Mapping[str, Any]) -> str:
    return f"{row['data']}: " + ", ".join(f"{model} {_cell(row, model)}" for model in ESTIMATORS)


if __name__ == "__main__":
    sys.exit(main())
