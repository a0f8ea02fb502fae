"""Holding BLAS to a number of threads for the time of a call.

The number is one for the whole process, so calls that overlap in several Python threads have to agree: while any
of them runs the lowest limit is in force, and after the last the number is what it was before the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from threading import Lock
from typing import Any


class _Limits:
    """The limits of the calls under way."""

    def __init__(self, controller: Any) -> None:
        self._controller = controller
        self._lock = Lock()
        self._in_force: list[int] = []
        self._applied = ExitStack()

    @contextmanager
    def hold(self, threads: int) -> Iterator[None]:
        with self._lock:
            self._in_force.append(threads)
            self._apply()
        try:
            yield
        finally:
            with self._lock:
                self._in_force.remove(threads)
                self._apply()

    def _apply(self) -> None:
        self._applied.close()  # back to the number before the first
        if self._in_force:
            self._applied.enter_context(self._controller.limit(limits=min(self._in_force), user_api="blas"))


_limits: list[_Limits] = []  # one for the process, made when first asked for
_making = Lock()


def thread_limit(threads: int | None) -> Callable[[], AbstractContextManager[None]]:
    """Return what holds BLAS to `threads` for the time of a call; nothing for None.

    Raises
    ------
    ImportError
        If threadpoolctl is missing.
    """
    if threads is None:
        return nullcontext
    try:
        from threadpoolctl import ThreadpoolController  # noqa: PLC0415  an extra, and slow to import
    except ImportError:
        msg = (
            f"threads is {threads}, but limiting NumPy's threads needs the package threadpoolctl, which is missing; "
            "run `pip install threadpoolctl`, or use threads=None"
        )
        raise ImportError(msg) from None
    with _making:
        if not _limits:
            _limits.append(_Limits(ThreadpoolController()))
    return lambda: _limits[0].hold(threads)
