"""From one SAE's directions to those of another seed, and how far seeds lie apart in L0 and CE loss increase."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import canvas
from dashboards.paper.cosines import CHANCE, cosine_histogram, cosine_limits
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import layers_in, legend, log_ticks, losses_in, panels, span
from dashboards.style import loss_look

TEXT = Text(
    how_to_read=(
        "Of each alive dictionary element the largest cosine to an element of the SAE with the same settings and "
        "another seed. 1 means that the same feature was found again; what chance alone gives is in grey."
    ),
    paper_found=(
        "At layer 6 the features of e2e SAEs are those that are found again the least (Figure 3b); L0 and CE loss "
        "increase of two seeds of seven settings lie close to each other (Figure 18)."
    ),
    captions={
        "cross_seed_histogram": "Alive elements by their largest cosine to an element of the same settings with "
        "another seed, a line per pair of seeds. Symbols at the top: means; grey: what random directions have.",
        "cross_seed_spread": "CE loss increase and L0 of every setting with several seeds: mean, and from the least to "
        "the most of any seed.",
    },
)
MOST_COLUMNS = 3


def figures(tables: Tables) -> dict[str, Figure]:
    """`cross_seed_histogram` and `cross_seed_spread`, each where there are numbers for it."""
    pairs = [line for line in tables["cross_seed"] if line["mean_cosine"] is not None]
    spread = [line for line in tables["cross_seed_spread"] if line["l0"] and line["ce_loss_increase"] is not None]
    found: dict[str, Figure] = {}
    with canvas.look():
        if pairs:
            found["cross_seed_histogram"] = _histogram(pairs)
        if spread:
            found["cross_seed_spread"] = _spread(spread)
    return found


def _histogram(lines: Lines) -> Figure:
    layers = layers_in(lines)
    n_columns = min(MOST_COLUMNS, len(layers))
    figure, grid = panels(-(-len(layers) // n_columns), n_columns)
    for number, axes in enumerate(grid.flat):
        if number >= len(layers):
            axes.set_axis_off()
            continue
        here = [line for line in lines if line["layer"] == layers[number]]
        cosine_histogram(axes, here)
        cosine_limits(axes, here)
        axes.set_title(f"layer {layers[number]}", fontweight="bold", pad=9)
        axes.set_xlabel("largest cosine to the other seed")
        axes.set_ylabel("alive elements\n(% per 0.01 of cosine)" if number % n_columns == 0 else "")
    chance = Line2D([], [], color=CHANCE, linestyle="--", linewidth=0.9, label="mean by chance")
    legend(figure, losses_in(lines), chance, lines=True)
    return figure


def _spread(lines: Lines) -> Figure:
    layers = layers_in(lines)
    n_columns = min(MOST_COLUMNS, len(layers))
    figure, grid = panels(-(-len(layers) // n_columns), n_columns)
    for number, axes in enumerate(grid.flat):
        if number >= len(layers):
            axes.set_axis_off()
            continue
        here = [line for line in lines if line["layer"] == layers[number]]
        for line in here:
            look = loss_look(line["loss"])
            x, y = line["l0"], line["ce_loss_increase"]
            axes.plot([line["l0_low"], line["l0_high"]], [y, y], color=look.color, linewidth=1.1)
            axes.plot([x, x], [line["ce_loss_increase_low"], line["ce_loss_increase_high"]], color=look.color,
                      linewidth=1.1)  # fmt: skip
            axes.plot([x], [y], marker=look.marker, color=look.color, markersize=4, markeredgewidth=0.0)
        axes.set_xlim(span([value for line in here for value in (line["l0_low"], line["l0_high"])], log=True))
        log_ticks(axes, "x")
        axes.set_title(f"layer {layers[number]}", fontweight="bold")
        axes.set_xlabel("L0 (elements per token)")
        axes.set_ylabel("CE loss increase\n(nats per token)" if number % n_columns == 0 else "")
    legend(figure, losses_in(lines))
    return figure
