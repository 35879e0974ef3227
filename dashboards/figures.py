"""The picture of a frontier, from `frontier.parquet` alone: a column of panels per layer, a row per pair of metrics.

Knows pyarrow and matplotlib. Keeps no global state of matplotlib's (no pyplot), needs no screen, and draws the same
bytes for the same file. What is drawn as how is in `style.json`, which the other views read too.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dashboards.canvas import look, read, save
from dashboards.panels import Plane, Trial, draw_trials, dress, legend_entries, own_of
from dashboards.style import axis

UNUSED = ("config_json", "downstream_mse", "density_histogram")
"""Columns that no picture shows; a large sweep's are large."""
_MOST_COLUMNS = 4


class Written(NamedTuple):
    """The files that `write_figures` made."""

    png: Path
    svg: Path


def frontier_figure(parquet_path: Path) -> Figure:
    """The frontier of each layer and loss as steps, its trials as marks, dominated trials as faint marks.

    Seeds, coefficients and learning rates are pooled: a frontier is that of (model, layer, loss, dictionary size). All
    panels of a pair of metrics share their limits. Raises `ValueError` for a file that is no frontier table.
    """
    trials, facts = read(parquet_path, UNUSED)
    with look():
        return _drawn(trials, facts) if trials else empty(str(facts["sweep_id"]))


def write_figures(parquet_path: Path, folder: Path) -> Written:
    """`frontier.png` and `frontier.svg` in `folder`; each appears whole. The same table gives the same bytes."""
    figure = frontier_figure(parquet_path)
    written = Written(folder / "frontier.png", folder / "frontier.svg")
    for path in written:
        save(figure, path)
    return written


def _drawn(trials: Sequence[Trial], facts: Mapping[str, Any]) -> Figure:
    planes = planes_of(facts)
    places = sorted({(trial["model"], trial["layer"]) for trial in trials})
    sizes = sorted({trial["d_sae"] for trial in own_of(trials)})
    positions, (n_rows, n_columns) = _layout(len(places), len(planes))
    figure = Figure(figsize=(max(4.2, 1.0 + 2.3 * n_columns), 1.0 + 1.9 * n_rows))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(n_rows, n_columns)
    for (place, number), (row, column) in positions.items():
        panel, plane = figure.add_subplot(grid[row, column]), planes[number]
        here = [trial for trial in trials if (trial["model"], trial["layer"]) == places[place]]
        draw_trials(panel, here, plane, sizes=sizes)
        dress(panel, plane, trials, with_y=column == 0 or (len(places) == 1 and plane.y != planes[number - 1].y))
        panel.set_title(title_of(places[place], places) if number == 0 or len(places) == 1 else "")
    entries = legend_entries(trials, planes, sizes=sizes)
    figure.legend(handles=entries, loc="outside upper center", ncols=4 if n_columns < 3 else 6, frameon=False)
    caption = _caption(trials, facts, planes, width=int(15 * figure.get_figwidth()))
    figure.supxlabel(caption, fontsize=7, color="#555555")
    return figure


def empty(sweep_id: str) -> Figure:
    """In place of a picture of nothing."""
    figure = Figure(figsize=(4.2, 1.5))
    FigureCanvasAgg(figure)
    figure.text(0.5, 0.5, f"{sweep_id}\nno finished trial to draw", ha="center", va="center", color="#555555")
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


def planes_of(facts: Mapping[str, Any]) -> list[Plane]:
    """The pairs of metrics that are objectives; where none is, each metric of the larger ones against its last, without
    the steps of a frontier, which is none in two of its metrics alone."""
    pairs = [objective for objective in facts["objectives"] if "x" in objective]
    if pairs:
        return [_plane((one["x"], one["y"]), one["better"], one["label"], facts) for one in pairs]
    return [
        _plane((name, one["metrics"][-1]), (better, one["better"][-1]), one["label"], facts, steps=False)
        for one in facts["objectives"]
        for name, better in zip(one["metrics"][:-1], one["better"][:-1], strict=True)
    ]


def _plane(
    metrics: tuple[str, str], better: Sequence[str], label: str, facts: Mapping[str, Any], *, steps: bool = True
) -> Plane:
    x, y = (
        axis(column, unit=facts["columns"][column]["unit"], better=way)
        for column, way in zip(metrics, better, strict=True)
    )
    return Plane(x, y, f"on_front_{label}", steps, label)


def title_of(place: tuple[str, int], places: Sequence[tuple[str, int]]) -> str:
    model, layer = place
    """`layer 6`, with the model's name where there are several."""
    return f"layer {layer}" if len({model for model, _ in places}) == 1 else f"{Path(model).name}, layer {layer}"


def _caption(trials: Sequence[Trial], facts: Mapping[str, Any], planes: Sequence[Plane], *, width: int) -> str:
    """Two sentences in lines of at most `width` letters, in one line if they fit."""
    models = ", ".join(sorted({Path(trial["model"]).name for trial in trials}))
    n_own, n_others = len(own_of(trials)), len(trials) - len(own_of(trials))
    count = f"{n_own} SAE{'' if n_own == 1 else 's'}{f' and {n_others} of others' if n_others else ''}"
    all_lower = all(side.better == "lower" for plane in planes for side in (plane.x, plane.y))
    sentences = [f"{facts['sweep_id']}: {count} on {models}, held-out text."]
    sentences += ["Down and to the left is better."] if all_lower else []
    line = " ".join(sentences)
    return line if len(line) <= width else "\n".join(textwrap.fill(sentence, width) for sentence in sentences)
