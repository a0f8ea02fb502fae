"""The comparison on tables: its data, its scores, and that the page says what the file of results does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.tree import DecisionTreeClassifier

from benchmarks import tabular
from benchmarks.tabular_data import CLASSES, NUMBERS


def stupid(table: Any, *, has_classes: bool) -> Any:  # noqa: ARG001
    return DummyClassifier() if has_classes else DummyRegressor()


def clever(table: Any, *, has_classes: bool) -> Any:
    return DecisionTreeClassifier(random_state=0) if has_classes else stupid(table, has_classes=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    names = list(tabular.ESTIMATORS)
    monkeypatch.setattr(tabular, "ESTIMATORS", dict(zip(names, (clever, stupid, stupid), strict=True)))


@pytest.mark.parametrize("name", [*CLASSES, *NUMBERS])
def test_the_data_is_the_same_each_time_and_fits_together(name: str) -> None:
    first, again = (tabular.PROBLEMS[name]() for _ in range(2))
    assert len(first.X) == len(first.y) >= 20
    np.testing.assert_array_equal(np.asarray(first.y), np.asarray(again.y))
    assert (len(np.unique(first.y)) <= 10) == (name in CLASSES)
    for make in tabular.ESTIMATORS.values():
        assert hasattr(make(first, has_classes=name in CLASSES), "predict_proba") == (name in CLASSES)


def test_the_mixed_table_is() -> None:
    X, y = CLASSES["mixed"]()
    assert X.dtypes.astype(str).tolist() == ["float64"] * 3 + ["category"] * 3
    assert X.isna().mean().between(0.05, 0.15).all()
    assert 0.3 < y.mean() < 0.7


@pytest.mark.usefixtures("quick")
def test_a_run_writes_the_scores_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, table = tmp_path / "new" / "tabular.json", tmp_path / "TABULAR.md"
    assert tabular.main(["--data", "iris", "linnerud", "--output", str(output), "--table", str(table)]) == 0
    record = json.loads(output.read_text(encoding="utf-8"))
    iris, linnerud = record["rows"]
    assert iris["scores"]["HistGradientBoosting"] == [1 / 3] * 5
    assert min(iris["scores"]["TabularMLP"]) > 0.8
    assert linnerud["score"] == "R²"
    text = table.read_text(encoding="utf-8")
    assert "| iris | 150 × 4 | accuracy | **9" in text
    assert "** ± " in text
    assert "| 33.3 ± 0.0 | 33.3 ± 0.0 |" in text
    assert "- TabularMLP is ahead of MLP of scikit-learn on 1 of 2, and behind on none.\n" in text
    assert capsys.readouterr().out.startswith("iris: TabularMLP 9")


def test_losses_are_told() -> None:
    rows = [
        {"data": "a", "score": "accuracy", "scores": {"TabularMLP": [0.5, 0.75], "other": [0.75, 1.0]}},
        {"data": "b", "score": "R²", "scores": {"TabularMLP": [0.5, 0.25], "other": [0.75, 0.125]}},
        {"data": "c", "score": "R²", "scores": {"TabularMLP": [0.5], "other": [0.25]}},
    ]
    assert tabular._tally(rows, "other") == (
        "- TabularMLP is ahead of other on 1 of 3, and behind on a by 25.0, b by 0.062."
    )


def test_the_page_is_that_of_the_results() -> None:
    record = json.loads(tabular.RESULTS.read_text(encoding="utf-8"))
    assert tabular.TABLE.read_text(encoding="utf-8") == tabular.page(record)
    assert [row["data"] for row in record["rows"]] == [*CLASSES, *NUMBERS]
    assert all(len(found) == record["folds"] for row in record["rows"] for found in row["scores"].values())
