"""The three products of a layer, fast and strict: the seam behind which faster kernels go.

Matrices are flat, in C order: A (n, fan_in), W and dW (fan_in, fan_out), delta and Z (n, fan_out),
dA (n, fan_in). A product takes 2 n fan_in fan_out operations. The last array named in a summary is written,
whatever it held. The strict ones add in ascending index in binary64 (`wide` holds the sums) and round once, at
the end; the fast ones add in the network's dtype, in any order, fused where the processor can.

There is no assignment to slices and no reshape here, nor anywhere in the kernels: each costs a second to compile.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.backends.numba.jit import exact, fast

_ROWS = 4


@fast
def fill(values: Any, value: Any) -> None:
    """Write a value to all places of `values`."""
    for i in range(values.size):
        values[i] = value


@fast
def fast_affine(n: int, A: Any, W: Any, b: Any, Z: Any) -> None:
    """Z = A @ W + b, four rows at a time: each weight is read once for four of them."""
    fan_out = b.size
    fan_in = W.size // fan_out
    whole = n - n % _ROWS
    for i in range(n):
        for j in range(fan_out):
            Z[i * fan_out + j] = b[j]
    for i in range(0, whole, _ROWS):
        z = Z[i * fan_out : (i + _ROWS) * fan_out]
        z0, z1, z2, z3 = z[:fan_out], z[fan_out : 2 * fan_out], z[2 * fan_out : 3 * fan_out], z[3 * fan_out :]
        a = A[i * fan_in : (i + _ROWS) * fan_in]
        for k in range(fan_in):
            w = W[k * fan_out : (k + 1) * fan_out]
            a0, a1, a2, a3 = a[k], a[fan_in + k], a[2 * fan_in + k], a[3 * fan_in + k]
            for j in range(fan_out):
                z0[j] += a0 * w[j]
                z1[j] += a1 * w[j]
                z2[j] += a2 * w[j]
                z3[j] += a3 * w[j]
    for i in range(whole, n):
        z = Z[i * fan_out : (i + 1) * fan_out]
        for k in range(fan_in):
            w, a0 = W[k * fan_out : (k + 1) * fan_out], A[i * fan_in + k]
            for j in range(fan_out):
                z[j] += a0 * w[j]


@fast
def fast_weight_gradient(n: int, A: Any, delta: Any, dW: Any) -> None:
    """dW = A.T @ delta, four rows at a time: each entry of dW is read and written once for four of them."""
    fan_in, fan_out = A.size // n, delta.size // n
    whole = n - n % _ROWS
    fill(dW, 0)
    for i in range(0, whole, _ROWS):
        d = delta[i * fan_out : (i + _ROWS) * fan_out]
        d0, d1, d2, d3 = d[:fan_out], d[fan_out : 2 * fan_out], d[2 * fan_out : 3 * fan_out], d[3 * fan_out :]
        a = A[i * fan_in : (i + _ROWS) * fan_in]
        for k in range(fan_in):
            a0, a1, a2, a3 = a[k], a[fan_in + k], a[2 * fan_in + k], a[3 * fan_in + k]
            g = dW[k * fan_out : (k + 1) * fan_out]
            for j in range(fan_out):
                g[j] += (a0 * d0[j] + a1 * d1[j]) + (a2 * d2[j] + a3 * d3[j])
    for i in range(whole, n):
        d = delta[i * fan_out : (i + 1) * fan_out]
        for k in range(fan_in):
            a0, g = A[i * fan_in + k], dW[k * fan_out : (k + 1) * fan_out]
            for j in range(fan_out):
                g[j] += a0 * d[j]


@fast
def fast_back(n: int, delta: Any, W: Any, dA: Any) -> None:
    """dA = delta @ W.T."""
    fan_in, fan_out = dA.size // n, delta.size // n
    zero = dA.dtype.type(0)
    for i in range(n):
        d = delta[i * fan_out : (i + 1) * fan_out]
        for k in range(fan_in):
            w, total = W[k * fan_out : (k + 1) * fan_out], zero
            for j in range(fan_out):
                total += d[j] * w[j]
            dA[i * fan_in + k] = total


@exact
def strict_affine(n: int, A: Any, W: Any, b: Any, wide: Any, Z: Any) -> None:
    """Z = A @ W + b, strictly."""
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
def strict_weight_gradient(n: int, A: Any, delta: Any, wide: Any, dW: Any) -> None:
    """dW = A.T @ delta, strictly."""
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
def strict_back(n: int, delta: Any, W: Any, dA: Any) -> None:
    """dA = delta @ W.T, strictly."""
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
    """db = the sum of delta's rows, strict and fast: in float32 it would drift with n, and binary64 costs nothing."""
    sums = wide[: db.size]
    fill(sums, 0.0)
    for i in range(n):
        for j in range(sums.size):
            sums[j] += np.float64(delta[i * sums.size + j])
    for j in range(sums.size):
        db[j] = sums[j]
