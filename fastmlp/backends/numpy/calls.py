"""Calls of NumPy, made at once or recorded to be made again.

The formulas of this backend are told to a `Do`, as in ``do(np.add, Z, b, Z)``. `now` makes the call. A `Recording`
keeps it, bound to its arrays, for a step that is done over and over: when played it looks nothing up and decides
nothing, which is most of what a step of a small network consists of besides arithmetic.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

Do = Callable[..., object]

now: Do = operator.call  # in C: it adds nothing that could be measured to the call

P = ParamSpec("P")
Owner = TypeVar("Owner")


class Recording:
    """Calls to make again and again.

    Its arguments are best positional: a keyword costs 0.1 µs at each call.
    """

    def __init__(self) -> None:
        self._calls: list[Callable[[], Any]] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        """Keep a call."""
        self._calls.append(partial(function, *arguments, **keywords))

    def play(self) -> None:
        """Make all calls, in the order in which they were recorded."""
        for call in self._calls:
            call()


def one_call(method: Callable[Concatenate[Owner, P], None]) -> Callable[Concatenate[Owner, Do, P], None]:
    """Make a method that computes into one that is told to a `Do` as a whole."""

    def told(owner: Owner, do: Do, /, *arguments: P.args, **keywords: P.kwargs) -> None:
        do(method, owner, *arguments, **keywords)

    told.__doc__ = method.__doc__
    return told
