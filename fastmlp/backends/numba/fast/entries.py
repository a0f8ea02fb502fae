"""The fast kernels that Python calls."""

from __future__ import annotations

from fastmlp.backends.numba.entry import EntryPoint

_KERNELS = "fastmlp.backends.numba.fast.kernels"

evaluate = EntryPoint(_KERNELS, "evaluate", has_leaves=True, keeps_lock=False, makes_views=False)
train = EntryPoint(_KERNELS, "train", has_leaves=True, keeps_lock=False, makes_views=False)
# Which takes no longer than letting other threads of Python's run.
answer = EntryPoint(_KERNELS, "answer", has_leaves=True, keeps_lock=True, makes_views=False)

ALL = (evaluate, train, answer)
