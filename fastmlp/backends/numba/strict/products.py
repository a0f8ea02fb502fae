"""The three products of a layer, strictly: sums in binary64 (`wide` holds them), in ascending index, rounded once.

Matrices are flat, in C order: A (n, fan_in), W and dW (fan_in, fan_out), delta and Z (n, fan_out),
dA (n, fan_in). A product takes 2 n fan_in fan_out operations. The last array named in a summary is written,
whatever it held.

There is no assignment to slices and no reshape here, nor anywhere in the kernels: each costs a second to compile.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.backends.numba.jit import exact


@exact
def fill(values: Any, value: Any) -> None:
    """Write a value to all places of `values`."""
    for i in range(values.size):
        values[i] = value


@exact
def affine(n: int, A: Any, W: Any, b: Any, wide: Any, Z: Any) -> None:
    """Z = A @ W + b."""
    fan_out = b.size
    fan_in = W.size // fan_out
    sums = wide[:fan_out]
    for i in range(n):
        fill(sums, 0.0)
        for k in range(fan_in):
            a, w = np.float64(A[i * fan_in + k]), W[k * fan_out : (k + 1) * fan_out]
            for j in range(fan_out):
                sums[j] += a * np.float64(w[j])
        for j in range(fan_out):
            Z[i * fan_out + j] = sums[j] + np.float64(b[j])


@exact
def weight_gradient(n: int, A: Any, delta: Any, wide: Any, dW: Any) -> None:
    """dW = A.T @ delta."""
    fan_in, fan_out = A.size // n, delta.size // n
    sums = wide[: fan_in * fan_out]
    fill(sums, 0.0)
    for i in range(n):
        d = delta[i * fan_out : (i + 1) * fan_out]
        for k in range(fan_in):
            a, g = np.float64(A[i * fan_in + k]), sums[k * fan_out : (k + 1) * fan_out]
            for j in range(fan_out):
                g[j] += a * np.float64(d[j])
    for i in range(sums.size):
        dW[i] = sums[i]


@exact
def back(n: int, delta: Any, W: Any, dA: Any) -> None:
    """dA = delta @ W.T."""
    fan_in, fan_out = dA.size // n, delta.size // n
    for i in range(n):
        d = delta[i * fan_out : (i + 1) * fan_out]
        for k in range(fan_in):
            w, total = W[k * fan_out : (k + 1) * fan_out], 0.0
            for j in range(fan_out):
                total += np.float64(d[j]) * np.float64(w[j])
            dA[i * fan_in + k] = total


@exact
def bias_gradient(n: int, delta: Any, wide: Any, db: Any) -> None:
    """db = the sum of delta's rows."""
    sums = wide[: db.size]
    fill(sums, 0.0)
    for i in range(n):
        for j in range(sums.size):
            sums[j] += np.float64(delta[i * sums.size + j])
    for j in range(sums.size):
        db[j] = sums[j]
