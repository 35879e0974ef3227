"""From the directions of e2e SAEs to those of local ones, and back."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import canvas
from dashboards.paper.cosines import CHANCE, cosine_histogram, cosine_limits, group_titles
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import legend, losses_in, panels

TEXT = Text(
    how_to_read=(
        "Of each alive element of an e2e SAE the largest cosine to an element of the local SAE: 1 means that the "
        "local SAE has that feature too. SAEs with one seed begin with the same weights and stay alike for that alone "
        "if they are trained for a short time; with two seeds only what was learnt is alike."
    ),
    paper_found=(
        "Features of e2e + downstream SAEs lie closer to those of the local SAE with similar CE loss increase than "
        "features of e2e SAEs do, at layers 2, 6 and 10 (Figures 3c and 8)."
    ),
    captions={
        "cross_type": "Alive elements of each SAE by their largest cosine to an element of the local SAE, a row per "
        "group; left with another seed than the local SAE, right with the same. Symbols at the top: means; grey: what "
        "random directions have.",
    },
)
_SEEDS = {False: "another seed", True: "the same seed"}
_BASELINE = "local"


def figures(tables: Tables) -> dict[str, Figure]:
    """`cross_type`."""
    known = [line for line in tables["cross_type"] if line["mean_cosine"] is not None]
    lines = [line for line in known if line["other_loss"] == _BASELINE]
    if not lines:
        return {}
    with canvas.look():
        return {"cross_type": _histogram(lines)}


def _histogram(lines: Lines) -> Figure:
    titles = group_titles(lines)
    sides = [same for same in _SEEDS if any(line["same_seed"] == same for line in lines)]
    figure, grid = panels(len(titles), len(sides))
    for number, (group, title) in enumerate(titles.items()):
        for axes, same in zip(grid[number], sides, strict=True):
            here = [line for line in lines if line["group"] == group and line["same_seed"] == same]
            if not here:
                axes.set_axis_off()
                continue
            cosine_histogram(axes, here)
            cosine_limits(axes, here)
            axes.set_title(f"{title}, {_SEEDS[same]}", fontweight="bold", pad=9)
            axes.set_xlabel("largest cosine to the local SAE" if number == len(titles) - 1 else "")
        grid[number][0].set_ylabel("alive elements\n(% per 0.01 of cosine)")
    chance = Line2D([], [], color=CHANCE, linestyle="--", linewidth=0.9, label="mean by chance")
    legend(figure, losses_in(lines), chance, lines=True)
    return figure
