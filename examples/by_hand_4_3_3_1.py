"""Work out a 4-3-3-1 network by hand: its answer, its error, and the partial derivative of every parameter.

A question often asked: the weights are given and all activations are the identity. What does the network
answer to one sample, how far is that from the target, and how does the error depend on each weight? Every
derivative is printed with the terms of the chain rule that it is a product of:

    delta of the last layer         = 2 (a - y)                           the slope of (a - y)^2
    delta[i] of the layer before it = sum over j of W[i, j] x delta[j]    W and delta of the layer after it
    d loss / d W[i, j]              = what comes in from i x delta[j]
    d loss / d b[j]                 = delta[j]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import BLUE, GREY, ORANGE, new_figure, parse, row, save
from numpy.typing import NDArray

import fastmlp

Floats = NDArray[np.float64]

# One row a neuron, as in the textbook; the library keeps one column a neuron, so that Z = A @ W + b.
W1 = [[0.2, 0.8, -0.5, 1.0], [0.5, -0.91, 0.26, -0.5], [-0.26, -0.27, 0.17, 0.87]]
W2 = [[0.1, -0.14, 0.5], [-0.5, 0.12, -0.33], [-0.44, 0.73, -0.13]]
W3 = [[0.1, -0.14, 0.5]]
BIASES = ([2.0, 3.0, 0.5], [-1.0, 2.0, -0.5], [4.0])
X = [[1.0, 2.0, 3.0, 2.5]]
TARGET = 2.0
STEP = 0.01


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the question."""
    options = parse(__doc__, arguments)
    net = make_network(options.backend)
    show_forward(net)
    inputs, deltas = terms(net)
    show_derivatives(net, inputs, deltas)
    show_check(net, inputs, deltas)
    show_wrong_targets(net)
    show_step(net)
    if options.plot is not None:
        draw(make_network(options.backend), inputs, deltas, options.plot)


def make_network(backend: str) -> fastmlp.MLP:
    """Return the network with the weights given."""
    net = fastmlp.MLP((4, 3, 3, 1), "identity", "identity", "mse", dtype="float64", backend=backend, seed=0)
    for layer, (W, b) in enumerate(zip((W1, W2, W3), BIASES, strict=True)):
        net.weights[layer][...] = np.transpose(W)
        net.biases[layer][...] = b
    return net


def show_forward(net: fastmlp.MLP) -> None:
    """Print what every layer makes of the sample, and how far the answer is from the target."""
    print(f"Forward: the sample {row(X[0], 1)}")
    for layer, A in enumerate(net.hidden_activations(X), start=1):
        print(f"  layer {layer} gives  {row(A[0], 6)}")
    print(f"  layer 3 gives  {row(net.predict(X)[0], 6)}   the network's answer")
    print(f"The target is {TARGET}: squared error {net.loss(X, [TARGET]):.6f}, RMSE {rmse(net):.6f}.")


def rmse(net: fastmlp.MLP) -> float:
    """Return the root of the mean squared error."""
    return math.sqrt(net.loss(X, [TARGET]))


def terms(net: fastmlp.MLP) -> tuple[list[Floats], list[Floats]]:
    """Return the input and the delta of each layer: every derivative is a product of the two."""
    inputs = [np.array(X[0]), *(A[0] for A in net.hidden_activations(X))]
    deltas = [2.0 * (net.predict(X)[0] - TARGET)]
    for W in reversed(net.weights[1:]):
        deltas.insert(0, W @ deltas[0])
    return inputs, deltas


def show_derivatives(net: fastmlp.MLP, inputs: list[Floats], deltas: list[Floats]) -> None:
    """Print the partial derivatives, from the last layer to the first as the chain rule goes."""
    for layer in reversed(range(3)):
        print(f"\nLayer {layer + 1}: weights[{layer}] and biases[{layer}]")
        for j, delta in enumerate(deltas[layer]):
            print(f"  delta[{j}] = {source(net, deltas, layer, j)} = {delta:.6f}")
        for i, a in enumerate(inputs[layer]):
            for j, delta in enumerate(deltas[layer]):
                print(f"  d loss / d W[{i}, {j}] = {a:9.6f} x {delta:9.6f} = {a * delta:10.6f}")
        for j, delta in enumerate(deltas[layer]):
            print(f"  d loss / d b[{j}]    = delta[{j}]              = {delta:10.6f}")


def source(net: fastmlp.MLP, deltas: list[Floats], layer: int, j: int) -> str:
    """Return what a delta is made of."""
    if layer == 2:
        return f"2 ({net.predict(X)[0, 0]:.6f} - {TARGET})"
    after = zip(net.weights[layer + 1][j], deltas[layer + 1], strict=True)
    return " + ".join(f"{w:.2f} x {delta:.6f}" for w, delta in after).replace("+ -", "- ")


def show_check(net: fastmlp.MLP, inputs: list[Floats], deltas: list[Floats]) -> None:
    """Print whether the derivatives above are those of the network's own loss."""
    own = net.loss_and_gradient(X, [TARGET])[1].copy()
    for layer, (a, delta) in enumerate(zip(inputs, deltas, strict=True)):
        own.weights[layer][...] = np.outer(a, delta)
        own.biases[layer][...] = delta
    report = fastmlp.check_gradients(net, X, [TARGET], gradient=own)
    verdict = "all of them are right" if report else f"{report.worst} is wrong"
    print(f"\ncheck_gradients compared these {own.flat.size} derivatives with those of the loss: {verdict}.")
    print(f"Those of the RMSE are the same divided by 2 x RMSE = {2.0 * rmse(net):.6f}.")


def show_step(net: fastmlp.MLP) -> None:
    """Take one step against the gradient and print what it changes."""
    before, answer, first = rmse(net), net.predict(X)[0, 0], net.weights[2][0, 0]
    _, gradient = net.loss_and_gradient(X, [TARGET])
    net.fit(X, [TARGET], optimizer=fastmlp.SGD(lr=STEP), epochs=1, batch_size=1)
    print(f"\nOne step of {STEP} against the gradient, for example")
    slope, now = gradient.weights[2][0, 0], net.weights[2][0, 0]
    print(f"  weights[2][0, 0]: {first:.6f} - {STEP} x {slope:.6f} = {now:.6f}")
    print(f"  answer {answer:.6f} -> {net.predict(X)[0, 0]:.6f},   RMSE {before:.6f} -> {rmse(net):.6f}")


def show_wrong_targets(net: fastmlp.MLP) -> None:
    """Print what the library says to four targets for the one sample."""
    try:
        net.loss(X, [2.0, -1.0, 1.0, 0.5])
    except ValueError as error:
        print("\nOne sample with four inputs has one target. Given four, the library says:")
        print(f"  ValueError: {error}")


def draw(net: fastmlp.MLP, inputs: list[Floats], deltas: list[Floats], path: Path) -> None:
    """Draw the network: on the nodes what they give, on the edges the loss's derivative."""
    figure, (ax,) = new_figure("What each weight does to the error: the thicker, the larger d loss / d W")
    layers = [*inputs, net.predict(X)[0]]
    heights = [np.linspace(1.0, -1.0, A.size) if A.size > 1 else np.zeros(1) for A in layers]
    steepest = max(np.abs(np.outer(a, delta)).max() for a, delta in zip(inputs, deltas, strict=True))
    for layer, delta in enumerate(deltas):
        for i, j in np.ndindex(net.weights[layer].shape):
            slope = inputs[layer][i] * delta[j]
            ends = [layer, layer + 1], [heights[layer][i], heights[layer + 1][j]]
            colour, width = ORANGE if slope > 0 else BLUE, 0.3 + 7.0 * abs(slope) / steepest
            ax.plot(*ends, color=colour, linewidth=width, zorder=1)
    for layer, (A, ys) in enumerate(zip(layers, heights, strict=True)):
        ax.scatter([layer] * A.size, ys, s=1500, color="white", edgecolors=GREY, zorder=2)
        for a, y in zip(A, ys, strict=True):
            ax.text(layer, y, f"{a:.3f}", ha="center", va="center", zorder=3)
    ax.plot([], [], color=ORANGE, linewidth=4, label="more weight, more error")
    ax.plot([], [], color=BLUE, linewidth=4, label="more weight, less error")
    ax.legend(frameon=False, loc="lower right")
    ax.set_axis_off()
    ax.margins(0.12, 0.15)
    save(figure, path)


if __name__ == "__main__":
    main()
