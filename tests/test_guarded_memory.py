"""No kernel of the fast Numba backend reads or writes past its arrays: each lies flush with a protected page."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests import guarded, processes

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pages are protected through mprotect")


def test_everything_is_computed_within_its_arrays() -> None:
    """Data, parameters, gradients, states, outputs and working memory, before a protected page and after one."""
    found = processes.call(guarded.compute, ["float32", "float64"], list(guarded.PLACES))
    assert len(found["anywhere"]) == 2 * len(guarded.SPECS) * len(guarded.PACKINGS)
    assert found["before"] == found["after"] == found["anywhere"]


@pytest.mark.parametrize("bug", guarded.BUGS)
def test_a_number_too_far_is_a_crash(bug: str) -> None:
    child = subprocess.run(
        processes.command(guarded.compute_with_a_bug, bug),
        cwd=processes.ROOT,
        capture_output=True,
        text=True,
        timeout=processes.SECONDS,
        check=False,
    )
    assert -child.returncode in {signal.SIGSEGV, signal.SIGBUS}, (child.stdout, child.stderr)
    assert "guarded.py" in child.stderr  # where it was, in a traceback: it is no other crash
