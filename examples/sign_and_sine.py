"""Teach a network the sign of x, then the sine of x: as 21 classes, and as what it is, a number.

A question often asked: a 1-3-1 network learns the sign of x from the integers -3 to 3. Does it know the sign
of 10 too? And why does one with 21 outputs, a class for each of -1.0, -0.9 ... 1.0, hardly learn sin(x)? Here
it learns from squared error beside cross-entropy, and a network with a single output beside both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from common import BLUE, GREEN, GREY, ORANGE, new_figure, parse, row, save
from numpy.typing import NDArray

import fastmlp

Floats = NDArray[np.float64]

FAR = np.array([[-10.0], [10.0]])
LINE = np.linspace(-10.0, 10.0, 201)[:, np.newaxis]
CIRCLE = np.linspace(-np.pi, np.pi, 200)[:, np.newaxis]  # what the sine's networks are asked
SINE = np.sin(CIRCLE[:, 0])


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer both questions."""
    options = parse(__doc__, arguments)
    before, after = learn_sign(options.backend)
    n_samples, epochs = (200, 10) if options.quick else (1000, 100)
    ways = learn_sine(options.backend, n_samples, epochs)
    if options.quick:
        print("(Shortened: 200 samples and 10 epochs in place of 1000 and 100.)")
    if options.plot is not None:
        draw(before, after, ways, options.plot)


def learn_sign(backend: str) -> tuple[Floats, Floats]:
    """Train on 10,000 integers one at a time; return the answers along a line before and after."""
    x = np.random.default_rng(0).integers(-3, 4, size=(10_000, 1))
    y = (np.sign(x) + 1) / 2  # a sigmoid answers between 0 and 1: 0 for minus, 1 for plus, a half for zero
    net = fastmlp.MLP(
        (1, 3, 1), "sigmoid", "sigmoid", "squared_error", dtype="float64", init="uniform", seed=0, backend=backend
    )
    before, far_before = net.predict(LINE), net.predict(FAR)[:, 0]
    net.fit(x, y, optimizer=fastmlp.SGD(lr=0.1), epochs=1, batch_size=1)
    after, far_after = net.predict(LINE), net.predict(FAR)[:, 0]
    print("The sign of x as 0, 1/2 or 1, from 10,000 integers between -3 and 3, one at a time:")
    print(f"  {'x':12} {'-10':>7} {'+10':>7}")
    print(f"  {'before':12} {row(far_before)}")
    print(f"  {'after':12} {row(far_after)}")
    print("It has never seen 10, but a sum that grows with x saturates the sigmoid on the right side.")
    return before[:, 0], after[:, 0]


@dataclass
class Way:
    """One way to learn the sine, and how it went: accuracy after each epoch, and the answers at the end."""

    name: str
    n_outputs: int
    output: str
    loss: str
    colour: str
    accuracy: list[float] = field(default_factory=list)
    answers: Floats = field(default_factory=lambda: np.empty(0))

    def look(self, net: fastmlp.MLP, _: fastmlp.EpochInfo) -> None:
        """Note the answers after an epoch: the likeliest class as a number, or the number itself."""
        A = net.predict(CIRCLE)
        self.answers = A[:, 0] if self.n_outputs == 1 else A.argmax(axis=1) / 10 - 1
        self.accuracy.append(float(np.mean(classes(self.answers) == classes(SINE))))


def classes(values: Floats) -> NDArray[np.int64]:
    """Return the classes, 0 for -1.0 to 20 for 1.0, that numbers round to."""
    return np.rint(10 * values).astype(np.int64) + 10


def learn_sine(backend: str, n_samples: int, epochs: int) -> list[Way]:
    """Train a network each way, with the same samples, optimizer and hidden layer; print how they did."""
    x = np.random.default_rng(0).uniform(-np.pi, np.pi, (n_samples, 1))
    ways = [
        Way("squared error, 21 sigmoids", 21, "sigmoid", "squared_error", GREY),
        Way("squared error, softmax", 21, "softmax", "squared_error", BLUE),
        Way("cross-entropy, softmax", 21, "softmax", "cross_entropy", ORANGE),
        Way("regression, one output", 1, "identity", "mse", GREEN),
    ]
    print(f"\nThe sine of x as one of -1.0, -0.9 ... 1.0, from {n_samples} samples seen {epochs} times:")
    print(f"  {'':28} {'accuracy':>8} {'RMSE':>8}")
    for way in ways:
        net = fastmlp.MLP(
            (1, 16, way.n_outputs), "tanh", way.output, way.loss, dtype="float64", seed=0, backend=backend
        )
        y = np.sin(x) if way.n_outputs == 1 else np.eye(21)[classes(np.sin(x[:, 0]))]
        optimizer = fastmlp.Adam(lr=fastmlp.schedules.Cosine(0.01))
        net.fit(x, y, optimizer=optimizer, epochs=epochs, batch_size=8, callbacks=[way.look])
        rmse = np.sqrt(np.mean((way.answers - SINE) ** 2))
        print(f"  {way.name:28} {way.accuracy[-1]:8.1%} {rmse:8.3f}")
    print("To classes, 0.3 is as far from 0.4 as from -1.0. To a number every sample tells of its neighbours too.")
    return ways


def draw(before: Floats, after: Floats, ways: list[Way], path: Path) -> None:
    """Draw the sign before and after, the accuracy epoch by epoch, and the sines learned."""
    figure, (sign, accuracy, sine) = new_figure(n_columns=3)
    sign.axvspan(-3, 3, color=GREY, alpha=0.15, label="seen in training")
    sign.plot(LINE[:, 0], before, color=GREY, label="before")
    sign.plot(LINE[:, 0], after, color=BLUE, label="after")
    sign.set(title="Sign: 0 is minus, 1 is plus", xlabel="x", ylabel="answer")
    sign.legend(frameon=False)
    for way in ways:
        epochs = range(1, len(way.accuracy) + 1)
        accuracy.plot(epochs, way.accuracy, color=way.colour, label=way.name)
        sine.plot(CIRCLE[:, 0], way.answers, color=way.colour, linewidth=1)
    accuracy.set(title="Sine: answers in the right class", xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    accuracy.legend(frameon=False)
    sine.set(title="Sine: the answers", xlabel="x")
    save(figure, path)


if __name__ == "__main__":
    main()
