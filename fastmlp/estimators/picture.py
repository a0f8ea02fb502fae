"""The layers of an estimator, for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastmlp.estimators.fitted import Fitted

_CELL = "padding: 0.1em 0.8em; text-align: right"


def layers_as_html(estimator: Fitted) -> str:
    """Return a table with a line for each layer: of the network, or of what a fit would make."""
    rows = _fitted_rows(estimator) if "_made_of" in vars(estimator) else _planned_rows(estimator)
    lines = [("layer", "units", "activation", "parameters"), *rows]
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in line) + "</tr>" for line in lines
    )
    return f'<table class="fastmlp-layers" style="font-size: 90%">{body}</table>'


def _fitted_rows(estimator: Fitted) -> list[tuple[str, str, str, str]]:
    spec = estimator._made_of[0]  # noqa: SLF001
    names = [*spec.activations, estimator.out_activation_]
    rows = [
        (str(i + 1), f"{fan_in} → {fan_out}", name, f"{(fan_in + 1) * fan_out:,}")
        for i, ((fan_in, fan_out), name) in enumerate(zip(spec.shapes, names, strict=True))
    ]
    return [*rows, ("", "", "", f"{spec.n_params:,}")]


def _planned_rows(estimator: Fitted) -> list[tuple[str, str, str, str]]:
    try:
        sizes, names = estimator._hidden_sizes(), estimator._activations()  # noqa: SLF001
    except (TypeError, ValueError):  # what is wrong with them is told by a fit
        return []
    return [(str(i + 1), str(size), str(name), "") for i, (size, name) in enumerate(zip(sizes, names, strict=False))]
