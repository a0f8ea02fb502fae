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

_UNROLL = 4  # terms added to a row of results for each time it is read and written


@fast
def fill(values: Any, value: Any) -> None:
    """Write a value to all places of `values`."""
    for i in range(values.size):
        values[i] = value


@fast
def fast_affine(n: int, A: Any, W: Any, b: Any, Z: Any) -> None:
    """Z = A @ W + b."""
    fan_out = b.size
    fan_in = W.size // fan_out
    whole = fan_in - fan_in % _UNROLL
    for i in range(n):
        a, z = A[i * fan_in : (i + 1) * fan_in], Z[i * fan_out : (i + 1) * fan_out]
        for j in range(fan_out):
            z[j] = b[j]
        for k in range(0, whole, _UNROLL):
            a0, a1, a2, a3 = a[k], a[k + 1], a[k + 2], a[k + 3]
            w0, w1, w2, w3 = four_rows(W, k, fan_out)
            for j in range(fan_out):
                z[j] += (a0 * w0[j] + a1 * w1[j]) + (a2 * w2[j] + a3 * w3[j])
        for k in range(whole, fan_in):
            a0, w0 = a[k], W[k * fan_out : (k + 1) * fan_out]
            for j in range(fan_out):
                z[j] += a0 * w0[j]


@fast
def four_rows(M: Any, i: int, size: int) -> Any:
    """Return rows i to i + 3 of a matrix with rows of `size`."""
    start = i * size
    return (
        M[start : start + size],
        M[start + size : start + 2 * size],
        M[start + 2 * size : start + 3 * size],
        M[start + 3 * size : start + 4 * size],
    )


@fast
def fast_weight_gradient(n: int, A: Any, delta: Any, dW: Any) -> None:
    """dW = A.T @ delta."""
    fan_in, fan_out = A.size // n, delta.size // n
    whole = n - n % _UNROLL
    fill(dW, 0)
    for i in range(0, whole, _UNROLL):
        a0, a1, a2, a3 = four_rows(A, i, fan_in)
        d0, d1, d2, d3 = four_rows(delta, i, fan_out)
        for k in range(fan_in):
            x0, x1, x2, x3 = a0[k], a1[k], a2[k], a3[k]
            g = dW[k * fan_out : (k + 1) * fan_out]
            for j in range(fan_out):
                g[j] += (x0 * d0[j] + x1 * d1[j]) + (x2 * d2[j] + x3 * d3[j])
    for i in range(whole, n):
        d0 = delta[i * fan_out : (i + 1) * fan_out]
        for k in range(fan_in):
            x0, g = A[i * fan_in + k], dW[k * fan_out : (k + 1) * fan_out]
            for j in range(fan_out):
                g[j] += x0 * d0[j]


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
