"""Relations between results: what must not change, or change in a known way, when a network or its data does.

They need no oracle. A relation makes two networks, or shows one network two batches, translates the second result
into the terms of the first, and compares: exactly where the same operations are done on values that are the same up
to sign and powers of two, else within the rounding noise of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests import bounds, oracle, statistic
from tests.networks import Case
from tests.statistic import Data, results

Make = Callable[[oracle.Network, np.ndarray, str], Any]
Relation = Callable[[Make, str], list[str]]
Results = dict[str, np.ndarray]


def compare(case: Case, first: Results, second: Results, *, exact: bool = False) -> list[str]:
    """Name the results of the second that are not those of the first, up to rounding noise or exactly."""
    sigma = dict.fromkeys(first, 0.0) if exact else statistic.sigmas(case.network, case.data, case.dtype)
    found = []
    for name in second:
        a, b = np.asarray(first[name]), np.asarray(second[name])
        worst = np.max(np.abs(a - b), initial=0.0) if a.shape == b.shape else np.inf
        if not worst <= bounds.SIGMAS * sigma[name]:
            found.append(f"{name} changes by {worst:.3g}, allowed are {bounds.SIGMAS * sigma[name]:.3g}: {case}")
    return found


def without(found: Results, *kinds: str) -> Results:
    """Leave out the results whose names begin so."""
    return {name: array for name, array in found.items() if not name.startswith(kinds)}


def classifier(dtype: str, activation: str = "silu", **options: Any) -> Case:
    """Return a weighted network with two hidden layers, widths beyond a lane, and class indices."""
    options = {"l2": 0.125, "weighted": True, "targets": "vector", "n_samples": 9, "seed": 3} | options
    return Case((5, 9, 11, 3), (activation, activation), "softmax", "cross_entropy", dtype, **options)


def scaled(case: Case, flat: np.ndarray, factors: dict[str, float]) -> np.ndarray:
    """Return a copy of a flat vector with the named tensors multiplied."""
    flat = flat.copy()
    for name, part in statistic.tensors(case.sizes, flat).items():
        part *= np.asarray(factors.get(name, 1.0), flat.dtype)  # noqa: PLW2901  a view, multiplied in place
    return flat


def rearranged(case: Case, flat: np.ndarray, layer: int, units: np.ndarray) -> np.ndarray:
    """Return a flat vector of the same network with only these units of a hidden layer, in this order."""
    tensors = [(W.copy(), b[0].copy()) for W, b in oracle.layers(case.sizes, flat)]
    (W, b), (outgoing, b_next) = tensors[layer : layer + 2]
    tensors[layer : layer + 2] = [(W[:, units], b[units]), (outgoing[units], b_next)]
    return np.concatenate([part.ravel() for pair in tensors for part in pair])


# --- relations that hold up to rounding ---------------------------------------------------------------------------


def batch_permuted(make: Make, dtype: str) -> list[str]:
    """Check that the order of the samples does not matter."""
    case = classifier(dtype)
    flat, X, Y, w = case.data
    order = np.random.default_rng(0).permutation(len(X))
    net = make(case.network, flat, dtype)
    first = results(net, case.sizes, case.data)
    second = results(net, case.sizes, Data(flat, X[order], Y[order], w[order]))
    rows = {name: second[name][np.argsort(order)] for name in second if np.shape(second[name])[:1] == X.shape[:1]}
    samples = ("hidden", "input", "outputs")
    return compare(case, first, second | {name: rows[name] for name in rows if name.startswith(samples)})


def duplicate_is_weight_two(make: Make, dtype: str) -> list[str]:
    """Check that a sample given twice is the sample with twice its weight."""
    case = classifier(dtype)
    flat, X, Y, w = case.data
    net = make(case.network, flat, dtype)
    doubled = w * np.where(np.arange(len(w)) == 4, 2.0, 1.0)
    first = results(net, case.sizes, Data(flat, X, Y, doubled))
    again = np.append(np.arange(len(w)), 4)
    second = results(net, case.sizes, Data(flat, X[again], Y[again], w[again]))
    return compare(case, first, without(second, "hidden", "input", "outputs"))


def equal_weights_are_none(make: Make, dtype: str) -> list[str]:
    """Check that weights that are all 3 are no weights."""
    case = classifier(dtype, weighted=False)
    net = make(case.network, case.data.flat, dtype)
    first = results(net, case.sizes, case.data)
    second = results(net, case.sizes, case.data._replace(w=np.full(case.n_samples, 3.0)))
    return compare(case, first, second)


def zero_weight_removed(make: Make, dtype: str) -> list[str]:
    """Check that a sample of weight zero is a sample that is not there."""
    case = classifier(dtype)
    flat, X, Y, w = case.data
    w = np.where(np.arange(len(w)) % 3 == 0, 0.0, w + 1.0)
    net = make(case.network, flat, dtype)
    first = results(net, case.sizes, Data(flat, X, Y, w))
    second = results(net, case.sizes, Data(flat, X[w > 0], Y[w > 0], w[w > 0]))
    found = compare(case, first, without(second, "hidden", "input", "outputs"))
    return found + ["a sample of weight 0 has an input gradient"] * bool(first["input gradient"][w == 0].any())


def batch_split(make: Make, dtype: str) -> list[str]:
    """Check that loss and gradient of a batch are the weighted mean of those of its parts."""
    case = classifier(dtype)
    flat, X, Y, w = case.data
    net = make(case.network, flat, dtype)
    first = results(net, case.sizes, case.data)
    parts = [results(net, case.sizes, Data(flat, X[k], Y[k], w[k])) for k in (slice(0, 4), slice(4, None))]
    shares = [w[:4].sum() / w.sum(), w[4:].sum() / w.sum()]
    tensors = ("loss", "loss alone", *statistic.tensors(case.sizes, flat))
    mean = {name: sum(s * p[name] for s, p in zip(shares, parts, strict=True)) for name in tensors}
    return compare(case, first, mean)


def hidden_units_permuted(make: Make, dtype: str) -> list[str]:
    """Check that the order of the units of a hidden layer does not matter."""
    case = classifier(dtype)
    units = np.random.default_rng(1).permutation(case.sizes[2])
    first = results(make(case.network, case.data.flat, dtype), case.sizes, case.data)
    second = results(make(case.network, rearranged(case, case.data.flat, 1, units), dtype), case.sizes, case.data)
    flat = np.concatenate([second[name] for name in statistic.tensors(case.sizes, case.data.flat)])
    back = rearranged(case, flat, 1, np.argsort(units))
    hidden = {"hidden[1]": second["hidden[1]"][:, np.argsort(units)]}
    return compare(case, first, second | statistic.tensors(case.sizes, back) | hidden)


def unit_without_outgoing_weights_removed(make: Make, dtype: str) -> list[str]:
    """Check that a hidden unit without outgoing weights is a unit that is not there, and gets no gradient."""
    case = classifier(dtype, l2=0.0)
    units = np.delete(np.arange(case.sizes[2]), 4)
    flat = case.data.flat.copy()
    outgoing = next(W for layer, (W, _) in enumerate(oracle.layers(case.sizes, flat)) if layer == 2)
    outgoing[4] = 0.0
    smaller = case.network._replace(sizes=(*case.sizes[:2], len(units), case.sizes[3]))
    first = results(make(case.network, flat, dtype), case.sizes, case.data)
    second = results(make(smaller, rearranged(case, flat, 1, units), dtype), smaller.sizes, case.data)
    gradient = np.concatenate([first[name] for name in statistic.tensors(case.sizes, flat)])
    kept = statistic.tensors(smaller.sizes, rearranged(case, gradient, 1, units))
    first = first | kept | {"hidden[1]": first["hidden[1]"][:, units]}
    (W, b) = list(oracle.layers(case.sizes, gradient))[1]
    dead = ["a unit without outgoing weights has a gradient"] * bool(W[:, 4].any() or b[0, 4])
    return compare(case, first, second) + dead


# --- relations that hold exactly ----------------------------------------------------------------------------------


def labels_are_one_hot_rows(make: Make, dtype: str) -> list[str]:
    """Check that class indices and the rows that they stand for give the same bits."""
    case = classifier(dtype)
    net = make(case.network, case.data.flat, dtype)
    rows = np.eye(case.sizes[-1], dtype=dtype)[case.data.Y]
    first = results(net, case.sizes, case.data)
    return compare(case, first, results(net, case.sizes, case.data._replace(Y=rows)), exact=True)


def relu_layer_scaled(make: Make, dtype: str) -> list[str]:
    """Check that a relu layer times 4 and the next one by 4 are the same function, with gradients scaled back."""
    case = classifier(dtype, "relu", l2=0.0)
    changed = scaled(case, case.data.flat, {"weights[0]": 4.0, "biases[0]": 4.0, "weights[1]": 0.25})
    first = results(make(case.network, case.data.flat, dtype), case.sizes, case.data)
    second = results(make(case.network, changed, dtype), case.sizes, case.data)
    back = {"weights[0]": 4.0, "biases[0]": 4.0, "weights[1]": 0.25, "hidden[0]": 0.25}
    return compare(case, first, second | {name: second[name] * back[name] for name in back}, exact=True)


def tanh_signs_flipped(make: Make, dtype: str) -> list[str]:
    """Check that a tanh layer and the weights after it with their signs flipped are the same function."""
    case = classifier(dtype, "tanh")
    flip = {"weights[0]": -1.0, "biases[0]": -1.0, "weights[1]": -1.0}
    first = results(make(case.network, case.data.flat, dtype), case.sizes, case.data)
    second = results(make(case.network, scaled(case, case.data.flat, flip), dtype), case.sizes, case.data)
    back = flip | {"hidden[0]": -1.0}
    return compare(case, first, second | {name: second[name] * back[name] for name in back}, exact=True)


RELATIONS = (
    batch_permuted,
    duplicate_is_weight_two,
    equal_weights_are_none,
    zero_weight_removed,
    batch_split,
    hidden_units_permuted,
    unit_without_outgoing_weights_removed,
    labels_are_one_hot_rows,
    relu_layer_scaled,
    tanh_signs_flipped,
)
