"""`check_gradients` holds it against the derivative of the loss, parameter by parameter.

The derivative is a complex step (`fastmlp.gradcheck.complex_step`), from a computation of the loss that shares nothing
with the backends, or a central difference of the network's own loss. How far a gradient may be off is not
chosen but derived: from how exact the derivative is, and from what rounding does to the gradient of this
network on these samples (`fastmlp.gradcheck.rounding`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fastmlp._names import check_name
from fastmlp._text import counted
from fastmlp.backends.base import Batch, Floats, Indices
from fastmlp.data import make_batch
from fastmlp.gradcheck import complex_step
from fastmlp.gradcheck.central_differences import central_differences
from fastmlp.gradcheck.diagnosis import INPUT_SCALE, Entries, explain
from fastmlp.gradcheck.inputs import as_gradient
from fastmlp.gradcheck.report import BEFORE_LAYERS, GradientReport, TensorCheck
from fastmlp.gradcheck.rounding import GradientNoise, batch_noise, shares_of_bound, tensors
from fastmlp.network import MLP
from fastmlp.parameters import Parameters

# A complex step does not truncate. What is left in binary64 is the rounding of some hundred operations, a few
# 1e-14 of the tensor's largest entry, and room for sums that cancel.
COMPLEX_STEP_ERROR = 1e-12


def check_gradients(
    net: MLP,
    X: object,
    Y: object,
    *,
    sample_weight: object = None,
    gradient: object = None,
    method: str = "complex",
    max_parameters: int = 2000,
    seed: int = 0,
) -> GradientReport:
    """Check a gradient, the network's own or yours, against the derivative of the loss.

    Parameters
    ----------
    net : MLP
    X : array_like of shape (n_samples, n_in)
    Y : array_like of shape (n_samples, n_out), or (n_samples,)
    sample_weight : array_like of shape (n_samples,), optional
    gradient : Parameters, ndarray of shape (n_params,), or sequence of ndarray, optional
        What to check. The flat vector and the sequence are in the order W0, b0, W1, b1, ..., a W of shape
        (fan_in, fan_out), a b of shape (fan_out,), and an input scale of shape (n_in,) last. By default the
        gradient of ``net.loss_and_gradient``.
    method : {"complex", "central"}
        What it is held against: complex steps, or central differences of ``net.loss``, which see five digits
        less but contain nothing but the network itself.
    max_parameters : int
        A network with more has a random sample of so many checked, from every tensor.
    seed : int
        Of that sample.

    Returns
    -------
    GradientReport
        True when the gradient is right. ``str(report)`` is a table, and a sentence on where it is wrong.

    Raises
    ------
    TypeError, ValueError
        If the data is not what the network takes, or `gradient` has other shapes than the parameters.

    Notes
    -----
    A parameter may be off by 16 sigma of rounding in the network's dtype (in that of `gradient`, where it is
    coarser) and by the error of the derivative: 1e-12 of the tensor's largest entry for a complex step, and
    for a central difference what a second step size shows. Dropout is for training and plays no part.

    Examples
    --------
    >>> import fastmlp
    >>> net = fastmlp.MLP((2, 3, 1), activation="tanh", dtype="float64", seed=0)
    >>> X, y = [[0, 1], [1, 1]], [1, 0]
    >>> bool(check_gradients(net, X, y))
    True
    >>> loss, gradient = net.loss_and_gradient(X, y)
    >>> gradient.weights[0][...] *= 2
    >>> report = check_gradients(net, X, y, gradient=gradient)
    >>> bool(report), report.first_wrong.name, report.explanation
    (False, 'weights[0]', 'weights[0] is 2 times the gradient: ...')
    """
    check_name("method", method, _METHODS)
    batch = make_batch(net.spec, X, Y, sample_weight)
    if gradient is None:
        gradient = net.loss_and_gradient(batch.X, batch.Y, batch.weights)[1]
    given, dtype = as_gradient(net.spec, gradient)
    noise = batch_noise(net.spec, net.parameters, batch, dtype)
    indices = _sample([tensor.size for tensor in tensors(given)], max_parameters, seed)
    expected, errors = _METHODS[method](net, batch, indices, noise)
    entries = _by_tensor(given, indices, expected, noise.bound[indices] + errors)
    table = tuple(map(_check, entries, _scales(noise)))
    report = GradientReport(_title(net, batch, method), table, note=noise.undecided_note)
    if report:
        return report
    wrong = entries[table.index(report.first_wrong)]
    return replace(report, explanation=explain(wrong, net.spec, net.parameters, batch))


def _title(net: MLP, batch: Batch, method: str) -> str:
    against = {"complex": "complex steps", "central": "central differences"}[method]
    return f"Gradient of {net.spec.describe()}, on {counted(len(batch.X), 'sample')}, against {against}"


# ---- what a gradient is held against: the derivatives of some parameters, and how far off these may be

Method = Callable[[MLP, Batch, Indices, GradientNoise], tuple[Floats, Floats]]


def _by_complex_step(net: MLP, batch: Batch, indices: Indices, noise: GradientNoise) -> tuple[Floats, Floats]:
    errors = COMPLEX_STEP_ERROR * np.repeat(_scales(noise), [t.size for t in tensors(noise.gradient)])
    return complex_step.gradient(net.spec, net.parameters, batch, indices), errors[indices]


def _by_differences(net: MLP, batch: Batch, indices: Indices, _: GradientNoise) -> tuple[Floats, Floats]:
    return central_differences(net, batch, indices)


_METHODS: dict[str, Method] = {"complex": _by_complex_step, "central": _by_differences}


def _scales(noise: GradientNoise) -> list[float]:
    """Return the largest entry of every tensor."""
    return [float(np.max(np.abs(tensor))) for tensor in tensors(noise.gradient)]


# ---- the parameters checked


def _sample(sizes: list[int], most: int, seed: int) -> Indices:
    """Return at most so many positions, ascending: small tensors whole, the others in equal parts."""
    if most < len(sizes):
        msg = f"max_parameters is {most}; expected at least {len(sizes)}, one for each of W0, b0, W1, b1, ..."
        raise ValueError(msg)
    generator = np.random.default_rng(seed)
    starts = np.cumsum([0, *sizes])
    chosen, left = [], most
    for n_done, tensor in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        share = min(sizes[tensor], left // (len(sizes) - n_done))
        chosen.append(starts[tensor] + generator.choice(sizes[tensor], share, replace=False))
        left -= share
    return np.sort(np.concatenate(chosen))


def _by_tensor(given: Parameters, indices: Indices, expected: Floats, bound: Floats) -> list[Entries]:
    """Return the checked entries of every tensor."""
    result, start = [], 0
    for i, tensor in enumerate(tensors(given)):
        here = (indices >= start) & (indices < start + tensor.size)
        kind, layer = ("biases" if i % 2 else "weights"), i // 2
        if tensor is given.input_scale:
            kind, layer = INPUT_SCALE, BEFORE_LAYERS
        result.append(Entries(kind, layer, tensor, indices[here] - start, expected[here], bound[here]))
        start += tensor.size
    return result


def _check(entries: Entries, scale: float) -> TensorCheck:
    with np.errstate(invalid="ignore"):  # inf - inf
        differences = np.abs(entries.values - entries.expected)
    shares = shares_of_bound(differences, entries.bound)
    worst = int(np.argmax(shares))
    difference = float(differences[worst])
    place = ", ".join(map(str, np.unravel_index(entries.positions[worst], entries.given.shape)))
    return TensorCheck(
        name=entries.name,
        layer=entries.layer,
        shape=entries.given.shape,
        n_checked=entries.positions.size,
        worst=f"{entries.name}[{place}]",
        value=float(entries.values[worst]),
        expected=float(entries.expected[worst]),
        difference=difference,
        bound=float(entries.bound[worst]),
        relative_error=_ratio(difference, scale),
        ok=bool(shares[worst] <= 1.0),
    )


def _ratio(difference: float, scale: float) -> float:
    if difference == 0.0:
        return 0.0
    return difference / scale if scale > 0.0 and math.isfinite(difference) else math.inf
