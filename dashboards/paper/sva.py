"""Subject-verb agreement with SAEs: how faithful, and with how few elements."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from dashboards import canvas
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import layers_in, legend, losses_in, panels, span
from dashboards.style import loss_look

TEXT = Text(
    how_to_read=(
        "After 'The man near the rivers' a model prefers 'is' to 'are'. Faithfulness is how much of that preference is "
        "left with the SAE in the model: 100 % is all of it, 0 % none, more than 100 % a stronger preference than the "
        "model has. Where the model alone hardly prefers the right form, its interval is wide."
    ),
    paper_found=(
        "Faithfulness was 69 to 109 % over all SAEs and templates, without a clear order of the losses; e2e SAEs "
        "needed comparatively few elements (Table 7, Figure 24)."
    ),
    captions={
        "sva_faithfulness": "Faithfulness by template, a panel per layer, with the 95 % bootstrap interval over "
        "prompts. The dashed line is the model alone.",
        "sva_curve": "Faithfulness with the most important elements alone and the others at their mean over prompts, a "
        "row per layer and a column per template. Each curve ends with all elements that fire.",
    },
)
NAMES = {
    "simple": "simple", "across_pp": "across a\nprepositional\nphrase", "across_rc": "across a\nrelative\nclause",
    "within_rc": "within a\nrelative\nclause",
}  # fmt: skip
_OFFSET = 0.16
MOST_COLUMNS = 3


def figures(tables: Tables) -> dict[str, Figure]:
    """`sva_faithfulness` and `sva_curve`; only of templates that the model itself has."""
    lines = [line for line in tables["sva"] if line["faithfulness"] is not None]
    curve = [line for line in tables["sva_curve"] if line["faithfulness"] is not None]
    if not lines:
        return {}
    with canvas.look():
        return {"sva_faithfulness": _faithfulness(lines), "sva_curve": _curve(curve)}


def _templates_in(lines: Lines) -> list[str]:
    there = {line["template"] for line in lines}
    return [name for name in NAMES if name in there]


def _faithfulness(lines: Lines) -> Figure:
    layers, losses, templates = layers_in(lines), losses_in(lines), _templates_in(lines)
    n_columns = min(MOST_COLUMNS, len(layers))
    n_rows = -(-len(layers) // n_columns)
    figure, grid = panels(n_rows, n_columns, width=max(2.4, 0.6 + 0.62 * len(templates)), height=2.5)
    ends = [one[name] for one in lines for name in ("faithfulness", "faithfulness_low", "faithfulness_high")]
    limits = span([0.0, 100.0, *ends])
    for number, axes in enumerate(grid.flat):
        if number >= len(layers):
            axes.set_axis_off()
            continue
        for place, loss in enumerate(losses):
            here = [one for one in lines if one["layer"] == layers[number] and one["loss"] == loss]
            _points(axes, here, templates, _OFFSET * (place - (len(losses) - 1) / 2))
        for at, style in ((100, "--"), (0, "-")):
            axes.axhline(at, color="#888888", linewidth=0.8, linestyle=style, zorder=1)
        axes.set_xticks(range(len(templates)), [NAMES[name] for name in templates], fontsize=6.5)
        axes.set_xlim(-0.5, len(templates) - 0.5)
        axes.set_ylim(limits)
        axes.grid(visible=False, axis="x")
        axes.set_title(f"layer {layers[number]}", fontweight="bold")
        axes.set_ylabel("faithfulness (%)" if number % n_columns == 0 else "")
    legend(figure, losses)
    return figure


def _points(axes: Any, lines: Lines, templates: list[str], offset: float) -> None:
    for line in lines:
        look = loss_look(line["loss"])
        ends = (line["faithfulness_low"], line["faithfulness_high"])
        middle = line["faithfulness"]
        error = None if None in ends else [[max(0.0, middle - ends[0])], [max(0.0, ends[1] - middle)]]
        axes.errorbar(
            [templates.index(line["template"]) + offset], [middle], yerr=error, linestyle="", marker=look.marker,
            color=look.color, markersize=4.5, markeredgewidth=0.0, elinewidth=1.0, capsize=2,
        )  # fmt: skip


def _curve(lines: Lines) -> Figure:
    layers, templates = layers_in(lines), _templates_in(lines)
    figure, grid = panels(len(layers), len(templates), width=2.0, height=1.9)
    most = max(line["n_elements"] for line in lines)
    for row, layer in zip(grid, layers, strict=True):
        at_layer = [one for one in lines if one["layer"] == layer]
        values = [one["faithfulness"] for one in at_layer]
        low, high = min(0.0, *values), max(100.0, *values)
        for axes, template in zip(row, templates, strict=True):
            _curves(axes, [one for one in at_layer if one["template"] == template])
            for at, style in ((100, "--"), (0, "-")):
                axes.axhline(at, color="#888888", linewidth=0.8, linestyle=style, zorder=1)
            axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
            _zero_and_decades(axes, most)
            words = NAMES[template].replace("\n", " ")
            axes.set_title(f"layer {layer}\n{words}", fontsize=7.5)
            axes.set_xlabel("elements kept" if layer == layers[-1] else "")
        row[0].set_ylabel("faithfulness (%)")
    legend(figure, losses_in(lines), lines=True)
    return figure


def _curves(axes: Any, lines: Lines) -> None:
    for trial_id in dict.fromkeys(line["trial_id"] for line in lines):
        mine = sorted((one for one in lines if one["trial_id"] == trial_id), key=lambda one: one["n_elements"])
        look = loss_look(mine[0]["loss"])
        axes.plot([one["n_elements"] for one in mine], [one["faithfulness"] for one in mine], color=look.color,
                  linewidth=1.1, marker=look.marker, markersize=2.4, markeredgewidth=0.0)  # fmt: skip


def _zero_and_decades(axes: Any, most: int) -> None:
    """None, then a logarithmic axis from 1 on."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    decades = range(int(np.log10(max(most, 1))) + 1)
    axes.set_xticks([0, *(10**power for power in decades)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.set_xlim(-0.15, most * 1.3)


def _plain(value: float, _: int | None) -> str:
    return f"{value:g}"
