"""Measure, print, keep: ``python -m benchmarks.peers``.

Every figure is of a step: of training, whole epochs with shuffling and Adam, over their steps; of prediction, one
call from Python. All did the same work, and proved it (`agreement`), before they were timed (`measuring`).
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import machine
from benchmarks.measure import matmul_peak, one_thread
from benchmarks.peers import measuring, tables
from benchmarks.peers.base import PEERS, MissingError, Peer
from benchmarks.peers.options import parsed
from benchmarks.peers.results import Comparison, Row


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; return 1 if a bar was missed or a peer refused, 2 if there is nobody to compare with."""
    options = parsed(arguments)
    cores = machine.Cores()
    with ExitStack() as stack:
        stack.enter_context(cores.held(1))  # before the peers are imported: some count the cores then
        peers, missing = load(options.peers)
        stack.enter_context(one_thread())  # after it: their BLAS is to be held too
        if not peers:
            print("no peer is installed", file=sys.stderr)
            return 2
        rows, comparisons = _measured(options, peers, cores)
        record = recorded(rows, comparisons, peers, missing)
    record |= {"pairs": options.pairs, "held_to_one_core": cores.can_hold}
    print("\n", "\n".join([*tables.head(record), "", *tables.told(rows, comparisons)]), sep="")
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(record, indent=2) + "\n")
    verdicts = [row.is_met for row in rows] + [comparison.is_met for comparison in comparisons]
    return int(any(verdict is False for verdict in verdicts) or any(row.refused for row in rows))


def load(names: Iterable[str]) -> tuple[measuring.Loaded, dict[str, str]]:
    """Import the peers; return those that are installed, and a sentence for each of the others."""
    found, missing = {}, {}
    for peer in map(PEERS.__getitem__, names):
        try:
            found[peer.name] = (peer, peer.load())
        except MissingError as error:
            missing[peer.name] = str(error)
            print(error, flush=True)
    return found, missing


def _measured(options: Namespace, peers: measuring.Loaded, cores: machine.Cores) -> tuple[list[Row], list[Comparison]]:
    rows, comparisons = [], []
    for workload in options.workloads:
        rows.append(measuring.measured(workload, peers, cores, options.pairs))
        print(tables.sentence(rows[-1]), flush=True)
    if options.float64:
        cases = [workload.case for workload in options.workloads if not workload.predicts]
        comparisons += [measuring.float64_over_float32(case, options.pairs) for case in cases]
    if options.threads:
        comparisons += [*measuring.two_threads(cores, options.pairs), *measuring.beside_a_busy_process(cores)]
    return rows, comparisons


def recorded(
    rows: Sequence[Row], comparisons: Sequence[Comparison], peers: measuring.Loaded, missing: dict[str, str]
) -> dict[str, Any]:
    """Return everything for the file."""
    packages = [package for peer, _ in peers.values() for package in peer.packages]
    return {
        **machine.record(packages),
        "matmul_peak_gflops": {dtype: matmul_peak(dtype) for dtype in ("float32", "float64")},
        "threads": 1,
        "run_seconds": measuring.RUN_SECONDS,
        "peers": {peer.name: _described(peer) for peer, _ in peers.values()},
        "missing": missing,
        "rows": [row.as_dict() for row in rows],
        "comparisons": [comparison.as_dict() for comparison in comparisons],
    }


def _described(peer: Peer) -> dict[str, Any]:
    return {"title": peer.title, "threads": list(peer.threads), "environment": dict(peer.environment)}
