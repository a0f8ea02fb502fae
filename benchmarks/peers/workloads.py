"""The workloads that fastmlp is held against its peers on, and the ratios that it must reach.

A ratio is a peer's time over fastmlp's, one thread each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.cases import CASES, Case

FLOAT64_AT_MOST = 2.2  # the time in float64 over that in float32
TWO_THREADS_AT_LEAST = 1.7  # the time with one thread over that with two, on idle cores
PAIRS_WHEN_BUSY = 30
WHEN_BUSY_AT_LEAST = 0.9  # the same beside a busy process
QUARTILE_WHEN_BUSY_AT_LEAST = 0.8  # its lower quartile


@dataclass(frozen=True)
class Bar:
    """How often fastmlp must fit into a peer's time.

    Attributes
    ----------
    must, aim : float
    peer : str or None
        The peer's name; None for whichever is the fastest.
    """

    must: float
    aim: float
    peer: str | None = None


@dataclass(frozen=True)
class Workload:
    """A case, and what is done with it.

    Attributes
    ----------
    case : Case
    bar : Bar or None
        None for a shape that nobody has set one for.
    predicts : bool
        Whether its first batch is predicted; else whole epochs are trained.
    """

    case: Case
    bar: Bar | None = None
    predicts: bool = False

    @property
    def flops(self) -> int:
        """Of a step: a batch predicted, or trained on."""
        return self.case.forward_flops if self.predicts else self.case.gradient_flops


def _training(name: str, n_batches: int, bar: Bar) -> Workload:
    return Workload(replace(CASES[name], n_batches=n_batches), bar)


def _prediction(case: Case, bar: Bar) -> Workload:
    return Workload(case, bar, predicts=True)


# Shapes that nobody has tuned for: they must hold the ratio of the one that is most like them.
_AS_TAB = Bar(2.2, 3)
_UNTUNED = (
    Case("odd", (13, 37, 5), "relu", batch_size=19, n_batches=512),
    Case("deep", (16, 64, 64, 64, 64, 64, 1), "relu", batch_size=32, n_batches=512),
    Case("thin", (16, 1, 1, 1), "relu", batch_size=32, n_batches=512),
)
_IMAGE = Case("image", (784, 128, 10), "relu", batch_size=1, n_batches=1, classes=True)
_ROWS = (
    _training("xor", 4000, Bar(10, 20)),
    _training("rl", 256, Bar(3, 4)),
    _training("tab", 512, Bar(2.2, 3)),
    _training("tab256", 256, Bar(2.4, 2.8)),
    _training("mnist", 468, Bar(1.3, 1.5)),
    _training("chains", 1, Bar(5, 6)),
    _training("wide", 40, Bar(1.15, 1.25)),
    *(Workload(case, _AS_TAB) for case in _UNTUNED),
    _prediction(Case("row", (4, 64, 64, 2), "tanh", batch_size=1, n_batches=1), Bar(4, 8, "onnxruntime")),
    _prediction(_IMAGE, Bar(2, 3, "onnxruntime")),
    _prediction(replace(_IMAGE, name="images", batch_size=1024), Bar(1.0, 1.08, "onnxruntime")),
)
WORKLOADS = {workload.case.name: workload for workload in _ROWS}
# Where two threads must pay.
THREADED = (
    replace(WORKLOADS["mnist"].case, name="mnist512", batch_size=512, n_batches=117),
    WORKLOADS["wide"].case,
)


def in_float64(case: Case) -> Case:
    """Return the same case in float64."""
    return replace(case, name=f"{case.name}, float64", dtype="float64")
