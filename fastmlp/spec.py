"""What a network is, without its parameters: validated once, never changed, hashable."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from fastmlp._names import check_name
from fastmlp.activations import HIDDEN_ACTIVATIONS, OUTPUT_ACTIVATIONS, SOFTMAX
from fastmlp.losses import LOSSES

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class NetworkSpec:
    """A network's structure, loss and regularisation.

    Parameters
    ----------
    layer_sizes : tuple of int
        (n_in, *hidden, n_out).
    activations : tuple of str
        One for each hidden layer.
    output_activation : str
        One of `fastmlp.activations.OUTPUT_ACTIVATIONS`.
    loss : str
        One of `fastmlp.losses.LOSSES` that makes sense with the output activation.
    dtype : str
        "float32" or "float64": of parameters, activations and gradients.
    l2 : float
        The loss has ``0.5 * l2 * sum(W**2)`` added, over weights, not biases.
    dropout : float
        Probability with which a hidden output is dropped during a fit, in [0, 1).
    input_scale : bool
        Whether each feature is multiplied with a parameter before it enters the first layer.

    Raises
    ------
    TypeError, ValueError
        If a field is not as described; the message says which, and what was expected.
    """

    layer_sizes: tuple[int, ...]
    activations: tuple[str, ...]
    output_activation: str = "identity"
    loss: str = "mse"
    dtype: str = "float32"
    l2: float = 0.0
    dropout: float = 0.0
    input_scale: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self.layer_sizes)
        if len(self.activations) != len(self.layer_sizes) - 2:
            msg = (
                f"activation has {len(self.activations)} names, but layer_sizes={self.layer_sizes} has "
                f"{len(self.layer_sizes) - 2} hidden layers; give one name, or one for each of them"
            )
            raise ValueError(msg)
        for name in self.activations:
            check_name("activation", name, HIDDEN_ACTIVATIONS)
        check_name("output_activation", self.output_activation, OUTPUT_ACTIVATIONS)
        check_name("loss", self.loss, LOSSES)
        check_name("dtype", self.dtype, DTYPES)
        _check_pair(self.loss, self.output_activation, self.n_outputs)
        _check_number("l2", self.l2, math.inf)
        _check_number("dropout", self.dropout, 1.0)

    @property
    def n_inputs(self) -> int:
        """Number of features of a sample."""
        return self.layer_sizes[0]

    @property
    def n_outputs(self) -> int:
        """Number of outputs for a sample."""
        return self.layer_sizes[-1]

    @property
    def n_layers(self) -> int:
        """Number of weight matrices."""
        return len(self.layer_sizes) - 1

    @cached_property
    def n_params(self) -> int:
        """Number of weights and biases, and of the factors of features if there are any."""
        n_factors = self.n_inputs if self.input_scale else 0
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.shapes) + n_factors

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(fan_in, fan_out) of every layer."""
        return tuple(pairwise(self.layer_sizes))

    @cached_property
    def all_activations(self) -> tuple[str, ...]:
        """One name for each layer, the output's last."""
        return (*self.activations, self.output_activation)

    @property
    def is_linked(self) -> bool:
        """Whether the output activation is the natural link of the loss, so that delta is a - y."""
        return LOSSES[self.loss].link == self.output_activation

    def describe(self) -> str:
        """Return the network in one line: sizes, activations, loss."""
        sizes = "-".join(map(str, self.layer_sizes))
        hidden = ", ".join(dict.fromkeys(self.activations)) or "no hidden layer"
        scale = ", input scale" if self.input_scale else ""
        return f"{sizes}, {hidden}, {self.output_activation} output, {self.loss}, {self.dtype}{scale}"


def make_spec(
    layer_sizes: Sequence[int],
    activation: str | Sequence[str],
    output_activation: str,
    loss: str,
    *,
    dtype: object,
    l2: float,
    dropout: float,
    input_scale: bool = False,
) -> NetworkSpec:
    """Return the spec for a user's arguments: one activation name may stand for all hidden layers."""
    sizes = _as_sizes(layer_sizes)
    if isinstance(activation, str) or not isinstance(activation, Sequence):
        check_name("activation", activation, HIDDEN_ACTIVATIONS)  # also where there is no hidden layer
    names = (activation,) * (len(sizes) - 2) if isinstance(activation, str) else tuple(activation)
    return NetworkSpec(sizes, names, output_activation, loss, _dtype_name(dtype), l2, dropout, bool(input_scale))


def _as_sizes(layer_sizes: Sequence[int]) -> tuple[int, ...]:
    if isinstance(layer_sizes, str | bytes) or not isinstance(layer_sizes, Sequence | np.ndarray):
        msg = f"layer_sizes is {layer_sizes!r}; expected a sequence of integers such as (n_in, hidden, n_out)"
        raise TypeError(msg)
    sizes = tuple(layer_sizes)
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, numbers.Integral):
            msg = f"layer_sizes holds {size!r}; expected integers such as (n_in, hidden, n_out)"
            raise TypeError(msg)
    return tuple(int(size) for size in sizes)


def _dtype_name(dtype: object) -> str:
    if isinstance(dtype, str):
        return dtype
    try:
        return np.dtype(dtype).name  # type: ignore[call-overload, no-any-return]
    except TypeError:
        msg = f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}"
        raise TypeError(msg) from None


def _check_sizes(sizes: tuple[int, ...]) -> None:
    if len(sizes) < 2:  # noqa: PLR2004  an input and an output
        msg = f"layer_sizes is {sizes}; expected at least two sizes, (n_in, n_out)"
        raise ValueError(msg)
    if min(sizes) < 1:
        msg = f"layer_sizes is {sizes}; expected every size to be at least 1"
        raise ValueError(msg)


def _check_pair(loss: str, output: str, n_outputs: int) -> None:
    outputs = LOSSES[loss].outputs
    if output not in outputs:
        pairs = ", ".join(f"{loss} with {name}" for name in outputs)
        losses = ", ".join(name for name, row in LOSSES.items() if output in row.outputs)
        msg = (
            f"loss {loss!r} makes no sense with output_activation {output!r}; use {pairs}, "
            f"or keep {output} with one of {losses}"
        )
        raise ValueError(msg)
    if output == SOFTMAX and n_outputs == 1:
        msg = "softmax over one output is always 1; use two outputs or more, or sigmoid with binary_cross_entropy"
        raise ValueError(msg)


def _check_number(what: str, value: object, below: float) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"{what} is {value!r}; expected a number"
        raise TypeError(msg)
    if not 0 <= float(value) < below:
        limit = "a finite number not below 0" if below == math.inf else f"a number in [0, {below:g})"
        msg = f"{what} is {value!r}; expected {limit}"
        raise ValueError(msg)
