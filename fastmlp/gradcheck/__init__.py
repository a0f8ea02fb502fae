"""Is a gradient right? `check_gradients` holds one against derivatives, `compare_backends` all against each other.

`check` and `crosscheck` tell how. Under them: `complex_step` (derivatives of a loss computed on its own, with
`complex_functions`), `central_differences` (of the network's own loss), `rounding` (how far a right gradient may
be off, measured with `passes`), `diagnosis` (which mistake explains a wrong one), `inputs` and `report`.
"""

from fastmlp.gradcheck.check import check_gradients
from fastmlp.gradcheck.crosscheck import BackendReport, BackendRow, compare_backends
from fastmlp.gradcheck.report import GradientReport, TensorCheck

__all__ = [
    "BackendReport",
    "BackendRow",
    "GradientReport",
    "TensorCheck",
    "check_gradients",
    "compare_backends",
]
