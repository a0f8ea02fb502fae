"""Holding BLAS to a number of threads for the time of a call.

The number is one for the whole process, so calls that overlap in several Python threads have to agree: while any
of them runs the lowest limit is in force, and after the last the number is what it was before the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from types import ModuleType
from typing import Any


class _Limits:
    """The limits of the calls under way."""

    def __init__(self, controller: Any, hand_over: Callable[[], None]) -> None:
        self._controller, self._hand_over = controller, hand_over
        self._lock = Lock()
        self._in_force: list[int] = []
        self._applied: Any = None

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
        """Set the lowest limit in force, or else the number from before the first."""
        self._hand_over()
        if self._applied is not None:
            self._applied.restore_original_limits()
        self._applied = None
        if self._in_force:
            self._applied = self._controller.limit(limits=min(self._in_force), user_api="blas")
        else:
            self._hand_over()


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
        import threadpoolctl  # noqa: PLC0415  an extra, and slow to import
    except ImportError:
        msg = (
            f"threads is {threads}, but limiting NumPy's threads needs the package threadpoolctl, which is missing; "
            "run `pip install threadpoolctl`, or use threads=None"
        )
        raise ImportError(msg) from None
    with _making:
        if not _limits:
            _limits.append(_Limits(threadpoolctl.ThreadpoolController(), _hand_over_with(threadpoolctl)))
    return lambda: _limits[0].hold(threads)


def _hand_over_with(threadpoolctl: ModuleType) -> Callable[[], None]:
    """Return what lets another Python thread set the number.

    Newer versions of threadpoolctl heed the thread alone that set it first; our lock makes sure that this one is done.
    """
    clear = getattr(getattr(threadpoolctl, "OpenBLASController", None), "clear_controlling_thread", None)
    return (lambda: None) if clear is None else (lambda: clear(force=True))
