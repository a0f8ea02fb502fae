"""How far rounding may move a gradient: a bound for one network and one batch, measured by adding noise.

Two correct computations of a gradient differ, because they round differently. By how much depends on the
network: where large terms cancel, by a lot. A worst case carried through all layers would be so wide that
bugs hide in it, and a multiple of ``eps * max(abs(g))`` is too narrow for some networks. So the computation
is rerun in binary64 with Gaussian noise of the size of a rounding error, ``u * (|A| @ |W| + |b|)``, added to
the result of every primitive. Sigma of a tensor is the largest root mean square, over the reruns, of an
entry's change. The bound is 16 sigma: twice the largest difference seen between two correct gradients of
25,000 random networks.

Noise cannot stand for the jump of a derivative. Where the input of a ReLU is so close to 0 that rounding
decides its sign, either side's derivative is right; the same holds for the sign that is mae's slope. Such a
unit is called undecided here. The reruns leave it on its side; what its other side would change is carried
through the layers as an interval, for the worst combination of all undecided units, and widens the bounds of
those parameters that it reaches. So no sample is left out, and the others are judged as sharply as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastmlp._text import counted
from fastmlp.backends.base import Batch, Floats
from fastmlp.data import make_batch
from fastmlp.gradcheck.passes import Mask, Passes, Rounding, Trace, exact
from fastmlp.parameters import Parameters
from fastmlp.spec import NetworkSpec

if TYPE_CHECKING:
    from fastmlp.network import MLP

RERUNS = 6
SIGMAS = 16.0
_LEAST_NOISE = 2.0**-40


@dataclass(frozen=True)
class GradientNoise:
    """What rounding may do to the gradient of a network on a batch.

    Attributes
    ----------
    gradient : Parameters
        The gradient without noise, float64.
    sigma : tuple of float
        One a tensor, in the order W0, b0, W1, b1, ..., the input scale; 0 where nothing rounds.
    jumps : ndarray of shape (n_params,), float64
        The most that undecided units can change of each parameter's gradient.
    n_samples, n_undecided : int
        Samples, and those with an undecided unit.
    loss : float
        The loss without noise, l2 included.
    loss_sigma : float
        Root mean square of the loss's change.
    """

    gradient: Parameters
    sigma: tuple[float, ...]
    jumps: Floats
    n_samples: int
    n_undecided: int
    loss: float
    loss_sigma: float

    @property
    def bound(self) -> Floats:
        """The most that two correct gradients may differ in each parameter: 16 sigma, and the jumps."""
        sizes = [tensor.size for tensor in tensors(self.gradient)]
        return SIGMAS * np.repeat(self.sigma, sizes) + self.jumps

    @property
    def undecided_note(self) -> str:
        """A sentence about the undecided units; "" where there are none."""
        if not self.n_undecided:
            return ""
        return (
            f"In {self.n_undecided} of {counted(self.n_samples, 'sample')} a derivative jumps within rounding "
            "of where it is taken; the bounds allow for either side."
        )


def tensors(parameters: Parameters) -> list[Floats]:
    """Return W0, b0, W1, b1, ..., and the input scale if there is one, views of the parameters."""
    found = [tensor for pair in zip(parameters.weights, parameters.biases, strict=True) for tensor in pair]
    return found if parameters.input_scale is None else [*found, parameters.input_scale]


def gradient_noise(
    net: MLP | tuple[NetworkSpec, Parameters], X: object, Y: object, sample_weight: object = None
) -> GradientNoise:
    """Return what rounding may do to the gradient of a network.

    Parameters
    ----------
    net : MLP or tuple (NetworkSpec, Parameters)
    X : array_like of shape (n_samples, n_in)
    Y : array_like of shape (n_samples, n_out), or (n_samples,)
    sample_weight : array_like of shape (n_samples,), optional

    Returns
    -------
    GradientNoise

    Raises
    ------
    TypeError, ValueError
        If the data is not what the network takes.
    """
    spec, parameters = net if isinstance(net, tuple) else (net.spec, net.parameters)
    return batch_noise(spec, parameters, make_batch(spec, X, Y, sample_weight))


def batch_noise(spec: NetworkSpec, parameters: Parameters, batch: Batch, dtype: str | None = None) -> GradientNoise:
    """Return what rounding may do to the gradient of a batch.

    Parameters
    ----------
    spec : NetworkSpec
    parameters : Parameters
    batch : Batch
    dtype : str, optional
        What the gradient is computed in; the spec's dtype by default.

    Notes
    -----
    Deterministic: the noise has fixed seeds. Costs seven gradients in binary64 and, where a derivative has
    jumps, six forward passes.
    """
    dtype = dtype or spec.dtype
    passes = Passes(spec, parameters, batch, dtype)
    with np.errstate(all="ignore"):  # what leaves the range of numbers shows in the result
        base = passes.forward(exact)
        back = passes.backward(base, exact)
        undecided = _undecided(passes, base, dtype)
        loss = passes.loss(base, exact)
        squares, loss_squares = np.zeros(spec.n_params), np.zeros(())
        for seed in range(RERUNS):
            rounded = _noise(dtype, seed)
            trace = passes.forward(rounded)
            loss_squares += np.square(passes.loss(trace, rounded) - loss)
            rerun = passes.backward(passes.held(trace, base), rounded)
            squares += np.square(rerun.gradient.flat - back.gradient.flat)
        jumps = passes.jumps(back, undecided)
    variances = tensors(Parameters(spec.layer_sizes, squares / RERUNS))
    return GradientNoise(
        gradient=back.gradient,
        sigma=tuple(float(np.sqrt(variance.max())) / _inflation(dtype) for variance in variances),
        jumps=jumps,
        n_samples=len(batch.X),
        n_undecided=int(np.logical_or.reduce([mask.any(axis=1) for mask in undecided]).sum()),
        loss=loss,
        loss_sigma=float(np.sqrt(loss_squares / RERUNS)) / _inflation(dtype),
    )


def shares_of_bound(differences: Floats, bound: Floats) -> Floats:
    """Return how much of its bound each difference uses: infinity above 0, and where one is not finite."""
    shares = np.full(differences.shape, np.inf)
    usable = np.isfinite(differences) & np.isfinite(bound)
    shares[usable & (differences == 0.0)] = 0.0
    with np.errstate(over="ignore"):
        np.divide(differences, bound, out=shares, where=usable & (differences > 0.0) & (bound > 0.0))
    return shares


def _inflation(dtype: str) -> float:
    """Return how many times too large the noise is that stands for a dtype's rounding.

    What is computed in binary64 would lose noise of binary64's own size. The answer is linear in such small
    noise, so it is made larger and the answer divided.
    """
    return max(1.0, _LEAST_NOISE / float(np.finfo(dtype).eps))


def _noise(dtype: str, seed: int) -> Rounding:
    """Return a `Rounding` that adds Gaussian noise of the size of a dtype's rounding errors, inflated."""
    limits = np.finfo(dtype)
    unit, underflow = (_inflation(dtype) * float(size) for size in (limits.eps / 2, limits.smallest_normal))
    generator = np.random.default_rng(seed)

    def rounded(value: Floats, size: Floats) -> Floats:
        # An exact 0 stays one: a dead unit, a product with zeros.
        deviation = unit * size + np.where(value == 0.0, 0.0, underflow)
        return value + deviation * generator.standard_normal(value.shape)

    return rounded


def _undecided(passes: Passes, base: Trace, dtype: str) -> list[Mask]:
    """Return which points (`Passes.points`) are within rounding, 16 sigma, of a derivative's jump."""
    points = passes.points(base)
    sigmas = [np.zeros(point.shape) for point in points]
    if any(passes.jump_sizes):
        reruns = (passes.points(passes.forward(_noise(dtype, seed))) for seed in range(RERUNS))
        changes = [[noisy - point for noisy, point in zip(rerun, points, strict=True)] for rerun in reruns]
        sigmas = [np.sqrt(np.mean(np.square(change), axis=0)) for change in zip(*changes, strict=True)]
    limit = SIGMAS / _inflation(dtype)
    return [
        (jump > 0.0) & (sigma > 0.0) & (np.abs(point) <= limit * sigma)
        for point, sigma, jump in zip(points, sigmas, passes.jump_sizes, strict=True)
    ]
