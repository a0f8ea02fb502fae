"""What comes out of a run, and how it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.peers.workloads import Bar


@dataclass(frozen=True)
class Rival:
    """A peer's times on a workload.

    Attributes
    ----------
    peer : str
    threads : int
    seconds : float
        Of a step, the median.
    ratio : float
        Its time over fastmlp's with one thread: the median over pairs.
    quartiles : tuple of float
        Of that ratio.
    """

    peer: str
    threads: int
    seconds: float
    ratio: float
    quartiles: tuple[float, float]


@dataclass(frozen=True)
class Row:
    """A workload.

    Attributes
    ----------
    workload : str
    predicts : bool
        Whether a step is a call of predict; else it is one of training.
    layer_sizes : tuple of int
    activation, loss, dtype : str
    batch_size, n_samples : int
    seconds : float
        Of a step of fastmlp's, the median over all its runs on one core.
    gflops, share_of_peak : float
        Of that; matrix products alone count as work. The peak is that of a measured product.
    rivals : tuple of Rival
    refused, unsuited : dict of str to str
        Peers that compute something else, and those that cannot do it, each with a sentence.
    bar : Bar or None
    """

    workload: str
    predicts: bool
    layer_sizes: tuple[int, ...]
    activation: str
    loss: str
    dtype: str
    batch_size: int
    n_samples: int
    seconds: float
    gflops: float
    share_of_peak: float
    rivals: tuple[Rival, ...]
    refused: dict[str, str]
    unsuited: dict[str, str]
    bar: Bar | None = None

    @property
    def fastest(self) -> Rival | None:
        """The fastest peer with one thread."""
        return _fastest([rival for rival in self.rivals if rival.threads == 1])

    @property
    def judged(self) -> Rival | None:
        """The peer that the bar is about; None where it was not timed."""
        if self.bar is None or self.bar.peer is None:
            return self.fastest
        return next((rival for rival in self.rivals if rival.peer == self.bar.peer), None)

    @property
    def is_met(self) -> bool | None:
        """Whether fastmlp reaches what it must; None where there is no bar, or nobody to hold it against."""
        return None if self.bar is None or self.judged is None else self.judged.ratio >= self.bar.must

    @property
    def aim_is_met(self) -> bool | None:
        """Whether it reaches the aim."""
        return None if self.bar is None or self.judged is None else self.judged.ratio >= self.bar.aim

    def best_of(self, peer: str) -> Rival | None:
        """Return a peer with that number of threads with which it was fastest."""
        return _fastest([rival for rival in self.rivals if rival.peer == peer])

    def as_dict(self) -> dict[str, Any]:
        """Return fields and judgements, for a file."""
        judged, fastest = self.judged, self.fastest
        return asdict(self) | {
            "fastest": fastest and fastest.peer,
            "judged": judged and judged.peer,
            "is_met": self.is_met,
            "aim_is_met": self.aim_is_met,
        }


@dataclass(frozen=True)
class Comparison:
    """fastmlp beside itself.

    Attributes
    ----------
    name : str
    ratio : float
    quartiles : tuple of float
    at_least, at_most : float or None
        The bar, one of them.
    """

    name: str
    ratio: float
    quartiles: tuple[float, float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the ratio is within the bar."""
        return (self.at_least is None or self.ratio >= self.at_least) and (
            self.at_most is None or self.ratio <= self.at_most
        )

    def as_dict(self) -> dict[str, Any]:
        """Return fields and judgement, for a file."""
        return asdict(self) | {"is_met": self.is_met}


def _fastest(rivals: Sequence[Rival]) -> Rival | None:
    """Return who has the smallest ratio: pairs say more than seconds, which were taken at different times."""
    return min(rivals, key=lambda rival: rival.ratio, default=None)
