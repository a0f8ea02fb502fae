"""Dropout masks from a counter: the same on every backend, in any order, on any number of threads.

Whether a unit is kept is a hash of (seed, step, layer, row in the batch, unit), in integers below 2**63
that need no unsigned arithmetic; so one source serves Python's integers, int64 arrays and jitted kernels.
"""

from __future__ import annotations

from typing import Any

_MASK = 0xFFFFFFFF
_N_HASHES = 1 << 32


def mix(h: Any) -> Any:
    """Return a bijective scrambling of 32 bits.

    References
    ----------
    Two rounds of multiply and xor-shift, as searched for by C. Wellons, *Hash Function Prospector*: its shifts and
    its first constant. The second is the one in common use with them that is below 2**31, so that products stay
    below 2**63.
    """
    h = ((h ^ (h >> 16)) * 0x21F0AAAD) & _MASK
    h = ((h ^ (h >> 15)) * 0x735A2D97) & _MASK
    return h ^ (h >> 15)


def layer_key(seed: int, step: int, layer: int) -> int:
    """Return the part of the hash that a layer's units share in one step."""
    key: int = mix(mix(mix(seed & _MASK) ^ (step & _MASK)) ^ layer)
    return key


def unit_hash(key: Any, row: Any, unit: Any) -> Any:
    """Return 32 bits for one unit of one row."""
    return mix(mix(key ^ row) ^ unit)


def threshold(dropout: float) -> int:
    """Return the number below which a unit's hash drops it."""
    return int(dropout * _N_HASHES)
