"""The command as people meet it: what it prints, its exit codes, and one line for what is wrong."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fastmlp
from fastmlp.backends.numba import store, warming
from fastmlp.backends.numba.crew import available_processors
from fastmlp.backends.numba.simd.registers import host
from fastmlp.backends.numpy import NumpyBackend
from fastmlp.cli import comparison, main, reports
from fastmlp.cli.commands import app
from fastmlp.cli.comparison import Settings, compare
from fastmlp.cli.problem import digits
from tests.test_tables import REFUSED

COMMAND = (sys.executable, "-m", "fastmlp.cli")
SMALL = ("--backend", "numpy", "--epochs", "2", "--hidden", "4")
NARROW, WIDE = 80, 120


@pytest.fixture(autouse=True)
def timed_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time no longer than the training itself."""
    monkeypatch.setattr(comparison, "TIMED_SECONDS", 0.0)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table with two classes."""
    path = tmp_path / "data.csv"
    rows = [f"{i},{-i * i},{'yes' if i > 19 else 'no'}" for i in range(40)]
    path.write_text("\n".join(["a,b,y", *rows]), encoding="utf-8")
    return path


@pytest.fixture(params=[NARROW, WIDE])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Make the terminal that wide."""
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def refused(arguments: Sequence[object], capsys: pytest.CaptureFixture[str]) -> str:
    """Assert that the command ends with exit code 2 and one line on stderr, and return the line."""
    assert main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("fastmlp: ")
    assert shown.err.count("\n") == 1
    assert shown.err.endswith("\n")
    return shown.err.rstrip("\n")


# ---- compare


def test_compare_prints_a_table_and_one_conclusion(table: Path, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "--data", str(table), "--target", "y", "--epochs", "2", "--hidden", "4"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(place for place, line in enumerate(lines) if line.startswith("backend"))
    rows = lines[header + 1 : header + 4]
    assert [row.split()[0] for row in rows] == list(fastmlp.available_backends())
    assert len({row.split()[-1] for row in rows}) == 1  # the strict gradient's hash
    assert all(len(line) <= width for line in lines[header - 1 : header + 4])
    assert "…" not in "".join(lines)
    assert "gradients agree" in lines[-1]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_table_of_a_comparison_fits_with_large_numbers(
    is_terminal: bool, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if is_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    result = compare(digits(), Settings(epochs=1), ["naive", "numpy"])
    naive, numpy = result.rows
    fast = replace(numpy, epoch_seconds=12.345678, samples_per_second=9_876_543.0)
    reports.comparison_ends(replace(result, rows=(naive, fast)))
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]
    (row,) = (line for line in lines if re.match(r"numpy +[0-9]", line))
    assert ("─" in "".join(lines)) == is_terminal
    assert len(row) <= width
    assert "9,876,543" in row
    assert result.gradient(fast).strict_hash.startswith(row.split()[-1])
    assert len(row.split()[-1]) == reports.HASH_DIGITS


def test_compare_draws_a_picture(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "compare.png"
    picture.write_bytes(b"the old one")
    arguments = ["compare", "--data", str(table), "--target", "y", *SMALL, "--plot", str(picture)]
    assert main(arguments) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.splitlines()[-1] == f"Picture: {picture}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.png", "data.csv"]


def test_compare_fails_when_gradients_disagree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant_wrong_gradient(monkeypatch)
    assert main(["compare", *SMALL]) == 1
    assert "DO NOT AGREE" in capsys.readouterr().out


# ---- train


def test_train_tells_what_how_and_how_well(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--backend", "numpy", "--hidden", "8,4", "--lr", "0.03"]
    assert main(["train", str(table), "--target", "y", *options]) == 0
    out = capsys.readouterr().out
    assert "data.csv: 2 features, 2 classes; 32 rows to train on, 8 to test with." in out
    assert "2-8-4-2, relu, softmax output, cross_entropy, float32" in out
    assert "the numpy backend, because it was asked for" in out
    assert "Accuracy: 100.0% of the training rows" in out.splitlines()[-1]


@pytest.mark.parametrize("backend", [*fastmlp.available_backends(), "auto"])
def test_train_in_strict_mode_is_the_same_everywhere(
    table: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(table), "--target", "y", "--strict", "--epochs", "5", "--hidden", "4"]
    options = ["--optimizer", "sgd", "--lr", "0.3", "--dropout", "0.1", "--l2", "0.01", "--dtype", "float64"]
    assert main([*arguments, *options, "--backend", "naive"]) == 0
    reference = capsys.readouterr().out.splitlines()
    assert main([*arguments, *options, "--backend", backend]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == reference[:2]
    assert "float64" in lines[1]
    assert lines[-2].partition("loss")[2] == reference[-2].partition("loss")[2]
    assert lines[-1] == reference[-1]


def test_train_options_reach_the_network(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    fitted: list[dict[str, Any]] = []
    fit = fastmlp.MLP.fit

    def recorded(self: fastmlp.MLP, *arguments: Any, **options: Any) -> Any:
        made.append({"spec": self.spec, "strict": self.strict, "backend": self.backend})
        fitted.append({**options, "n_train": len(arguments[0])})
        return fit(self, *arguments, **options)

    monkeypatch.setattr(fastmlp.MLP, "fit", recorded)
    words = (
        "--hidden 3 --activation tanh --loss binary_cross_entropy --output-activation sigmoid --optimizer rmsprop "
        "--lr 0.5 --l2 0.25 --dropout 0.125 --epochs 2 --batch-size 7 --backend numpy --strict --dtype float64 "
        "--test-fraction 0.5 --seed 9"
    )
    assert main(["train", str(table), "--target", "y", *words.split()]) == 0
    spec = fastmlp.NetworkSpec((2, 3, 1), ("tanh",), "sigmoid", "binary_cross_entropy", "float64", 0.25, 0.125)
    assert made == [{"spec": spec, "strict": True, "backend": "numpy"}]
    (options,) = fitted
    assert options["optimizer"] == fastmlp.RMSprop(lr=0.5)
    assert (options["epochs"], options["batch_size"], options["n_train"]) == (2, 7, 20)


def test_train_without_hidden_layers_and_a_picture(table: Path, tmp_path: Path) -> None:
    picture = tmp_path / "loss.svg"
    assert main(["train", str(table), "--target", "y", *SMALL, "--hidden", "0", "--plot", str(picture)]) == 0
    assert b"<svg" in picture.read_bytes()


def test_a_diverged_training_is_exit_code_1(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(table), "--target", "y", *SMALL, "--optimizer", "sgd", "--lr", "1e38"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("fastmlp: training diverged in epoch ")


# ---- check and info


def test_check_passes_and_prints_a_row_a_tensor(table: Path, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    for data in ([], ["--data", str(table), "--target", "y", "--loss", "binary_cross_entropy"]):
        assert main(["check", *data, "--hidden", "4,3", "--backend", "numpy"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith(("weights", "biases")) for line in lines) == 6
        assert all(len(line) <= width for line in lines if line.startswith(("weights", "biases", "gradient of")))


def test_check_fails_on_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plant_wrong_gradient(monkeypatch)
    assert main(["check", "--hidden", "4", "--backend", "numpy"]) == 1
    assert "weights[0]" in capsys.readouterr().out


def test_info_names_versions_and_places() -> None:
    done = CliRunner().invoke(app, ["info"])
    assert done.exit_code == 0
    facts = dict(
        line.split(maxsplit=1) for line in done.stdout.splitlines() if not line.startswith(("vector", "kernel"))
    )
    assert facts["fastmlp"] == fastmlp.__version__
    assert facts["backends"] == "naive, numpy, numba"
    assert "kernel cache" in done.stdout
    assert f"{8 * host().width} bits: {host().kind('float32').lanes} lanes of float32, " in done.stdout
    assert facts["threads"].startswith(f"{available_processors()} usable of ")


def state_of_kernels(words: Sequence[str], folder: Path) -> list[str]:
    """Return what the command says of the kernels in a cache folder."""
    done = subprocess.run(
        [*COMMAND, *words],
        env=os.environ | {"FASTMLP_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_warmup_compiles_what_is_missing_and_info_tells(tmp_path: Path) -> None:
    assert main(["warmup"]) == 0
    folder = Path(shutil.copytree(store.cache_folder(), tmp_path / store.cache_folder().name))
    for path in folder.iterdir():
        if "-float32" not in path.name or "strict" in path.name:
            path.unlink()
    assert "fast kernels  float32 warm, float64 cold" in state_of_kernels(["info"], tmp_path)
    for path in folder.glob("leaves-*"):
        path.unlink()
    facts = state_of_kernels(["info"], tmp_path)
    assert facts[-2:] == [
        "fast kernels  float32 warm but for leaves, float64 cold",
        "strict ones   float32 cold, float64 cold",
    ]
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    assert facts[-3] == f"kernels kept  3 files, {size:.1f} MB; 0 files, 0.0 MB of other versions or processors"
    assert facts[-4] == f"kernel cache  {folder}"
    for done in ("compiled leaves; found evaluate, train, answer", "found leaves, evaluate, train, answer"):
        first, second = state_of_kernels(["warmup", "--dtype", "float32"], tmp_path)
        assert re.fullmatch(rf"float32: {done} \(\d+\.\d s\)\.", first)
        assert second == f"Kept in {folder}."


def test_warmup_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[str, bool]] = []

    def recorded(dtype: str, *, strict: bool) -> warming.Warmth:
        asked.append((dtype, strict))
        return warming.Warmth(("train",), ("evaluate",), 1.25, ())

    monkeypatch.setattr(warming, "warm_up", recorded)
    for words in ("", "--dtype both", "--strict --dtype float64"):
        assert main(["warmup", *words.split()]) == 0
    assert asked == [("float32", False), ("float32", False), ("float64", False), ("float64", True)]
    assert "strict float64: compiled train; found evaluate (1.2 s)." in capsys.readouterr().out.splitlines()


def test_kernels_that_cannot_be_kept_are_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warming, "warm_up", lambda *_, **__: warming.Warmth(("train",), (), 1.0, ("train",)))
    assert main(["warmup", "--dtype", "both"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "They could not be kept: the next process compiles again."


def test_info_without_a_home_says_that_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("there is no home directory")

    monkeypatch.setattr(store, "cache_folder", homeless)
    done = CliRunner().invoke(app, ["info"])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "kernel cache  none: there is no home directory"


# ---- bad input


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_table_is_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, line, problem = REFUSED[name]
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    error = refused(["train", path, "--target", "y"], capsys)
    assert error.startswith(f"fastmlp: {path}:{line}: ")
    assert problem in error


BAD = {
    "compare --bogus": "No such option: --bogus",
    "bogus": "No such command 'bogus'",
    "train": "Missing argument 'DATA.csv'",
    "train {data}": "Missing option '--target'",
    "train none.csv --target y": "none.csv: No such file or directory",
    "train . --target y": ".: Is a directory",
    "train {data} --target z": "{data}:1: no column 'z'; the columns are 'a', 'b', 'y'",
    "train {data} --target y --hidden 3,x": "--hidden is '3,x'; expected sizes",
    "train {data} --target y --hidden 3,,4": "--hidden is '3,,4'; expected sizes",
    "train {data} --target y --hidden -3": "--hidden is '-3'; expected sizes",
    "train {data} --target y --activation foo": "activation is 'foo'; expected one of",
    "train {data} --target y --loss foo": "loss is 'foo'; expected one of",
    "train {data} --target y --loss mse": "{data}:2: 'no' is not a number",
    "train {data} --target y --output-activation relu": "loss 'cross_entropy' makes no sense with",
    "train {data} --target y --optimizer foo": "optimizer is 'foo'; expected one of",
    "train {data} --target y --lr -1": "is -1.0; expected a positive finite number",
    "train {data} --target y --epochs 0": "Invalid value for '--epochs'",
    "train {data} --target y --backend cuda": "backend is 'cuda'; expected one of naive, numpy, numba, auto",
    "train {data} --target y --dtype int": "dtype is 'int'; expected one of float32, float64",
    "train {data} --target y --test-fraction 1": "test_fraction is 1.0; expected a number inside (0, 1)",
    "train {data} --target y --plot {data}": "no picture format 'csv'; use one of",
    "train {data} --target y --plot {folder}/none/x.png": "no folder {folder}/none",
    "train {data} --target y --plot x": "no picture format ''",
    "train {data} --target y --plot {folder}/same.png": "--plot {folder}/same.png is the table itself",
    "train {data} --target y --plot {folder}/folder.png": "--plot {folder}/folder.png is a folder",
    "compare --data {data}": "--data needs --target",
    "compare --target y": "--target needs --data",
    "compare --backend cuda": "backend is 'cuda'; expected one of naive, numpy, numba",
    "check --loss mse": "--loss needs --data",
    "warmup --dtype int": "--dtype is 'int'; expected one of float32, float64, both",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_line(words: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "same.png").symlink_to(table)
    (tmp_path / "folder.png").mkdir()
    before = table.read_bytes()
    places = {"data": table, "folder": tmp_path}
    error = refused([word.format(**places) for word in words.split()], capsys)
    assert BAD[words].format(**places) in error
    assert table.read_bytes() == before


def test_a_line_break_in_an_argument_does_not_break_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no file.csv: No such file" in refused(["train", "no\nfile.csv", "--target", "y"], capsys)


def test_without_matplotlib_a_plot_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "fastmlp.cli.pictures", raising=False)
    assert "pip install 'fastmlp[plot]'" in refused(["compare", "--plot", "x.png"], capsys)


def test_warnings_are_one_line(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(*_arguments: Any, **_options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("mind the gap", RuntimeWarning, stacklevel=1)

    monkeypatch.setattr("fastmlp.cli.reports.training_begins", warn)
    assert main(["train", str(table), "--target", "y", *SMALL]) == 0
    assert "fastmlp: warning: mind the gap" in capsys.readouterr().err.splitlines()


# ---- as a process


def test_help_is_there_for_everything() -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    for name in ("compare", "train", "check", "warmup", "info"):
        assert name in done.stdout + done.stderr
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


def test_without_the_extra_it_says_what_to_install() -> None:
    for module in ("typer", "rich"):
        code = f"import sys; sys.modules[{module!r}] = None; from fastmlp.cli import main; sys.exit(main(['info']))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "pip install 'fastmlp[cli]'" in done.stderr
        assert done.stderr.count("\n") == 1


in_either_way = pytest.mark.parametrize("unbuffered", ["", "1"])
"""With what Python writes held back for a while, as is usual, and not: the environment of a test may say either."""


@in_either_way
@pytest.mark.parametrize("words", [("info",), ("--help",), ("check", "--hidden", "2", "--backend", "numpy")])
def test_a_broken_pipe_is_141_and_silent(words: Sequence[str], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(
            [*COMMAND, *words],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")


@in_either_way
def test_nobody_reading_the_progress_is_141(table: Path, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = ("train", str(table), "--target", "y", *SMALL)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run([*COMMAND, *words], env=environment, stdout=subprocess.PIPE, stderr=pipe, check=False)
    assert done.returncode == 141


def test_ctrl_c_before_a_command_has_begun_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_arguments: Sequence[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastmlp.cli.commands.run", interrupted)
    assert main([]) == 130


def test_ctrl_c_is_130_without_a_traceback(table: Path, tmp_path: Path) -> None:
    picture = tmp_path / "loss.png"
    words = (
        "train",
        str(table),
        "--target",
        "y",
        "--epochs",
        "1000000",
        "--backend",
        "numpy",
        "--plot",
        str(picture),
    )
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("epoch")
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert sorted(tmp_path.iterdir()) == [table]


def plant_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the numpy backend's gradient wrong by a millionth."""
    right = NumpyBackend.loss_and_gradient

    def wrong(self: NumpyBackend, parameters: Any, batch: Any, gradient: Any, dropout: Any = None) -> float:
        loss = right(self, parameters, batch, gradient, dropout)
        gradient.flat[...] *= 1.00001
        return loss

    monkeypatch.setattr(NumpyBackend, "loss_and_gradient", wrong)
