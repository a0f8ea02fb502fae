"""What each example has to print: a check for each, which raises where it does not.

Figures are worked out again: in exact fractions for the network by hand, with plain loops for XOR.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import fastmlp

EXAMPLES = Path(__file__).parents[1] / "examples"
REFERENCE = fastmlp.available_backends()[0]


def load(name: str) -> Any:
    """Import an example as Python does when it runs the script: its directory comes first."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))


def line_with(text: str, part: str) -> str:
    """Return the one line that contains a part."""
    (line,) = [line for line in text.splitlines() if part in line]
    return line


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?", text)]


# ---- a 4-3-3-1 network by hand: every figure again, in exact fractions

WEIGHTS = (
    ("0.2 0.8 -0.5 1", "0.5 -0.91 0.26 -0.5", "-0.26 -0.27 0.17 0.87"),
    ("0.1 -0.14 0.5", "-0.5 0.12 -0.33", "-0.44 0.73 -0.13"),
    ("0.1 -0.14 0.5",),
)
BIASES = ("2 3 0.5", "-1 2 -0.5", "4")


def fractions(text: str) -> list[Fraction]:
    return [Fraction(number) for number in text.split()]


def forward(weights: list[list[list[Fraction]]], biases: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return the sample and what every layer makes of it; a row of weights is a neuron."""
    rows = [fractions("1 2 3 2.5")]
    for W, b in zip(weights, biases, strict=True):
        rows.append([sum((w * a for w, a in zip(row, rows[-1], strict=True)), c) for row, c in zip(W, b, strict=True)])
    return rows


def check_by_hand(text: str) -> None:
    weights, biases = [list(map(fractions, layer)) for layer in WEIGHTS], list(map(fractions, BIASES))
    rows = forward(weights, biases)
    (answer,) = rows[-1]
    assert answer == Fraction("3.176794")
    assert "  layer 3 gives   3.176794 " in text
    assert "squared error 1.384844, RMSE 1.176794" in text
    delta = [2 * (answer - 2)]
    for layer in (2, 1, 0):
        section = text.partition(f"weights[{layer}] and biases[{layer}]\n")[2].partition("\n\n")[0]
        slopes = {f"W[{i}, {j}]": a * d for i, a in enumerate(rows[layer]) for j, d in enumerate(delta)}
        slopes |= {f"b[{j}]": d for j, d in enumerate(delta)}
        printed = dict(re.findall(r"d loss / d (\S+(?: \d\])?) .*= +(\S+)$", section, re.MULTILINE))
        assert printed == {name: f"{float(slope):.6f}" for name, slope in slopes.items()}
        before = list(zip(*weights[layer], strict=True))
        for j, d in enumerate(delta):  # a step of 0.01
            weights[layer][j] = [w - d * a / 100 for w, a in zip(weights[layer][j], rows[layer], strict=True)]
            biases[layer][j] -= d / 100
        delta = [sum(w * d for w, d in zip(column, delta, strict=True)) for column in before]
    (after,) = forward(weights, biases)[-1]
    assert f"answer 3.176794 -> {float(after):.6f},   RMSE 1.176794 -> {float(after - 2):.6f}" in text
    assert "31 derivatives with those of the loss: all of them are right" in text
    message = line_with(text, "ValueError: ")
    assert "Y has shape (4,), but 1 sample of X and 1 output " in message
    assert message.endswith(" need shape (1, 1) or (1,)")


# ---- two layers: their shapes, zero weights, and when to stop


def check_two_layers(text: str) -> None:
    message = line_with(text, "Given X, the second layer says: ValueError: ")
    assert "(2, 5)" in message
    assert "(4, 4)" in message
    assert line_with(text, "Chained so").endswith("Yes.")
    assert 'UserWarning: init="zeros" trains' in text
    for sample in (1, 2):
        values = re.findall(r"\d\.\d{4}", line_with(text, f"hidden units give, for sample {sample}"))
        assert values == values[:1] * 4
        assert values[0] != "0.5000"  # so that the units have learned
    assert "Different hidden units: 1 of 4." in text
    assert "then early stopping" in text
    answers = [numbers(line_with(text, f"Sample {sample}: answers"))[1:] for sample in (1, 2)]
    assert [[round(a) for a in row[:4]] for row in answers] == [row[4:] for row in answers]


# ---- XOR, with plain loops

Samples = list[tuple[tuple[int, int], int]]
SAMPLES: Samples = [((0, 0), 0), ((0, 1), 1), ((1, 0), 1), ((1, 1), 0)]


class Xor:
    """A 2-n-1 network of sigmoids, as a textbook has it."""

    def __init__(self, net: fastmlp.MLP) -> None:
        W, b = net.weights[0].T.tolist(), net.biases[0].tolist()
        self.hidden = [[*weights, bias] for weights, bias in zip(W, b, strict=True)]
        self.output = [*net.weights[1][:, 0].tolist(), *net.biases[1].tolist()]

    def forward(self, x: tuple[int, int]) -> tuple[list[float], float]:
        """Return the hidden units' answers and the output's."""
        h = [1 / (1 + math.exp(-(u * x[0] + v * x[1] + b))) for u, v, b in self.hidden]
        z = sum(w * a for w, a in zip(self.output[:-1], h, strict=True)) + self.output[-1]
        return h, 1 / (1 + math.exp(-z))

    def step(self, samples: Samples, step: float, *, published: bool = False) -> None:
        """Go along the sum of the samples' gradients; published: the hidden error is without a (1 - a)."""
        hidden, output = [list(row) for row in self.hidden], list(self.output)
        for x, y in samples:
            h, a = self.forward(x)
            error = a - y
            delta = error * a * (1 - a)
            for j, hj in enumerate(h):
                back = (error if published else delta) * self.output[j] * hj * (1 - hj)
                for i, value in enumerate((*x, 1)):
                    hidden[j][i] -= step * back * value
                output[j] -= step * delta * hj
            output[-1] -= step * delta
        self.hidden, self.output = hidden, output

    def answers(self) -> str:
        """Return the four answers as the examples print them."""
        return " ".join(f"{self.forward(x)[1]:7.4f}" for x, _ in SAMPLES)


def check_xor_online(text: str) -> None:
    module = load("xor_online")
    nets = [Xor(module.make_network(REFERENCE, start)) for start in range(4)]
    published = Xor(module.make_network(REFERENCE, 0))
    for _ in range(1_000):
        for sample in SAMPLES:
            for net in nets:
                net.step([sample], 1.0)
            published.step([sample], 1.0, published=True)
    ends = [net.answers() for net in nets]
    for start, end in enumerate(ends):
        assert f"start  {start}: {end} " in text
    good = sum(max(abs(net.forward(x)[1] - y) for x, y in SAMPLES) <= 0.1 for net in nets)
    assert f"{good} of 4 get all four within 0.1." in text
    assert "0 of 4 come as close as the published run, 0.0456  0.9630  0.9630  0.0369." in text
    check_local_minimum(text)
    report = line_with(text, "The gradient is wrong in layer 0: ")
    assert "without the derivative of layer 1's activation" in report
    assert re.search(r"^weights\[0\].*WRONG$", text, re.MULTILINE)
    assert re.search(r"^weights\[1\].* ok$", text, re.MULTILINE)
    assert line_with(text, "Trained with all the same").endswith(published.answers())


def check_local_minimum(text: str) -> None:
    """Assert that the loss falls towards 1/16 at growing weights, and comes back when they are pushed."""
    early, late = (numbers(line) for line in text.splitlines() if "largest weight" in line)
    assert early[-2] > late[-2] > 1 / 16
    assert early[-1] < late[-1]
    lowest, highest = numbers(line_with(text, "Each parameter pushed by up to 1").rstrip("."))[-2:]
    assert 1 / 16 < lowest <= highest < early[-2]


def check_xor_full_batch(text: str, epochs: int = 500) -> None:
    total, scaled = (line_with(text, part).split()[4:] for part in ("sum of the four", "4 x the mean's"))
    assert total == scaled
    assert len(total) == 4
    net = Xor(load("xor_full_batch").make_network(REFERENCE))
    for _ in range(epochs):
        net.step(SAMPLES, 0.7)
    assert line_with(text, "0.7 x sum  = 2.8 x mean").endswith(net.answers())
    slow = Xor(load("xor_full_batch").make_network(REFERENCE))
    for _ in range(4 * epochs):
        slow.step(SAMPLES, 0.7 / 4)
    assert line_with(text, f"0.7 x mean = 0.7 x mean, {4 * epochs} epochs").endswith(slow.answers())


# ---- sign and sine


def check_sign_and_sine(text: str) -> None:
    minus, plus = numbers(line_with(text, "  before "))
    assert minus > 0.5
    assert plus > 0.5  # before, it takes both for positive
    minus, plus = numbers(line_with(text, "  after "))
    assert minus < 0.5 < plus
    *of_classes, of_regression = results(text)
    assert all(accuracy < of_regression[0] for accuracy, _ in of_classes)
    assert all(rmse > of_regression[1] for _, rmse in of_classes)
    assert all(rmse < math.sqrt(1 / 2) for _, rmse in results(text))  # that of answering 0 to everything


def results(text: str) -> list[tuple[float, float]]:
    """Return accuracy and RMSE of 21 sigmoids, softmax with either loss, and the regression."""
    rows = re.findall(r"(\d+\.\d)% +(\d\.\d+)$", text, re.MULTILINE)
    assert len(rows) == 4
    return [(float(accuracy), float(rmse)) for accuracy, rmse in rows]


CHECKS: dict[str, Callable[[str], None]] = {
    "by_hand_4_3_3_1": check_by_hand,
    "sign_and_sine": check_sign_and_sine,
    "two_layer_shapes": check_two_layers,
    "xor_full_batch": check_xor_full_batch,
    "xor_online": check_xor_online,
}
