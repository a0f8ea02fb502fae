"""Calling a function of a test module in a process of its own: for what one process can do once, or not survive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastmlp

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(fastmlp.__file__).parents[1]
SECONDS = 120.0  # then a child counts as hanging; it takes a few, and some twenty where it has to compile


def call(function: Callable[..., Any], *arguments: Any, root: Path = ROOT, **environment: str) -> Any:
    """Return what a function returns in a fresh interpreter; arguments and result have to go through JSON.

    Warnings are errors there too, and `root` is where it finds both fastmlp and the tests.
    """
    done = subprocess.run(
        command(function, *arguments),
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def command(function: Callable[..., Any], *arguments: Any) -> list[str]:
    """Return the command line that prints what a function returns."""
    program = (
        f"import json, sys; from {function.__module__} import {function.__qualname__} as function; "
        "print(json.dumps(function(*json.loads(sys.argv[1]))), flush=True)"
    )
    return [sys.executable, "-W", "error", "-c", program, json.dumps(arguments)]


def run(program: str) -> str:
    """Return what a program prints in a fresh interpreter that has imported nothing else."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr}"
    return done.stdout
