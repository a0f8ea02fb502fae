"""Leaf kernels written as LLVM instructions on SIMD registers, and the pointers that they take.

`registers` says how wide the host's are, `lanes` makes instructions of arithmetic, `formulas` puts the tables of the
package through that, `leaf` makes functions that jitted code can call; `tiles` holds the matrix product, `passes` all
that runs over arrays once, `threads` what threads need to meet.
"""
