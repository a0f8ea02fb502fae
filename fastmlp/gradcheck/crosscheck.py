"""All backends on one network and one batch: whether their gradients agree, and how fast each is."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from fastmlp._names import check_name
from fastmlp._text import counted, text_table
from fastmlp.backends import REFERENCE, available_backends
from fastmlp.backends.base import Batch, Floats
from fastmlp.data import make_batch
from fastmlp.gradcheck.rounding import batch_noise, shares_of_bound
from fastmlp.network import MLP
from fastmlp.parameters import Array

HASH_DIGITS = 12
# A timing is the median of at least so many calls, and of as many as this takes.
_CALLS = 3
_SECONDS = 0.1


@dataclass(frozen=True)
class BackendRow:
    """What one backend did.

    Attributes
    ----------
    backend : str
    difference, bound : float
        The difference of its gradient from the reference's, and how large rounding may make it: those of the
        parameter that uses most of its bound.
    share : float
        The part of that bound that is used.
    ok : bool
        Whether every parameter is within its bound.
    strict_hash : str
        The first 12 hexadecimal digits of the SHA-256 of the bytes of its strict gradient.
    samples_per_second : float
        Of `MLP.loss_and_gradient`: the median of several calls after a first, in which kernels are compiled.
    """

    backend: str
    difference: float
    bound: float
    share: float
    ok: bool
    strict_hash: str
    samples_per_second: float


@dataclass(frozen=True)
class BackendReport:
    """The gradients of all backends. True when they agree: within rounding, and strict ones to the bit.

    Attributes
    ----------
    network : str
        The network in one line.
    n_samples : int
    note : str
        About derivatives that jump within rounding, where there are any.
    rows : tuple of BackendRow
        The reference first.
    """

    network: str
    n_samples: int
    note: str
    rows: tuple[BackendRow, ...]

    @property
    def is_strictly_equal(self) -> bool:
        """Whether all strict gradients are the same bits."""
        return len({row.strict_hash for row in self.rows}) == 1

    def __bool__(self) -> bool:
        return self.is_strictly_equal and all(row.ok for row in self.rows)

    def __str__(self) -> str:
        cells = [
            (
                row.backend,
                f"{row.difference:.2g}",
                f"{row.bound:.2g}",
                "ok" if row.ok else "WRONG",
                row.strict_hash,
                f"{row.samples_per_second:,.0f}",
            )
            for row in self.rows
        ]
        head = ("backend", "difference", "allowed", "", "strict gradient", "samples/s")
        title = f"Gradients of {self.network} on {counted(self.n_samples, 'sample')}, against {self.rows[0].backend}"
        parts = [title, text_table(head, cells), self.note, self._conclusion()]
        return "\n".join(part for part in parts if part)

    def _conclusion(self) -> str:
        wrong = [row for row in self.rows if not row.ok]
        if not self.rows[0].ok:
            return "The gradients are not finite, or what rounding does to them is not."
        strict = "strict ones to the bit" if self.is_strictly_equal else "but strict ones are NOT the same bits"
        if wrong:
            names = " and ".join(row.backend for row in wrong)
            return f"The gradient of {names} is further from {self.rows[0].backend}'s than rounding explains."
        return f"The gradients agree within rounding, {strict}."


def compare_backends(
    net: MLP, X: object, Y: object, sample_weight: object = None, backends: Sequence[str] | None = None
) -> BackendReport:
    """Compare the backends' gradients, and time them.

    Parameters
    ----------
    net : MLP
        Its parameters are used, and its `strict` for the comparison and the timing.
    X : array_like of shape (n_samples, n_in)
    Y : array_like of shape (n_samples, n_out), or (n_samples,)
    sample_weight : array_like of shape (n_samples,), optional
    backends : sequence of str, optional
        All by default. The reference is always among the rows.

    Returns
    -------
    BackendReport
        True when all agree. ``str(report)`` is a table.

    Raises
    ------
    TypeError, ValueError
        If the data is not what the network takes, or a name is no backend.

    Notes
    -----
    The bound is what rounding does to this network's gradient on this batch (`fastmlp.gradcheck.rounding`).

    Examples
    --------
    >>> import fastmlp
    >>> net = fastmlp.MLP((2, 3, 1), activation="tanh", seed=0)
    >>> report = compare_backends(net, [[0, 1], [1, 1]], [1, 0], backends=["numpy"])
    >>> bool(report), [row.backend for row in report.rows]
    (True, ['naive', 'numpy'])
    """
    for name in backends or ():
        check_name("backend", name, available_backends())
    batch = make_batch(net.spec, X, Y, sample_weight)
    noise = batch_noise(net.spec, net.parameters, batch)
    reference = net.with_backend(REFERENCE).loss_and_gradient(*_data(batch))[1].flat.astype(np.float64)
    rows = [
        _row(net, name, batch, reference, noise.bound)
        for name in available_backends()
        if backends is None or name in (REFERENCE, *backends)
    ]
    return BackendReport(net.spec.describe(), len(batch.X), noise.undecided_note, tuple(rows))


def _data(batch: Batch) -> tuple[Array, Array, Floats | None]:
    return batch.X, batch.Y, batch.weights


def _row(net: MLP, name: str, batch: Batch, reference: Floats, bound: Floats) -> BackendRow:
    backend = net.with_backend(name)
    gradient = backend.loss_and_gradient(*_data(batch))[1].flat
    with np.errstate(invalid="ignore"):  # inf - inf
        differences = np.abs(gradient - reference)
    shares = shares_of_bound(differences, bound)
    worst = int(np.argmax(shares))
    strict = net.with_backend(name, strict=True).loss_and_gradient(*_data(batch))[1].flat
    seconds = _seconds_of_a_call(lambda: backend.loss_and_gradient(*_data(batch)))
    return BackendRow(
        backend=name,
        difference=float(differences[worst]),
        bound=float(bound[worst]),
        share=float(shares[worst]),
        ok=bool(shares[worst] <= 1.0),
        strict_hash=hashlib.sha256(strict.tobytes()).hexdigest()[:HASH_DIGITS],
        samples_per_second=len(batch.X) / seconds,
    )


def _seconds_of_a_call(call: Callable[[], object]) -> float:
    times: list[float] = []
    while len(times) < _CALLS or sum(times) < _SECONDS:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)
