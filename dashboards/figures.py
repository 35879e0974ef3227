"""The picture of a frontier, from `frontier.parquet` alone: one column of panels per layer, one row per pair of metrics.

Knows pyarrow and matplotlib. Keeps no global state of matplotlib's (no pyplot), needs no screen, and draws the same
bytes for the same file. What is drawn as how is in `style.json`, which the other views read too.
"""

# pyright: reportUnknownParameterType=false
# pyarrow and matplotlib leave much untyped.

import json
import math
import os
import secrets
import textwrap
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

_MOST_COLUMNS = 4
_LINE_STYLES = ("-", "--", ":", "-.")
_LOOK = {
    "figure.constrained_layout.use": True,
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.hashsalt": "frontier",
}

Trial = dict[str, Any]
"""One row of the table by column."""


@dataclass(frozen=True)
class _Axis:
    """One metric along one side of a panel."""

    column: str
    label: str
    scale: str
    better: str


class _Plane(NamedTuple):
    """What one row of panels shows."""

    x: _Axis
    y: _Axis
    on_front: str
    """Column that marks the trials of the frontier."""


class Written(NamedTuple):
    """The files that `write_figures` made."""

    png: Path
    svg: Path


def frontier_figure(parquet_path: Path) -> Figure:
    """The frontier of each layer and loss as steps, its trials as marks, dominated trials as faint marks.

    Seeds, coefficients and learning rates are pooled: a frontier is that of (model, layer, loss, dictionary size).
    Raises `ValueError` for a file that is no frontier table.
    """
    trials, facts = _read(parquet_path)
    with _look():
        return _drawn(trials, facts) if trials else _empty(str(facts["sweep_id"]))


def write_figures(parquet_path: Path, folder: Path) -> Written:
    """`frontier.png` and `frontier.svg` in `folder`; each appears whole. The same table gives the same bytes."""
    figure = frontier_figure(parquet_path)
    written = Written(folder / "frontier.png", folder / "frontier.svg")
    with _look():
        _save(figure, written.png, dpi=200, metadata={"Software": None})
        _save(figure, written.svg, metadata={"Date": None})
    return written


def _read(path: Path) -> tuple[list[Trial], dict[str, Any]]:
    with path.open("rb") as file:  # one handle: the file may be replaced meanwhile
        table = pq.ParquetFile(file).read()
    facts = (table.schema.metadata or {}).get(b"sae_frontier")
    if facts is None:
        raise ValueError(f"{path} is no frontier table: its metadata has no key 'sae_frontier'")
    return table.to_pylist(), json.loads(facts)


@contextmanager
def _look() -> Generator[None]:
    """Our settings over matplotlib's own, whatever the user's matplotlibrc says; put back afterwards."""
    with mpl.style.context(["default", _LOOK]):
        yield


@cache
def _style() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("style.json").read_text())


def _drawn(trials: Sequence[Trial], facts: dict[str, Any]) -> Figure:
    planes = [_plane(objective, facts) for objective in facts["objectives"]]
    places = sorted({(trial["model"], trial["layer"]) for trial in trials})
    sizes = sorted({trial["d_sae"] for trial in trials})
    positions, (n_rows, n_columns) = _layout(len(places), len(planes))
    figure = Figure(figsize=(max(4.2, 1.0 + 2.3 * n_columns), 1.0 + 1.9 * n_rows))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(n_rows, n_columns)
    for (place, plane), (row, column) in positions.items():
        panel = figure.add_subplot(grid[row, column])
        here = [trial for trial in trials if (trial["model"], trial["layer"]) == places[place]]
        _draw_panel(panel, here, planes[plane], sizes)
        _dress_panel(panel, planes[plane], trials, is_first=column == 0)
        panel.set_title(_title(places[place], places) if plane == 0 or len(places) == 1 else "")
    handles = _legend(trials, planes, sizes)
    figure.legend(handles=handles, loc="outside upper center", ncols=3 if n_columns < 3 else 6, frameon=False)
    figure.supxlabel(_caption(trials, facts, planes, width=28 * n_columns), fontsize=7, color="#555555")
    return figure


def _layout(n_places: int, n_planes: int) -> tuple[dict[tuple[int, int], tuple[int, int]], tuple[int, int]]:
    """(row, column) of each (place, plane), and how many rows and columns.

    A layer is a column with its planes below each other, in bands of at most four; a single layer is a row.
    """
    if n_places == 1:
        return {(0, plane): (0, plane) for plane in range(n_planes)}, (1, n_planes)
    # Of three and four columns the number that leaves fewer holes.
    n_columns = n_places if n_places <= _MOST_COLUMNS else min((4, 3), key=lambda n: -n_places % n)
    positions = {
        (place, plane): (place // n_columns * n_planes + plane, place % n_columns)
        for place in range(n_places)
        for plane in range(n_planes)
    }
    return positions, (math.ceil(n_places / n_columns) * n_planes, n_columns)


def _empty(sweep_id: str) -> Figure:
    figure = Figure(figsize=(4.2, 1.5))
    FigureCanvasAgg(figure)
    figure.text(0.5, 0.5, f"{sweep_id}\nno trial has finished yet", ha="center", va="center", color="#555555")
    return figure


def _plane(objective: dict[str, Any], facts: dict[str, Any]) -> _Plane:
    x, y = (
        _axis(column, str(facts["columns"][column]["unit"]), better)
        for column, better in zip((objective["x"], objective["y"]), objective["better"], strict=True)
    )
    return _Plane(x, y, f"on_front_{objective['label']}")


def _axis(column: str, unit: str, better: str) -> _Axis:
    style = _style()["metrics"].get(column, {"label": column.replace("_", " "), "scale": "linear"})
    label = style["label"]
    return _Axis(column, f"{label}\n({unit})" if unit and unit not in label else label, style["scale"], better)


def _draw_panel(panel: Axes, trials: Sequence[Trial], plane: _Plane, sizes: Sequence[int]) -> None:
    """Marks and steps of one layer, one group after another."""
    shown = [trial for trial in trials if plane.x.scale != "log" or trial[plane.x.column] > 0]
    for loss, d_sae in _groups(shown):
        group = [trial for trial in shown if (trial["loss"], trial["d_sae"]) == (loss, d_sae)]
        look = _loss_look(loss)
        dominated = _points((trial for trial in group if not trial[plane.on_front]), plane)
        front = np.unique(_points((trial for trial in group if trial[plane.on_front]), plane), axis=0)
        marks = {"marker": look["marker"], "color": look["color"], "markeredgewidth": 0.0}
        panel.plot(*dominated.T, linestyle="", markersize=4, alpha=0.3, **marks)
        panel.plot(
            *front.T,
            drawstyle="steps-post" if plane.x.better == "lower" else "steps-pre",
            linestyle=_line_style(d_sae, sizes),
            linewidth=1.2,
            markersize=5,
            **marks,
        )
    panel.axhline(0, color="#888888", linewidth=0.6, zorder=1)
    if len(shown) < len(trials):
        _note(panel, f"not shown: {len(trials) - len(shown)} with {plane.x.label.splitlines()[0]} = 0")


def _groups(trials: Iterable[Trial]) -> list[tuple[str, int]]:
    """Losses in the order of the style, dictionary sizes from small to large."""
    order = list(_style()["losses"])
    found = {(trial["loss"], trial["d_sae"]) for trial in trials}
    return sorted(found, key=lambda group: (order.index(group[0]) if group[0] in order else len(order), *group))


def _points(trials: Iterable[Trial], plane: _Plane) -> np.ndarray:
    """ "trials 2", also if there are none."""
    return np.array([(trial[plane.x.column], trial[plane.y.column]) for trial in trials]).reshape(-1, 2)


def _note(panel: Axes, text: str) -> None:
    panel.text(0.98, 0.97, text, transform=panel.transAxes, ha="right", va="top", fontsize=6.5, color="#555555")


def _dress_panel(panel: Axes, plane: _Plane, trials: Sequence[Trial], *, is_first: bool) -> None:
    """Scales, limits and ticks, the same in all panels of a plane."""
    panel.set_xlabel(plane.x.label.replace("\n", " "))
    panel.set_ylabel(plane.y.label if is_first else "")
    _scale(panel, "x", plane.x, np.array([trial[plane.x.column] for trial in trials], dtype=float))
    _scale(panel, "y", plane.y, np.array([trial[plane.y.column] for trial in trials], dtype=float))


def _scale(panel: Axes, side: str, axis: _Axis, values: np.ndarray) -> None:
    ticks = panel.xaxis if side == "x" else panel.yaxis
    set_limits = panel.set_xlim if side == "x" else panel.set_ylim
    if axis.scale == "log" and (values > 0).any():
        low, high = values[values > 0].min(), values.max()
        margin = max(1.15, (high / low) ** 0.06)
        getattr(panel, f"set_{side}scale")("log")
        set_limits(low / margin, high * margin)
        # The default labels of minor ticks run into each other on axes of one or two decades.
        ticks.set_major_locator(LogLocator(subs=_log_steps(high / low), numticks=12))
        ticks.set_minor_locator(NullLocator())
        ticks.set_minor_formatter(NullFormatter())
    else:
        margin = 0.06 * (np.ptp(values) or abs(values[0]) or 1.0)
        set_limits(values.min() - margin, values.max() + margin)
        ticks.set_major_locator(MaxNLocator(4 if side == "x" else 5))
    ticks.set_major_formatter(FuncFormatter(_short))


def _log_steps(ratio: float) -> tuple[float, ...]:
    if ratio < 4:
        return (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    return (1.0, 2.0, 5.0) if ratio < 120 else (1.0,)


def _short(value: float, _position: int | None = None) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


def _title(place: tuple[str, int], places: Sequence[tuple[str, int]]) -> str:
    model, layer = place
    return f"layer {layer}" if len({model for model, _ in places}) == 1 else f"{Path(model).name}, layer {layer}"


def _caption(trials: Sequence[Trial], facts: dict[str, Any], planes: Sequence[_Plane], *, width: int) -> str:
    models = ", ".join(sorted({Path(trial["model"]).name for trial in trials}))
    count = f"{len(trials)} SAE" if len(trials) == 1 else f"{len(trials)} SAEs"
    all_lower = all(axis.better == "lower" for plane in planes for axis in (plane.x, plane.y))
    better = " Down and to the left is better." if all_lower else ""
    return textwrap.fill(f"{facts['sweep_id']}: {count} on {models}, held-out text.{better}", max(width, 56))


def _loss_look(loss: str) -> dict[str, str]:
    return _style()["losses"].get(loss, {"label": loss, "color": "#555555", "marker": "s"})


def _line_style(d_sae: int, sizes: Sequence[int]) -> str:
    return _LINE_STYLES[sizes.index(d_sae) % len(_LINE_STYLES)]


def _legend(trials: Sequence[Trial], planes: Sequence[_Plane], sizes: Sequence[int]) -> list[Line2D]:
    losses = dict.fromkeys(loss for loss, _ in _groups(trials))
    looks = [_loss_look(loss) for loss in losses]
    handles = [
        Line2D(
            [], [], color=look["color"], marker=look["marker"], label=look["label"], markeredgewidth=0.0, markersize=5
        )
        for look in looks
    ]
    if not all(trial[plane.on_front] for trial in trials for plane in planes):
        faint = {"color": "#555555", "alpha": 0.4, "markeredgewidth": 0.0, "markersize": 4}
        handles.append(Line2D([], [], linestyle="", marker="o", label="dominated", **faint))
    if len(sizes) > 1:
        handles += [
            Line2D([], [], color="#555555", linestyle=_line_style(size, sizes), label=f"{size} elements")
            for size in sizes
        ]
    return handles


def _save(figure: Figure, path: Path, **options: Any) -> None:
    content = BytesIO()
    figure.savefig(content, format=path.suffix[1:], **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    beside.write_bytes(content.getvalue())
    beside.replace(path)
