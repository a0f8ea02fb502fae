"""Looking a name up in a table, with an error that lists what is there."""

from __future__ import annotations

from collections.abc import Iterable


def check_name(what: str, name: object, known: Iterable[str]) -> str:
    """Return `name` if it is one of `known`.

    Raises
    ------
    TypeError
        If it is no string.
    ValueError
        If it is none of them.
    """
    names = tuple(known)
    if not isinstance(name, str):
        msg = f"{what} is {name!r}; expected a name, one of {', '.join(names)}"
        raise TypeError(msg)
    if name not in names:
        msg = f"{what} is {name!r}; expected one of {', '.join(names)}"
        raise ValueError(msg)
    return name
