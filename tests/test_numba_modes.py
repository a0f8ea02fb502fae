"""Kernels under Numba's own checks: with every index of an array checked, and as plain Python.

With NUMBA_DISABLE_JIT=1 the strict kernels run as Python, under a debugger or a coverage tool; an index beyond an
array's end raises there as it does in Python. The fast ones cannot: their leaves are machine code made from LLVM's
language, of which there is no Python, and Numba says so.

So the fast ones are compiled again with NUMBA_BOUNDSCHECK=1, which checks what they index as arrays: orders, labels,
numbers a step. What they reach through pointers is beyond it: protected pages answer for that.
"""

from __future__ import annotations

from pathlib import Path

from fastmlp import MLP
from tests import numba_modes, processes


def test_no_index_of_fast_kernels_is_out_of_bounds(tmp_path: Path) -> None:
    """The cache does not tell checked kernels from others, so they have a folder of their own."""
    environment = {"NUMBA_BOUNDSCHECK": "1", "FASTMLP_CACHE_DIR": str(tmp_path)}
    assert processes.call(numba_modes.use_and_use_too_short, [False], **environment) == [[], []]


def test_strict_kernels_run_as_python() -> None:
    assert processes.call(numba_modes.use_and_use_too_short, [True], NUMBA_DISABLE_JIT="1") == [[], []]


def predict_fast() -> str:
    """Return what Numba says of fast kernels without compilation."""
    try:
        MLP((2, 1), backend="numba").predict([[1.0, 2.0]])
    except NotImplementedError as error:
        return str(error)
    return ""


def test_fast_kernels_do_not_and_say_so() -> None:
    assert "not usable in pure-python" in processes.call(predict_fast, NUMBA_DISABLE_JIT="1")
