"""What figures of analyses share: panels by layer, legends of losses, ticks that do not run into each other."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from dashboards.style import loss_look, loss_rank

PANEL_WIDTH, PANEL_HEIGHT = 2.7, 2.2
"""Inches, of a panel with its labels."""
ROW_GAP = 0.14
"""Inches, between a row of panels and the next."""
ENTRY_WIDTH = 1.3
"""Inches, of most entries of a legend."""


def panels(
    n_rows: int, n_columns: int, *, width: float = PANEL_WIDTH, height: float = PANEL_HEIGHT
) -> tuple[Figure, Any]:
    """A figure and its panels "rows columns", with room for a legend above."""
    figure = Figure(figsize=(0.4 + width * n_columns, 0.5 + height * n_rows))
    FigureCanvasAgg(figure)
    if n_rows > 1:  # a title must not read as the label of the axis above it
        figure.set_layout_engine("constrained", h_pad=ROW_GAP / 2)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def losses_in(lines: Iterable[Any]) -> list[str]:
    """The losses of lines, in the order in which they are always drawn."""
    return sorted({line["loss"] for line in lines}, key=loss_rank)


def layers_in(lines: Iterable[Any]) -> list[int]:
    return sorted({line["layer"] for line in lines})


def legend(figure: Figure, losses: Sequence[str], *more: Any, lines: bool = False) -> None:
    """Above the panels: colour and shape of each loss, and what else there is."""
    entries: list[Any] = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="-" if lines else "", label=look.label,
               markeredgewidth=0.0, markersize=5)
        for look in map(loss_look, losses)
    ]  # fmt: skip
    n_columns = max(1, min(4, len(entries) + len(more), int(figure.get_figwidth() / ENTRY_WIDTH)))
    figure.legend(handles=[*entries, *more], loc="outside upper center", ncols=n_columns, frameon=False)


def line_entry(style: Any, label: str) -> Line2D:
    """What a kind of line means, for the legend, whatever its colour."""
    return Line2D([], [], color="#222222", linestyle=style, label=label)


def log_ticks(axes: Axes, which: str) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5 of each decade, or fewer where there are many decades."""
    getattr(axes, f"set_{which}scale")("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(getattr(axes, f"get_{which}lim")())
    n_decades = math.log10(high / low) if low > 0 else 1.0
    parts = (1.0, 2.0, 5.0) if n_decades < 2.2 else (1.0, 3.0) if n_decades < 3.2 else (1.0,)
    axis.set_major_locator(LogLocator(subs=parts, numticks=20))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(_plain))


def _plain(value: float, _: int | None) -> str:
    return f"{value:g}"


def span(values: Iterable[float | None], *, log: bool = False, room: float = 0.08) -> tuple[float, float]:
    """Limits with some room around values."""
    found = np.array([value for value in values if value is not None], dtype=float)
    if log:
        found = np.log10(found[found > 0])
    if len(found) == 0:
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = float(found.min()), float(found.max())
    pad = room * (high - low) or (0.15 if log else abs(high) * room or 1.0)
    ends = low - pad, high + pad
    return (10 ** ends[0], 10 ** ends[1]) if log else ends
