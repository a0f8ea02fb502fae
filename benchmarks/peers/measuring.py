"""Verify a peer, then time it: fastmlp and the peer in turns, from the same state, one thread each.

One thread means one core: the whole process is held to it, since a library may have threads that no setting
reaches. Two threads have two cores. Compilation is over before anything is timed: what is verified is compiled, and
each contender makes a run that does not count.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from statistics import median
from time import perf_counter

from benchmarks import verify
from benchmarks.cases import Case
from benchmarks.contenders import filling_time, training
from benchmarks.machine import Cores
from benchmarks.measure import Call, Contender, Pairs, matmul_peak, timed_in_pairs
from benchmarks.peers import agreement
from benchmarks.peers.base import Module, Peer, Predict, Problem, UnsuitedError
from benchmarks.peers.results import Comparison, Rival, Row
from benchmarks.peers.workloads import (
    FLOAT64_AT_MOST,
    PAIRS_WHEN_BUSY,
    QUARTILE_WHEN_BUSY_AT_LEAST,
    THREADED,
    TWO_THREADS_AT_LEAST,
    WHEN_BUSY_AT_LEAST,
    Workload,
    in_float64,
)

BACKEND = "numba"
RUN_SECONDS = 0.2  # so that a moment in which the machine does something else is a small part of a run
FEWEST_EPOCHS = 3  # fastmlp's fit looks through X once for what is not finite: of one epoch of mnist that is a 25th
_CALLS = 100  # predictions are timed in hundreds: one takes microseconds
_MOST_HUNDREDS = 10_000

Loaded = Mapping[str, tuple[Peer, Module]]


def measured(workload: Workload, peers: Loaded, cores: Cores, n_pairs: int) -> Row:
    """Return the row of a workload: fastmlp beside every peer that can do it.

    Raises
    ------
    WrongResultError
        If fastmlp computes what it should not. A peer that does is refused: it has a sentence in the row, and on
        stderr, and no time.
    """
    case = workload.case
    own = predicting(case) if workload.predicts else training(case, BACKEND, 1, RUN_SECONDS, FEWEST_EPOCHS)
    rivals: list[Rival] = []
    seconds: list[float] = []
    refused: dict[str, str] = {}
    unsuited: dict[str, str] = {}
    for peer, module, threads in _entries(workload, peers, cores):
        try:
            with cores.held(threads):  # also while it is verified: threads that wait for one another need their cores
                pairs = timed_in_pairs(verified(workload, peer, module, threads), own, n_pairs)
        except verify.WrongResultError as error:
            refused[peer.titled(threads)] = str(error)
            print(f"{case.name}: REFUSED: {error}", file=sys.stderr, flush=True)
            continue
        except UnsuitedError as error:
            unsuited[peer.titled(threads)] = str(error)
            continue
        rivals.append(Rival(peer.name, threads, median(pairs.a), pairs.ratio, pairs.quartiles))
        if threads == 1:
            seconds += pairs.b
    return row_of(workload, median(seconds or [own.seconds_a_step(perf_counter)]), rivals, refused, unsuited)


def _entries(workload: Workload, peers: Loaded, cores: Cores) -> Iterator[tuple[Peer, Module, int]]:
    """Yield who is timed on a workload, and with how many threads; those with one first."""
    entries = [
        (peer, module, threads)
        for peer, module in peers.values()
        if (peer.predicts if workload.predicts else peer.trains)
        for threads in (peer.threads[:1] if workload.predicts else peer.threads)
        if threads <= cores.n
    ]
    yield from sorted(entries, key=lambda entry: entry[2])


def row_of(
    workload: Workload,
    seconds: float,
    rivals: Sequence[Rival],
    refused: Mapping[str, str],
    unsuited: Mapping[str, str],
) -> Row:
    """Return the row of a workload of which fastmlp does a step in the given time."""
    case, speed = workload.case, workload.flops / seconds / 1e9
    return Row(
        workload=case.name,
        predicts=workload.predicts,
        layer_sizes=case.layer_sizes,
        activation=case.activation,
        loss=case.loss,
        dtype=case.dtype,
        batch_size=case.batch_size,
        n_samples=case.n_samples,
        seconds=seconds,
        gflops=speed,
        share_of_peak=speed / matmul_peak(case.dtype),
        rivals=tuple(rivals),
        refused=dict(refused),
        unsuited=dict(unsuited),
        bar=workload.bar,
    )


# ---- contenders


def verified(workload: Workload, peer: Peer, module: Module, threads: int) -> Contender:
    """Return a peer on a workload, once it has shown that it computes the same.

    Raises
    ------
    WrongResultError
        If it does not.
    UnsuitedError
        If it cannot.
    """
    case, title = workload.case, peer.titled(threads)
    problem = Problem.of(case, case.data(), threads)
    if workload.predicts:
        agreement.check_predictor(module, case, title)
        return calling(title, module.predictor(problem), case)
    agreement.check_trainer(module, case, title, threads)
    trainer = module.trainer(problem)
    shuffle = case.n_batches > 1  # fastmlp draws no order for a batch that holds all samples, so nobody has to

    def prepare(epochs: int) -> Call:
        trainer.reset()
        return lambda: trainer.train(epochs, shuffle=shuffle)

    return filling_time(title, prepare, case.n_batches, RUN_SECONDS, fewest_rounds=FEWEST_EPOCHS)


def predicting(case: Case) -> Contender:
    """Return ``net.predict(X)`` as a user calls it, its checks included.

    Raises
    ------
    WrongResultError
        If it computes what it should not.
    """
    net = case.network(BACKEND, threads=1)
    verify.check_predictions(net, *case.batch())
    return calling(BACKEND, net.predict, case)


def calling(name: str, predict: Predict, case: Case) -> Contender:
    """Return a contender that predicts the first batch again and again; a step is a call."""
    X = case.batch()[0].copy()

    def prepare(hundreds: int) -> Call:
        def call() -> None:
            for _ in repeat(None, hundreds * _CALLS):
                predict(X)

        return call

    return filling_time(name, prepare, _CALLS, RUN_SECONDS, _MOST_HUNDREDS)


# ---- fastmlp beside itself


def float64_over_float32(case: Case, n_pairs: int) -> Comparison:
    """Return what float64 costs."""
    wide, narrow = (training(each, BACKEND, threads=1, run_seconds=RUN_SECONDS) for each in (in_float64(case), case))
    pairs = timed_in_pairs(wide, narrow, n_pairs)
    return _compared(f"{case.name}: time in float64 over float32", pairs, at_most=FLOAT64_AT_MOST)


def two_threads(cores: Cores, n_pairs: int) -> Iterator[Comparison]:
    """Yield what two threads gain, where they must; nothing on a single core."""
    if cores.n < 2:
        print("two threads are not timed: this process has one core", flush=True)
        return
    for case in THREADED:
        with cores.held(2):
            one, two = (training(case, BACKEND, threads=n, run_seconds=RUN_SECONDS) for n in (1, 2))
            pairs = timed_in_pairs(one, two, n_pairs)
        yield _compared(f"{case.name}: time with 1 thread over 2", pairs, at_least=TWO_THREADS_AT_LEAST)


def beside_a_busy_process(cores: Cores) -> Iterator[Comparison]:
    """Yield what two threads cost where another process wants a core: those that wait for one another may lose much."""
    if cores.n < 2:
        return
    case = THREADED[0]
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with cores.held(2):
            one, two = (training(case, BACKEND, threads=n, run_seconds=RUN_SECONDS) for n in (1, 2))
            pairs = timed_in_pairs(one, two, PAIRS_WHEN_BUSY)
    finally:
        busy.kill()
        busy.wait()
    name = f"{case.name}: time with 1 thread over 2, beside a busy process"
    yield _compared(name, pairs, at_least=WHEN_BUSY_AT_LEAST)
    low = pairs.quartiles[0]
    yield Comparison(f"{name}, lower quartile", low, pairs.quartiles, at_least=QUARTILE_WHEN_BUSY_AT_LEAST)


def _compared(name: str, pairs: Pairs, at_least: float | None = None, at_most: float | None = None) -> Comparison:
    return Comparison(name, pairs.ratio, pairs.quartiles, at_least, at_most)
