"""How start-up is timed: in fresh processes, with the caches that it says, and with right verdicts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import startup
from benchmarks.measure import Pairs
from benchmarks.startup import Figure

Call = tuple[str, tuple[str, ...]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Run nothing, but note each script, and what its cache holds; each leaves a kernel there."""
    seen: list[Call] = []

    def run(script: str, cache: str) -> str:
        seen.append((script, tuple(path.name for path in Path(cache).iterdir())))
        if script == startup.FIT:
            (Path(cache) / "kernel").touch()
        return "2.5\n"

    monkeypatch.setattr(startup, "run", run)
    return seen


def test_the_bars_are_those_promised(calls: list[Call]) -> None:
    found = {figure.name: figure.at_most for figure in startup.measured(1)}
    assert found == {
        "import fastmlp, over import numpy": 0.15,
        "first fit, no kernel kept": 8.0,
        "first fit, kernels kept, over import numba": 0.5,
        "first fit, kernels kept, over import numpy": 0.3,
    }
    assert calls


def test_caches_are_empty_or_full_as_they_should_be(calls: list[Call]) -> None:
    figures = list(startup.measured(2))
    imports, colds, warms = calls[:6], calls[6:8], calls[8:]
    assert {script for script, _ in imports} == {"import fastmlp", "import numpy"}
    assert colds == [(startup.FIT, ())] * 2
    assert figures[1].seconds == 2.5  # what the process told
    fits = [cache for script, cache in warms if script == startup.FIT]
    assert fits == [(), *[("kernel",)] * 5]  # the first does not count
    assert [[script for script, _ in warms].count(f"import {name}") for name in ("numba", "numpy")] == [3, 3]


def test_what_one_takes_longer_than_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "timed_in_pairs", lambda *_: Pairs((3.0, 5.0), (1.0, 2.0)))
    assert startup.over("a", "b", 2, "") == [2.0, 3.0]


@pytest.mark.parametrize(("seconds", "is_met"), [(0.25, True), (0.5, True), (0.75, False)])
def test_a_bar_is_met_up_to_it(seconds: float, is_met: bool) -> None:
    figure = Figure.of("a", [seconds, seconds + 1.0, seconds - 1.0], 0.5)
    assert (figure.seconds, figure.is_met) == (seconds, is_met)
    assert figure.quartiles == (seconds - 0.5, seconds + 0.5)


def test_the_report_is_printed_and_kept(
    calls: list[Call], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "startup.json"
    assert startup.main(["--runs", "1", "--output", str(file)]) == 0
    record = json.loads(file.read_text())
    assert [each["is_met"] for each in record["figures"]] == [True] * 4
    assert record["runs"] == 1
    assert record["processor"]
    assert capsys.readouterr().out.count(": met") == 4
    monkeypatch.setattr(startup, "cold_fit", lambda: 9.0)
    assert startup.main(["--runs", "1", "--output", str(file)]) == 1
    assert "first fit, no kernel kept: 9.000 s (9.000 to 9.000); at most 8 s: MISSED" in capsys.readouterr().out
    assert calls
    with pytest.raises(SystemExit):
        startup.main(["--runs", "0"])


def test_a_process_has_the_cache_that_it_is_given(tmp_path: Path) -> None:
    script = "import os; print(os.environ['FASTMLP_CACHE_DIR'])"
    assert startup.run(script, str(tmp_path)) == f"{tmp_path}\n"
    assert startup.run(startup.IMPORT, str(tmp_path)) == ""
    assert not list(tmp_path.iterdir())
    with pytest.raises(subprocess.CalledProcessError):
        startup.run("raise SystemExit(3)", str(tmp_path))


def test_the_fit_is_one_that_a_user_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(startup.FIT.replace('"numba"', '"numpy"'), "FIT", "exec"), {})  # noqa: S102  our own
    assert float(capsys.readouterr().out) > 0.0
