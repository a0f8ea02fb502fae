"""The examples: each runs on every backend, and shows what it says that it shows.

A check that nobody has seen fail is no check, so each one is also given a script with a bug in it.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import fastmlp
from tests.example_checks import (
    CHECKS,
    EXAMPLES,
    REFERENCE,
    check_local_minimum,
    check_sign_and_sine,
    check_xor_full_batch,
    line_with,
    load,
    numbers,
    results,
)

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "common")
OTHERS = fastmlp.available_backends()[1:]
STUDIES = "numba"  # what the long runs take


def run(name: str, *arguments: str) -> str:
    """Return what an example prints."""
    with redirect_stdout(io.StringIO()) as printed:
        load(name).main(arguments)
    return printed.getvalue()


@functools.cache
def quick_run(name: str, backend: str) -> str:
    return run(name, "--quick", "--backend", backend)


@functools.cache
def full_run(name: str) -> str:
    return run(name, "--backend", STUDIES)


def test_every_example_is_checked() -> None:
    assert list(CHECKS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_example_shows_what_it_says(name: str, backend: str) -> None:
    CHECKS[name](quick_run(name, backend))


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", NAMES)
def test_every_backend_prints_the_same(name: str, other: str) -> None:
    """All but the last digits of a gradient that is right, which the table of check_gradients shows."""
    mine, theirs = (re.sub(r"^.*\bok$", "", quick_run(name, each), flags=re.MULTILINE) for each in (REFERENCE, other))
    assert mine == theirs


def test_xor_study() -> None:
    """Of 20 starts, 13 are good after 10,000 passes, 3 only slow, 4 stuck; none is as close as the published run."""
    text = full_run("xor_online")
    ends = re.findall(r"start +\d+: .* (good|slow|stuck)$", text, re.MULTILINE)
    assert [ends.count(end) for end in ("good", "slow", "stuck")] == [13, 3, 4]
    assert "13 of 20 get all four within 0.1." in text
    assert "0 of 20 come as close as the published run" in text
    assert line_with(text, "     0.1 ").endswith(" 0 of 20       16 of 20   12,200 15,900 23,500")
    assert line_with(text, "     1.0 ").endswith(" 18 of 20       18 of 20    1,200  1,600  3,400")
    assert line_with(text, "Trained with all the same").endswith(" 0.0378  0.9616  0.9616  0.0477")
    check_local_minimum(text)


def test_xor_full_batch_in_full() -> None:
    """2,000 epochs along the sum end where 8,000 along the mean do."""
    text = full_run("xor_full_batch")
    check_xor_full_batch(text, epochs=2000)
    fast, middle, slow = (numbers(line)[-5:] for line in text.splitlines() if line.startswith("  0.7 x "))
    assert fast == slow
    assert fast[0] < middle[0]


def test_sine_in_full() -> None:
    """Cross-entropy does better than squared error, softmax better than sigmoids, a number better than classes."""
    text = full_run("sign_and_sine")
    check_sign_and_sine(text)
    accuracies, errors = map(list, zip(*results(text), strict=True))
    assert accuracies == sorted(set(accuracies))
    assert errors == sorted(set(errors), reverse=True)


def test_training_stops_with_the_first_epoch_that_gains_too_little() -> None:
    least = 1e-4
    loss = load("two_layer_shapes").train_while_it_improves(REFERENCE, least).loss
    enough = [after < before - least for before, after in itertools.pairwise(loss)]
    assert enough == [True] * (len(loss) - 2) + [False]


# ---- scripts with a bug


Plant = Callable[[pytest.MonkeyPatch], None]


def forget_the_two(patch: pytest.MonkeyPatch) -> None:
    module = load("by_hand_4_3_3_1")
    terms = module.terms
    patch.setattr(module, "terms", lambda net: (terms(net)[0], [delta / 2 for delta in terms(net)[1]]))


def swap_two_digits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(load("by_hand_4_3_3_1"), "W3", [[0.1, -0.41, 0.5]])


def fit_the_second_layer(patch: pytest.MonkeyPatch) -> None:
    module = load("two_layer_shapes")
    patch.setattr(module, "X", module.X[:, :4])
    patch.setattr(module, "SIZES", (4, 4, 4))


def begin_apart(patch: pytest.MonkeyPatch) -> None:
    module = load("two_layer_shapes")
    make = module.make_network
    patch.setattr(module, "make_network", lambda backend, _: make(backend, "uniform"))


def step_along_the_mean(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(load("xor_full_batch"), "STEP", 0.7 / 4)


def average_the_sum(patch: pytest.MonkeyPatch) -> None:
    module = load("xor_full_batch")
    train = module.train
    patch.setattr(module, "train", lambda backend, name, lr, epochs: train(backend, name, lr / 4, epochs))


def publish_the_gradient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(load("xor_online"), "published_gradient", lambda net, X, Y: net.loss_and_gradient(X, Y)[1])


def shuffle_the_samples(patch: pytest.MonkeyPatch) -> None:
    module = load("xor_online")
    patch.setattr(module, "X", module.X[::-1])


def turn_the_sign(patch: pytest.MonkeyPatch) -> None:
    module = load("sign_and_sine")
    patch.setattr(module, "FAR", -module.FAR)


def mislabel_the_sine(patch: pytest.MonkeyPatch) -> None:
    module = load("sign_and_sine")
    patch.setattr(module, "SINE", -module.SINE)


def lump_the_classes(patch: pytest.MonkeyPatch) -> None:
    module = load("sign_and_sine")
    classes = module.classes
    patch.setattr(module, "classes", lambda values: 0 * classes(values))


PLANTED: dict[Plant, str] = {
    forget_the_two: "by_hand_4_3_3_1",
    swap_two_digits: "by_hand_4_3_3_1",
    fit_the_second_layer: "two_layer_shapes",
    begin_apart: "two_layer_shapes",
    step_along_the_mean: "xor_full_batch",
    average_the_sum: "xor_full_batch",
    publish_the_gradient: "xor_online",
    shuffle_the_samples: "xor_online",
    turn_the_sign: "sign_and_sine",
    mislabel_the_sine: "sign_and_sine",
    lump_the_classes: "sign_and_sine",
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    name = PLANTED[plant]
    plant(monkeypatch)
    text = run(name, "--quick", "--backend", STUDIES)
    with pytest.raises((AssertionError, ValueError)):  # ValueError: not the one line that was looked for
        CHECKS[name](text)


# ---- the command line


@pytest.mark.parametrize("name", NAMES)
def test_script_draws_its_picture(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "picture.png"
    command: list[str | Path] = [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", "--quick"]
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent)}  # an installed package is found without it
    done = subprocess.run([*command, "--plot", picture], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"The picture is in {picture}.\n")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "nonsense"], "invalid choice: 'nonsense'"),
        (["--plot", "no such directory/picture.png"], "there is no directory"),
    ],
)
def test_wrong_option_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        load("xor_full_batch").main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
