"""The picture of a frontier, from `frontier.parquet` alone: a column of panels per layer, a row per pair of metrics.

Knows pyarrow and matplotlib. Keeps no global state of matplotlib's (no pyplot), needs no screen, and draws the same
bytes for the same file. What is drawn as how is in `style.json`, which the other views read too.
"""

import json
import math
import os
import secrets
import textwrap
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from matplotlib import style as matplotlib_style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dashboards.panels import Plane, Trial, draw_trials, dress, legend_entries
from dashboards.style import axis

_MOST_COLUMNS = 4
_LOOK: dict[str, Any] = {
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


class Written(NamedTuple):
    """The files that `write_figures` made."""

    png: Path
    svg: Path


def frontier_figure(parquet_path: Path) -> Figure:
    """The frontier of each layer and loss as steps, its trials as marks, dominated trials as faint marks.

    Seeds, coefficients and learning rates are pooled: a frontier is that of (model, layer, loss, dictionary size). All
    panels of a pair of metrics share their limits. Raises `ValueError` for a file that is no frontier table.
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
    with matplotlib_style.context(["default", _LOOK]):
        yield


def _drawn(trials: Sequence[Trial], facts: Mapping[str, Any]) -> Figure:
    planes = [_plane(objective, facts["columns"]) for objective in facts["objectives"]]
    places = sorted({(trial["model"], trial["layer"]) for trial in trials})
    sizes = sorted({trial["d_sae"] for trial in trials})
    positions, (n_rows, n_columns) = _layout(len(places), len(planes))
    figure = Figure(figsize=(max(4.2, 1.0 + 2.3 * n_columns), 1.0 + 1.9 * n_rows))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(n_rows, n_columns)
    for (place, number), (row, column) in positions.items():
        panel, plane = figure.add_subplot(grid[row, column]), planes[number]
        here = [trial for trial in trials if (trial["model"], trial["layer"]) == places[place]]
        draw_trials(panel, here, plane, sizes=sizes)
        dress(panel, plane, trials, with_y=column == 0 or (len(places) == 1 and plane.y != planes[number - 1].y))
        panel.set_title(_title(places[place], places) if number == 0 or len(places) == 1 else "")
    entries = legend_entries(trials, planes, sizes=sizes)
    figure.legend(handles=entries, loc="outside upper center", ncols=4 if n_columns < 3 else 6, frameon=False)
    caption = _caption(trials, facts, planes, width=int(15 * figure.get_figwidth()))
    figure.supxlabel(caption, fontsize=7, color="#555555")
    return figure


def _empty(sweep_id: str) -> Figure:
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


def _plane(objective: Mapping[str, Any], columns: Mapping[str, Any]) -> Plane:
    x, y = (
        axis(column, unit=columns[column]["unit"], better=better)
        for column, better in zip((objective["x"], objective["y"]), objective["better"], strict=True)
    )
    return Plane(x, y, f"on_front_{objective['label']}")


def _title(place: tuple[str, int], places: Sequence[tuple[str, int]]) -> str:
    model, layer = place
    return f"layer {layer}" if len({model for model, _ in places}) == 1 else f"{Path(model).name}, layer {layer}"


def _caption(trials: Sequence[Trial], facts: Mapping[str, Any], planes: Sequence[Plane], *, width: int) -> str:
    """Two sentences in lines of at most `width` letters, in one line if they fit."""
    models = ", ".join(sorted({Path(trial["model"]).name for trial in trials}))
    count = f"{len(trials)} SAE" if len(trials) == 1 else f"{len(trials)} SAEs"
    all_lower = all(side.better == "lower" for plane in planes for side in (plane.x, plane.y))
    sentences = [f"{facts['sweep_id']}: {count} on {models}, held-out text."]
    sentences += ["Down and to the left is better."] if all_lower else []
    line = " ".join(sentences)
    return line if len(line) <= width else "\n".join(textwrap.fill(sentence, width) for sentence in sentences)


def _save(figure: Figure, path: Path, **options: Any) -> None:
    content = BytesIO()
    figure.savefig(content, format=path.suffix[1:], **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        beside.write_bytes(content.getvalue())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
