"""Training time by layer and loss, and gradient norms against alive elements and CE increase."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from dashboards import canvas
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import layers_in, legend, log_ticks, losses_in, panels, span
from dashboards.style import loss_look

TEXT = Text(
    how_to_read=(
        "Times are of one SAE more in a pack that shares the run of the model, so they tell what a loss costs in this "
        "program. Gradient norms are means over the steps after the first 2.5 %, before clipping; a relation to "
        "alive elements or CE loss increase may come from the sparsity coefficient, which moves all three."
    ),
    paper_found=(
        "At layer 6 an e2e SAE trained 2.4 times as long as a local one (11 h 20 min and 4 h 45 min on an A100, "
        "Table 6); mean gradient norms at similar CE loss increase were 0.12 (local), 0.59 (e2e) and 3.27 "
        "(e2e + downstream, Table 2)."
    ),
    captions={
        "training_time": "Device time of an SAE's training per million tokens, by layer: mean, and from the least to "
        "the most of any SAE.",
        "training_grad_norm": "Mean gradient norm of every SAE of the run against its alive elements and its CE loss "
        "increase, a row per layer.",
    },
)
_OFFSET = 0.16
_PLANES = (
    ("n_alive_elements", "alive dictionary elements"),
    ("ce_loss_increase", "CE loss increase (nats per token)"),
)


def figures(tables: Tables) -> dict[str, Figure]:
    """`training_time` and `training_grad_norm`, each where there are numbers for it."""
    times = [line for line in tables["training_time"] if line["s_per_million_tokens"]]
    norms = [line for line in tables["training_grad_norm"] if line["grad_norm"]]
    found: dict[str, Figure] = {}
    with canvas.look():
        if times:
            found["training_time"] = _time(times)
        if norms:
            found["training_grad_norm"] = _norms(norms)
    return found


def _time(lines: Lines) -> Figure:
    layers, losses = layers_in(lines), losses_in(lines)
    figure, ((axes,),) = panels(1, 1, width=max(3.2, 0.7 + 0.8 * len(layers)), height=2.4)
    for place, loss in enumerate(losses):
        look = loss_look(loss)
        here = [line for line in lines if line["loss"] == loss]
        xs = [layers.index(line["layer"]) + _OFFSET * (place - (len(losses) - 1) / 2) for line in here]
        ys = [line["s_per_million_tokens"] for line in here]
        # the mean of equal numbers may be a last digit beside them
        below = [max(0.0, line["s_per_million_tokens"] - line["s_per_million_tokens_low"]) for line in here]
        above = [max(0.0, line["s_per_million_tokens_high"] - line["s_per_million_tokens"]) for line in here]
        axes.errorbar(xs, ys, yerr=[below, above], linestyle="", marker=look.marker, color=look.color, markersize=5,
                      markeredgewidth=0.0, elinewidth=1.2, capsize=2.5)  # fmt: skip
    axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_ylim(bottom=0)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("layer")
    axes.set_ylabel("training time\n(seconds per million tokens)")
    legend(figure, losses)
    return figure


def _norms(lines: Lines) -> Figure:
    layers = layers_in(lines)
    figure, grid = panels(len(layers), len(_PLANES))
    for row, layer in zip(grid, layers, strict=True):
        here = [line for line in lines if line["layer"] == layer]
        for axes, (column, label) in zip(row, _PLANES, strict=True):
            _scatter(axes, here, column)
            axes.set_xlabel(label if layer == layers[-1] else "")
        row[0].set_ylabel("gradient norm")
        row[0].set_title(f"layer {layer}", fontweight="bold")
    legend(figure, losses_in(lines))
    return figure


def _scatter(axes: Any, lines: Sequence[Any], column: str) -> None:
    for loss in losses_in(lines):
        look = loss_look(loss)
        points = [(one[column], one["grad_norm"]) for one in lines if one["loss"] == loss and one[column] is not None]
        if points:
            axes.plot(*zip(*points, strict=True), linestyle="", marker=look.marker, color=look.color, markersize=4.5,
                      alpha=0.85, markeredgewidth=0.0)  # fmt: skip
    axes.set_ylim(span([one["grad_norm"] for one in lines], log=True))
    log_ticks(axes, "y")
    axes.locator_params(axis="x", nbins=5, integer=column == "n_alive_elements")
