"""The optimizers: what changes from step to step is computed here, the arithmetic of a step is a rule.

A rule is elementwise over the flat vector of parameters and its states, and the same in every backend. What
varies (rate, bias corrections, epsilon) comes as one row of coefficients a step. Two rules serve all four
optimizers, any schedule, and whatever else can be written into their coefficients.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp._names import check_name
from fastmlp.elementary import sqrt
from fastmlp.groups import ONE_GROUP, ParameterGroups
from fastmlp.schedules import Constant, Schedule, as_schedule

if TYPE_CHECKING:
    from fastmlp.spec import NetworkSpec

Coefficients = NDArray[np.float64]

N_COEFFICIENTS = 6
Powers = tuple[float, float]


@dataclass(frozen=True)
class Rule:
    """The arithmetic of a step for one parameter w, its gradient g, its states s and t, and a row c.

    Attributes
    ----------
    states : callable
        The new states, from (g, s, t, c). A backend rounds them to the network's dtype before it goes on.
    parameter : callable
        The new parameter, from (w, g, s, t, c) with the new states.
    n_states : int
        How many of the two states the rule uses; the others are handed through.
    multiplied : tuple of int
        Where w is m times the parameter that is trained, coefficient i is multiplied with m to the power
        ``multiplied[i]``. With g and the states those of w itself, the step is then that of the trained one.
    """

    states: Callable[[Any, Any, Any, Any], tuple[Any, Any]]
    parameter: Callable[[Any, Any, Any, Any, Any], Any]
    n_states: int
    multiplied: tuple[int, ...]


def momentum_states(g: Any, s: Any, t: Any, c: Any) -> Any:
    """Return the velocity mu s - lr g."""
    return c[1] * s - c[0] * g, t


def momentum_parameter(w: Any, g: Any, s: Any, t: Any, c: Any) -> Any:
    """Return w + s, or Nesterov's w + mu s - lr g."""
    return w + (c[2] * s - c[3] * (c[0] * g))


def adam_states(g: Any, s: Any, t: Any, c: Any) -> Any:
    """Return the running means of g and of g**2."""
    return c[2] * s + c[3] * g, c[4] * t + c[5] * (g * g)


def adam_parameter(w: Any, g: Any, s: Any, t: Any, c: Any) -> Any:
    """Return w - a s / (sqrt(t) + e)."""
    return w - (c[0] * s) / (sqrt(t) + c[1])


RULES = {
    "momentum": Rule(momentum_states, momentum_parameter, n_states=1, multiplied=(2, 0, 0, 0, 0, 0)),
    "adam": Rule(adam_states, adam_parameter, n_states=2, multiplied=(1, -1, 0, 0, 0, 0)),
}


class Numbers(NamedTuple):
    """What a run of steps gets from an optimizer.

    Attributes
    ----------
    coefficients : ndarray of shape (n_steps, 6 n_groups), float64
        A row of coefficients for each group, side by side.
    decay : ndarray of shape (n_steps, n_groups), float64
    powers : tuple of float
        The optimizer's running products to go on with.
    """

    coefficients: Coefficients
    decay: NDArray[np.float64]
    powers: Powers


@dataclass(frozen=True)
class Optimizer(ABC):
    """What an optimizer is to a fit: the name of a rule, and rows of coefficients for it.

    To write one, derive a frozen dataclass, name the rule, and compute the rows.

    Parameters
    ----------
    lr : float or schedule
        The learning rate, or what gives it for a step.
    """

    rule: ClassVar[str]
    lr: float | Schedule = field(default=1e-3)

    def over(self, n_steps: int) -> Optimizer:
        """Return the optimizer with its schedule's length filled in, where that was left to the fit."""
        return replace(self, lr=as_schedule(self.lr).over(n_steps))

    @property
    def has_constant_rate(self) -> bool:
        """Whether the learning rate is the same at every step: what is asked for is then asked for many epochs ahead.

        An optimizer of one's own says False where what it returns depends on more than the steps and what it is given.
        """
        return isinstance(as_schedule(self.lr), Constant)

    def rates(self, first_step: int, n_steps: int) -> NDArray[np.float64]:
        """Return the learning rate of each of `n_steps` steps, the first of them `first_step`."""
        schedule = as_schedule(self.lr)
        if isinstance(schedule, Constant):
            return np.full(n_steps, schedule(first_step))
        return np.fromiter(map(schedule, range(first_step, first_step + n_steps)), np.float64, n_steps)

    @abstractmethod
    def coefficients(self, rates: NDArray[np.float64], powers: Powers) -> tuple[Coefficients, Powers]:
        """Return a row of coefficients for each rate, and the running products to go on with.

        Parameters
        ----------
        rates : ndarray of shape (n_steps,), float64
        powers : tuple of float
            Running products of the optimizer's own up to the first of these steps; (1, 1) at the start. They must not
            depend on the rates, which differ between groups of parameters.

        Returns
        -------
        coefficients : ndarray of shape (n_steps, 6), float64
        powers : tuple of float
        """

    def decay(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of each weight (not bias) that each step takes away before its update."""
        return np.zeros_like(rates)

    def groups(self, spec: NetworkSpec) -> ParameterGroups:
        """Return which of a network's parameters get the same numbers at a step: all of them."""
        return ONE_GROUP

    def numbers(self, groups: ParameterGroups, rates: NDArray[np.float64], powers: Powers) -> Numbers:
        """Return what a run of steps with these rates gets, group by group."""
        rows, decays, after = [], [], powers
        for factors in groups.factors:
            own_rates = rates if factors.rate == 1.0 else rates * factors.rate
            own, after = self.coefficients(own_rates, powers)
            own = self._shaped("coefficients", own, (rates.size, N_COEFFICIENTS))
            rows.append(own if factors.multiplier == 1.0 else own * _multiples(self.rule, factors.multiplier))
            decays.append(self._shaped("decay", self.decay(own_rates), (rates.size,))[:, None])
        return Numbers(_side_by_side(rows), _side_by_side(decays), after)

    def _shaped(self, method: str, values: object, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return what a method computed, in C order: backends read it without another look."""
        array = np.ascontiguousarray(values, np.float64)
        if array.shape != shape:
            name = f"{type(self).__name__}.{method}"
            msg = f"{name} returned an array of shape {array.shape}; expected {shape}, a row for each rate"
            raise ValueError(msg)
        return array

    def _check(self, **bounds: tuple[float, float]) -> None:
        """Raise unless each named field is a number in [low, high), or above 0 where low is negative zero."""
        as_schedule(self.lr)
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                msg = f"{type(self).__name__}: {name} is {value!r}; expected a number"
                raise TypeError(msg)
            if not low <= float(value) < high:
                msg = f"{type(self).__name__}: {name} is {value!r}; expected a number in [{low:g}, {high:g})"
                raise ValueError(msg)


_BELOW_ONE = (0.0, 1.0)
_POSITIVE = (np.finfo(np.float64).tiny, math.inf)


def _rows(n_steps: int, *columns: Any) -> Coefficients:
    rows = np.empty((n_steps, N_COEFFICIENTS))
    for i, column in enumerate(columns):
        rows[:, i] = column
    rows[:, len(columns) :] = 0.0
    return rows


def _side_by_side(columns: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return arrays of as many rows as one, in C order; mostly there is but one, and it is not copied."""
    return np.ascontiguousarray(columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1))


def _multiples(rule: str, multiplier: float) -> NDArray[np.float64]:
    """Return what the coefficients of a rule are multiplied with, where parameters are multiples of the trained."""
    powers = {-1: 1.0 / multiplier, 0: 1.0, 1: multiplier, 2: multiplier * multiplier}
    return np.array([powers[power] for power in RULES[rule].multiplied])


def _running_product(start: float, factor: float, n_steps: int) -> NDArray[np.float64]:
    """Return start * factor, start * factor**2, ...: one rounding after the other, as a loop would.

    A product too small to be seen beside 1 is 0, and so are all after it: they only ever are taken from 1.
    """
    products, n_seen = np.zeros(n_steps), 0
    if start > 0.0 and factor > 0.0:  # two more than that, lest a logarithm is off
        n_seen = min(n_steps, 2 + max(0, int(math.log(_UNSEEN / start) / math.log(factor))))
    seen = products[:n_seen]
    seen[...] = factor
    seen[:1] *= start
    np.multiply.accumulate(seen, out=seen)
    seen[seen < _UNSEEN] = 0.0
    return products


_UNSEEN = 2.0**-60


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted: ``v = mu v - lr g; w += v``.

    Parameters
    ----------
    lr : float or schedule
    momentum : float
        mu, in [0, 1).
    nesterov : bool
        Step with ``w += mu v - lr g``: the gradient's part a step ahead.

    References
    ----------
    I. Sutskever et al., *On the importance of initialization and momentum in deep learning*, 2013.
    """

    rule: ClassVar[str] = "momentum"
    lr: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        self._check(momentum=_BELOW_ONE)

    def coefficients(self, rates: NDArray[np.float64], powers: Powers) -> tuple[Coefficients, Powers]:
        """Return lr, mu, and the shares of the velocity and of the gradient's own step."""
        velocity, ahead = (self.momentum, 1.0) if self.nesterov else (1.0, 0.0)
        return _rows(rates.size, rates, self.momentum, velocity, ahead), powers


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: ``m`` and ``v`` are running means of g and g**2, corrected for starting at zero.

    With t steps done, ``w -= lr m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)``.

    Parameters
    ----------
    lr : float or schedule
    beta1, beta2 : float
        In [0, 1).
    eps : float
        Above 0.

    References
    ----------
    D. P. Kingma and J. Ba, *Adam: A Method for Stochastic Optimization*, 2015: algorithm 1, in the form of
    the remark at the end of its section 2, with epsilon scaled so that both forms are equal.
    """

    rule: ClassVar[str] = "adam"
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        self._check(beta1=_BELOW_ONE, beta2=_BELOW_ONE, eps=_POSITIVE)

    def coefficients(self, rates: NDArray[np.float64], powers: Powers) -> tuple[Coefficients, Powers]:
        """Return the corrected rate and epsilon, then the weights of the running means."""
        if not rates.size:
            return _rows(0), powers
        power1 = _running_product(powers[0], self.beta1, rates.size)
        power2 = _running_product(powers[1], self.beta2, rates.size)
        correction = np.sqrt(1.0 - power2)
        a = rates * correction / (1.0 - power1)
        rows = _rows(rates.size, a, self.eps * correction, self.beta1, 1.0 - self.beta1, self.beta2, 1.0 - self.beta2)
        return rows, (float(power1[-1]), float(power2[-1]))


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with the weights, not the biases, shrunk by ``lr * weight_decay`` at each step.

    Parameters
    ----------
    lr, beta1, beta2, eps
        As for `Adam`.
    weight_decay : float
        Not below 0.

    References
    ----------
    I. Loshchilov and F. Hutter, *Decoupled Weight Decay Regularization*, 2019.
    """

    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(weight_decay=(0.0, math.inf))

    def decay(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return lr * weight_decay."""
        return rates * self.weight_decay


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop: ``v = rho v + (1 - rho) g**2; w -= lr g / (sqrt(v) + eps)``.

    It is Adam's rule without a mean of g and without corrections, at the price of one state more.

    Parameters
    ----------
    lr : float or schedule
    rho : float
        In [0, 1).
    eps : float
        Above 0.

    References
    ----------
    T. Tieleman and G. Hinton, *Neural Networks for Machine Learning*, lecture 6.5, 2012.
    """

    rule: ClassVar[str] = "adam"
    rho: float = 0.99
    eps: float = 1e-8

    def __post_init__(self) -> None:
        self._check(rho=_BELOW_ONE, eps=_POSITIVE)

    def coefficients(self, rates: NDArray[np.float64], powers: Powers) -> tuple[Coefficients, Powers]:
        """Return lr and epsilon, then weights that make the first mean g itself."""
        return _rows(rates.size, rates, self.eps, 0.0, 1.0, self.rho, 1.0 - self.rho), powers


_BY_NAME: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}


def as_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """Return the optimizer that a name stands for, with its defaults, or the one given.

    Raises
    ------
    TypeError, ValueError
        If it is neither an optimizer nor a known name.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        return _BY_NAME[check_name("optimizer", optimizer, _BY_NAME)]()
    msg = f"optimizer is {optimizer!r}; expected one of {', '.join(_BY_NAME)}, or an optimizer such as fastmlp.Adam()"
    raise TypeError(msg)
