"""The strict kernels that Python calls."""

from __future__ import annotations

from fastmlp.backends.numba.entry import EntryPoint

_KERNELS, _KIND = "fastmlp.backends.numba.strict.kernels", "strict kernels"

evaluate = EntryPoint(_KERNELS, "evaluate", kind=_KIND, keeps_lock=False, makes_views=True)
train = EntryPoint(_KERNELS, "train", kind=_KIND, keeps_lock=False, makes_views=True)

ALL = (evaluate, train)
