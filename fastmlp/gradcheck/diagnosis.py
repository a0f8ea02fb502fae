"""What a wrong gradient looks like: the mistakes that people make, tried one after the other.

A mistake is named only when it explains the tensor to within rounding: what remains must be within the bound,
and a thousandth of what was wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastmlp._text import counted
from fastmlp.backends.base import Batch, Floats, Indices
from fastmlp.gradcheck.passes import Passes, exact
from fastmlp.losses import LOSSES
from fastmlp.parameters import Parameters
from fastmlp.spec import NetworkSpec

_REMAINS = 1e-3
INPUT_SCALE = "input_scale"


@dataclass(frozen=True)
class Entries:
    """Entries of one tensor of a gradient, beside what they should be.

    Attributes
    ----------
    kind, layer : str, int
        "weights" or "biases", and of which layer; or "input_scale", and -1.
    given : ndarray
        The tensor, whole.
    positions : ndarray of shape (k,), int64
        The entries checked, positions in the flattened tensor.
    expected, bound : ndarray of shape (k,)
        What they should be, and how far off they may be.
    """

    kind: str
    layer: int
    given: Floats
    positions: Indices
    expected: Floats
    bound: Floats

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.kind if self.kind == INPUT_SCALE else f"{self.kind}[{self.layer}]"

    def of(self, parameters: Parameters) -> Floats:
        """Return these entries of some parameters."""
        own = getattr(parameters, self.kind)
        tensor = own if self.kind == INPUT_SCALE else own[self.layer]
        entries: Floats = tensor.ravel()[self.positions]
        return entries

    @property
    def values(self) -> Floats:
        """The entries checked."""
        return self.given.ravel()[self.positions]

    def is_explained(self, values: Floats, candidate: Floats, factor: float = 1.0) -> bool:
        """Tell whether `values` are `candidate`, whose errors may be `factor` times the bound."""
        remains = np.abs(values - candidate)
        wrong = float(np.max(np.abs(self.values - self.expected)))
        within = remains <= max(1.0, abs(factor)) * self.bound
        return bool(within.all()) and float(remains.max()) <= _REMAINS * wrong


def explain(entries: Entries, spec: NetworkSpec, parameters: Parameters, batch: Batch) -> str:
    """Return a sentence on what the tensor is in place of the gradient; "" where no simple mistake fits."""
    if not (np.isfinite(entries.values).all() and np.isfinite(entries.expected).all()):
        return ""
    if not entries.given.any():
        return f"{entries.name} is 0 everywhere: is it left out?"
    return (
        _ratio(entries, spec, parameters, batch)
        or _transposed(entries)
        or _wrong_penalty(entries, spec, parameters)
        or _wrong_pass(entries, Passes(spec, parameters, batch, spec.dtype))
    )


def _penalty(entries: Entries, spec: NetworkSpec, parameters: Parameters) -> Floats:
    """Return what l2 adds to a weight's gradient (and would add to another's)."""
    return spec.l2 * entries.of(parameters).astype(np.float64)


def _ratio(entries: Entries, spec: NetworkSpec, parameters: Parameters, batch: Batch) -> str:
    """Recognise a constant times the gradient, or times what of it is not l2's."""
    penalty = _penalty(entries, spec, parameters)
    found = _ratio_of(entries, np.zeros_like(penalty), spec, batch)
    if not found and entries.kind == "weights" and penalty.any():
        found = _ratio_of(entries, penalty, spec, batch)
    return found


def _ratio_of(entries: Entries, apart: Floats, spec: NetworkSpec, batch: Batch) -> str:
    """Recognise ``apart`` plus a constant times the rest."""
    values, expected = entries.values - apart, entries.expected - apart
    what = f"{entries.name} without its l2 term" if apart.any() else entries.name
    for factor, words in _known_factors(spec, batch):
        if entries.is_explained(values, factor * expected, factor):
            return f"{what} is {factor:.6g} times the gradient: {words}?"
    size = float(expected @ expected)
    factor = float(values @ expected) / size if size > 0.0 else 0.0
    if values.size > 1 and entries.is_explained(values, factor * expected, factor):
        return f"{what} is {factor:.7g} times the gradient: is a step or other constant in it?"
    return ""


def _known_factors(spec: NetworkSpec, batch: Batch) -> Iterator[tuple[float, str]]:
    """Yield the constants that a gradient is mistakenly multiplied with, and how it happens."""
    n, total = len(batch.X), batch.total
    samples = counted(n, "sample")
    yield -1.0, "is a sign turned"
    for sign, also in ((1.0, ""), (-1.0, " and a sign turned")):
        if batch.weights is not None:
            yield sign * total, f"is the division by the weights' sum, {total:g}, missing{also}"
            yield sign * total / n, f"is it divided by {samples}, not by the weights' sum, {total:g}{also}"
        else:
            yield sign * n, f"is the division by the batch, {samples}, missing{also}"
            yield sign / n, f"is it divided by the batch, {samples}, twice{also}"
        if LOSSES[spec.loss].averaged:
            yield sign * spec.n_outputs, f"is the division by {spec.n_outputs} outputs missing{also}"
            yield sign * n * spec.n_outputs, f"are the divisions by batch and outputs missing{also}"
        yield sign * 2.0, f"is there a 2 too many{also}"
        yield sign * 0.5, f"is a 2 missing{also}"


def _transposed(entries: Entries) -> str:
    """Recognise the transpose of a square tensor."""
    given = entries.given
    if given.shape != given.T.shape or given.ndim == 1:
        return ""
    if entries.is_explained(given.T.ravel()[entries.positions], entries.expected):
        return f"{entries.name} is the gradient transposed: its shape is (fan_in, fan_out)."
    return ""


def _wrong_penalty(entries: Entries, spec: NetworkSpec, parameters: Parameters) -> str:
    """Recognise a wrong l2 term."""
    penalty = _penalty(entries, spec, parameters)
    for times, words in _PENALTIES[entries.kind]:
        if entries.is_explained(entries.values, entries.expected + times * penalty):
            return f"{entries.name} is the gradient, but {words}."
    return ""


_PENALTIES = {
    "weights": (
        (-1.0, "the l2 term is missing"),
        (1.0, "the l2 term is twice in it"),
        (-2.0, "the sign of the l2 term is turned"),
    ),
    "biases": ((1.0, "with an l2 term, which is for weights alone"),),
    INPUT_SCALE: ((1.0, "with an l2 term, which is for weights alone"),),
}


def _wrong_pass(entries: Entries, passes: Passes) -> str:
    """Recognise a backward pass that leaves an activation's derivative out, or takes the wrong input of a layer."""
    size = float(np.max(np.abs(entries.expected)))
    with np.errstate(all="ignore"):
        candidates = list(_wrong_passes(entries, passes))
    for candidate, words in candidates:
        factor = float(np.max(np.abs(candidate))) / size if size > 0.0 else math.inf
        if math.isfinite(factor) and entries.is_explained(entries.values, candidate, factor):
            return f"{entries.name} is what comes {words}."
    return ""


def _wrong_passes(entries: Entries, passes: Passes) -> Iterator[tuple[Floats, str]]:
    """Yield what the entries would be in mistaken backward passes."""
    trace = passes.forward(exact)
    for layer in range(passes.spec.n_layers - 1, max(entries.layer, 0) - 1, -1):
        gradient = passes.backward(trace, exact, without_slope=layer).gradient
        name = passes.spec.all_activations[layer]
        yield entries.of(gradient), f"without the derivative of layer {layer}'s activation, {name}"
    if entries.kind == INPUT_SCALE:
        by_scaled = passes.backward(trace, exact).deltas[0] @ passes.parameters.weights[0].T
        yield (trace.A[0] * by_scaled).sum(axis=0)[entries.positions], "from the scaled input in place of the input"
    if entries.kind == "weights":
        delta = passes.backward(trace, exact).deltas[entries.layer]
        penalty = passes.l2 * passes.parameters.weights[entries.layer]
        for source, words in ((passes.X, "the network's input"), (passes.Y, "the target")):
            if source.shape[1] == len(penalty):
                candidate = source.T @ delta + penalty
                yield candidate.ravel()[entries.positions], f"from {words} in place of the layer's own"
