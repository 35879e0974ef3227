"""Length and direction of the SAE's output against its input: ratios, single tokens, cosines."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import canvas
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import layers_in, legend, line_entry, log_ticks, losses_in, panels, span
from dashboards.style import loss_look

TEXT = Text(
    how_to_read=(
        "A ratio of 1 keeps the length of an activation, a cosine of 1 its direction. Position 0 is apart, since in "
        "many models its activations are far longer than all others. An SAE whose output is short loses little where "
        "the model reads its stream through LayerNorm."
    ),
    paper_found=(
        "At layer 6 the output of the e2e SAE has 0.31 of the input's length after position 0 and 0.11 at it; local "
        "0.92 and 1.00, e2e + downstream 0.56 and 0.99 (Table 5)."
    ),
    captions={
        "norms_l2_ratio": "|SAE output| / |SAE input| by layer: mean over tokens, and one standard deviation to each "
        "side.",
        "norms_tokens": "Single tokens: |SAE output| against |SAE input|, a row per layer and a column per loss. On "
        "the line both are equal. Dark rings are tokens at position 0.",
        "norms_cosine": "Tokens after position 0 by the cosine of SAE output and SAE input; dotted: the mean at "
        "position 0.",
    },
)
FIRST, REST = "0", "after 0"
_OFFSET = 0.16
MOST_COLUMNS = 3


def figures(tables: Tables) -> dict[str, Figure]:
    """`norms_l2_ratio`, `norms_tokens` and `norms_cosine`."""
    if not tables["norms"]:
        return {}
    with canvas.look():
        return {
            "norms_l2_ratio": _ratios(tables["norms"]),
            "norms_tokens": _tokens(tables["norms_points"]),
            "norms_cosine": _cosines(tables["norms_cosines"], tables["norms"]),
        }


def _ratios(lines: Lines) -> Figure:
    layers, losses = layers_in(lines), losses_in(lines)
    figure, (row,) = panels(1, 2, width=max(2.6, 0.7 + 0.7 * len(layers)))
    for axes, positions, title in zip(row, (FIRST, REST), ("position 0", "positions after 0"), strict=True):
        for place, loss in enumerate(losses):
            look = loss_look(loss)
            here = [one for one in lines if one["loss"] == loss and one["positions"] == positions]
            xs = [layers.index(one["layer"]) + _OFFSET * (place - (len(losses) - 1) / 2) for one in here]
            axes.errorbar(xs, [one["l2_ratio"] for one in here], yerr=[one["l2_ratio_std"] for one in here],
                          linestyle="", marker=look.marker, color=look.color, markersize=5, markeredgewidth=0.0,
                          elinewidth=1.0, capsize=2)  # fmt: skip
        axes.axhline(1, color="#888888", linewidth=0.8, linestyle="--", zorder=1)
        axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
        axes.set_xlim(-0.5, len(layers) - 0.5)
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("layer")
        axes.set_title(title, fontweight="bold")
    row[0].set_ylabel("L2 ratio\n|SAE output| / |SAE input|")
    legend(figure, losses)
    return figure


def _tokens(lines: Lines) -> Figure:
    layers, losses = layers_in(lines), losses_in(lines)
    figure, grid = panels(len(layers), len(losses), width=2.3)
    for number, (row, layer) in enumerate(zip(grid, layers, strict=True)):
        at_layer = [one for one in lines if one["layer"] == layer]
        low, high = span([x for one in at_layer for x in (*one["norm_in"], *one["norm_out"]) if x > 0], log=True)
        for axes, loss in zip(row, losses, strict=True):
            for line in (one for one in at_layer if one["loss"] == loss):
                _cloud(axes, line)
            axes.plot([low, high], [low, high], color="#888888", linewidth=0.8, linestyle="--", zorder=1)
            axes.set_xlim(low, high)
            axes.set_ylim(low, high)
            log_ticks(axes, "x")
            log_ticks(axes, "y")
            axes.set_title(f"layer {layer}, {loss_look(loss).label}", fontweight="bold")
            axes.set_xlabel("|SAE input| (model units)" if number == len(layers) - 1 else "")
        row[0].set_ylabel("|SAE output|\n(model units)")
    ring = Line2D([], [], linestyle="", marker="o", color="none", markeredgecolor="#222222", label="position 0")
    legend(figure, losses, ring)
    return figure


def _cloud(axes: Any, line: Any) -> None:
    """Points are drawn as one picture in SVG and PDF too, which would be megabytes otherwise."""
    position, norm_in, norm_out = (np.array(line[name]) for name in ("position", "norm_in", "norm_out"))
    first = position == 0
    look = loss_look(line["loss"])
    axes.plot(norm_in[~first], norm_out[~first], linestyle="", marker="o", markersize=1.6, color=look.color, alpha=0.5,
              markeredgewidth=0.0, rasterized=True)  # fmt: skip
    axes.plot(norm_in[first], norm_out[first], linestyle="", marker="o", markersize=3.2, color="none",
              markeredgecolor="#222222", markeredgewidth=0.6, rasterized=True)  # fmt: skip


def _cosines(lines: Lines, means: Lines) -> Figure:
    layers = layers_in(lines)
    n_columns = min(MOST_COLUMNS, len(layers))
    figure, grid = panels(-(-len(layers) // n_columns), n_columns)
    for number, axes in enumerate(grid.flat):
        if number >= len(layers):
            axes.set_axis_off()
            continue
        low = 1.0
        for line in (one for one in lines if one["layer"] == layers[number] and one["positions"] == REST):
            counts = np.array(line["counts"])
            edges = np.linspace(-1, 1, len(counts) + 1)
            low = min(low, float(edges[np.flatnonzero(counts)[0]]))
            axes.stairs(100 * counts / counts.sum(), edges, color=loss_look(line["loss"]).color, linewidth=1.2)
        for line in (one for one in means if one["layer"] == layers[number] and one["positions"] == FIRST):
            low = min(low, line["cosine"])
            axes.axvline(line["cosine"], color=loss_look(line["loss"]).color, linestyle=":", linewidth=1.4)
        axes.set_xlim(low - 0.05 * (1 - low), 1)
        axes.set_ylim(bottom=0)
        axes.set_title(f"layer {layers[number]}", fontweight="bold")
        axes.set_xlabel("cosine of SAE output and input")
        axes.set_ylabel("tokens (% per bin of 0.01)" if number % n_columns == 0 else "")
    kinds = [line_entry("-", "positions after 0"), line_entry(":", "mean at position 0")]
    legend(figure, losses_in(lines), *kinds, lines=True)
    return figure
