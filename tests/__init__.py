"""Tests of fastmlp: conformance of the backends, and everything that judges them."""
