"""How close the directions of one dictionary are to each other: histograms, means, differences between losses."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import canvas
from dashboards.paper.cosines import CHANCE, cosine_histogram, cosine_limits, group_titles
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import layers_in, legend, line_entry, log_ticks, losses_in, panels, span
from dashboards.style import loss_look

TEXT = Text(
    how_to_read=(
        "Of each alive dictionary element the largest cosine to another of the same SAE. High values mean that "
        "features lie in bundles, as if one were split into many. More alive elements have larger values by chance "
        "alone, which the grey marks tell; intervals are over the elements of two SAEs, and over seeds where there "
        "are three."
    ),
    paper_found=(
        "At layer 6 and similar CE loss increase the mean is 0.166 lower for e2e than for local (95 % interval 0.163 "
        "to 0.168) and 0.04 lower for e2e + downstream (0.037 to 0.043; Figure 3a, section 3.3.1)."
    ),
    captions={
        "geometry_histogram": "Alive elements by their largest cosine to another of the same SAE. Symbols at the top: "
        "means; grey: what directions drawn evenly from the sphere have.",
        "geometry_means": "Mean largest cosine of every SAE of the run against its L0 and its CE loss increase, a row "
        "per layer. Grey: what as many random directions have.",
        "geometry_differences": "Mean largest cosine less that of the local SAE. Thick: 95 % bootstrap interval over "
        "the elements of the two SAEs; thin: 95 % interval over seeds, where there are at least three.",
    },
)
MOST_COLUMNS = 3
_OFFSET = 0.2
_PLANES = (("l0", "L0 (elements per token)"), ("ce_loss_increase", "CE loss increase (nats per token)"))
_BASELINE = "local"


def figures(tables: Tables) -> dict[str, Figure]:
    """`geometry_histogram`, `geometry_means` and `geometry_differences`, each where there are numbers for it."""
    every = [line for line in tables["geometry"] if line["mean_cosine"] is not None]
    against = [line for line in tables["geometry_differences"] if line["against"] == _BASELINE]
    against = [line for line in against if line["difference"] is not None]
    found: dict[str, Figure] = {}
    with canvas.look():
        if every and tables["geometry_elements"]:
            found["geometry_histogram"] = _histogram(every, tables["geometry_elements"])
        if every:
            found["geometry_means"] = _means(every)
        if against:
            found["geometry_differences"] = _differences(against)
    return found


def _histogram(every: Lines, members: Lines) -> Figure:
    by_id = {line["trial_id"]: line for line in every}
    titles = group_titles(members)
    n_columns = min(MOST_COLUMNS, len(titles))
    figure, grid = panels(-(-len(titles) // n_columns), n_columns)
    for number, axes in enumerate(grid.flat):
        if number >= len(titles):
            axes.set_axis_off()
            continue
        group = list(titles)[number]
        here = [by_id[one["trial_id"]] for one in members if one["group"] == group and one["trial_id"] in by_id]
        cosine_histogram(axes, here)
        cosine_limits(axes, here)
        axes.set_title(titles[group], fontweight="bold", pad=9)
        axes.set_xlabel("largest cosine within the SAE")
        axes.set_ylabel("alive elements\n(% per 0.01 of cosine)" if number % n_columns == 0 else "")
    chance = Line2D([], [], color=CHANCE, linestyle="--", linewidth=0.9, label="mean by chance")
    legend(figure, losses_in(every), chance, lines=True)
    return figure


def _means(lines: Lines) -> Figure:
    layers = layers_in(lines)
    figure, grid = panels(len(layers), len(_PLANES))
    for row, layer in zip(grid, layers, strict=True):
        here = [line for line in lines if line["layer"] == layer]
        for axes, (column, label) in zip(row, _PLANES, strict=True):
            _scatter(axes, [line for line in here if line[column] is not None], column)
            axes.set_ylim(span([value for line in here for value in (line["mean_cosine"], line["chance_cosine"])]))
            axes.set_xlabel(label if layer == layers[-1] else "")
        row[0].set_ylabel("mean largest cosine")
        row[0].set_title(f"layer {layer}", fontweight="bold")
    chance = Line2D([], [], color=CHANCE, linestyle="", marker="_", markersize=7, label="by chance")
    legend(figure, losses_in(lines), chance)
    return figure


def _scatter(axes: Any, lines: Lines, column: str) -> None:
    lines = [line for line in lines if column != "l0" or line[column] > 0]
    axes.plot([line[column] for line in lines], [line["chance_cosine"] for line in lines], linestyle="", marker="_",
              color=CHANCE, markersize=7, markeredgewidth=0.8, zorder=2)  # fmt: skip
    for loss in losses_in(lines):
        look = loss_look(loss)
        points = [(line[column], line["mean_cosine"]) for line in lines if line["loss"] == loss]
        axes.plot(*zip(*points, strict=True), linestyle="", marker=look.marker, color=look.color, markersize=4.5,
                  alpha=0.85, markeredgewidth=0.0, zorder=3)  # fmt: skip
    if column == "l0" and lines:
        axes.set_xlim(span([line[column] for line in lines], log=True))
        log_ticks(axes, "x")
    else:
        axes.locator_params(axis="x", nbins=5)


def _differences(lines: Lines) -> Figure:
    titles, losses = group_titles(lines), losses_in(lines)
    figure, ((axes,),) = panels(1, 1, width=max(3.2, 0.9 + 0.95 * len(titles)), height=2.4)
    for place, loss in enumerate(losses):
        look = loss_look(loss)
        for line in (one for one in lines if one["loss"] == loss):
            x = list(titles).index(line["group"]) + _OFFSET * (place - (len(losses) - 1) / 2)
            if line["seeds_low"] is not None:
                axes.plot([x + 0.06] * 2, [line["seeds_low"], line["seeds_high"]], color=look.color, linewidth=0.9)
            axes.plot([x, x], [line["low"], line["high"]], color=look.color, linewidth=2.6, solid_capstyle="butt")
            axes.plot([x], [line["difference"]], marker=look.marker, color=look.color, markersize=7,
                      markeredgecolor="white", markeredgewidth=0.7, zorder=4)  # fmt: skip
    axes.axhline(0, color="#888888", linewidth=0.8, linestyle="--", zorder=1)
    axes.set_xticks(range(len(titles)), [title.replace(", ", "\n") for title in titles.values()])
    axes.set_xlim(-0.5, len(titles) - 0.5)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("mean largest cosine,\nless that of local")
    thin = [line_entry("-", "over seeds")] if any(line["seeds_low"] is not None for line in lines) else []
    for entry in thin:
        entry.set_linewidth(0.9)
    thick = Line2D([], [], color="#222222", linewidth=2.6, label="over elements")
    legend(figure, losses, thick, *thin)
    return figure
