"""fastmlp's Numba backend beside other libraries: ``python -m benchmarks.peers``."""
