"""The main job: every backend gets the same start, compiling is not timed, and a wrong gradient is told."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmlp import available_backends
from fastmlp.backends.numpy import NumpyBackend
from fastmlp.cli import comparison
from fastmlp.cli.comparison import Comparison, Settings, compare
from fastmlp.cli.problem import Problem, digits, from_csv
from fastmlp.history import History
from fastmlp.network import MLP
from tests import bounds

SETTINGS = Settings(hidden=(5,), activation="tanh", epochs=3, batch_size=16, dtype="float64", seed=3)
# 3 epochs of 5 steps, each of some hundred roundings of which tanh's 5 units hardly magnify any.
LOSS_ROUNDINGS = 3 * 5 * 100
SLOW = 0.3


@pytest.fixture(autouse=True)
def timed_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time no longer than the training itself."""
    monkeypatch.setattr(comparison, "TIMED_SECONDS", 0.0)


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """Return a hundred points, in or out of a circle."""
    points = np.random.default_rng(0).normal(size=(100, 2))
    path = tmp_path_factory.mktemp("table") / "circle.csv"
    rows = [f"{x!r},{y!r},{'in' if x * x + y * y < 1 else 'out'}" for x, y in points.tolist()]
    path.write_text("\n".join(["x,y,side", *rows]), encoding="utf-8")
    return from_csv(path, "side")


@pytest.fixture(scope="module")
def result(problem: Problem) -> Comparison:
    """Return the comparison of all backends."""
    return compare(problem, SETTINGS)


def test_a_row_for_each_backend_in_the_registrys_order(result: Comparison) -> None:
    assert tuple(row.backend for row in result.rows) == available_backends()
    assert all(len(row.losses) == SETTINGS.epochs for row in result.rows)


def test_every_backend_starts_from_the_same_seed(result: Comparison) -> None:
    reference = result.rows[0]
    for row in result.rows:
        np.testing.assert_allclose(row.losses, reference.losses, rtol=bounds.gamma(LOSS_ROUNDINGS, "float64"))
        assert row.score == reference.score
    assert reference.losses[-1] < reference.losses[0]


def test_gradients_agree(result: Comparison) -> None:
    assert result.gradients
    assert result.gradient(result.rows[-1]).backend == available_backends()[-1]
    assert re.fullmatch(r".* leads: .* x .*; gradients agree, strict ones bit for bit\.", result.conclusion)


def test_figures_belong_together(result: Comparison, problem: Problem) -> None:
    n_train = len(problem.data.X_train)
    for row in result.rows:
        assert row.samples_per_second == n_train / row.epoch_seconds
        ratio = result.rows[0].epoch_seconds / row.epoch_seconds
        assert result.speed_up(row) == pytest.approx(ratio, rel=bounds.gamma(3, "float64"))


def test_the_seed_makes_a_difference(problem: Problem, result: Comparison) -> None:
    other = compare(problem, replace(SETTINGS, seed=4), ["numpy"])
    assert other.rows[0].losses != result.rows[1].losses


def test_compiling_is_not_in_the_epochs(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    train, calls = NumpyBackend.train, []

    def slow_at_first(self: NumpyBackend, *arguments: Any) -> int:
        if not calls:
            time.sleep(SLOW)
        calls.append(arguments)
        return train(self, *arguments)

    monkeypatch.setattr(NumpyBackend, "train", slow_at_first)
    (row,) = compare(problem, SETTINGS, ["numpy"]).rows
    assert row.first_seconds >= SLOW
    assert row.epoch_seconds < SLOW


def test_short_epochs_are_timed_for_longer(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    (short,) = compare(problem, SETTINGS, ["numpy"]).rows
    fit, epochs = MLP.fit, []

    def counted(self: MLP, *arguments: Any, **options: Any) -> History:
        history = fit(self, *arguments, **options)
        history.seconds = [0.1 + 0.1 * len(epochs)] * len(history.seconds)  # every training slower than the last
        epochs.append(len(history.seconds))
        return history

    monkeypatch.setattr(MLP, "fit", counted)
    monkeypatch.setattr(comparison, "TIMED_SECONDS", 2.0)
    (long,) = compare(problem, SETTINGS, ["numpy"]).rows
    assert epochs == [1, 3, 3, 3]  # one batch; 3 epochs of 0.2 s, of 0.3 s, of 0.4 s: more than 2 s
    assert long.epoch_seconds == 0.1 + 0.1 * 2
    assert long.losses == short.losses


def test_one_thread_for_each(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def recorded(*arguments: Any, **options: Any) -> MLP:
        made.append(MLP(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(comparison, "MLP", recorded)
    compare(problem, SETTINGS, ["numpy"])
    assert {net.threads for net in made} == {1}


def test_a_wrong_gradient_is_told(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    right = NumpyBackend.loss_and_gradient

    def slightly_wrong(self: NumpyBackend, parameters: Any, batch: Any, gradient: Any, dropout: Any = None) -> float:
        loss = right(self, parameters, batch, gradient, dropout)
        gradient.flat[...] *= 1.0 + 1e-6
        return loss

    monkeypatch.setattr(NumpyBackend, "loss_and_gradient", slightly_wrong)
    result = compare(problem, SETTINGS, ["numpy"])
    found = result.gradient(result.rows[0])
    assert not result.gradients
    assert found.difference > found.bound
    assert "DO NOT AGREE" in result.conclusion


def test_some_backends_alone(problem: Problem) -> None:
    result = compare(problem, SETTINGS, ["numba", "numpy"])
    assert [row.backend for row in result.rows] == ["numpy", "numba"]
    assert all(result.speed_up(row) is None for row in result.rows)
    with pytest.raises(ValueError, match="backend is 'cuda'; expected one of naive, numpy, numba"):
        compare(problem, SETTINGS, ["cuda"])


@pytest.mark.parametrize(("speed", "ratio"), [(4000.0, "2.5 x"), (800.0, "12 x"), (10.0, "1,000 x")])
def test_the_conclusion_names_the_fastest(result: Comparison, speed: float, ratio: str) -> None:
    slow = replace(result.rows[0], samples_per_second=speed)
    fast = replace(result.rows[1], samples_per_second=1e4)
    assert replace(result, rows=(slow, fast)).conclusion.startswith(f"numpy leads: {ratio} naive;")
    assert replace(result, rows=(fast,)).conclusion.startswith("numpy leads: 10,000 samples a second;")


def test_progress_is_shown_when_asked_for(problem: Problem, capsys: pytest.CaptureFixture[str]) -> None:
    compare(problem, SETTINGS, ["numpy"])
    assert capsys.readouterr() == ("", "")
    compare(problem, SETTINGS, ["numpy"], verbose=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "numpy: a first batch, then 3 epochs" in shown.err
    assert "epoch 3/3" in shown.err


def test_the_default_is_the_digits_job() -> None:
    result = compare(digits(), Settings(epochs=1), ["numpy"])
    assert result.network.startswith("64-32-10, relu, softmax output, cross_entropy, float32")
    assert len(result.rows[0].losses) == 1


def test_a_regression_is_scored_in_its_unit(tmp_path: Path) -> None:
    path = tmp_path / "line.csv"
    path.write_text("x,y\n" + "\n".join(f"{i},{1000 * i}.5" for i in range(40)), encoding="utf-8")
    result = compare(from_csv(path, "y"), Settings(epochs=1), ["numpy"])
    assert result.problem.metric == "rmse"
    # Hardly trained, it is wrong by some thousands, not by the one or so of the scaled target.
    assert result.rows[0].score > 1000


@pytest.mark.parametrize(
    ("ratio", "shown"), [(1.0, "1"), (0.123, "0.12"), (3.72, "3.7"), (374.2, "374"), (1390.4, "1,390")]
)
def test_ratios_are_shown_without_an_exponent(ratio: float, shown: str) -> None:
    assert comparison.shown_ratio(ratio) == shown
