"""The command's pictures. Importing this needs matplotlib, the extra "plot"; no window is opened, ever."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fastmlp.cli.comparison import Comparison, Row, shown_ratio
from fastmlp.history import History

# Okabe and Ito's colours, which the colour-blind tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def draw_comparison(comparison: Comparison, format_name: str) -> bytes:
    """Draw the speed of each backend as a bar, and the loss curves on top of one another.

    Parameters
    ----------
    comparison : Comparison
        What to show.
    format_name : str
        A format that matplotlib writes, such as "png" or "svg".

    Returns
    -------
    bytes
        The content of the picture's file.

    Raises
    ------
    ValueError
        If matplotlib does not know the format.
    """
    figure = Figure(figsize=(10.0, 4.5), layout="constrained")
    speed, loss = figure.subplots(1, 2)
    figure.suptitle(f"{comparison.problem.name}: {comparison.network}, batches of {comparison.settings.batch_size}")
    _draw_speed(speed, comparison)
    _draw_losses(loss, comparison.rows)
    return _saved(figure, format_name)


def draw_history(history: History, title: str, format_name: str) -> bytes:
    """Draw the loss curves of a fit; parameters and errors as for `draw_comparison`."""
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = history.plot(figure.subplots())
    axes.set_title(title)
    return _saved(figure, format_name)


def check_format(format_name: str) -> None:
    """Refuse a format before the work, not after it.

    Raises
    ------
    ValueError
        If matplotlib does not know the format.
    """
    known = Figure().canvas.get_supported_filetypes()
    if format_name not in known:
        raise ValueError(f"no picture format {format_name!r}; use one of {', '.join(sorted(known))}")


def _draw_speed(axes: Axes, comparison: Comparison) -> None:
    """Draw a bar a backend, on a log axis, with its figure on top."""
    rows = comparison.rows
    speeds = [row.samples_per_second for row in rows]
    bars = axes.bar([row.backend for row in rows], speeds, color=_COLOURS[: len(rows)], width=0.6)
    axes.bar_label(bars, [_label(comparison, row) for row in rows], padding=3)
    axes.set_yscale("log")
    # A bar on a log axis has no natural foot: this one is a tenth of the slowest, and the top leaves room.
    axes.set_ylim(min(speeds) / 10.0, max(speeds) * 4.0)
    axes.set_ylabel("training samples a second (log scale)")
    axes.set_title("Speed")
    axes.spines[["top", "right"]].set_visible(False)


def _label(comparison: Comparison, row: Row) -> str:
    speed, speed_up = f"{row.samples_per_second:,.0f}", comparison.speed_up(row)
    return speed if speed_up is None else f"{speed}\n{shown_ratio(speed_up)} x"


def _draw_losses(axes: Axes, rows: tuple[Row, ...]) -> None:
    """Draw the curves thick below and thin on top, so that equal ones are all seen."""
    for position, (row, colour) in enumerate(zip(rows, _COLOURS, strict=False)):
        epochs = range(1, len(row.losses) + 1)
        width = 2.0 + 4.0 * (len(rows) - 1 - position)
        axes.plot(epochs, row.losses, color=colour, linewidth=width, label=row.backend, solid_capstyle="round")
    if all(loss > 0 for row in rows for loss in row.losses):
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("Training loss")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _saved(figure: Figure, format_name: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=format_name, dpi=150)
    return buffer.getvalue()
