"""Machine code as a function that Python calls: it finds its arguments in the objects, and leaves them as they are."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numba.core.errors import TypingError

from fastmlp.backends.numba import compiler, loading
from fastmlp.backends.numba.calls import (
    Floats1,
    Integers1,
    Numbers1,
    Numbers2,
    ReadFloats2,
    ReadIntegers2,
    ReadNumbers2,
    ReadShortIntegers1,
)
from tests import checked_calls, processes


class Inner(NamedTuple):
    """A tuple in a tuple."""

    numbers: ReadNumbers2
    size: int


class Outer(NamedTuple):
    """What has one, and more."""

    inner: Inner
    factor: float
    flags: tuple[bool, int]


def made(kernel: Callable[..., Any], dtype: str = "float64", symbol: str = "kernel", **traits: bool) -> Any:
    """Return a compiled kernel."""
    traits = {"keeps_lock": False, "makes_views": False} | traits
    return loading.load([compiler.entry_point(kernel, symbol, dtype, **traits)], symbol)


# --- what it is called with


def look(
    a: ReadNumbers2,
    b: ReadFloats2,
    c: ReadIntegers2,
    d: ReadShortIntegers1,
    outer: Outer,
    pair: tuple[int, float],
    out: Floats1,
    last: Numbers2,
) -> int:
    """Write down all that is there to be seen."""
    shapes = (a.shape[0], a.shape[1], b.shape[0], b.shape[1], c.shape[0], c.shape[1], d.shape[0])
    for i in range(7):
        out[i] = shapes[i]
    out[7], out[8], out[9], out[10] = a[1, 2], b[0, 1], c[2, 0], d[1]
    out[11], out[12], out[13] = outer.inner.numbers[1, 0], outer.inner.size, outer.factor
    out[14], out[15], out[16], out[17] = outer.flags[0], outer.flags[1], pair[0], pair[1]
    last[1, 1] = 7.0
    return out.size


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_tuples_and_numbers_are_found(dtype: str) -> None:
    a, b = np.arange(6, dtype=dtype).reshape(2, 3), np.array([[0.25, -0.5]])
    c, d = np.arange(6).reshape(3, 2), np.array([5, -6], np.int32)
    outer = Outer(Inner(a[:, :1].copy() + 40, 2**40), 0.1, (True, -3))
    out, last = np.full(18, np.nan), np.zeros((2, 2), dtype)
    assert made(look, dtype)(a, b, c, d, outer, (np.int64(-(2**62)), 1e300), out, last) == 18
    assert out.tolist() == [2, 3, 1, 2, 3, 2, 2, 5, -0.5, 4, -6, 43, 2**40, 0.1, 1, -3, -(2.0**62), 1e300]
    assert last.tolist() == [[0, 0], [0, 7]]


def test_read_only_and_mapped_arrays_and_views_are_found(tmp_path: Any) -> None:
    mapped = np.memmap(tmp_path / "numbers", "float64", "w+", shape=(4, 3))
    mapped[...] = np.arange(12).reshape(4, 3)
    mapped.flags.writeable = False
    kernel = made(corner)
    assert kernel(mapped) == 11
    assert kernel(mapped[1:3]) == 8
    assert kernel(np.ascontiguousarray(mapped[:, :2])) == 10


def corner(a: ReadNumbers2) -> int:
    """Return the last number."""
    return int(a[a.shape[0] - 1, a.shape[1] - 1])


def test_an_array_without_rows_is_found() -> None:
    sizes = made(both_sizes)
    assert [sizes(np.empty(shape)) for shape in ((0, 5), (5, 0), (0, 0))] == [5, 5000, 0]


def both_sizes(a: ReadNumbers2) -> int:
    """Return both in one number."""
    return 1000 * a.shape[0] + a.shape[1]


def test_nothing_but_an_integer_comes_back() -> None:
    assert made(nothing)(np.zeros(1)) == 0
    finite = made(is_first_finite)
    assert [finite(np.array([x])) for x in (1.0, np.inf)] == [1, 0]
    assert made(lowest)(np.zeros(1, np.int64)) == -(2**63)


def nothing(values: Numbers1) -> None:
    values[0] = 1.0


def is_first_finite(values: Numbers1) -> bool:
    return np.isfinite(values[0])


def lowest(values: Integers1) -> int:
    return values[0] - 2**63


def test_no_argument_is_kept_or_lost() -> None:
    kernel, array = made(nothing), np.zeros(3)
    gone = weakref.ref(array)
    before = sys.getrefcount(array)
    for _ in range(1000):
        kernel(array)
    assert sys.getrefcount(array) == before
    del array
    gc.collect()
    assert gone() is None


# --- Python's lock


def spin(values: Numbers1) -> int:
    """Compute for half a second or so."""
    x = values[0]
    for _ in range(400_000_000):
        x = 0.5 * x + 1.0
    values[0] = x
    return 1


@pytest.mark.parametrize("keeps_lock", [True, False])
def test_other_threads_run_meanwhile_unless_the_lock_is_kept(keeps_lock: bool) -> None:
    kernel, begun, rounds, is_over = made(spin, keeps_lock=keeps_lock), threading.Event(), [0], threading.Event()

    def count() -> None:
        begun.set()
        while not is_over.wait(0.001):
            rounds[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    begun.wait()
    before = rounds[0]
    assert kernel(np.zeros(1)) == 1
    meanwhile = rounds[0] - before
    is_over.set()
    thread.join()
    assert (meanwhile > 20) != keeps_lock


# --- names, errors, views


def once(values: Numbers1) -> None:
    values[0] += 1.0


def twice(values: Numbers1) -> None:
    values[0] += 2.0


def test_functions_of_one_name_are_not_taken_for_one_another() -> None:
    """As they may be where several processes have compiled them."""
    values, kernels = np.zeros(1), [made(kernel, symbol="same") for kernel in (once, twice)]
    for kernel, total in zip(kernels * 2, (1.0, 3.0, 4.0, 6.0), strict=True):
        kernel(values)
        assert values[0] == total


def test_a_name_that_is_not_there_is_an_error() -> None:
    code = compiler.entry_point(once, "this", "float64", keeps_lock=False, makes_views=False)
    with pytest.raises(LookupError, match="there is no that in it"):
        loading.load([code], "that")


def fill_a_corner(values: Numbers2) -> int:
    """Write to a view of rows and columns."""
    own = values[1:, 1:]
    for i in range(own.shape[0]):
        for j in range(own.shape[1]):
            own[i, j] = 5.0
    return own.size


def test_views_need_nothing_of_numbas() -> None:
    values = np.zeros((3, 4))
    assert made(fill_a_corner, makes_views=True)(values) == 6
    assert values.tolist() == [[0, 0, 0, 0], [0, 5, 5, 5], [0, 5, 5, 5]]


def write_where_it_reads(values: ReadNumbers2) -> None:
    values[0, 0] = 1.0


def test_a_kernel_that_writes_to_what_it_only_reads_is_not_compiled() -> None:
    with pytest.raises(TypingError, match=r"read-?only"):
        made(write_where_it_reads)


def reach_too_far() -> str:
    """Return what is said of an index too high, and whether the lock is held again."""
    kernel = made(once)
    try:
        kernel(np.empty(0))
    except IndexError as error:
        return str(error)
    return "nothing"


def test_an_index_too_high_is_an_error_where_indices_are_checked() -> None:
    found = processes.call(reach_too_far, NUMBA_BOUNDSCHECK="1")
    assert found == "an index beyond the end of an array in kernel"


# --- what the tests look at, as nothing else does


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"a": np.zeros((2, 3), "float32")}, "a"),
        ({"a": np.zeros(6)}, "a"),
        ({"a": np.zeros((3, 2)).T}, "a"),
        ({"c": np.zeros((3, 2), np.int32)}, "c"),
        ({"d": np.zeros(2, np.int64)}, "d"),
        ({"outer": (Inner(np.zeros((1, 1)), 1), 0.1, (True, 1))}, "outer"),
        ({"outer": Outer(Inner(np.zeros((1, 1), "float32"), 1), 0.1, (True, 1))}, "outer.inner.numbers"),
        ({"outer": Outer(Inner(np.zeros((1, 1)), 1.0), 0.1, (True, 1))}, "outer.inner.size"),
        ({"outer": Outer(Inner(np.zeros((1, 1)), 1), 1, (True, 1))}, "outer.factor"),
        ({"pair": (1.5, 1.5)}, r"pair\[0\]"),
        ({"pair": (1, 1.5, 1)}, "argument"),
        ({"out": np.broadcast_to(0.0, 18)}, "out"),
    ],
)
def test_what_a_kernel_does_not_take_is_seen(change: dict[str, Any], where: str) -> None:
    inner = Inner(np.zeros((1, 1)), 1)
    arguments: dict[str, Any] = {
        "a": np.zeros((2, 3)),
        "b": np.zeros((1, 2)),
        "c": np.zeros((3, 2), np.int64),
        "d": np.zeros(2, np.int32),
        "outer": Outer(inner, 0.1, (True, 1)),
        "pair": (1, 1.5),
        "out": np.zeros(18),
        "last": np.zeros((2, 2)),
    }
    checked_calls.assert_taken(look, "float64", tuple(arguments.values()))
    with pytest.raises((AssertionError, ValueError), match=where):
        checked_calls.assert_taken(look, "float64", tuple((arguments | change).values()))
