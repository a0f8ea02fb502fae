"""The comparison of the estimators with scikit-learn's: who did other work is not timed, and verdicts are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import datasets

from benchmarks import estimators
from benchmarks.estimators import WORKLOADS, Row, Workload

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TINY = {"hidden_layer_sizes": (3,), "max_iter": 2}


def small_iris() -> tuple[np.ndarray, np.ndarray]:
    X, y = datasets.load_iris(return_X_y=True)
    return X[::3], y[::3]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time two epochs of three units, on backends that compile nothing."""
    monkeypatch.setattr(estimators, "BACKENDS", ("numpy", "auto"))
    monkeypatch.setattr(estimators, "_CALLS", 3)
    workloads = {
        "classes": Workload("MLPClassifier", small_iris, 1e-9, TINY),
        "numbers": Workload("MLPRegressor", small_iris, 1e-9, TINY),
    }
    monkeypatch.setattr(estimators, "WORKLOADS", workloads)
    monkeypatch.setattr(estimators, "PREDICT_BAR", 1e-9)


def row(ratio: float, at_least: float = 4.0) -> Row:
    return Row("digits", "fit", "numba", 1e-3, 4e-3, ratio, (3.5, 4.5), at_least, 200)


def test_the_workloads_are_those_promised() -> None:
    assert {name: workload.fit_bar for name, workload in WORKLOADS.items()} == {
        "digits": 4.0,
        "breast_cancer": 6.0,
        "wine": 6.0,
        "diabetes": 6.0,
        "large": 5.0,
        "texts": 2.0,
    }
    assert estimators.PREDICT_BAR == 8.0
    assert {name for name, workload in WORKLOADS.items() if workload.kind == "MLPRegressor"} == {"diabetes"}
    assert {name: workload.options for name, workload in WORKLOADS.items() if workload.options} == {
        "large": {"max_iter": 3},
        "texts": {"max_iter": 3},
    }
    assert [name for name, workload in WORKLOADS.items() if workload.predicts_all] == ["texts"]
    assert WORKLOADS["texts"].data()[0].nnz == 2000 * 5000 // 100
    X, y = WORKLOADS["large"].data()
    assert X.shape == (100_000, 20)
    assert len(y) == 100_000
    for name in ("breast_cancer", "wine"):
        X, _ = WORKLOADS[name].data()
        assert np.abs(X.std(axis=0) - 1.0).max() < 0.01


@pytest.mark.parametrize("name", WORKLOADS)
def test_both_have_the_same_parameters(name: str) -> None:
    theirs, ours = WORKLOADS[name].theirs(), WORKLOADS[name].ours("numpy")
    shared = theirs.get_params()
    assert {key: value for key, value in ours.get_params().items() if key in shared} == shared
    assert (ours.backend, ours.threads) == ("numpy", None)  # the process is held to one core


def test_a_bar_is_met_from_its_ratio_on() -> None:
    assert [row(ratio).is_met for ratio in (3.9, 4.0, 5.0)] == [False, True, True]


@pytest.mark.usefixtures("quick")
def test_the_report_is_printed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "estimators.json"
    assert estimators.main(["--pairs", "2", "--output", str(file), "--workload", "classes", "numbers"]) == 0
    record = json.loads(file.read_text())
    assert {(each["workload"], each["what"], each["backend"]) for each in record["rows"]} == {
        (workload, what, backend)
        for workload in ("classes", "numbers")
        for what in ("fit", "predict")
        for backend in ("numpy", "auto")
    }
    assert record["pairs"] == 2
    assert record["processor"]
    assert set(record["versions"]) >= {"fastmlp", "numpy", "numba", "scikit-learn"}
    for each in record["rows"]:
        assert each["is_met"] is True
        assert each["n_epochs"] == 2
        assert each["seconds"] > 0.0
        low, high = each["quartiles"]
        assert low <= each["ratio"] <= high
    printed = capsys.readouterr().out
    assert printed.count(" met") == 8
    assert "MISSED" not in printed


@pytest.mark.usefixtures("quick")
def test_a_missed_bar_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(estimators, "PREDICT_BAR", 1e9)
    assert estimators.main(["--pairs", "1", "--workload", "classes"]) == 1
    assert capsys.readouterr().out.count("MISSED") == 2


def test_no_pairs_are_none_to_judge_by(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        estimators.main(["--pairs", "0"])
    assert "--pairs is 0; expected at least 1" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_results_of_a_part_are_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(estimators, "RESULTS", tmp_path / "estimators.json")
    estimators.main(["--pairs", "1", "--workload", "classes"])
    assert not estimators.RESULTS.exists()
    estimators.main(["--pairs", "1", "--workload", "classes", "numbers"])
    assert estimators.RESULTS.exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"max_iter": 3}, "fastmlp's fit had 3 epochs, scikit-learn's 2; expected the same"),
        ({"learning_rate_init": 1.0}, "expected the same"),
    ],
)
def test_who_does_other_work_is_refused(monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], words: str) -> None:
    usual = Workload.ours
    monkeypatch.setattr(Workload, "ours", lambda self, backend: usual(self, backend).set_params(**other))
    with pytest.raises(estimators.WrongResultError, match=words):
        list(estimators.measured("classes", 1))


@pytest.mark.usefixtures("quick")
def test_the_ratio_is_theirs_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that is told what each took."""
    seen: list[str] = []

    def timed(a: Any, b: Any, n_pairs: int, clock: Any) -> Any:  # noqa: ARG001
        seen.extend([a.name, b.name])
        return estimators.Pairs((8.0, 8.0), (2.0, 4.0))

    monkeypatch.setattr(estimators, "timed_in_pairs", timed)
    found = list(estimators.measured("classes", 2))
    assert seen == ["theirs", "ours"] * 4
    assert {(each.theirs, each.seconds, each.ratio) for each in found} == {(8.0, 3.0, 3.0)}
