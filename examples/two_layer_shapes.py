"""Write a two-layer network, 5-4-4, without losing track of shapes, and train it until it stops improving.

A question often asked comes in three parts, and so does this script.

(a) "shapes (2,5) and (4,4) not aligned": the second layer's weights were multiplied with the input.
(b) All weights began at zero, and all hidden units stayed alike.
(c) How does one repeat the epochs while the loss still improves, and then stop?
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from common import new_figure, parse, row, save

import fastmlp

SIZES = (5, 4, 4)
X = np.array([[0.1, 0.5, 0.9, 0.2, 0.7], [0.8, 0.3, 0.4, 0.6, 0.0]])
Y = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]])


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the question."""
    options = parse(__doc__, arguments)
    show_shapes(options.backend)
    show_zero_weights(options.backend)
    history = train_while_it_improves(options.backend, least_gain=1e-4 if options.quick else 1e-6)
    if options.quick:
        print("    (Shortened: a least gain of 1e-04 in place of 1e-06.)")
    if options.plot is not None:
        figure, (ax,) = new_figure("5-4-4, two samples: full batches while the loss still improves")
        history.plot(ax).set_xscale("log")
        save(figure, options.plot)


def make_network(backend: str, init: str) -> fastmlp.MLP:
    """Return a 5-4-4 network; strict, so that equal means equal to the last bit."""
    return fastmlp.MLP(
        SIZES, "sigmoid", "sigmoid", "squared_error", dtype="float64", strict=True, backend=backend, init=init, seed=0
    )


def show_shapes(backend: str) -> None:
    """Hand the second layer the input, read what the library says, and hand it what it takes."""
    net = make_network(backend, "uniform")
    second = fastmlp.MLP((4, 4), (), "sigmoid", "squared_error", dtype="float64", strict=True, backend=backend)
    second.parameters.flat[...] = net.parameters.flat[-second.spec.n_params :]
    print(f"(a) Two samples of five values are X, {X.shape}. The second layer's W is {second.weights[0].shape}.")
    try:
        second.predict(X)
    except ValueError as error:
        print(f"    Given X, the second layer says: ValueError: {error}.")
    (hidden,) = net.hidden_activations(X)
    same = np.array_equal(second.predict(hidden), net.predict(X))
    print(f"    What it takes is what the first layer gives, {hidden.shape}.")
    print(f"    Chained so, do the two layers answer what the whole network answers? {'Yes' if same else 'No'}.")


def show_zero_weights(backend: str) -> None:
    """Train from zero weights and count how many different hidden units there are."""
    print("\n(b) All weights and biases zero. The library warns:")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net = make_network(backend, "zeros")
    for warning in caught:
        print(f"    {type(warning.message).__name__}: {warning.message}.")
    net.fit(X, Y, optimizer=fastmlp.SGD(lr=1.0), epochs=100, batch_size=2)
    (hidden,) = net.hidden_activations(X)
    for number, values in enumerate(hidden, start=1):
        print(f"    After 100 epochs the four hidden units give, for sample {number}: {row(values)}")
    different = len(np.unique(hidden, axis=1).T)
    print(f"    Different hidden units: {different} of 4. They began equal and get equal gradients.")


def train_while_it_improves(backend: str, least_gain: float) -> fastmlp.History:
    """Train from weights in (-1, 1) until an epoch gains too little."""
    net = make_network(backend, "uniform")
    early = fastmlp.EarlyStopping(patience=1, min_delta=least_gain)
    history = net.fit(X, Y, optimizer=fastmlp.SGD(lr=1.0), epochs=100_000, batch_size=2, early_stopping=early)
    first, last = history.loss[0], history.loss[-1]
    print(f"\n(c) Weights and biases from (-1, 1), epochs while each gains more than {least_gain:g}:")
    print(f"    {history.n_epochs} epochs, loss {first:.4f} -> {last:.4f}, then {history.stopped}.")
    for number, (answer, target) in enumerate(zip(net.predict(X), Y, strict=True), start=1):
        print(f"    Sample {number}: answers {row(answer, 3)}   targets {row(target, 0)}")
    return history


if __name__ == "__main__":
    main()
