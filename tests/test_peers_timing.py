"""How the comparison with other libraries is timed, judged and told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks import machine, verify
from benchmarks.cases import Case
from benchmarks.measure import Pairs
from benchmarks.peers import base, measuring, numpy_peer, options, report, sklearn_peer, tables
from benchmarks.peers.base import PEERS, Peer, Problem
from benchmarks.peers.results import Comparison, Rival
from benchmarks.peers.workloads import WORKLOADS, Bar, Workload
from fastmlp import Adam
from fastmlp.backends.numpy import NumpyBackend
from tests.our_peer import ONE_CORE, TINY, Ours, WatchedCores, peers, rival, row


@pytest.fixture(autouse=True)
def peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the tests the measuring of a peak."""
    for module in (measuring, report):
        monkeypatch.setattr(module, "matmul_peak", lambda dtype: {"float32": 64.0, "float64": 32.0}[dtype])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time single epochs of the NumPy backend."""
    monkeypatch.setattr(measuring, "RUN_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "BACKEND", "numpy")


# ---- rows


def test_the_fastest_peer_with_one_thread_counts() -> None:
    found = row(rival("sklearn", 9.0), rival("jax", 3.0), rival("torch", 2.0, 2), rival("torch", 5.0))
    assert found.fastest == rival("jax", 3.0)
    assert found.best_of("torch") == rival("torch", 2.0, 2)
    assert (found.best_of("numpy"), found.is_met, found.aim_is_met) == (None, None, None)


@pytest.mark.parametrize(("ratio", "met", "aim"), [(1.9, False, False), (2.0, True, False), (3.0, True, True)])
def test_a_bar_is_met_from_its_ratio_on(ratio: float, met: bool, aim: bool) -> None:
    found = row(rival("sklearn", 9.0), rival("jax", ratio), bar=Bar(2.0, 3.0))
    assert (found.is_met, found.aim_is_met) == (met, aim)


def test_a_bar_may_be_about_one_peer() -> None:
    bar = Bar(4.0, 8.0, "onnxruntime")
    assert row(rival("numpy", 1.0), rival("onnxruntime", 5.0), bar=bar).is_met is True
    assert row(rival("numpy", 9.0), rival("onnxruntime", 3.0), bar=bar).is_met is False
    assert row(rival("numpy", 9.0), bar=bar).is_met is None


def test_a_row_follows_from_its_time() -> None:
    found = row()
    assert found.gflops == WORKLOADS["tab"].flops / 2e-6 / 1e9
    assert found.share_of_peak == found.gflops / 64.0
    assert found.fastest is None


@pytest.mark.parametrize(("ratio", "met"), [(1.9, (True, False)), (2.1, (False, True)), (2.0, (True, True))])
def test_comparisons_have_a_bar_from_below_or_above(ratio: float, met: tuple[bool, bool]) -> None:
    at_most = Comparison("a", ratio, (1.0, 3.0), at_most=2.0)
    at_least = Comparison("a", ratio, (1.0, 3.0), at_least=2.0)
    assert (at_most.is_met, at_least.is_met) == met


# ---- measuring


@pytest.mark.usefixtures("quick")
def test_a_peer_that_disagrees_is_refused_loudly_and_not_timed(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = peers(torch=Ours(Adam(lr=2e-3)), sklearn=Ours())
    found = measuring.measured(TINY, wrong, machine.Cores(), 2)
    assert {(each.peer, each.threads) for each in found.rivals} == {("sklearn", 1)}
    assert set(found.refused) == {PEERS["torch"].titled(n) for n in PEERS["torch"].threads if n <= machine.Cores().n}
    assert all("training of PyTorch" in sentence for sentence in found.refused.values())
    assert "tiny: REFUSED: training of PyTorch" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_fastmlp_itself_must_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "OPTIMIZER", Adam(lr=2e-3))  # what it trains with; `OURS` stays
    with pytest.raises(verify.WrongResultError, match="training of MLP"):
        measuring.measured(TINY, peers(sklearn=Ours()), machine.Cores(), 1)


@pytest.mark.usefixtures("quick")
def test_a_peer_that_cannot_do_it_is_left_out() -> None:
    case = Case("two", (3, 4, 2), "relu", batch_size=4, n_batches=2, classes=True)
    found = measuring.measured(Workload(case), peers(sklearn=sklearn_peer), machine.Cores(), 1)
    assert found.rivals == ()
    assert found.unsuited == {"scikit-learn": "scikit-learn is left out: it gives two classes one output, not two"}
    assert found.seconds > 0.0


@pytest.mark.usefixtures("quick")
def test_who_does_not_train_is_asked_for_predictions_alone() -> None:
    loaded_peers = peers(numpy=numpy_peer, sklearn=Ours())
    training = measuring.measured(TINY, loaded_peers, machine.Cores(), 1)
    predicting = measuring.measured(replace(TINY, predicts=True), loaded_peers, machine.Cores(), 1)
    assert [each.peer for each in training.rivals] == ["sklearn"]
    assert [each.peer for each in predicting.rivals] == ["numpy", "sklearn"]


@pytest.mark.usefixtures("quick")
def test_more_threads_than_cores_are_not_timed() -> None:
    found = measuring.measured(TINY, peers(torch=Ours()), ONE_CORE, 1)
    assert [each.threads for each in found.rivals] == [1]


@pytest.mark.usefixtures("quick")
def test_each_has_its_cores_while_it_is_verified_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, right = WatchedCores(), measuring.timed_in_pairs
    cores.now = 1
    seen = []

    class Watched(Ours):
        def trainer(self, problem: Problem) -> Any:
            seen.append((problem.threads, cores.now))
            return super().trainer(problem)

    def timed(a: Any, b: Any, n_pairs: int) -> Pairs:
        seen.append((1 if a.name == "PyTorch" else 2, cores.now))
        return right(a, b, n_pairs)

    monkeypatch.setattr(measuring, "timed_in_pairs", timed)
    measuring.measured(TINY, peers(torch=Watched()), cast("Any", cores), 1)
    assert seen == [(1, 1)] * 3 + [(2, 2)] * 3


@pytest.mark.usefixtures("quick")
def test_ratios_are_the_peers_time_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of our own is what we took beside contenders with one thread."""
    order = []

    def timed(a: Any, b: Any, n_pairs: int) -> Pairs:
        order.append((a.name, b.name, n_pairs))
        one = a.name == "PyTorch"
        return Pairs((6.0, 8.0, 6.0), (2.0, 2.0, 3.0)) if one else Pairs((9.0,) * 9, (9.0,) * 9)

    monkeypatch.setattr(measuring, "timed_in_pairs", timed)
    found = measuring.measured(TINY, peers(torch=Ours()), cast("Any", WatchedCores()), 5)
    assert order == [("PyTorch", "numpy", 5), ("PyTorch, 2 threads", "numpy", 5)]
    assert found.rivals == (Rival("torch", 1, 6.0, 3.0, (2.5, 3.5)), Rival("torch", 2, 9.0, 1.0, (1.0, 1.0)))
    assert found.seconds == 2.0


@pytest.mark.usefixtures("quick")
def test_a_peer_whose_outputs_disagree_is_refused() -> None:
    found = measuring.measured(replace(TINY, predicts=True), peers(numpy=Ours(outputs=np.negative)), ONE_CORE, 1)
    assert found.rivals == ()
    assert list(found.refused) == ["NumPy by hand"]


@pytest.mark.usefixtures("quick")
def test_fastmlp_must_predict_right(monkeypatch: pytest.MonkeyPatch) -> None:
    right = NumpyBackend.predict
    monkeypatch.setattr(NumpyBackend, "predict", lambda *args: np.roll(right(*args), 1, axis=0))
    with pytest.raises(verify.WrongResultError, match="predictions of MLP"):
        measuring.measured(replace(TINY, predicts=True), peers(numpy=numpy_peer), ONE_CORE, 1)


@pytest.mark.usefixtures("quick")
def test_a_timed_run_begins_where_every_other_began() -> None:
    module = Ours()
    contender = measuring.verified(TINY, PEERS["sklearn"], module, 1)
    trainer = module.trainers[-1]
    assert len(contender.prepare()()) == measuring.FEWEST_EPOCHS  # type: ignore[arg-type]
    assert (trainer.net.parameters.flat != trainer.problem.start).any()
    assert contender.n_steps == measuring.FEWEST_EPOCHS * TINY.case.n_batches
    assert trainer.shuffled == {True}
    contender.prepare()
    assert (trainer.net.parameters.flat == trainer.problem.start).all()
    assert trainer.state is None


@pytest.mark.usefixtures("quick")
def test_a_call_is_a_step_of_a_prediction() -> None:
    calls: list[tuple[int, ...]] = []
    case = WORKLOADS["row"].case

    def predict(X: Any) -> Any:
        calls.append(X.shape)
        return X

    contender = measuring.calling("it", predict, case)
    calls.clear()
    contender.prepare()()
    assert contender.n_steps == len(calls)
    assert set(calls) == {(1, 4)}


@pytest.mark.usefixtures("quick")
def test_float64_is_held_against_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Pairs((3.0, 4.0), (1.0, 2.0))
    dtypes = []

    def training(case: Case, backend: str, threads: int, run_seconds: float) -> str:
        assert (backend, threads, run_seconds) == ("numpy", 1, 0.0)
        dtypes.append(case.dtype)
        return case.dtype

    monkeypatch.setattr(measuring, "training", training)
    monkeypatch.setattr(
        measuring, "timed_in_pairs", lambda a, b, _: pairs if (a, b) == ("float64", "float32") else None
    )
    found = measuring.float64_over_float32(TINY.case, 2)
    assert (found.ratio, found.at_most, found.at_least, found.is_met) == (2.5, 2.2, None, False)


@pytest.mark.usefixtures("quick")
def test_two_threads_are_held_against_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = WatchedCores()
    made = []

    def training(case: Case, backend: str, threads: int, run_seconds: float) -> tuple[str, int]:
        assert (backend, run_seconds) == ("numpy", 0.0)
        made.append((threads, cores.now))
        return case.name, threads

    monkeypatch.setattr(measuring, "training", training)
    monkeypatch.setattr(
        measuring, "timed_in_pairs", lambda a, b, _: Pairs((4.0,), (2.0,)) if (a[1], b[1]) == (1, 2) else None
    )
    found = list(measuring.two_threads(cast("Any", cores), 1))
    assert [each.name.split(":")[0] for each in found] == ["mnist512", "wide"]
    assert {(each.ratio, each.at_least, each.at_most) for each in found} == {(2.0, 1.7, None)}
    assert made == [(1, 2), (2, 2)] * 2
    assert not list(measuring.two_threads(ONE_CORE, 1))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fails", [False, True])
def test_two_threads_are_held_against_one_beside_a_busy_process(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """The process is there while they are timed, and gone afterwards, whatever happens."""
    began, seen = [], []
    genuine = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> Any:
        began.append(genuine(*arguments, **options))
        return began[-1]

    def timed(a: Any, b: Any, n_pairs: int) -> Pairs:
        seen.append((a, b, n_pairs, began[0].poll()))
        if fails:
            raise KeyboardInterrupt
        return Pairs((1.0, 2.0, 3.0, 4.0), (2.0, 2.0, 2.0, 2.0))

    monkeypatch.setattr(measuring.subprocess, "Popen", popen)
    monkeypatch.setattr(measuring, "training", lambda case, backend, threads, run_seconds: threads)  # noqa: ARG005
    monkeypatch.setattr(measuring, "timed_in_pairs", timed)
    with pytest.raises(KeyboardInterrupt) if fails else nullcontext():
        found = list(measuring.beside_a_busy_process(cast("Any", WatchedCores())))
        assert [(each.ratio, each.at_least, each.is_met) for each in found] == [(1.25, 0.9, True), (0.875, 0.8, True)]
    assert seen == [(1, 2, 30, None)]
    assert began[0].poll() is not None
    assert not list(measuring.beside_a_busy_process(ONE_CORE))


# ---- the command


def test_all_is_compared_by_default() -> None:
    found = options.parsed([])
    assert found.workloads == list(WORKLOADS.values())
    assert found.peers == list(PEERS)
    assert (found.pairs, found.output) == (9, options.RESULTS)
    assert (found.float64, found.threads) == (False, False)
    assert options.RESULTS.parent.name == "results"


@pytest.mark.parametrize("words", ["--workload tab", "--layers 2-1", "--peers jax"])
def test_a_part_of_it_does_not_replace_the_results_of_all(words: str) -> None:
    assert options.parsed(words.split()).output is None
    assert options.parsed([*words.split(), "--output", "file.json"]).output == Path("file.json")


def test_workloads_and_peers_are_chosen_by_name() -> None:
    found = options.parsed(["--workload", "rl", "row", "--peers", "jax", "--pairs", "3", "--float64", "--threads"])
    assert [workload.case.name for workload in found.workloads] == ["rl", "row"]
    assert (found.peers, found.pairs, found.float64, found.threads) == (["jax"], 3, True, True)
    assert options.parsed(["--workload"]).workloads == []


def test_any_shape_may_be_asked_for() -> None:
    words = "--layers 13-37-5 --batch 19 --activation tanh --loss cross_entropy --samples 200 --dtype float64"
    (workload,) = options.parsed(words.split()).workloads
    case = Case("13-37-5", (13, 37, 5), "tanh", batch_size=19, n_batches=10, classes=True, dtype="float64")
    assert workload == Workload(case)
    assert options.parsed(["--layers", "2-1", "--samples", "5"]).workloads[0].case.n_batches == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--workload all", "invalid choice: 'all'"),
        ("--peers tensorflow", "invalid choice: 'tensorflow'"),
        ("--pairs 0", "--pairs is 0; expected at least 1"),
        ("--layers 3-2 --workload rl", "exclude each other"),
        ("--layers 3-x", "invalid _sizes value"),
        ("--layers 3", "at least two sizes"),
        ("--layers 3-0", "at least 1"),
        ("--layers 3-1 --loss cross_entropy", "softmax over one output"),
        ("--layers 3-2 --batch 0", "--batch is 0; expected at least 1"),
        ("--layers 3-2 --activation selu", "invalid choice: 'selu'"),
    ],
)
def test_what_makes_no_sense_is_said(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        options.parsed(words.split())
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def take_away(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith("benchmarks.peers.") and name.endswith("_peer")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("package", ["torch", "jax", "onnx"])
def test_a_peer_that_is_missing_is_left_out_with_a_sentence(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    take_away(package, monkeypatch)
    peer = next(each for each in PEERS.values() if package in each.packages)
    found, missing = report.load([peer.name, "numpy"])
    assert list(found) == ["numpy"]
    assert list(missing) == [peer.name]
    sentence = missing[peer.name]
    assert sentence.startswith(f"{peer.title} is left out: ")
    assert sentence.endswith("install it with `pip install -e '.[peers]'`")
    assert sentence in capsys.readouterr().out


def test_a_peers_environment_is_set_before_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    peer, seen = PEERS["jax"], []
    for name in peer.environment:
        monkeypatch.setenv(name, "something else")
    monkeypatch.setattr(base, "import_module", lambda name: seen.append((name, dict(os.environ))))
    peer.load()
    ((name, environment),) = seen
    assert name == "benchmarks.peers.jax_peer"
    assert environment.items() >= peer.environment.items()
    assert "--xla_cpu_multi_thread_eigen=false" in environment["XLA_FLAGS"]


def run(monkeypatch: pytest.MonkeyPatch, file: Path, *words: str) -> int:
    monkeypatch.setitem(WORKLOADS, "tiny", TINY)
    for each in PEERS.values():
        for name in each.environment:
            monkeypatch.setenv(name, "")
    return report.main(["--output", str(file), "--pairs", "1", *words])


@pytest.mark.usefixtures("quick")
def test_without_any_peer_there_is_nothing_to_compare(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take_away("torch", monkeypatch)
    file = tmp_path / "file.json"
    assert run(monkeypatch, file, "--peers", "torch", "--workload", "tiny") == 2
    assert "PyTorch is left out" in capsys.readouterr().out
    assert not file.exists()


RECORD = {
    "processor": str,
    "system": str,
    "versions": dict,
    "matmul_peak_gflops": dict,
    "threads": int,
    "run_seconds": float,
    "peers": dict,
    "missing": dict,
    "rows": list,
    "comparisons": list,
    "pairs": int,
    "held_to_one_core": bool,
}
ROW = {
    "workload": str,
    "predicts": bool,
    "layer_sizes": list,
    "activation": str,
    "loss": str,
    "dtype": str,
    "batch_size": int,
    "n_samples": int,
    "seconds": float,
    "gflops": float,
    "share_of_peak": float,
    "rivals": list,
    "refused": dict,
    "unsuited": dict,
    "bar": dict,
    "fastest": str,
    "judged": str,
    "is_met": bool,
    "aim_is_met": bool,
}
RIVAL = {"peer": str, "threads": int, "seconds": float, "ratio": float, "quartiles": list}
COMPARISON = {
    "name": str,
    "ratio": float,
    "quartiles": list,
    "at_least": type(None),
    "at_most": float,
    "is_met": bool,
}


def types(record: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in record.items()}


@pytest.mark.usefixtures("quick")
def test_the_file_has_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take_away("torch", monkeypatch)
    file = tmp_path / "results" / "peers.json"
    status = run(monkeypatch, file, "--peers", "sklearn", "torch", "--workload", "tiny", "--float64")
    record = json.loads(file.read_text())
    assert types(record) == RECORD
    assert {"fastmlp", "numpy", "numba", "scikit-learn"} <= set(record["versions"])
    assert record["peers"] == {"sklearn": {"title": "scikit-learn", "threads": [1], "environment": {}}}
    assert list(record["missing"]) == ["torch"]
    (found,), (comparison,) = record["rows"], record["comparisons"]
    assert types(found) == ROW
    assert [types(each) for each in found["rivals"]] == [RIVAL]
    assert types(comparison) == COMPARISON
    assert (found["fastest"], found["is_met"], found["aim_is_met"]) == ("sklearn", True, False)
    assert status == (0 if comparison["is_met"] else 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in tables.head(record)] == [record["missing"]["torch"], *tables.head(record)]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("bar", "rate", "status"),
    [(Bar(1e-9, 1e9), 1e-3, 0), (Bar(1e9, 1e9), 1e-3, 1), (Bar(1e-9, 1e9), 2e-3, 1), (None, 1e-3, 0)],
    ids=["met", "missed", "refused", "no bar"],
)
def test_a_missed_bar_and_a_refused_peer_are_failures(
    bar: Bar | None, rate: float, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Peer, "load", lambda _: Ours(Adam(lr=rate)))
    case = replace(TINY.case, name="other")
    monkeypatch.setitem(WORKLOADS, "other", Workload(case, bar))
    assert run(monkeypatch, tmp_path / "file.json", "--peers", "sklearn", "--workload", "other") == status


@pytest.mark.usefixtures("quick")
def test_the_process_has_one_core_and_blas_one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The core already while peers are imported, for some count cores then; the thread once their BLAS is there."""
    cores, seen = WatchedCores(), []

    @contextmanager
    def one_thread() -> Iterator[None]:
        seen.append(("thread", cores.now))
        yield

    def load(_: Peer) -> Ours:
        seen.append(("load", cores.now))
        return Ours()

    monkeypatch.setattr(machine, "Cores", lambda: cores)
    monkeypatch.setattr(report, "one_thread", one_thread)
    monkeypatch.setattr(Peer, "load", load)
    assert run(monkeypatch, tmp_path / "file.json", "--peers", "sklearn", "--workload", "tiny") == 0
    assert seen == [("load", 1), ("thread", 1)]
    assert cores.now == 2


def test_the_numba_backend_is_what_is_compared() -> None:
    assert measuring.BACKEND == "numba"


# ---- what people read


OWN, JUDGEMENT = ["fastmlp", "GFLOP/s", "of peak"], ["over the fastest", "must (aim)", "verdict"]
FIGURES = ["2", "465", "726.4%"]
CELLS = [
    ["training, µs a step", *OWN, "scikit-learn", "JAX", "PyTorch", "PyTorch, 2 threads", "PyTorch, best", *JUDGEMENT],
    ["tab", *FIGURES, "250", "10", "41.2", "25", "25 with 2 (10x)", "JAX 3x (2 to 4)", "2 (4)", "met"],
    ["13-37-5", *FIGURES, "10", "-", "-", "-", "-", "scikit-learn 9x (8 to 10)", "-", "no bar"],
    [""],
    ["prediction, µs a call", *OWN, "NumPy by hand", "ONNX Runtime", *JUDGEMENT],
    ["tab", *FIGURES, "10", "10", "NumPy by hand 2x (1 to 3)", "ONNX Runtime 4 (8)", "3x: MISSED"],
    ["tab", *FIGURES, "-", "-", "-", "1 (2)", "not timed"],
    [""],
    ["a over b 2.5 (2 to 3), at most 2.2: MISSED"],
    ["13-37-5: JAX is left out: too odd"],
    ["tab: REFUSED: loss of JAX: wrong"],
]


def test_the_tables_say_all() -> None:
    rows = [
        row(
            rival("sklearn", 9.0, seconds=2.5e-4),
            rival("jax", 3.0),
            rival("torch", 20.0, seconds=4.125e-5),
            rival("torch", 10.0, 2, seconds=2.5e-5),
            bar=Bar(2.0, 4.0),
        ),
        row(rival("sklearn", 9.0), workload="13-37-5", unsuited={"JAX": "JAX is left out: too odd"}),
        row(rival("numpy", 2.0), rival("onnxruntime", 3.0), bar=Bar(4.0, 8.0, "onnxruntime"), predicts=True),
        row(bar=Bar(1.0, 2.0), predicts=True, refused={"JAX": "loss of JAX: wrong"}),
    ]
    text = list(tables.told(rows, [Comparison("a over b", 2.5, (2.0, 3.0), at_most=2.2)]))
    assert [re.split(" {2,}", line) for line in text] == CELLS


def test_the_head_says_what_it_was_measured_on() -> None:
    record = {
        "processor": "Abacus 2",
        "system": "Wood",
        "versions": {"fastmlp": "1.0", "torch": "2.0"},
        "matmul_peak_gflops": {"float32": 64.0, "float64": 32.4},
        "pairs": 9,
        "missing": {"jax": "JAX is left out: lost"},
    }
    assert list(tables.head(record | {"held_to_one_core": True})) == [
        "Abacus 2, Wood",
        "fastmlp 1.0, torch 2.0",
        "peak of a matrix product on one thread, in GFLOP/s: 64 in float32, 32 in float64",
        "one thread each, on one core; medians of 9 pairs; a ratio is a peer's time over fastmlp's",
        "JAX is left out: lost",
    ]
    assert "by settings alone" in list(tables.head(record | {"held_to_one_core": False}))[3]


def test_columns_line_up() -> None:
    assert list(tables.aligned([["name", "b"], ["a", "ten"]])) == ["name    b", "a     ten"]
