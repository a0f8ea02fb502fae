"""What the command prints: tables that fit 80 columns, plain text where the output is no terminal."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from rich import box
from rich.console import Console
from rich.table import Table

import fastmlp
from fastmlp._text import counted
from fastmlp.backends import available_backends
from fastmlp.cli.comparison import Comparison, Row, Settings, describe, shown_ratio
from fastmlp.cli.problem import Problem
from fastmlp.network import MLP
from fastmlp.spec import DTYPES

HASH_DIGITS = 8


def text(line: str) -> None:
    """Print a line: wrapped between words in a terminal, whole elsewhere."""
    console = _console()
    console.print(line, soft_wrap=not console.is_terminal)


def error(message: str) -> None:
    """Print an error on stderr, in one line."""
    print("fastmlp:", message.replace("\n", " "), file=sys.stderr)  # noqa: T201  no wrapping, no colours


def comparison_begins(problem: Problem, settings: Settings) -> None:
    """Print what is going to be compared."""
    text(f"{_described(problem)}.")
    text(f"{describe(problem, settings)}.")


def comparison_ends(result: Comparison) -> None:
    """Print the table of a comparison, what compiling took, and the conclusion."""
    text("")
    _console().print(_table(result))
    text("")
    firsts = ", ".join(f"{row.backend} {row.first_seconds:.1f} s" for row in result.rows)
    text(f"First batch, compiling included and not in the times above: {firsts}.")
    text(result.conclusion)


def _table(result: Comparison) -> Table:
    """Return a row for each backend: with a line below the header in a terminal, plain columns elsewhere."""
    lines = box.SIMPLE_HEAD if _console().is_terminal else None
    table = Table(box=lines, show_edge=False, pad_edge=False, collapse_padding=lines is not None)
    table.add_column("backend")
    numbers = (
        "ms an\nepoch",
        "samples\na second",
        "speed-up",
        "final\nloss",
        f"test\n{result.problem.metric}",
    )
    for header in (*numbers, "gradient\ndiffers (bound)"):
        table.add_column(header, justify="right")
    table.add_column("strict\ngradient")
    for row in result.rows:
        table.add_row(*_cells(result, row))
    return table


def _cells(result: Comparison, row: Row) -> list[str]:
    speed_up, gradient = result.speed_up(row), result.gradient(row)
    return [
        row.backend,
        f"{row.epoch_seconds * 1e3:.4g}",
        f"{row.samples_per_second:,.0f}",
        "-" if speed_up is None else shown_ratio(speed_up),
        f"{row.losses[-1]:#.3g}",
        _score(result.problem, row.score),
        f"{_small(gradient.difference)} ({_small(gradient.bound)})",
        gradient.strict_hash[:HASH_DIGITS],
    ]


def _small(value: float) -> str:
    """Return for instance "1.2e-7": two characters less count in a table of 80."""
    return f"{value:.1e}".replace("e-0", "e-") if value else "0"


def training_begins(problem: Problem, net: MLP, epochs: int, batch_size: int) -> None:
    """Print what is going to be trained, on what, and by which backend."""
    text(f"{_described(problem)}.")
    text(f"{net.spec.describe()}: {net.spec.n_params:,} parameters.")
    text(net.explain_backend(len(problem.data.X_train), epochs, batch_size))


def training_ends(problem: Problem, net: MLP) -> None:
    """Print the result of a training: its length, its loss, and the score of the test rows."""
    history, data = net.history, problem.data
    if history is None:
        return
    train, test = (
        _score(problem, problem.score(net.predict(X), Y))
        for X, Y in ((data.X_train, data.Y_train), (data.X_test, data.Y_test))
    )
    text(
        f"{history.n_epochs} epochs in {sum(history.seconds):.3g} s: "
        f"loss {history.loss[0]:.4g} to {history.loss[-1]:.4g}."
    )
    text(f"{problem.metric.capitalize()}: {train} of the training rows, {test} of the test rows.")


def warming(dtypes: Sequence[str], *, strict: bool) -> bool:
    """Have all kernels of some dtypes compiled, print what that was, and return whether all of them are kept."""
    from fastmlp.backends.numba import store  # noqa: PLC0415  Numba is slow to import
    from fastmlp.backends.numba.warming import warm_up  # noqa: PLC0415

    all_kept = True
    for dtype in dtypes:
        warmth = warm_up(dtype, strict=strict)
        done = [f"{verb} {', '.join(names)}" for verb, names in warmth.told if names]
        text(f"{'strict ' if strict else ''}{dtype}: {'; '.join(done)} ({warmth.seconds:.1f} s).")
        all_kept &= not warmth.missing
    text(f"Kept in {store.cache_folder()}." if all_kept else "They could not be kept: the next process compiles again.")
    return all_kept


def information() -> None:
    """Print versions, processor, threads, and the kernel cache."""
    for name, value in _facts():
        text(f"{name:14}{value}")


def _facts() -> Iterator[tuple[str, str]]:
    import llvmlite.binding as llvm  # noqa: PLC0415  slow to import, as is Numba, which the registers need

    from fastmlp.backends.numba.crew import available_processors  # noqa: PLC0415
    from fastmlp.backends.numba.simd.registers import host  # noqa: PLC0415

    yield "fastmlp", fastmlp.__version__
    for package in ("numpy", "numba", "llvmlite"):
        yield package, version(package)
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "system", f"{platform.system()} {platform.release()}"
    yield "processor", f"{llvm.get_host_cpu_name()} ({platform.machine()})"
    lanes = [f"{host().kind(dtype).lanes} lanes of {dtype}" for dtype in DTYPES]
    yield "vector width", f"{8 * host().width} bits: {', '.join(lanes)}"
    yield "threads", f"{available_processors()} usable of {os.cpu_count()}"
    yield "backends", ", ".join(available_backends())
    yield from _kernel_facts()


def _kernel_facts() -> Iterator[tuple[str, str]]:
    from fastmlp.backends.numba import store, warming  # noqa: PLC0415

    try:
        yield "kernel cache", str(store.cache_folder())
        own, others = store.sizes()
    except (OSError, RuntimeError) as problem:
        yield "kernel cache", f"none: {problem}"
        return
    yield "kernels kept", f"{_files(own)}; {_files(others)} of other versions or processors"
    for name, strict in (("fast kernels", False), ("strict ones", True)):
        expected = warming.kernels(strict=strict)
        states = [f"{dtype} {_state(warming.missing(dtype, strict=strict), expected)}" for dtype in DTYPES]
        yield name, ", ".join(states)


def _files(sizes: Sequence[int]) -> str:
    return f"{counted(len(sizes), 'file')}, {sum(sizes) / 1e6:.1f} MB"


def _state(missing: Sequence[str], kernels: Sequence[str]) -> str:
    """Return whether kernels are warm, or what is still to be compiled."""
    if not missing:
        return "warm"
    return "cold" if len(missing) == len(kernels) else f"warm but for {' and '.join(missing)}"


def _described(problem: Problem) -> str:
    """Return the data set in one line."""
    data = problem.data
    target = f"{len(problem.class_names)} classes" if problem.class_names else "a number to predict"
    return (
        f"{problem.name}: {data.X_train.shape[1]} features, {target}; "
        f"{len(data.X_train):,} rows to train on, {len(data.X_test):,} to test with"
    )


def _score(problem: Problem, score: float) -> str:
    return f"{score:.1%}" if problem.class_names else f"{score:.4g}"


def _console() -> Console:
    """Return a console for stdout as it is now; the strings printed are no markup."""
    return Console(markup=False, highlight=False)
