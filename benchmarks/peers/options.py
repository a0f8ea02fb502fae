"""The command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.peers.base import PEERS
from benchmarks.peers.workloads import WORKLOADS, Workload
from fastmlp.spec import DTYPES

RESULTS = Path(__file__).parents[1] / "results" / "peers.json"
PAIRS = 9
ACTIVATIONS = ("relu", "tanh", "sigmoid", "identity")  # what every peer has
LOSSES = ("mse", "cross_entropy")
_DESCRIPTION = "Time fastmlp's Numba backend beside its peers: the ratio is a peer's time over fastmlp's."


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; `workloads` are those asked for, a shape of one's own instead of the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.peers", description=_DESCRIPTION)
    _add_choices(parser)
    _add_shape(parser)
    options = parser.parse_args(arguments)
    if options.pairs < 1:
        parser.error(f"--pairs is {options.pairs}; expected at least 1")
    is_whole = options.workload is None and options.layers is None and set(options.peers) == set(PEERS)
    if options.output is None and is_whole:
        options.output = RESULTS
    if options.layers is None:
        names = list(WORKLOADS) if options.workload is None else options.workload
        options.workloads = [WORKLOADS[name] for name in names]
        return options
    if options.workload is not None:
        parser.error("--workload and --layers exclude each other: a table's workload has its own layers")
    try:
        options.workloads = [_own_shape(options)]
    except ValueError as error:
        parser.error(str(error))
    return options


def _add_choices(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(WORKLOADS)
    parser.add_argument("--workload", nargs="*", choices=WORKLOADS, metavar="NAME", help=f"of {names}; all by default")
    parser.add_argument(
        "--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME", help=f"of {', '.join(PEERS)}"
    )
    parser.add_argument("--pairs", type=int, default=PAIRS, metavar="N", help="of each comparison (%(default)s)")
    what = f"a JSON file; by default {RESULTS.name} of the results, if everything is compared, else none"
    parser.add_argument("--output", type=Path, metavar="FILE", help=what)
    parser.add_argument("--float64", action="store_true", help="also what float64 costs fastmlp on each training")
    parser.add_argument("--threads", action="store_true", help="also what two threads gain fastmlp where they must")


def _add_shape(parser: argparse.ArgumentParser) -> None:
    shape = parser.add_argument_group("a shape of your own, trained, in place of the table's workloads")
    shape.add_argument("--layers", type=_sizes, metavar="SIZES", help="such as 13-37-5")
    shape.add_argument("--batch", type=int, default=32, metavar="N", help="rows of a step (%(default)s)")
    shape.add_argument("--activation", choices=ACTIVATIONS, default="relu")
    shape.add_argument("--loss", choices=LOSSES, default="mse")
    shape.add_argument(
        "--samples", type=int, default=16384, metavar="N", help="cut to whole batches, one at least (%(default)s)"
    )
    shape.add_argument("--dtype", choices=DTYPES, default="float32")


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("-")))


def _own_shape(options: argparse.Namespace) -> Workload:
    """Return the workload of the shape that was asked for.

    Raises
    ------
    ValueError
        If there is no such network.
    """
    if options.batch < 1:
        msg = f"--batch is {options.batch}; expected at least 1"
        raise ValueError(msg)
    case = Case(
        name="-".join(map(str, options.layers)),
        layer_sizes=options.layers,
        activation=options.activation,
        batch_size=options.batch,
        n_batches=max(1, options.samples // options.batch),
        classes=options.loss == "cross_entropy",
        dtype=options.dtype,
    )
    case.network("numpy")  # for its error, before anything is measured
    return Workload(case)
