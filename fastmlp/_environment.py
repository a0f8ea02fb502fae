"""What the environment says that several modules ask for."""

from __future__ import annotations

import os
from collections.abc import Mapping

NO_COMPILING = "NUMBA_DISABLE_JIT"
"""Numba's word for functions to stay Python."""


def may_compile(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether Numba compiles."""
    return environment.get(NO_COMPILING, "0") in {"", "0"}
