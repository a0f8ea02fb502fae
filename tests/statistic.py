"""How far rounding alone moves the results of a network: the sigma of the whole-network statistic.

Two correct implementations differ by their roundings. How much that is for a given network no simple formula tells:
a bound propagated from layer to layer exceeds it by orders of magnitude, and a multiple of eps max|g| fails where a
gradient cancels. So it is measured: six reruns in binary64 in which each primitive, with operands A and B and bias
b, returns its result plus Gaussian noise of the size of its rounding, u(|A||B| + |b|).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tests import bounds, oracle, textbook


class Data(NamedTuple):
    """Parameters, inputs, targets and sample weights of one loss."""

    flat: np.ndarray
    X: np.ndarray
    Y: np.ndarray
    w: np.ndarray | None


def tensors(sizes: Sequence[int], flat: np.ndarray) -> dict[str, np.ndarray]:
    """Name the parts (..., size) of flat vectors (..., n_params): weights[0], biases[0] ..., input_scale."""
    parts, start = {}, 0
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        for name, size in (("weights", fan_in * fan_out), ("biases", fan_out)):
            parts[f"{name}[{layer}]"] = flat[..., start : start + size]
            start += size
    return parts | ({"input_scale": flat[..., start:]} if start < flat.shape[-1] else {})


def results(net: Any, sizes: Sequence[int], data: Data) -> dict[str, np.ndarray]:
    """Everything that a network computes from one batch, by name.

    Returns
    -------
    dict of str to ndarray
        "loss" and "loss alone" (with the gradient, and by itself), "weights[0]", "biases[0]" ... and, where there is
        one, "input_scale" (the gradient), "input gradient", "hidden[0]" ..., "outputs".
    """
    loss, gradient = net.loss_and_gradient(data.X, data.Y, data.w)
    alone = net.loss(data.X, data.Y, data.w)
    hidden = {f"hidden[{layer}]": A for layer, A in enumerate(net.hidden_activations(data.X))}
    return {
        "loss": np.asarray(loss),
        "loss alone": np.asarray(alone),
        **tensors(sizes, gradient.flat),
        "input gradient": net.input_gradient(data.X, data.Y, data.w),
        **hidden,
        "outputs": net.predict(data.X),
    }


def sigmas(network: oracle.Network, data: Data, dtype: str, seed: int = 0) -> dict[str, float]:
    """How far the rounding of a dtype moves each result of a network.

    The largest entry of a tensor counts, as in a comparison: of each entry the root mean square over the reruns,
    of these the maximum.
    """
    calm = results(textbook.Textbook(network, data.flat), network.sizes, data)
    noisy = results(textbook.Noisy(network, data.flat, seed), network.sizes, data)
    scale = bounds.UNIT_ROUNDOFF[dtype] / bounds.NOISE
    moved = {name: np.sqrt(np.mean((noisy[name] - calm[name]) ** 2, axis=0)) for name in calm}
    return {name: scale * float(np.max(deviation)) for name, deviation in moved.items()}
