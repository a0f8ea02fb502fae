"""Train XOR on full batches: the sum of the four gradients with step 0.7, 2,000 epochs of a 2-3-1 network.

A question often asked: a textbook adds up the gradients of the four samples and steps once an epoch. Which
step is that in a library whose loss is a mean? The sum of four is 4 times their mean, so a step of 0.7 along
the sum is one of 2.8 along the mean. With 0.7 along the mean the same training goes at a quarter of the pace.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from common import BLUE, GREY, new_figure, parse, row, save

import fastmlp

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
Y = np.array([0, 1, 1, 0])
STEP = 0.7


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the question."""
    options = parse(__doc__, arguments)
    epochs = 500 if options.quick else 2000
    show_sum(make_network(options.backend))
    print(f"\nTraining, {epochs} epochs at first{' (in place of 2000)' if options.quick else ''}:")
    sums = train(options.backend, "sum ", 4 * STEP, epochs)
    train(options.backend, "mean", STEP, epochs)
    means = train(options.backend, "mean", STEP, 4 * epochs)
    print("Along the mean, the same step takes 4 times as many epochs to the same answers.")
    if options.plot is not None:
        figure, (ax,) = new_figure("XOR on full batches, 2-3-1, sigmoid")
        for history, name, colour in ((sums, "sum", BLUE), (means, "mean", GREY)):
            epoch = range(1, history.n_epochs + 1)
            label = f"step {STEP} along the {name} of the four gradients"
            ax.plot(epoch, history.loss, color=colour, label=label)
        ax.set(xscale="log", yscale="log", xlabel="epoch", ylabel="loss: mean of (a - y)² / 2")
        ax.legend(frameon=False)
        save(figure, options.plot)


def make_network(backend: str) -> fastmlp.MLP:
    """Return the network, the same at every call."""
    return fastmlp.MLP(
        (2, 3, 1), "sigmoid", "sigmoid", "squared_error", dtype="float64", init="uniform", seed=0, backend=backend
    )


def show_sum(net: fastmlp.MLP) -> None:
    """Print the four samples' gradients, their sum, and 4 times that of all: the output layer's part."""
    singles = [net.loss_and_gradient(X[i : i + 1], Y[i : i + 1])[1] for i in range(4)]
    _, mean = net.loss_and_gradient(X, Y)
    print("The gradient of weights[1] and biases[1] before training:")
    for sample, single in zip(X, singles, strict=True):
        print(f"  of sample {sample}    {row(single.flat[-4:], 6)}")
    total = np.sum([single.flat for single in singles], axis=0)
    print(f"  sum of the four    {row(total[-4:], 6)}")
    print(f"  4 x the mean's     {row(4 * mean.flat[-4:], 6)}")


def train(backend: str, name: str, lr: float, epochs: int) -> fastmlp.History:
    """Train on full batches, print where it leads, and return the error curve."""
    net = make_network(backend)
    history = net.fit(X, Y, optimizer=fastmlp.SGD(lr=lr), epochs=epochs, batch_size=4)
    loss, answers = net.loss(X, Y), row(net.predict(X)[:, 0])
    print(f"  {STEP} x {name} = {lr:.1f} x mean, {epochs:4} epochs: loss {loss:.6f}, answers {answers}")
    return history


if __name__ == "__main__":
    main()
