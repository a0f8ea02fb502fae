"""What people read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.peers.base import PEERS
from benchmarks.peers.results import Comparison, Rival, Row

_GAP = "  "
_NONE = "-"


def head(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what everything was measured on, from the record that goes into the file."""
    yield f"{record['processor']}, {record['system']}"
    yield ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    peaks = ", ".join(f"{peak:.0f} in {dtype}" for dtype, peak in record["matmul_peak_gflops"].items())
    yield f"peak of a matrix product on one thread, in GFLOP/s: {peaks}"
    place = "on one core" if record["held_to_one_core"] else "by settings alone: this system holds no process to a core"
    yield f"one thread each, {place}; medians of {record['pairs']} pairs; a ratio is a peer's time over fastmlp's"
    yield from record["missing"].values()


def told(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Yield tables and sentences."""
    for predicts, heading in ((False, "training, µs a step"), (True, "prediction, µs a call")):
        chosen = [row for row in rows if row.predicts == predicts]
        if chosen:
            yield from (*aligned(_cells(heading, chosen)), "")
    yield from map(_comparison_sentence, comparisons)
    for row in rows:
        yield from (f"{row.workload}: REFUSED: {why}" for why in row.refused.values())
        yield from (f"{row.workload}: {why}" for why in row.unsuited.values())


def sentence(row: Row) -> str:
    """Return a row in a line, to be read while the others are measured."""
    rivals = ", ".join(
        f"{PEERS[rival.peer].titled(rival.threads)} {_micro(rival.seconds)} ({_ratio(rival)})" for rival in row.rivals
    )
    return f"{row.workload}: fastmlp {_micro(row.seconds)} µs; {rivals or 'nobody to compare with'}"


def aligned(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table: its first column to the left, the others to the right."""
    first, *others = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for name, *values in cells:
        padded = [f"{value:>{width}}" for value, width in zip(values, others, strict=True)]
        yield _GAP.join([f"{name:<{first}}", *padded]).rstrip()


def _cells(heading: str, rows: Sequence[Row]) -> list[list[str]]:
    """Return a table: a column for each peer, and number of threads, that has a time in it."""
    columns = list(dict.fromkeys((rival.peer, rival.threads) for row in rows for rival in row.rivals))
    several = [name for name, threads in columns if threads > 1]
    cells = [[heading, "fastmlp", "GFLOP/s", "of peak", *(PEERS[name].titled(threads) for name, threads in columns)]]
    cells[0] += [f"{PEERS[name].title}, best" for name in several]
    cells[0] += ["over the fastest", "must (aim)", "verdict"]
    for row in rows:
        times = {(rival.peer, rival.threads): _micro(rival.seconds) for rival in row.rivals}
        own = [row.workload, _micro(row.seconds), f"{row.gflops:.3g}", f"{row.share_of_peak:.1%}"]
        theirs = [times.get(column, _NONE) for column in columns]
        best = [_with_threads(row.best_of(name)) for name in several]
        cells.append([*own, *theirs, *best, _over_fastest(row), _bar(row), _verdict(row)])
    return cells


def _over_fastest(row: Row) -> str:
    if row.fastest is None:
        return _NONE
    low, high = row.fastest.quartiles
    return f"{PEERS[row.fastest.peer].title} {_ratio(row.fastest)} ({low:.3g} to {high:.3g})"


def _bar(row: Row) -> str:
    """Return the bar, and whom it is about where that is not the fastest peer."""
    if row.bar is None:
        return _NONE
    bar = f"{row.bar.must:g} ({row.bar.aim:g})"
    return bar if row.bar.peer is None else f"{PEERS[row.bar.peer].title} {bar}"


def _verdict(row: Row) -> str:
    if row.bar is None:
        return "no bar"
    if row.judged is None:
        return "not timed"
    word = "MISSED" if not row.is_met else "aim met" if row.aim_is_met else "met"
    return word if row.judged == row.fastest else f"{_ratio(row.judged)}: {word}"


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.3g}" if seconds < 1e-4 else f"{seconds * 1e6:,.0f}"


def _ratio(rival: Rival) -> str:
    return f"{rival.ratio:.3g}x"


def _with_threads(rival: Rival | None) -> str:
    return _NONE if rival is None else f"{_micro(rival.seconds)} with {rival.threads} ({_ratio(rival)})"


def _comparison_sentence(comparison: Comparison) -> str:
    low, high = comparison.quartiles
    bar = f"at most {comparison.at_most:g}" if comparison.at_least is None else f"at least {comparison.at_least:g}"
    verdict = "met" if comparison.is_met else "MISSED"
    return f"{comparison.name} {comparison.ratio:.3g} ({low:.3g} to {high:.3g}), {bar}: {verdict}"
