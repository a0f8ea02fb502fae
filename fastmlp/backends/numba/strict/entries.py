"""The strict kernels that Python calls."""

from __future__ import annotations

from fastmlp.backends.numba.entry import Entry

_KERNELS, _KIND = "fastmlp.backends.numba.strict.kernels", "strict kernels"

evaluate = Entry(_KERNELS, "evaluate", kind=_KIND, keeps_lock=False, makes_views=True)
train = Entry(_KERNELS, "train", kind=_KIND, keeps_lock=False, makes_views=True)

ALL = (evaluate, train)
