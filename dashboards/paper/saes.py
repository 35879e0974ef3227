"""Where the SAEs that are looked at lie among all of the run."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import canvas
from dashboards.paper.drawing import Tables, Text
from dashboards.paper.parts import layers_in, legend, log_ticks, losses_in, panels, span
from dashboards.style import loss_look

TEXT = Text(
    how_to_read=(
        "Every later section looks at these SAEs. Of each layer and loss it is the trained SAE nearest to a common CE "
        "loss increase or L0, so that what is left to differ is the kind of loss."
    ),
    paper_found=(
        "At layer 6 and a CE loss increase of about 0.14, the local SAE has an L0 of 69.4, the e2e one 27.5 and the "
        "e2e + downstream one 36.8, with 26, 22 and 15 thousand alive elements (Table 1)."
    ),
    captions={
        "saes_chosen": "CE loss increase against L0 of every SAE of the run, pale, and of those that are looked at. "
        "The dashed line is the value at which they are matched."
    },
)
MOST_COLUMNS = 3


def figures(tables: Tables) -> dict[str, Figure]:
    """`saes_chosen`: a panel per layer."""
    every = [line for line in tables["saes_all"] if line["l0"] and line["ce_loss_increase"] is not None]
    layers = layers_in(every)
    if not layers:
        return {}
    n_columns = min(MOST_COLUMNS, len(layers))
    with canvas.look():
        figure, grid = panels(-(-len(layers) // n_columns), n_columns)
        for number, axes in enumerate(grid.flat):
            if number >= len(layers):
                axes.set_axis_off()
                continue
            here = [line for line in every if line["layer"] == layers[number]]
            chosen = [line for line in tables["saes_chosen"] if line["layer"] == layers[number]]
            for lines, alpha, size in ((here, 0.25, 3.5), (chosen, 1.0, 6.5)):
                for loss in losses_in(lines):
                    look = loss_look(loss)
                    points = [(one["l0"], one["ce_loss_increase"]) for one in lines if one["loss"] == loss]
                    axes.plot(*zip(*points, strict=True), linestyle="", marker=look.marker, color=look.color,
                              alpha=alpha, markersize=size, markeredgecolor="#222222" if alpha == 1 else "none",
                              markeredgewidth=0.7)  # fmt: skip
            axes.set_xlim(span([one["l0"] for one in here], log=True))
            log_ticks(axes, "x")
            for matched, target in {(one["matched"], one["target"]) for one in chosen if one["matched"]}:
                line = axes.axhline if matched == "ce_loss_increase" else axes.axvline
                line(target, color="#888888", linewidth=0.8, linestyle="--", zorder=1)
            axes.set_title(f"layer {layers[number]}", fontweight="bold")
            axes.set_xlabel("L0 (elements per token)")
            axes.set_ylabel("CE loss increase\n(nats per token)" if number % n_columns == 0 else "")
        ring = Line2D([], [], linestyle="", marker="o", color="none", markeredgecolor="#222222", label="looked at")
        legend(figure, losses_in(every), ring)
    return {"saes_chosen": figure}
