"""The picture of a paper (Braun et al. 2024, Figures 1, 4 and 5): a row per layer with its own limits, a panel per pair
of metrics, seeds as bands. From `frontier.parquet` and `frontier_surfaces.parquet` of a run folder alone.

The line of a loss is what half of its seeds attain, its band lies between what a quarter and what three quarters
attain; both were computed with the table. Marks are trials, those that their own frontier dominates are faint.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dashboards.canvas import FORMATS, look, read, save
from dashboards.figures import UNUSED, empty, planes_of, title_of
from dashboards.panels import (
    Plane,
    Trial,
    draw_others,
    dress,
    groups,
    line_style,
    others_entry,
    own_of,
    points,
    step_style,
)
from dashboards.style import loss_look

ROWS_PER_BAND = 4
"""Layers below each other; more go into further columns."""
_WIDTH_OF_PANEL, _HEIGHT_OF_PANEL = 2.9, 1.9

Corner = dict[str, Any]
"""One line of the table of surfaces."""


def paper_figure(frontier: Path, surfaces: Path, *, inverted_y: bool = False, layers: Sequence[int] = ()) -> Figure:
    """`inverted_y`: low values of the y axis on top, as the paper draws CE loss increase. `layers`: only these.

    Raises `ValueError` for files that are no tables of a run folder, and for layers that are not in them.
    """
    trials, facts = read(frontier, UNUSED)
    corners, _ = read(surfaces)
    unknown = sorted(set(layers) - {trial["layer"] for trial in trials})
    if unknown:
        there = ", ".join(str(layer) for layer in sorted({trial["layer"] for trial in trials}))
        raise ValueError(f"no trial of layer {', '.join(map(str, unknown))}: expected layers among {there}")
    shown = [trial for trial in trials if not layers or trial["layer"] in layers]
    with look():
        return _drawn(shown, corners, facts, inverted_y=inverted_y) if shown else empty(str(facts["sweep_id"]))


def write_paper_figure(
    frontier: Path, surfaces: Path, path: Path, *, inverted_y: bool = False, layers: Sequence[int] = ()
) -> None:
    """At `path`, whose suffix is png, svg or pdf; it appears whole. The same tables give the same bytes."""
    if path.suffix[1:].lower() not in FORMATS:
        raise ValueError(f"cannot draw {path.name}: expected a name that ends in .{', .'.join(FORMATS)}")
    save(paper_figure(frontier, surfaces, inverted_y=inverted_y, layers=layers), path)


def _drawn(trials: Sequence[Trial], corners: Sequence[Corner], facts: Mapping[str, Any], *, inverted_y: bool) -> Figure:
    planes = planes_of(facts)
    places = sorted({(trial["model"], trial["layer"]) for trial in trials})
    sizes = sorted({trial["d_sae"] for trial in own_of(trials)})
    n_bands = math.ceil(len(places) / ROWS_PER_BAND)
    n_rows, n_columns = math.ceil(len(places) / n_bands), n_bands * len(planes)
    figure = Figure(figsize=(0.6 + _WIDTH_OF_PANEL * n_columns, 0.7 + _HEIGHT_OF_PANEL * n_rows))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(n_rows, n_columns)
    for number, place in enumerate(places):
        band, row = divmod(number, n_rows)
        here = [trial for trial in trials if (trial["model"], trial["layer"]) == place]
        edges = [corner for corner in corners if (corner["model"], corner["layer"]) == place]
        for column, plane in enumerate(planes):
            panel = figure.add_subplot(grid[row, band * len(planes) + column])
            _draw(panel, here, edges, plane, sizes=sizes)
            dress(panel, plane, here, with_y=column == 0 or plane.y != planes[column - 1].y)
            panel.set_title(title_of(place, places), fontweight="bold") if column == 0 else None
            is_last = row == n_rows - 1 or number == len(places) - 1
            panel.set_xlabel(panel.get_xlabel() if is_last else "")
            _point_to_better(panel, plane, inverted_y=inverted_y)
    _add_legend(figure, trials, sizes, n_columns)
    return figure


def _draw(
    panel: Axes, trials: Sequence[Trial], corners: Sequence[Corner], plane: Plane, *, sizes: Sequence[int]
) -> None:
    for loss, d_sae in groups(own_of(trials)):
        look_of = loss_look(loss)
        group = [trial for trial in trials if (trial["loss"], trial["d_sae"]) == (loss, d_sae)]
        for on_front, alpha, size in ((False, 0.25, 3.0), (True, 0.9, 4.0)):
            marks = points((trial for trial in group if trial[plane.on_front] == on_front), plane)
            panel.plot(*marks.T, linestyle="", marker=look_of.marker, color=look_of.color, markersize=size, alpha=alpha,
                       markeredgewidth=0.0)  # fmt: skip
        if plane.steps:
            here = [c for c in corners if (c["loss"], c["d_sae"], c["front"]) == (loss, d_sae, plane.front)]
            _draw_surfaces(panel, here, plane, color=look_of.color, line=line_style(d_sae, sizes))
    draw_others(panel, trials, plane)
    panel.axhline(0, color="#888888", linewidth=0.6, zorder=1)


def _draw_surfaces(panel: Axes, corners: Sequence[Corner], plane: Plane, *, color: str, line: Any) -> None:
    levels = {level: _surface(corners, level) for level in (0.25, 0.5, 0.75)}
    steps: Any = step_style(plane)
    panel.plot(*levels[0.5].T, drawstyle=steps, linestyle=line, linewidth=1.2, color=color)
    low, high = levels[0.25], levels[0.75]
    if len(low) == 0 or len(high) == 0 or np.array_equal(low, high):
        return
    # Both steps on all their corners; where the worse one is not defined there is no band.
    xs = np.unique(np.concatenate([low[:, 0], high[:, 0]]))
    lower, upper = (_at(surface, xs, plane) for surface in (low, high))
    panel.fill_between(xs, lower, upper, step=steps.removeprefix("steps-"), color=color, alpha=0.18, linewidth=0)


def _surface(corners: Sequence[Corner], level: float) -> np.ndarray:
    """ "corners 2", by x."""
    found = [(corner["x"], corner["y"]) for corner in corners if abs(corner["level"] - level) < 1e-9]
    return np.array(sorted(found), dtype=float).reshape(-1, 2)


def _at(surface: np.ndarray, xs: np.ndarray, plane: Plane) -> np.ndarray:
    """The surface's y at each x, NaN before its first corner."""
    if plane.x.better == "lower":
        place = np.searchsorted(surface[:, 0], xs, side="right") - 1
        return np.where(place >= 0, surface[np.maximum(place, 0), 1], np.nan)
    place = np.searchsorted(surface[:, 0], xs, side="left")
    return np.where(place < len(surface), surface[np.minimum(place, len(surface) - 1), 1], np.nan)


def _point_to_better(panel: Axes, plane: Plane, *, inverted_y: bool) -> None:
    if inverted_y:
        panel.invert_yaxis()
    left, up = plane.x.better == "lower", (plane.y.better == "higher") != inverted_y
    # In the corner of the worst values, where a frontier leaves room.
    tail, tip = (0.97 if left else 0.03, 0.05 if up else 0.95), (0.88 if left else 0.12, 0.19 if up else 0.81)
    panel.annotate(
        "", tip, tail, xycoords="axes fraction", arrowprops={"arrowstyle": "->", "color": "#888888", "lw": 0.8}
    )
    panel.text(tip[0] + (-0.02 if left else 0.02), tip[1], "better", transform=panel.transAxes, fontsize=6.5,
               color="#888888", ha="right" if left else "left", va="center")  # fmt: skip


def _add_legend(figure: Figure, trials: Sequence[Trial], sizes: Sequence[int], n_columns: int) -> None:
    own = own_of(trials)
    looks = [loss_look(loss) for loss in dict.fromkeys(loss for loss, _ in groups(own))]
    entries: list[Any] = [
        Line2D([], [], color=one.color, marker=one.marker, label=one.label, markeredgewidth=0.0, markersize=5)
        for one in looks
    ]
    entries += others_entry(trials)
    n_seeds = len({trial["seed"] for trial in own})
    if n_seeds > 1:
        entries.append(Patch(color="#555555", alpha=0.25, linewidth=0, label=f"middle half of {n_seeds} seeds"))
    for size in sizes if len(sizes) > 1 else ():
        style: Any = line_style(size, sizes)
        entries.append(Line2D([], [], color="#555555", linestyle=style, label=f"{size} elements"))
    figure.legend(
        handles=entries, loc="outside upper center", ncols=min(len(entries), 4 if n_columns < 3 else 7), frameon=False
    )
