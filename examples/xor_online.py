"""Learn XOR one sample at a time, with the gradient and with an update often published in its place.

A question often asked: a 2-2-1 network of sigmoids begins with weights and biases from (-1, 1) and sees the
four samples one by one, 10,000 times, with step 0.1. A published run ends at 0.0456, 0.9630, 0.9630, 0.0369.
Why does mine not?

(a) With the true gradient: how many of 20 starts get there, where the others are stuck, and which step or how
    many passes it takes to come as close as that run.
(b) The published update: its hidden error lacks the output's derivative, so it is not the loss's gradient.

The study makes over a million passes: seconds on numba, minutes on the other backends without --quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import BLUE, GREY, ORANGE, new_figure, parse, row, save
from numpy.typing import NDArray

import fastmlp

Floats = NDArray[np.float64]

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
Y = np.array([[0], [1], [1], [0]])
PUBLISHED = (0.0456, 0.9630, 0.9630, 0.0369)
CLOSE = 0.0456  # the published run's largest miss
BLOCK = 100  # passes between two looks


@dataclass(frozen=True)
class Study:
    """How much to do."""

    n_starts: int = 20
    steps: tuple[float, ...] = (0.1, 0.2, 0.3, 1.0)  # (a) and (b) take the first
    passes: int = 10_000
    most_passes: int = 25_000
    long_run: int = 100_000
    n_nudges: int = 5


QUICK = Study(n_starts=4, steps=(1.0,), passes=1_000, most_passes=2_000, long_run=4_000, n_nudges=3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the question."""
    options = parse(__doc__, arguments, backend="numba")
    study = QUICK if options.quick else Study()
    if options.quick:
        print("Shortened: 4 starts, 1,000 passes with step 1 in place of 20, 10,000 passes with step 0.1.\n")
    curves = {step: train_all(options.backend, step, study) for step in study.steps}
    show_starts(curves[study.steps[0]], study)
    show_minimum(options.backend, curves[study.steps[0]], study)
    show_steps(curves, study)
    show_published(make_network(options.backend, 0), study)
    show_remedy(options.backend, study)
    if options.plot is not None:
        draw(curves, study, options.plot)


def make_network(backend: str, start: int, loss: str = "squared_error") -> fastmlp.MLP:
    """Return the network with weights and biases from (-1, 1): the same for the same start."""
    sizes, activation = (2, 2, 1), "sigmoid"
    return fastmlp.MLP(
        sizes, activation, activation, loss, dtype="float64", init="uniform", seed=start, backend=backend
    )


def train(net: fastmlp.MLP, step: float, passes: int, close: float = 0.0) -> Floats:
    """Train one sample at a time, until no answer misses by more than `close`.

    Returns the four answers after every hundred passes: these are an epoch here, so the samples repeat.
    """
    answers: list[Floats] = []

    def look(net: fastmlp.MLP, _: fastmlp.EpochInfo) -> bool:
        answers.append(net.predict(X)[:, 0])
        return miss(answers[-1]) <= close

    net.fit(
        np.tile(X, (BLOCK, 1)),
        np.tile(Y, (BLOCK, 1)),
        optimizer=fastmlp.SGD(lr=step),
        epochs=passes // BLOCK,
        batch_size=1,
        shuffle=False,
        callbacks=[look],
    )
    return np.array(answers)


def train_all(backend: str, step: float, study: Study) -> list[Floats]:
    """Train from every start until it is as close as the published run, or has had the most passes."""
    nets = (make_network(backend, start) for start in range(study.n_starts))
    return [train(net, step, study.most_passes, CLOSE) for net in nets]


def miss(answers: Floats) -> float:
    """Return the largest distance of the four answers from what they should be."""
    return float(np.max(np.abs(answers - Y[:, 0])))


def arrives(curve: Floats) -> bool:
    """Return whether a training came as close as the published run."""
    return miss(curve[-1]) <= CLOSE


def show_starts(curves: list[Floats], study: Study) -> None:
    """Print where each start leads."""
    step, passes = study.steps[0], study.passes
    print(f"(a) The true gradient, step {step}, {passes:,} passes; answers to 00, 01, 10 and 11:")
    ends = [curve[: passes // BLOCK][-1] for curve in curves]
    for start, (end, curve) in enumerate(zip(ends, curves, strict=True)):
        verdict = "good" if miss(end) <= 0.1 else "slow" if arrives(curve) else "stuck"
        print(f"    start {start:2}: {row(end)}   largest miss {miss(end):.4f}   {verdict}")
    good, close = (sum(miss(end) <= most for end in ends) for most in (0.1, CLOSE))
    print(f"    {good} of {len(ends)} get all four within 0.1.")
    print(f"    {close} of {len(ends)} come as close as the published run,{row(PUBLISHED)}.")


def show_minimum(backend: str, curves: list[Floats], study: Study) -> None:
    """Show that a start that is stuck is in a local minimum: it stays, and comes back when pushed away."""
    start = next(start for start, curve in enumerate(curves) if not arrives(curve))
    print(f"\n    Start {start} is stuck in a local minimum:")
    net, done = make_network(backend, start), 0
    for passes in (study.passes, study.long_run):
        train(net, study.steps[0], passes - done)
        done = passes
        answers, largest = row(net.predict(X)[:, 0]), np.max(np.abs(net.parameters.flat))
        figures = f"loss {net.loss(X, Y):.5f}   largest weight {largest:4.1f}"
        print(f"    {passes:7,} passes: {answers}   {figures}")
    bottom, generator = net.parameters.flat.copy(), np.random.default_rng(0)
    losses = []
    for _ in range(study.n_nudges):
        net.parameters.flat[...] = bottom + generator.uniform(-1, 1, bottom.size)
        train(net, study.steps[0], study.passes)
        losses.append(net.loss(X, Y))
    print(f"    Each parameter pushed by up to 1, then {study.passes:,} passes more; {study.n_nudges} times:", end=" ")
    print(f"loss {min(losses):.5f} to {max(losses):.5f}.")
    print("    It comes back. Two samples have become alike to the network: 1/2 is its best answer to both,")
    print("    and the loss nears 1/16 = 0.06250 as the weights grow and grow.")


def show_steps(curves: dict[float, list[Floats]], study: Study) -> None:
    """Print, for each step, the passes that the starts need to come as close as the published run."""
    print(f"\n    Passes until no answer misses by more than {CLOSE}, as in the published run:")
    heads = [f"within {passes:,}" for passes in (study.passes, study.most_passes)]
    print(f"    {'step':>6} {heads[0]:>14} {heads[1]:>14}   fewest median   most")
    for step, starts in curves.items():
        needed = passes_needed(starts)
        soon = sum(passes <= study.passes for passes in needed)
        shares = [f"{count} of {len(starts)}" for count in (soon, len(needed))]
        figures = f"{min(needed):6,} {np.median(needed):6,.0f} {max(needed):6,}"
        print(f"    {step:6} {shares[0]:>14} {shares[1]:>14}   {figures}")


def passes_needed(starts: list[Floats]) -> list[int]:
    """Return the passes of each start that arrives."""
    return [BLOCK * len(curve) for curve in starts if arrives(curve)]


def published_gradient(net: fastmlp.MLP, inputs: NDArray[Any], targets: NDArray[Any]) -> fastmlp.Parameters:
    """Return what is published as the gradient. The true one has `delta` where this has `error`."""
    (hidden,) = net.hidden_activations(inputs)
    output = net.predict(inputs)
    error = (output - targets) / len(inputs)
    delta = error * output * (1 - output)
    hidden_delta = (error @ net.weights[1].T) * hidden * (1 - hidden)
    gradient = net.parameters.copy()
    for layer, (A, d) in enumerate(((inputs, hidden_delta), (hidden, delta))):
        gradient.weights[layer][...] = A.T @ d
        gradient.biases[layer][...] = d.sum(axis=0)
    return gradient


def show_published(net: fastmlp.MLP, study: Study) -> None:
    """Let check_gradients judge the published update, then train with it."""
    print("\n(b) The published update, before training. check_gradients refuses it:\n")
    print(fastmlp.check_gradients(net, X, Y, gradient=published_gradient(net, X, Y)))
    for _ in range(study.passes):
        for i in range(4):
            here = slice(i, i + 1)
            net.parameters.flat[...] -= study.steps[0] * published_gradient(net, X[here], Y[here]).flat
    print(f"\n    Trained with all the same, {study.passes:6,} passes from start 0: {row(net.predict(X)[:, 0])}")
    print(f"    The published run, whose start is not known:         {row(PUBLISHED)}")
    print("    What is left out, a (1 - a), is at most 1/4: steps of the hidden layer are at least 4 times too long.")


def show_remedy(backend: str, study: Study) -> None:
    """Train on the loss whose hidden error is the published one."""
    nets = [make_network(backend, start, "binary_cross_entropy") for start in range(study.n_starts)]
    close = sum(arrives(train(net, study.steps[0], study.passes, CLOSE)) for net in nets)
    print("    It follows the cross-entropy, the output layer the squared error. With the cross-entropy for both,")
    print(f"    which is a gradient again, {close} of {len(nets)} starts come as close as the published run.")


def draw(curves: dict[float, list[Floats]], study: Study, path: Path) -> None:
    """Draw how each start fares with the first step, and the passes that it takes with each."""
    figure, (fate, pace) = new_figure("XOR, 2-2-1, one sample at a time", 2)
    for curve in curves[study.steps[0]]:
        passes = BLOCK * np.arange(1, len(curve) + 1)
        fate.plot(passes, [miss(answers) for answers in curve], color=BLUE if arrives(curve) else ORANGE)
    fate.axhline(CLOSE, color=GREY, linestyle="--")
    fate.text(600, CLOSE, "published run", color=GREY, va="bottom")
    fate.set(xscale="log", yscale="log", xlim=(500, 40_000), xlabel="passes", ylabel="largest miss of the four answers")
    fate.set_title(f"Step {study.steps[0]}: blue arrives, orange is stuck")
    fate.set_yticks((0.05, 0.1, 0.2, 0.5), labels=("0.05", "0.1", "0.2", "0.5"))
    fate.set_yticks((), minor=True)
    for place, starts in enumerate(curves.values()):
        needed = passes_needed(starts)
        pace.scatter([place] * len(needed), needed, color=BLUE, alpha=0.4)
        pace.text(place, 1.2 * study.most_passes, f"{len(needed)} of {len(starts)}", ha="center")
    pace.axhline(study.passes, color=GREY, linestyle="--")
    pace.set(yscale="log", xlabel="step", ylabel="passes", xlim=(-0.5, len(curves) - 0.5), ylim=(500, 40_000))
    pace.set_xticks(range(len(curves)), labels=[str(step) for step in curves])
    pace.set_title("Passes to come as close as the published run")
    save(figure, path)


if __name__ == "__main__":
    main()
