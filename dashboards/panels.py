"""One panel of the frontier's picture: marks, steps and axes. Which panel shows what is settled in `figures.py`."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from dashboards.style import Axis, loss_look, loss_rank

_LINE_STYLES = ("-", "--", ":", "-.")
_GREY = "#555555"
EXTERNAL = "external"
"""In the columns `source` and `loss`."""

Trial = dict[str, Any]
"""One row of the table by column."""


class Plane(NamedTuple):
    """What a panel shows."""

    x: Axis
    y: Axis
    on_front: str
    """Column that marks the trials of the frontier."""
    steps: bool = True
    """Whether the frontier is one of these two metrics alone, and so a line of steps."""
    front: str = ""
    """Ends the names of the frontier's columns."""


def draw_trials(panel: Axes, trials: Sequence[Trial], plane: Plane, *, sizes: Sequence[int]) -> None:
    """Each loss and dictionary size: the frontier as steps with marks, dominated trials as faint marks.

    `sizes`: all dictionary sizes of the picture, small to large; each has its line style. Trials that a log axis cannot
    show are counted in a note.
    """
    shown = [trial for trial in trials if all(a.scale != "log" or trial[a.column] > 0 for a in (plane.x, plane.y))]
    for loss, d_sae in groups(own_of(shown)):
        group = [trial for trial in shown if (trial["loss"], trial["d_sae"]) == (loss, d_sae)]
        look = loss_look(loss)
        marks: dict[str, Any] = {"marker": look.marker, "color": look.color, "markeredgewidth": 0.0}
        dominated = points((trial for trial in group if not trial[plane.on_front]), plane)
        front = np.unique(points((trial for trial in group if trial[plane.on_front]), plane), axis=0)
        panel.plot(*dominated.T, linestyle="", markersize=4, alpha=0.3, **marks)
        steps: Any = step_style(plane)
        line: Any = line_style(d_sae, sizes) if plane.steps else ""
        panel.plot(*front.T, drawstyle=steps, linestyle=line, linewidth=1.2, markersize=5, **marks)
    draw_others(panel, shown, plane)
    panel.axhline(0, color="#888888", linewidth=0.6, zorder=1)
    if len(shown) < len(trials):
        text = f"not shown: {len(trials) - len(shown)} at 0"
        panel.text(0.98, 0.97, text, transform=panel.transAxes, ha="right", va="top", fontsize=6.5, color=_GREY)


def draw_others(panel: Axes, trials: Sequence[Trial], plane: Plane) -> None:
    """SAEs that others trained: marks alone, since nothing joins them to a frontier."""
    theirs = points((trial for trial in trials if is_external(trial)), plane)
    look = loss_look(EXTERNAL)
    marks: dict[str, Any] = {"marker": look.marker, "color": look.color, "markersize": 8, "markeredgewidth": 0.4}
    if len(theirs):
        panel.plot(*theirs.T, linestyle="", markeredgecolor="white", zorder=4, **marks)


def is_external(trial: Trial) -> bool:
    """Whether somebody else trained it. Tables from before there were such have no column that says so."""
    return trial.get("source") == EXTERNAL


def own_of(trials: Iterable[Trial]) -> list[Trial]:
    """Those of the sweep itself."""
    return [trial for trial in trials if not is_external(trial)]


def dress(panel: Axes, plane: Plane, trials: Sequence[Trial], *, with_y: bool) -> None:
    """Scales, limits, ticks and labels from all `trials` of the picture, so that its panels can be compared."""
    _scale(panel, "x", plane.x, np.array([trial[plane.x.column] for trial in trials], dtype=float))
    _scale(panel, "y", plane.y, np.array([trial[plane.y.column] for trial in trials], dtype=float))
    panel.set_xlabel(plane.x.label.replace("\n", " "))
    if with_y:
        panel.set_ylabel(plane.y.label)
    else:
        panel.tick_params(labelleft=False)


def legend_entries(trials: Sequence[Trial], planes: Sequence[Plane], *, sizes: Sequence[int]) -> list[Line2D]:
    """Losses, dominated trials if there are any, dictionary sizes if there are several."""
    own = own_of(trials)
    looks = [loss_look(loss) for loss in dict.fromkeys(loss for loss, _ in groups(own))]
    entries = [
        Line2D([], [], color=look.color, marker=look.marker, label=look.label, markeredgewidth=0.0, markersize=5)
        for look in looks
    ]
    entries += others_entry(trials)
    if not all(trial[plane.on_front] for trial in own for plane in planes):
        faint: dict[str, Any] = {"alpha": 0.4, "markeredgewidth": 0.0, "markersize": 4}
        entries.append(Line2D([], [], linestyle="", marker="o", color=_GREY, label="dominated", **faint))
    for size in sizes if len(sizes) > 1 else ():
        line: Any = line_style(size, sizes)
        entries.append(Line2D([], [], color=_GREY, linestyle=line, label=f"{size} elements"))
    return entries


def others_entry(trials: Sequence[Trial]) -> list[Line2D]:
    """One for SAEs that others trained, if there are any."""
    look = loss_look(EXTERNAL)
    entry: dict[str, Any] = {"linestyle": "", "marker": look.marker, "markersize": 8, "markeredgewidth": 0.0}
    return [Line2D([], [], color=look.color, label=look.label, **entry)] if len(own_of(trials)) < len(trials) else []


def groups(trials: Iterable[Trial]) -> list[tuple[str, int]]:
    """Losses in the order of the style, dictionary sizes from small to large."""
    found = {(trial["loss"], trial["d_sae"]) for trial in trials}
    return sorted(found, key=lambda group: (loss_rank(group[0]), group[1]))


def points(trials: Iterable[Trial], plane: Plane) -> np.ndarray:
    """ "trials 2", also if there are none."""
    return np.array([(trial[plane.x.column], trial[plane.y.column]) for trial in trials], dtype=float).reshape(-1, 2)


def step_style(plane: Plane) -> str:
    """The corner of a step is where both metrics are the worse of two neighbours."""
    return "steps-post" if plane.x.better == "lower" else "steps-pre"


def line_style(d_sae: int, sizes: Sequence[int]) -> str:
    """Of a dictionary size, small ones first."""
    return _LINE_STYLES[sizes.index(d_sae) % len(_LINE_STYLES)]


def _scale(panel: Axes, side: str, axis: Axis, values: np.ndarray) -> None:
    """Limits around `values` and a few ticks with short labels along one side of the panel."""
    ticks, set_limits, set_scale = (
        (panel.xaxis, panel.set_xlim, panel.set_xscale)
        if side == "x"
        else (panel.yaxis, panel.set_ylim, panel.set_yscale)
    )
    if axis.scale == "log" and (values > 0).any():
        low, high = values[values > 0].min(), values.max()
        margin = max(1.15, (high / low) ** 0.06)
        set_scale("log")
        set_limits(low / margin, high * margin)
        # The default labels of minor ticks run into each other on axes of one or two decades.
        ticks.set_major_locator(LogLocator(subs=_log_steps(high / low), numticks=12))
        ticks.set_minor_locator(NullLocator())
    else:
        margin = 0.06 * (np.ptp(values) or abs(values[0]) or 1.0)
        set_limits(values.min() - margin, values.max() + margin)
        whole = bool((values == np.round(values)).all())  # counts: no tick between two of them
        ticks.set_major_locator(MaxNLocator(4 if side == "x" else 5, integer=whole))
    ticks.set_major_formatter(FuncFormatter(_short))


def _log_steps(ratio: float) -> tuple[float, ...]:
    if ratio < 4:
        return (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    return (1.0, 2.0, 5.0) if ratio < 120 else (1.0,)


def _short(value: float, _position: int | None = None) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
