"""Parameter groups: which parameters of a network get the same numbers at a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastmlp.parameters import Parameters


class Factors(NamedTuple):
    """In what the step of a group differs from that of the optimizer.

    Attributes
    ----------
    rate : float
        What the learning rate is multiplied with.
    multiplier : float
        The parameters are so many times those that are trained.
    """

    rate: float = 1.0
    multiplier: float = 1.0


@dataclass(frozen=True)
class ParameterGroups:
    """The groups of a network's parameters: by default, all are in one.

    Attributes
    ----------
    factors : tuple of Factors
        One a group.
    layers : tuple of (int, int)
        For each layer, the group of its weights and that of its biases; empty where there is but one group.
    input_scale : int
        The group of the input scale, where there is one.
    """

    factors: tuple[Factors, ...] = (Factors(),)
    layers: tuple[tuple[int, int], ...] = ()
    input_scale: int = 0

    def of(self, layer: int) -> tuple[int, int]:
        """Return the group of a layer's weights, and that of its biases."""
        return self.layers[layer] if self.layers else (0, 0)

    def slices(self, parameters: Parameters) -> list[tuple[slice, int]]:
        """Return which parts of the flat vector are in which group; neighbours of one group are one part."""
        found: list[tuple[slice, int]] = []
        start = 0
        for size, group in self._sizes(parameters):
            stop = start + size
            if found and found[-1][1] == group:
                found[-1] = slice(found[-1][0].start, stop), group
            else:
                found.append((slice(start, stop), group))
            start = stop
        return found

    def _sizes(self, parameters: Parameters) -> Iterator[tuple[int, int]]:
        """Yield the size and the group of each part, in the order in which they lie in the flat vector."""
        for layer, arrays in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
            for array, group in zip(arrays, self.of(layer), strict=True):
                yield array.size, group
        if parameters.input_scale is not None:
            yield parameters.input_scale.size, self.input_scale


ONE_GROUP = ParameterGroups()
