"""What a peer is: a module of its own behind one interface, imported when it is asked for.

To add one, write a module with `trainer`, `predictor` or both, as `Module` has them, and a row in `PEERS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, cast

from benchmarks.cases import Array, Case
from benchmarks.verify import OPTIMIZER, Definition
from fastmlp import Adam
from fastmlp.backends import REFERENCE

Predict = Callable[[Array], Array]

ADAM: Adam = OPTIMIZER
REMEDY = "pip install -e '.[peers]'"


class MissingError(Exception):
    """A peer is not installed."""


class UnsuitedError(Exception):
    """A peer cannot do what is asked of it."""


@dataclass(frozen=True)
class Problem:
    """What every peer gets, so that all do the same work.

    Attributes
    ----------
    case : Case
    X : ndarray of shape (n_samples, n_in)
        Whole batches. Not to be written to.
    Y : ndarray of shape (n_samples, n_out), or (n_samples,) for classes
    start : ndarray of shape (n_params,)
        The initial parameters, in the order of `fastmlp.parameters.Parameters`. Not to be written to.
    threads : int
    """

    case: Case
    X: Array
    Y: Array
    start: Array
    threads: int = 1

    @classmethod
    def of(cls, case: Case, data: tuple[Array, Array], threads: int = 1) -> Problem:
        """Return the problem of a case, with the parameters that fastmlp begins with too."""
        return cls(case, *data, case.network(REFERENCE).parameters.flat, threads)


class Trainer(Protocol):
    """A problem's network on a peer, at its initial parameters when it is made.

    Attributes
    ----------
    definition : Definition
        What its training is held against: Adam with our constants, in the form that the peer has it.
    """

    definition: Definition

    def gradient(self, X: Array, Y: Array) -> tuple[float, Array]:
        """Return loss and gradient of a batch, in our order and of our loss, at the initial parameters."""

    def reset(self) -> None:
        """Go back to the initial parameters and a fresh optimizer."""

    def train(self, epochs: int, *, shuffle: bool) -> list[float]:
        """Train on, and return each epoch's mean loss; without `shuffle`, the batches come in order."""


class Module(Protocol):
    """What a peer's module has; a peer that does not train has no `trainer`."""

    def trainer(self, problem: Problem) -> Trainer:
        """Return the problem's network, ready to train."""

    def predictor(self, problem: Problem) -> Predict:
        """Return what makes outputs of rows: NumPy arrays in and out, the output activation applied."""


@dataclass(frozen=True)
class Peer:
    """A library to compare with.

    Attributes
    ----------
    name : str
        For the command line and the file of results.
    title : str
        For people.
    packages : tuple of str
        Distributions whose versions are told.
    trains, predicts : bool
        Whether it does.
    threads : tuple of int
        The numbers of threads that it is timed with; the first counts.
    environment : mapping of str to str
        Variables that have to be set before it is imported.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    trains: bool = True
    predicts: bool = True
    threads: tuple[int, ...] = (1,)
    environment: Mapping[str, str] = field(default_factory=dict)

    def titled(self, threads: int) -> str:
        """Return the title, with the threads where they are more than one."""
        return self.title if threads == 1 else f"{self.title}, {threads} threads"

    def load(self) -> Module:
        """Import the peer's module.

        Raises
        ------
        MissingError
            If the peer, or something that it needs, is not installed.
        """
        os.environ.update(self.environment)
        try:
            return cast("Module", import_module(f"benchmarks.peers.{self.name}_peer"))
        except ImportError as error:
            msg = f"{self.title} is left out: {error}; install it with `{REMEDY}`"
            raise MissingError(msg) from error


# JAX decides on its threads when it is imported. The first flag alone leaves the pool that its own kernels use.
_ONE_XLA_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
_ON_ONE_CORE = {"XLA_FLAGS": _ONE_XLA_THREAD, "JAX_PLATFORMS": "cpu"}
_ROWS = (
    Peer("sklearn", "scikit-learn", ("scikit-learn",)),
    Peer("torch", "PyTorch", ("torch",), threads=(1, 2)),
    Peer("jax", "JAX", ("jax", "jaxlib"), environment=_ON_ONE_CORE),
    Peer("jax_own", "JAX, own order", ("jax", "jaxlib"), predicts=False, environment=_ON_ONE_CORE),
    Peer("onnxruntime", "ONNX Runtime", ("onnxruntime", "onnx"), trains=False),
    Peer("numpy", "NumPy by hand", (), trains=False),
)
PEERS = {peer.name: peer for peer in _ROWS}
