"""What the model loses when one principal direction is resampled, a panel per layer."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dashboards import canvas
from dashboards.paper.drawing import Tables, Text
from dashboards.paper.parts import layers_in, panels

TEXT = Text(
    how_to_read=(
        "At every position after 0 the activation along one direction becomes that of another token. A high bar is a "
        "direction that the model's predictions depend on; a direction of large variance with a low bar is one that an "
        "SAE may leave out."
    ),
    paper_found=(
        "At layer 10 direction 0, on which position 0 is an outlier, costs 0.01 nats after position 0, least of the "
        "directions tried (appendix G.3)."
    ),
    captions={
        "ablation_kl": "KL(original || ablated) of the next token by principal direction, with its standard error over "
        "rows. Marks: KL(ablated || original), which the paper's script takes."
    },
)
MOST_COLUMNS = 3
_BAR, _MARK = "#56b4e9", "#222222"


def figures(tables: Tables) -> dict[str, Figure]:
    """`ablation_kl`."""
    lines = tables["ablation"]
    if not lines:
        return {}
    layers = layers_in(lines)
    n_columns = min(MOST_COLUMNS, len(layers))
    with canvas.look():
        figure, grid = panels(-(-len(layers) // n_columns), n_columns)
        for number, axes in enumerate(grid.flat):
            if number >= len(layers):
                axes.set_axis_off()
                continue
            here = [one for one in lines if one["layer"] == layers[number]]
            xs = [one["direction"] for one in here]
            axes.bar(xs, [one["kl"] for one in here], yerr=[one["kl_stderr"] or 0.0 for one in here], color=_BAR,
                     error_kw={"elinewidth": 0.8, "ecolor": "#444444"})  # fmt: skip
            axes.plot(xs, [one["kl_reversed"] for one in here], linestyle="", marker="_", color=_MARK, markersize=5)
            axes.set_ylim(bottom=0)
            axes.grid(visible=False, axis="x")
            axes.set_title(f"layer {layers[number]}", fontweight="bold")
            axes.set_xlabel("principal direction")
            axes.set_ylabel("KL (nats per token)" if number % n_columns == 0 else "")
        entries = [
            Patch(color=_BAR, label="KL(original || ablated)"),
            Line2D([], [], linestyle="", marker="_", color=_MARK, label="KL(ablated || original)"),
        ]
        figure.legend(handles=entries, loc="outside upper center", ncols=2, frameon=False)
    return {"ablation_kl": figure}
