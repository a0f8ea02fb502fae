"""What the examples share: their command line, and the look of their pictures."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import fastmlp

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    backend: str
    quick: bool
    plot: Path | None


def parse(description: str | None, arguments: Sequence[str] | None, backend: str = "auto") -> Options:
    """Read an example's command line; `backend` is the one taken where none is named."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=layout)
    names = (*fastmlp.available_backends(), "auto")
    parser.add_argument("--backend", choices=names, default=backend, help=f"by default {backend}")
    parser.add_argument("--quick", action="store_true", help="a shorter run, where there is one")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw a picture; needs matplotlib")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.plot is not None:
        if importlib.util.find_spec("matplotlib") is None:
            parser.error("--plot needs matplotlib: install it with pip install 'fastmlp[plot]'")
        if not options.plot.parent.is_dir():
            parser.error(f"--plot: there is no directory {options.plot.parent}")
    return options


def row(values: Iterable[float], digits: int = 4) -> str:
    """Return numbers side by side, in columns of equal width."""
    return " ".join(f"{value:{digits + 3}.{digits}f}" for value in values)


def new_figure(title: str = "", n_columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return an empty picture and its axes, side by side."""
    from matplotlib.figure import Figure  # noqa: PLC0415  only a picture needs matplotlib

    figure = Figure(figsize=(4.0 + 3.5 * n_columns, 4.5), layout="constrained")
    if title:
        figure.suptitle(title)
    axes: list[Axes] = list(figure.subplots(1, n_columns, squeeze=False)[0])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write the picture and say where it is."""
    figure.savefig(path, dpi=150)
    print(f"\nThe picture is in {path}.")
