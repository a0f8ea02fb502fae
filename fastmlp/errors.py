"""The errors that are fastmlp's own; everything else is a ValueError, TypeError or ImportError."""

from __future__ import annotations


class DivergedError(ArithmeticError):
    """Training met a loss or a parameter that is not finite; the parameters are those at the epoch's start.

    Attributes
    ----------
    epoch : int
        Epoch of this fit in which it happened, from 0.
    batch : int
        Batch of that epoch, from 0.
    layer : int or None
        First layer with a value that is not finite, from 0; None when only the loss itself is not.
    """

    def __init__(self, epoch: int, batch: int, layer: int | None) -> None:
        where = "the loss" if layer is None else f"layer {layer}"
        super().__init__(
            f"training diverged in epoch {epoch}, batch {batch}: {where} is no longer finite; the parameters are "
            "back to those at the start of the epoch; lower the learning rate or scale the data"
        )
        self.epoch, self.batch, self.layer = epoch, batch, layer

    def __reduce__(self) -> tuple[type[DivergedError], tuple[int, int, int | None]]:
        return type(self), (self.epoch, self.batch, self.layer)
