"""The entry of the command ``fastmlp``: exit codes, and one sentence where the extra is not installed.

0: done. 1: done, with a bad result (a wrong gradient, a diverged training). 2: bad input or usage.
130: interrupted. 141: nobody reads the output any more. Nothing here needs typer or rich;
`fastmlp.cli.commands` does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

EXTRA = ("rich", "threadpoolctl", "typer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the command's name; by default, that of this process.

    Returns
    -------
    int
        The exit code.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _broken_pipe()
    except SystemExit as stop:
        # typer and rich both turn a broken pipe into exit code 1.
        if isinstance(stop.__context__, BrokenPipeError):
            return _broken_pipe()
        raise


def _run(arguments: Sequence[str]) -> int:
    try:
        from fastmlp.cli.commands import run  # noqa: PLC0415  the extra may not be installed
    except ModuleNotFoundError as missing:
        if missing.name not in EXTRA:
            raise
        needed = f"fastmlp: the command needs {missing.name}; install it with: pip install 'fastmlp[cli]'"
        print(needed, file=sys.stderr)  # noqa: T201  there is no rich to print with
        return BAD_INPUT
    code = run(arguments)
    sys.stdout.flush()
    return code


def _broken_pipe() -> int:
    """Keep the interpreter's last flush from failing once more: what is left goes nowhere."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return BROKEN_PIPE
