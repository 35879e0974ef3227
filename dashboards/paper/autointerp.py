"""Scores of explanations of elements: violins per layer and loss, and the differences between losses."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dashboards import canvas
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import layers_in, legend, losses_in, panels
from dashboards.style import loss_look

TEXT = Text(
    how_to_read=(
        "A language model explains an element from passages on which it is strong; the explanation is then tested on "
        "passages that it was not made from. A higher score means that what the element does can be said better. "
        "Detect: share of passages told right, half of which have the element. Simulate: correlation of predicted and "
        "true activations."
    ),
    paper_found=(
        "At similar CE loss increase, e2e + downstream scored 0.08 (layer 2) and 0.10 (layer 6) higher than local, "
        "with 95 % intervals [0.02, 0.13] and [0.05, 0.16]; layer 10 and SAEs of similar L0 did not differ (Table 4)."
    ),
    captions={
        "autointerp_scores": "Scores of single elements (pale), their distribution, and in black their mean with its "
        "95 % bootstrap interval. The dashed line is chance.",
        "autointerp_differences": "Differences of mean scores with their 95 % bootstrap intervals over elements.",
    },
)
CHANCE = {"detect": 0.5, "simulate": 0.0}
LABEL = {"detect": "detection score\n(balanced accuracy)", "simulate": "simulation score\n(correlation)"}
_HALF_WIDTH = 0.38
MOST_COLUMNS = 4


def figures(tables: Tables) -> dict[str, Figure]:
    """`autointerp_scores`, and `autointerp_differences` where there are two losses."""
    lines = [line for line in tables["autointerp"] if line["score"] is not None]
    if not lines:
        return {}
    with canvas.look():
        found = {"autointerp_scores": _scores(lines, tables["autointerp_means"])}
        if tables["autointerp_differences"]:
            found["autointerp_differences"] = _differences(tables["autointerp_differences"])
    return found


def _scores(lines: Lines, means: Lines) -> Figure:
    layers, scoring = layers_in(lines), lines[0]["scoring"]
    saes = {line["trial_id"]: line for line in means if line["score"] is not None}
    most = max(sum(one["layer"] == layer for one in saes.values()) for layer in layers)
    n_columns = min(MOST_COLUMNS, len(layers))
    figure, grid = panels(-(-len(layers) // n_columns), n_columns, width=max(2.0, 0.7 + 0.5 * most))
    scores = [line["score"] for line in lines]
    low = min(CHANCE.get(scoring, 0.0), *scores)
    for number, axes in enumerate(grid.flat):
        if number >= len(layers):
            axes.set_axis_off()
            continue
        layer = layers[number]
        here = [one for one in saes.values() if one["layer"] == layer]
        for place, mean in enumerate(here):
            _violin(axes, [one["score"] for one in lines if one["trial_id"] == mean["trial_id"]], mean, place)
        axes.axhline(CHANCE.get(scoring, 0.0), color="#888888", linewidth=0.8, linestyle="--", zorder=1)
        axes.set_xticks([])
        axes.set_xlim(-0.6, len(here) - 0.4)
        axes.grid(visible=False, axis="x")
        axes.set_title(f"layer {layer}", fontweight="bold")
        axes.set_ylim(low - 0.05, 1.05)
        axes.set_ylabel(LABEL.get(scoring, "score") if number % n_columns == 0 else "")
    legend(figure, losses_in(lines))
    return figure


def _violin(axes: Any, scores: list[float], mean: Any, place: int) -> None:
    look = loss_look(mean["loss"])
    if len(set(scores)) > 1:
        body = axes.violinplot([scores], positions=[place], widths=2 * _HALF_WIDTH, showextrema=False)["bodies"][0]
        body.set(facecolor=look.color, edgecolor=look.color, alpha=0.3)
    # elements with one score stand side by side
    values, counts = np.unique(np.round(scores, 6), return_counts=True)
    widest = max(int(counts.max()), 8)
    for value, count in zip(values, counts, strict=True):
        offsets = (np.arange(count) - (count - 1) / 2) * 1.6 * _HALF_WIDTH / widest
        axes.plot(place + offsets, [value] * count, linestyle="", marker=look.marker, color=look.color, markersize=2.2,
                  alpha=0.6, markeredgewidth=0.0)  # fmt: skip
    low, high, middle = mean["score_low"], mean["score_high"], mean["score"]
    axes.errorbar([place], [middle], yerr=[[middle - low], [high - middle]], color="#222222", marker="_", markersize=9,
                  elinewidth=1.2, capsize=2, zorder=5)  # fmt: skip


def _differences(lines: Lines) -> Figure:
    figure, ((axes,),) = panels(1, 1, width=4.6, height=0.5 + 0.28 * len(lines))
    for place, line in enumerate(lines):
        look = loss_look(line["loss"])
        middle = line["difference"]
        error = [[max(0.0, middle - line["low"])], [max(0.0, line["high"] - middle)]]
        axes.errorbar([middle], [place], xerr=error, linestyle="", marker=look.marker, color=look.color, markersize=5,
                      markeredgewidth=0.0, elinewidth=1.0, capsize=2)  # fmt: skip
    axes.axvline(0, color="#888888", linewidth=0.8)
    several = len({one["group"] for one in lines}) > len({one["layer"] for one in lines})
    places = [one["group"] if several else f"layer {one['layer']}" for one in lines]
    names = [
        f"{place}: {loss_look(one['loss']).label} - {loss_look(one['than']).label}, p {_p(one['p_value'])}"
        for place, one in zip(places, lines, strict=True)
    ]
    axes.set_yticks(range(len(lines)), names)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("difference of mean scores")
    return figure


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}" if value < 0.1 else f"= {value:.2f}"
