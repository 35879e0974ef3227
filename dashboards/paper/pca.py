"""Principal directions of the residual stream: where position 0 is an outlier, and what SAEs keep."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dashboards import canvas
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import layers_in, legend, line_entry, log_ticks, losses_in, panels, span
from dashboards.style import loss_look

TEXT = Text(
    how_to_read=(
        "Directions are numbered by the variance of the clean residual stream along them. One on which position 0 lies "
        "far out has a cosine near 1 with the mean activation there; an SAE may keep it at position 0 alone, and then "
        "correlates there and not after it."
    ),
    paper_found=(
        "At layer 10 direction 0 is nearly the mean of position 0; the e2e + downstream SAE keeps it at position 0 "
        "(r = 0.996) and hardly after it (r = 0.262, appendix G.3)."
    ),
    captions={
        "pca_directions": "Share of the variance, and cosine with the mean activation at position 0, of each principal "
        "direction.",
        "pca_correlation": "Pearson's correlation of the SAE's input and output along each principal direction, at the "
        "positions after 0; dotted: at position 0.",
        "pca_histogram": "Activations along principal direction 0 by kind of token, filled, and what the SAEs make of "
        "other tokens and of position 0, lines. Each kind has the same area. Position 0 has an axis of its own.",
        "pca_positions": "Mean activation along the first principal directions by position in the row: of the model, "
        "black, and what the SAEs make of it.",
    },
)
MOST_COLUMNS = 3
FAR = 5.0
"""Times as far out as all other positions: position 0 is then told and not drawn."""
_KINDS = {
    "position_0": ("#777777", "position 0"),
    "other": ("#bbbbbb", "other"),
    "end_of_text": ("#444444", "end of text"),
}
_SIDES = (("other", "end_of_text"), ("position_0",))


def figures(tables: Tables) -> dict[str, Figure]:
    """`pca_directions`, `pca_correlation`, `pca_histogram` and `pca_positions`, each where there are numbers for it."""
    drawn = {
        "pca_directions": _directions,
        "pca_correlation": _correlation,
        "pca_histogram": _histogram,
        "pca_positions": _positions,
    }
    with canvas.look():
        return {name: draw(tables[name]) for name, draw in drawn.items() if tables[name]}


def _directions(lines: Lines) -> Figure:
    layers = layers_in(lines)
    figure, (row,) = panels(1, 2, width=3.0)
    shades = [str(shade) for shade in np.linspace(0.0, 0.7, len(layers))]
    for number, layer in enumerate(layers):
        here = sorted((one for one in lines if one["layer"] == layer), key=lambda one: one["direction"])
        xs = [one["direction"] for one in here]
        style: dict[str, Any] = {"color": shades[number], "marker": "os^DvP*X"[number % 8], "markersize": 3.5,
                                 "linewidth": 1.0, "markeredgewidth": 0.0}  # fmt: skip
        row[0].plot(xs, [100 * one["variance_share"] for one in here], label=f"layer {layer}", **style)
        row[1].plot(xs, [one["cosine_to_position_0"] for one in here], **style)
    for axes, label in zip(row, ("variance (% of all)", "cosine with the mean\nactivation at position 0"), strict=True):
        axes.set_xlabel("principal direction")
        axes.set_ylabel(label)
    row[0].set_ylim(bottom=0)
    row[1].axhline(0, color="#888888", linewidth=0.8, zorder=1)
    figure.legend(loc="outside upper center", ncols=min(6, len(layers)), frameon=False)
    return figure


def _correlation(lines: Lines) -> Figure:
    layers = layers_in(lines)
    n_columns = min(MOST_COLUMNS, len(layers))
    figure, grid = panels(-(-len(layers) // n_columns), n_columns)
    for number, axes in enumerate(grid.flat):
        if number >= len(layers):
            axes.set_axis_off()
            continue
        for each in _by_sae([one for one in lines if one["layer"] == layers[number]]):
            look = loss_look(each[0]["loss"])
            for column, style, size in (("r_rest", "-", 3.5), ("r_position_0", ":", 0)):
                points = [(one["direction"], one[column]) for one in each if one[column] is not None]
                if points:
                    axes.plot(*zip(*points, strict=True), linestyle=style, linewidth=1.1, color=look.color,
                              marker=look.marker, markersize=size, markeredgewidth=0.0)  # fmt: skip
        axes.set_ylim(top=1.03)
        axes.set_title(f"layer {layers[number]}", fontweight="bold")
        axes.set_xlabel("principal direction")
        axes.set_ylabel("correlation r\nof SAE input and output" if number % n_columns == 0 else "")
    kinds = [line_entry("-", "positions after 0"), line_entry(":", "position 0")]
    legend(figure, losses_in(lines), *kinds, lines=True)
    return figure


def _histogram(lines: Lines) -> Figure:
    layers = layers_in(lines)
    figure, grid = panels(len(layers), len(_SIDES), width=3.1, height=2.0)
    for number, (row, layer) in enumerate(zip(grid, layers, strict=True)):
        for axes, kinds in zip(row, _SIDES, strict=True):
            here = [one for one in lines if one["layer"] == layer and one["kind"] in kinds]
            if not here:
                axes.set_axis_off()
                continue
            _activations(axes, here, kinds)
            axes.set_ylim(bottom=0)
            axes.set_title(
                f"layer {layer}, {'position 0' if 'position_0' in kinds else 'positions after 0'}", fontweight="bold"
            )
            axes.set_xlabel("activation along direction 0 (model units)" if number == len(layers) - 1 else "")
            axes.locator_params(axis="both", nbins=5)
        row[0].set_ylabel("density of tokens")
    patches = [Patch(color=color, alpha=0.6, label=label) for color, label in
               (_KINDS[kind] for kind in _KINDS if any(one["kind"] == kind for one in lines))]  # fmt: skip
    legend(figure, losses_in(lines), *patches, lines=True)
    return figure


def _activations(axes: Any, lines: Lines, kinds: Sequence[str]) -> None:
    """The model's own from the first SAE, since all have the same tokens; a line per SAE for the first kind alone."""
    own = [one for one in lines if one["trial_id"] == lines[0]["trial_id"]]
    for kind in kinds:
        for one in (one for one in own if one["kind"] == kind):
            axes.stairs(_density(one["clean"], one["edges"]), one["edges"], fill=True, alpha=0.6, color=_KINDS[kind][0])
    for one in (one for one in lines if one["kind"] == kinds[0]):
        axes.stairs(_density(one["sae"], one["edges"]), one["edges"], color=loss_look(one["loss"]).color, linewidth=1.1)


def _density(counts: Sequence[float], edges: Sequence[float]) -> np.ndarray:
    return np.array(counts) / np.sum(counts) / np.diff(np.array(edges))


def _positions(lines: Lines) -> Figure:
    layers, directions = layers_in(lines), sorted({one["direction"] for one in lines})
    figure, grid = panels(len(layers), len(directions), width=2.4, height=1.9)
    for number, (row, layer) in enumerate(zip(grid, layers, strict=True)):
        for axes, direction in zip(row, directions, strict=True):
            here = [one for one in lines if one["layer"] == layer and one["direction"] == direction]
            for one in here:
                xs = np.arange(1, len(one["sae"]) + 1)
                axes.plot(xs, one["sae"], linewidth=1.0, color=loss_look(one["loss"]).color)
            if here:
                axes.plot(np.arange(1, len(here[0]["clean"]) + 1), here[0]["clean"], linewidth=1.1, color="#000000")
                log_ticks(axes, "x")
            title = f"layer {layer}, direction {direction}"
            if here and (far := _far(here)) is not None:
                axes.set_ylim(span([value for one in here for value in (*one["clean"][1:], *one["sae"][1:])]))
                title += f"\n(position 0 of the model: {far:.3g})"
            axes.set_title(title)
            axes.set_xlabel("position + 1" if number == len(layers) - 1 else "")
        row[0].set_ylabel("mean activation\n(model units)")
    legend(figure, losses_in(lines), Line2D([], [], color="#000000", label="model"), lines=True)
    return figure


def _far(lines: Lines) -> float | None:
    """The model's mean at position 0, where it is so far out that nothing else could be seen beside it."""
    values = [value for one in lines for value in (*one["clean"][1:], *one["sae"][1:])]
    first = lines[0]["clean"][0]
    return first if values and abs(first) > FAR * max(map(abs, values)) else None


def _by_sae(lines: Lines) -> list[Lines]:
    return [[one for one in lines if one["trial_id"] == id_] for id_ in dict.fromkeys(one["trial_id"] for one in lines)]
