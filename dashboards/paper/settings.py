"""Fronts by the value of a setting: a figure per setting, a row per layer, a column per loss."""

from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import canvas
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import layers_in, log_ticks, losses_in, panels, span
from dashboards.style import loss_look

TEXT = Text(
    how_to_read=(
        "Each colour is one value of the setting, dark to light as it rises; lines join the SAEs that no other of the "
        "same value dominates. Where lines of two values lie on each other, the setting does not move the front."
    ),
    paper_found=(
        "A dictionary ratio of 100 in place of 60, or 800 in place of 400 thousand samples, brought no noticeable "
        "improvement of any front at layer 6 (Section 3.1, Figures 16 and 17)."
    ),
    captions={},
)
MARKERS = "osD^vP*X"
_NAMES = {
    "train.lr": "learning rate",
    "train.tokens": "tokens of training",
    "sae.ratio": "dictionary ratio",
    "loss.downstream_coeff": "downstream coefficient",
    "loss.local_coeff": "local coefficient",
    "loss.kl_coeff": "KL coefficient",
}
_PLANES = (("l0", "L0 (elements per token)"), ("n_alive_elements", "alive dictionary elements"))


def figures(tables: Tables) -> dict[str, Figure]:
    """`settings_<setting>`, CE loss increase against L0 and against alive elements."""
    found: dict[str, Figure] = {}
    lines = [line for line in tables["settings_saes"] if line["l0"] and line["ce_loss_increase"] is not None]
    with canvas.look():
        for setting in dict.fromkeys(line["setting"] for line in lines):
            here = [line for line in lines if line["setting"] == setting]
            found[f"settings_{setting.replace('.', '_')}"] = _figure(setting, here)
    return found


def _figure(setting: str, lines: Lines) -> Figure:
    ordered = sorted(lines, key=lambda line: (line["number"] is None, line["number"] or 0.0, line["value"]))
    values = list(dict.fromkeys(line["value"] for line in ordered))
    places = [(layer, plane) for layer in layers_in(lines) for plane in _PLANES]
    losses = losses_in(lines)
    figure, grid = panels(len(places), len(losses), height=2.0)
    for row, (layer, (column, label)) in zip(grid, places, strict=True):
        for axes, loss in zip(row, losses, strict=True):
            here = [line for line in lines if (line["layer"], line["loss"]) == (layer, loss)]
            _draw(axes, here, values, column)
            axes.set_xlabel(label)
            axes.set_title(f"layer {layer}, {loss_look(loss).label}" if column == "l0" else "", fontweight="bold")
        row[0].set_ylabel("CE loss increase\n(nats per token)")
    entries = [
        Line2D([], [], color=_color(place, values), marker=MARKERS[place % len(MARKERS)], label=value, markersize=4.5,
               markeredgewidth=0.0, linewidth=1.0)
        for place, value in enumerate(values)
    ]  # fmt: skip
    figure.legend(handles=entries, loc="outside upper center", ncols=min(5, 2 * len(losses), len(entries)),
                  frameon=False, title=_NAMES.get(setting, setting))  # fmt: skip
    return figure


def _draw(axes: Axes, lines: Lines, values: Sequence[str], column: str) -> None:
    for place, value in enumerate(values):
        points = sorted(
            (line[column], line["ce_loss_increase"]) for line in lines if line["value"] == value and line[column]
        )
        look: dict[str, Any] = {"color": _color(place, values), "marker": MARKERS[place % len(MARKERS)]}
        if points:
            axes.plot(*zip(*points, strict=True), linestyle="", markersize=4.0, markeredgewidth=0.0, alpha=0.8, **look)
            axes.plot(*zip(*_front(points), strict=True), linewidth=1.0, color=look["color"])
    if column == "l0" and lines:
        axes.set_xlim(span([line["l0"] for line in lines], log=True))
        log_ticks(axes, "x")
    else:
        axes.locator_params(axis="x", nbins=4)


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those of points sorted by x that none before them dominates."""
    found: list[tuple[float, float]] = []
    for x, y in points:
        if not found or y < found[-1][1]:
            found.append((x, y))
    return found


def _color(place: int, values: Sequence[str]) -> Any:
    """Dark to light, told apart in grey too; never as light as to be lost on white."""
    return colormaps["viridis"](0.88 * place / max(1, len(values) - 1))
