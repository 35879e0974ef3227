"""Reconstruction at the SAE and at every later block, a panel per layer of SAEs."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from dashboards import canvas
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import layers_in, legend, line_entry, log_ticks, losses_in, panels, span
from dashboards.style import loss_look

TEXT = Text(
    how_to_read=(
        "The first mark of a line compares the SAE's output with its input, the others the residual stream with the "
        "SAE and without it. An SAE that puts another activation in the place of the one it reads, and still leaves "
        "later blocks what they need, starts badly and gets better."
    ),
    paper_found=(
        "At layer 6 and similar CE loss increase the e2e SAE is far off at every later layer (about 14 to 22 per "
        "dimension, read off Figure 2), while e2e + downstream (1.5 to 3.5) is near local (0.5 to 2)."
    ),
    captions={
        "downstream_mse": "Mean squared error of the residual stream, per dimension, by layer.",
        "downstream_explained_variance": "Explained variance of the residual stream by layer, as it is and after "
        "LayerNorm without weights; 1 is perfect, 0 is what predicting the mean gives. Solid: ratio of sums over "
        "tokens; dotted: the paper's mean of ratios over tokens.",
    },
)
MOST_COLUMNS = 3
_FORMS = (("", "explained variance"), ("layer_normed_", "explained variance\nafter LayerNorm"))
_WAYS = (("explained_variance", "-", "ratio of sums"), ("explained_variance_per_token", ":", "mean over tokens"))


def figures(tables: Tables) -> dict[str, Figure]:
    """`downstream_mse` and `downstream_explained_variance`."""
    lines = tables["downstream"]
    if not lines:
        return {}
    with canvas.look():
        return {"downstream_mse": _mse(lines), "downstream_explained_variance": _explained(lines)}


def _mse(lines: Lines) -> Figure:
    layers = layers_in(lines)
    n_columns = min(MOST_COLUMNS, len(layers))
    figure, grid = panels(-(-len(layers) // n_columns), n_columns)
    for number, axes in enumerate(grid.flat):
        if number >= len(layers):
            axes.set_axis_off()
            continue
        here = [line for line in lines if line["layer"] == layers[number]]
        for each in _by_sae(here):
            _draw(axes, each, "mse", "-")
        if any(line["mse"] for line in here):
            axes.set_ylim(span([line["mse"] for line in here], log=True))
            log_ticks(axes, "y")
        _dress(axes, here)
        axes.set_title(f"SAEs at layer {layers[number]}", fontweight="bold")
        axes.set_ylabel("MSE\n(activation² per dimension)" if number % n_columns == 0 else "")
    legend(figure, losses_in(lines), lines=True)
    return figure


def _explained(lines: Lines) -> Figure:
    layers = layers_in(lines)
    figure, grid = panels(len(layers), len(_FORMS))
    for row, layer in zip(grid, layers, strict=True):
        here = [line for line in lines if line["layer"] == layer]
        for axes, (prefix, label) in zip(row, _FORMS, strict=True):
            for each in _by_sae(here):
                for column, style, _ in _WAYS:
                    _draw(axes, each, prefix + column, style)
            axes.axhline(0, color="#888888", linewidth=0.8, zorder=1)
            _dress(axes, here)
            axes.set_ylabel(label)
            axes.set_ylim(top=1.02)
        row[0].set_title(f"SAEs at layer {layer}", fontweight="bold")
    ways = [line_entry(style, text) for _, style, text in _WAYS]
    legend(figure, losses_in(lines), *ways, lines=True)
    return figure


def _by_sae(lines: Lines) -> list[Lines]:
    ids = dict.fromkeys(line["trial_id"] for line in lines)
    return [sorted((one for one in lines if one["trial_id"] == id_), key=lambda one: one["at_layer"]) for id_ in ids]


def _draw(axes: Any, lines: Sequence[Any], column: str, style: str) -> None:
    look = loss_look(lines[0]["loss"])
    points = [(line["at_layer"], line[column]) for line in lines if line[column] is not None]
    if points:
        axes.plot(*zip(*points, strict=True), linestyle=style, linewidth=1.2, color=look.color, marker=look.marker,
                  markersize=4.5 if style == "-" else 0, markeredgewidth=0.0)  # fmt: skip


def _dress(axes: Any, lines: Lines) -> None:
    """The last place is after the last block, which the paper does not show."""
    at = sorted({line["at_layer"] for line in lines})
    step = -(-len(at) // 7)
    shown = [*at[:-1:step], at[-1]] if len(at[:-1]) % step != 1 or step == 1 else [*at[:-1:step][:-1], at[-1]]
    axes.set_xticks(shown, ["end" if layer == at[-1] else str(layer) for layer in shown])
    axes.set_xlabel("residual stream before layer")
