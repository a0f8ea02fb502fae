"""Warnings that point at the line of the user's that they are about."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

_OURS = ("fastmlp", "sklearn")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, at the nearest caller that is neither of this package nor of scikit-learn."""
    warnings.warn(message, category, stacklevel=_depth(sys._getframe(1)) + 2)  # noqa: SLF001  as `warnings` does


def _depth(frame: FrameType | None) -> int:
    """Return how many frames up the user's is."""
    depth = 0
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] in _OURS:
        frame, depth = frame.f_back, depth + 1
    return depth
