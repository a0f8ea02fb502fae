"""An optimizer whose steps differ from layer to layer, and between weights and biases."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastmlp.groups import Factors, ParameterGroups
from fastmlp.optimizers import Coefficients, Optimizer, Powers, as_optimizer
from fastmlp.schedules import Schedule

if TYPE_CHECKING:
    from fastmlp.spec import NetworkSpec

NTK = "ntk"
_TINY = float(np.finfo(np.float64).tiny)

PerLayerNumbers = float | Sequence[float]


@dataclass(frozen=True)
class PerLayer(Optimizer):
    """An optimizer whose learning rate is multiplied by factors, for each layer's weights and biases.

    Parameters
    ----------
    optimizer : str or Optimizer
        What makes the steps: a name as for `MLP.fit`, or one such as ``fastmlp.Adam(lr=1e-3)``.
    weights, biases : float or sequence of float
        Factors on its learning rate, not below 0: one for all layers, or one for each, the output's last. What
        AdamW's decay takes away follows the rate. What a factor of 0 is for stays as it is.
    multipliers : float, sequence of float, or "ntk"
        Steps are such as if weights W were c times the parameters V that are trained, ``Z = c * A @ V + b``: c for
        all layers, or one for each, above 0. "ntk" is ``1 / sqrt(fan_in)``, the neural tangent parametrisation.
    input_scale : float
        The factor on the rate of a network's input scale, not below 0; 1 for a network without one.

    Attributes
    ----------
    lr : float or schedule
        That of the optimizer.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; when a fit begins, if there are not as many numbers as layers, or a factor
        for an input scale that is not there.

    Notes
    -----
    With W = c V, the gradient with respect to V is c times that with respect to W. So SGD on V moves W by
    ``c**2 lr g``, and Adam on V moves it by ``c lr m / (sqrt(v) + eps / c)``, m and v being the means of W's own
    gradient: other coefficients of the same rules, and no other arithmetic. Decay shrinks W as it shrinks V. An l2 of
    the network is one on W.

    References
    ----------
    A. Jacot et al., *Neural Tangent Kernel*, 2018. G. Yang and E. J. Hu, *Feature Learning in Infinite-Width Neural
    Networks*, 2021: parameter multipliers and learning rates of layers. D. Holzmueller et al., *Better by Default:
    Strong Pre-Tuned MLPs and Boosted Trees on Tabular Data*, 2024: a recipe with both.

    Examples
    --------
    >>> from fastmlp import MLP, Adam, PerLayer
    >>> net = MLP((2, 8, 1), "tanh", seed=0)
    >>> optimizer = PerLayer(Adam(lr=0.05), biases=0.1, multipliers="ntk")
    >>> history = net.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], optimizer=optimizer, epochs=200)
    >>> history.loss[-1] < 0.01 * history.loss[0]
    True
    """

    lr: float | Schedule = field(init=False, repr=False, compare=False)
    optimizer: str | Optimizer = "adam"
    weights: PerLayerNumbers = 1.0
    biases: PerLayerNumbers = 1.0
    multipliers: PerLayerNumbers | str = 1.0
    input_scale: float = 1.0

    def __post_init__(self) -> None:
        inner = as_optimizer(self.optimizer)
        if isinstance(inner, PerLayer):
            msg = f"optimizer is {inner!r}, which is a PerLayer already; multiply the factors of both in one"
            raise TypeError(msg)
        set_field = object.__setattr__  # the fields of a frozen dataclass, checked and made hashable
        set_field(self, "optimizer", inner)
        set_field(self, "lr", inner.lr)
        for name in ("weights", "biases"):
            set_field(self, name, _numbers(name, getattr(self, name), least=0.0))
        set_field(self, "input_scale", _number("input_scale", self.input_scale, 0.0, ""))
        if not (isinstance(self.multipliers, str) and self.multipliers == NTK):
            set_field(
                self, "multipliers", _numbers("multipliers", self.multipliers, least=_TINY, other=f", or {NTK!r}")
            )

    @property
    def _inner(self) -> Optimizer:
        return as_optimizer(self.optimizer)

    @property
    def rule(self) -> str:  # type: ignore[override]  # there it is the class's, here that of what it wraps
        """The name of the rule that the optimizer has."""
        return self._inner.rule

    @property
    def has_constant_rate(self) -> bool:
        """Whether the optimizer has."""
        return self._inner.has_constant_rate

    def over(self, n_steps: int) -> PerLayer:
        """Return the same around an optimizer with its schedule's length filled in."""
        return replace(self, optimizer=self._inner.over(n_steps))

    def rates(self, first_step: int, n_steps: int) -> NDArray[np.float64]:
        """Return what the optimizer does: the rates before any factor."""
        return self._inner.rates(first_step, n_steps)

    def coefficients(self, rates: NDArray[np.float64], powers: Powers) -> tuple[Coefficients, Powers]:
        """Return what the optimizer does."""
        return self._inner.coefficients(rates, powers)

    def decay(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the optimizer does."""
        return self._inner.decay(rates)

    def groups(self, spec: NetworkSpec) -> ParameterGroups:
        """Return the groups of parameters whose factors are equal.

        Raises
        ------
        ValueError
            If there are not as many factors as the network has layers, or one for an input scale that it has not.
        """
        n = spec.n_layers
        if self.input_scale != 1.0 and not spec.input_scale:
            msg = (
                f"PerLayer: input_scale is {self.input_scale}, but this network has none; build it with "
                "input_scale=True, or leave the factor out"
            )
            raise ValueError(msg)
        if isinstance(self.multipliers, str):
            multipliers = tuple(1.0 / math.sqrt(fan_in) for fan_in, _ in spec.shapes)
        else:
            multipliers = _spread("multipliers", self.multipliers, n)
        of_weights = map(Factors, _spread("weights", self.weights, n), multipliers)
        of_biases = (Factors(rate) for rate in _spread("biases", self.biases, n))
        layers = list(zip(of_weights, of_biases, strict=True))
        of_scale = (Factors(self.input_scale),) if spec.input_scale else ()
        distinct = tuple(dict.fromkeys((*chain.from_iterable(layers), *of_scale)))
        places = tuple((distinct.index(W), distinct.index(b)) for W, b in layers)
        return ParameterGroups(distinct, places, *map(distinct.index, of_scale))


def _numbers(name: str, value: object, *, least: float, other: str = "") -> float | tuple[float, ...]:
    """Return a number as a float, or several as a tuple of them; `other` is what else there could be."""
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes):
        return tuple(_number(f"{name}[{i}]", one, least, "") for i, one in enumerate(value))
    expected = ", one for each layer" if other else ", or one for each layer"
    return _number(name, value, least, f"{expected}{other}")


def _number(name: str, value: object, least: float, or_else: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"PerLayer: {name} is {value!r}; expected a number{or_else}"
        raise TypeError(msg)
    if not least <= float(value) < math.inf:
        limit = "not below 0" if least == 0.0 else "above 0"
        msg = f"PerLayer: {name} is {value!r}; expected a finite number {limit}"
        raise ValueError(msg)
    return float(value)


def _spread(name: str, value: PerLayerNumbers, n_layers: int) -> tuple[float, ...]:
    """Return a number for each layer."""
    if isinstance(value, float | int):
        return (value,) * n_layers
    if len(value) != n_layers:
        msg = (
            f"PerLayer: {name} has {len(value)} numbers, but this network has {n_layers} layers; give one number, or "
            "one for each of them"
        )
        raise ValueError(msg)
    return tuple(value)
