"""Text written with SAEs: how far it is the model's own, and how likely the model finds it."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import canvas
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import layers_in, legend, losses_in, panels
from dashboards.style import loss_look

TEXT = Text(
    how_to_read=(
        "The same prompts are continued by the model alone and with each SAE in it. Text that begins otherwise is not "
        "worse for that; text that the model without an SAE finds unlikely mostly is."
    ),
    paper_found="The paper's code can write text through SAEs; the paper reports none.",
    captions={
        "generation_likelihood": "Left: share of the text before the first token that differs from the model's own. "
        "Right: -log p per token by the model without an SAE; the dashed line is its own text. Pale: single prompts; "
        "marks: means over them."
    },
)
_OFFSET = 0.18


def figures(tables: Tables) -> dict[str, Figure]:
    """`generation_likelihood`."""
    texts = [one for one in tables["generation"] if one["sae_nats"] is not None]
    if not texts:
        return {}
    shares = [one | {"same_share": one["n_same"] / max(1, one["n_tokens"])} for one in map(dict, texts)]
    layers, losses = layers_in(texts), losses_in(texts)
    with canvas.look():
        figure, (row,) = panels(1, 2, width=max(2.6, 0.7 + 0.7 * len(layers)))
        for axes, column, label in zip(
            row, ("same_share", "sae_nats"), ("text before the first other token\n(share)", "-log p of the text\n"
            "(nats per token)"), strict=True
        ):  # fmt: skip
            for place, loss in enumerate(losses):
                here = [one for one in shares if one["loss"] == loss]
                _strip(axes, here, column, layers, _OFFSET * (place - (len(losses) - 1) / 2))
            axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
            axes.set_xlim(-0.5, len(layers) - 0.5)
            axes.set_ylim(bottom=0 if column == "sae_nats" else -0.03)
            axes.grid(visible=False, axis="x")
            axes.set_xlabel("layer")
            axes.set_ylabel(label)
        own = {one["prompt"]: one["clean_nats"] for one in texts if one["clean_nats"] is not None}
        row[1].axhline(sum(own.values()) / max(1, len(own)), color="#888888", linewidth=0.9, linestyle="--", zorder=1)
        alone = Line2D([], [], color="#888888", linestyle="--", label="model alone")
        legend(figure, losses, alone)
    return {"generation_likelihood": figure}


def _strip(axes: Any, lines: Lines, column: str, layers: list[int], offset: float) -> None:
    for number, layer in enumerate(layers):
        values = [one[column] for one in lines if one["layer"] == layer]
        if not values:
            continue
        look = loss_look(lines[0]["loss"])
        style: dict[str, Any] = {"linestyle": "", "color": look.color, "marker": look.marker, "markeredgewidth": 0.0}
        axes.plot([number + offset] * len(values), values, markersize=3.0, alpha=0.3, **style)
        axes.plot([number + offset], [sum(values) / len(values)], markersize=6.0, **style)
