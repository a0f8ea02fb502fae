"""The benchmarks' own checks: a wrong backend is refused, the cases are what they say, statistics are right."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

from benchmarks import contenders, measure, report, test_step, verify
from benchmarks.cases import CASES, DIGITS, Case
from benchmarks.handwritten_numpy import Handwritten
from fastmlp.backends import REFERENCE, available_backends
from fastmlp.backends.numpy import NumpyBackend

Plant = Callable[[pytest.MonkeyPatch], None]


# ---- cases


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_cases_build(case: Case) -> None:
    net = case.network("numpy")
    X, Y = case.data()
    assert X.shape == (case.n_samples, net.spec.n_inputs)
    assert len(Y) == case.n_samples
    assert X.dtype == net.spec.dtype == case.dtype
    assert not X.flags.writeable
    assert not Y.flags.writeable
    assert math.isfinite(net.loss(*case.batch()))


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_the_data_has_both_signs_where_it_is_drawn_and_takes_both_branches(case: Case) -> None:
    X, _ = case.batch()
    assert case.is_real or (X.min() < 0.0 < X.max())
    for A in case.network("numpy").hidden_activations(CASES[case.name].data()[0][:256]):
        assert A.max() > 0.0
        assert (A == 0.0).any() == (case.activation == "relu")


def test_flops_count_the_products() -> None:
    assert DIGITS.forward_flops == 2 * 32 * (64 * 32 + 32 * 10)
    assert DIGITS.gradient_flops == 2 * 32 * (2 * 64 * 32 + 3 * 32 * 10)


def test_the_reference_is_left_out_where_it_does_not_end_in_reason() -> None:
    assert CASES["digits"].backends == available_backends()
    assert CASES["wide"].backends == tuple(name for name in available_backends() if name != REFERENCE)


# ---- verification


def check_all(case: Case, backend: str) -> None:
    net, (X, Y) = case.network(backend), case.batch()
    verify.check_predictions(net, X, Y)
    verify.check_gradient(net, X, Y)
    verify.check_training(case, net)


@pytest.mark.parametrize("name", ["digits", "digits64", "xor"])
def test_right_backends_pass(name: str, backend: str) -> None:
    check_all(CASES[name], backend)


def test_verifying_a_training_leaves_the_parameters() -> None:
    net = DIGITS.network("numpy")
    before = net.parameters.flat.copy()
    verify.check_training(DIGITS, net)
    assert net.parameters.flat.tobytes() == before.tobytes()


def wrong_predictions(patch: pytest.MonkeyPatch) -> None:
    """Give every sample the outputs of the next."""
    right = NumpyBackend.predict
    patch.setattr(NumpyBackend, "predict", lambda *args: np.roll(right(*args), 1, axis=0))


def one_wrong_output(patch: pytest.MonkeyPatch) -> None:
    """Leave the last row's last output unwritten."""
    right = NumpyBackend.predict

    def predict(*args: Any) -> Any:
        out = right(*args)
        out[-1, -1] = np.nan
        return out

    patch.setattr(NumpyBackend, "predict", predict)


def spoilt_gradient(spoil: Callable[[Any], None]) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        right = NumpyBackend.loss_and_gradient

        def loss_and_gradient(self: Any, parameters: Any, batch: Any, gradient: Any, dropout: Any = None) -> Any:
            loss = right(self, parameters, batch, gradient, dropout)
            spoil(gradient)
            return loss

        patch.setattr(NumpyBackend, "loss_and_gradient", loss_and_gradient)

    return plant


def scale(gradient: Any) -> None:
    gradient.flat *= 1.0 + 1e-4


def scaled_loss(patch: pytest.MonkeyPatch) -> None:
    right = NumpyBackend.loss_and_gradient
    patch.setattr(NumpyBackend, "loss_and_gradient", lambda *args: right(*args) * (1.0 + 1e-4))


def training_without(steps: slice) -> Plant:
    """Leave steps of every epoch out, but report a loss for them."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = NumpyBackend.train

        def train(self: Any, run: Any, start: int, stop: int) -> int:
            flat = run.parameters.flat.copy()
            for step in range(start, stop):
                right(self, run, step, step + 1)
                if step in range(*steps.indices(run.starts.size)):
                    run.parameters.flat[...] = flat
                flat[...] = run.parameters.flat
            return stop

        patch.setattr(NumpyBackend, "train", train)

    return plant


PLANTS = {
    "predictions of the wrong rows": ("predictions", wrong_predictions),
    "one output": ("predictions", one_wrong_output),
    "no bias gradient": ("gradient", spoilt_gradient(lambda gradient: gradient.biases[0].fill(0.0))),
    "gradient scaled": ("gradient", spoilt_gradient(scale)),
    "loss scaled": ("loss", scaled_loss),
    "no update": ("training", training_without(slice(None))),
    "no update after the last batch": ("training", training_without(slice(-1, None))),
}


@pytest.mark.parametrize(("what", "plant"), PLANTS.values(), ids=list(PLANTS))
def test_a_wrong_backend_is_refused(what: str, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(verify.WrongResultError, match=f"^{what} of MLP.* but rounding explains"):
        check_all(DIGITS, "numpy")


def test_nothing_is_timed_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_predictions(monkeypatch)
    with pytest.raises(verify.WrongResultError, match="predictions"):
        contenders.training(DIGITS, "numpy")


def test_our_backends_are_compared_on_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of mnist is worth two threads to the kernels, if nothing is said."""
    said = {}
    monkeypatch.setattr(contenders, "training", lambda _, backend, threads=None: said.update({backend: threads}))
    for backend in ("naive", "numpy", "numba"):
        contenders.on_one_thread(DIGITS, backend)
    assert said == {"naive": None, "numpy": None, "numba": 1}
    assert not any(hasattr(module, "training") for module in (report, test_step))


def test_a_wrong_hand_written_step_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Handwritten._backward

    def backward(self: Handwritten) -> None:
        right(self)
        self.db1.fill(0.0)

    monkeypatch.setattr(Handwritten, "_backward", backward)
    with pytest.raises(verify.WrongResultError, match="handwritten"):
        contenders.handwritten()


def test_the_hand_written_step_passes() -> None:
    contender = contenders.handwritten()
    assert contender.n_steps % DIGITS.n_batches == 0


# ---- statistics


class Clock:
    """A time that passes only where it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.runs: list[str] = []

    def __call__(self) -> float:
        return self.now

    def contender(self, name: str, seconds: list[float], n_steps: int = 1) -> measure.Contender:
        """Return one whose runs take the given seconds, one after the other; preparing takes a day."""
        left = iter(seconds)

        def run() -> None:
            self.runs.append(name)
            self.now += next(left)

        def prepare() -> measure.Call:
            self.now += 86_400.0
            return run

        return measure.Contender(name, prepare, n_steps)


def test_pairs_take_turns_after_a_run_that_does_not_count() -> None:
    clock = Clock()
    a = clock.contender("a", [1000.0, 3.0, 6.0, 12.0], n_steps=3)
    b = clock.contender("b", [1000.0, 1.0, 1.0, 8.0])
    pairs = measure.timed_in_pairs(a, b, 3, clock)
    assert "".join(clock.runs) == "ab" + "ab" + "ba" + "ab"
    assert pairs.a == (1.0, 2.0, 4.0)
    assert pairs.b == (1.0, 1.0, 8.0)


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    pairs = measure.Pairs((1.0, 2.0, 4.0, 8.0, 16.0), (1.0, 1.0, 1.0, 16.0, 2.0))
    assert pairs.ratios == [1.0, 2.0, 4.0, 0.5, 8.0]
    assert pairs.ratio == 2.0
    assert pairs.quartiles == (1.0, 4.0)


def test_a_row_follows_from_its_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "matmul_peak", lambda dtype: {"float32": 32.0}[dtype])
    row = report.row_of(DIGITS, "numba", measure.Pairs((2.0**-12, 2.0**-10, 2.0**-11), (2.0**-12,) * 3))
    assert row.seconds == 2.0**-11
    assert row.samples_per_second == 32 * 2**11
    assert row.gflops == DIGITS.gradient_flops * 2**11 / 1e9
    assert row.share_of_peak == row.gflops / 32.0
    assert (row.over_baseline, row.quartiles) == (2.0, (1.5, 3.0))


@pytest.mark.parametrize(("ratio", "status", "word"), [(1.2, 0, "met"), (1.21, 1, "MISSED")])
def test_a_missed_bar_is_a_failure(
    ratio: float,
    status: int,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(report, "matmul_peak", lambda _: 64.0)
    monkeypatch.setattr(report, "measured_bars", lambda *_: [report.Bar("a over b", ratio, (1.0, 1.5), 1.2)])
    file = tmp_path / "results" / "file.json"
    assert report.main(["--cases", "--output", str(file)]) == status
    assert f"digits: a over b {ratio} (1 to 1.5), at most 1.2: {word}" in capsys.readouterr().out
    record = json.loads(file.read_text())
    assert (record["pairs"], record["clock"]) == (report.PAIRS, "perf_counter")
    assert record["matmul_peak_gflops"]["float64"] == 64.0
    assert record["bars"] == [
        {"name": "a over b", "ratio": ratio, "quartiles": [1.0, 1.5], "at_most": 1.2, "is_met": status == 0}
    ]
    assert set(record["versions"]) == {"fastmlp", "python", "numpy", "numba", "llvmlite"}
    assert record["processor"].endswith(f"({llvm.get_host_cpu_name()})")
