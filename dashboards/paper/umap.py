"""UMAPs of two dictionaries: by kind with the regions that one has alone, by a principal direction, by frequency."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import canvas
from dashboards.paper.cosines import group_titles
from dashboards.paper.drawing import Lines, Tables, Text
from dashboards.paper.parts import legend, losses_in, panels
from dashboards.style import loss_look, loss_rank

TEXT = Text(
    how_to_read=(
        "Each point is an alive dictionary element of one of two SAEs; near points have similar directions. Letters "
        "are regions where one SAE has at least ten times the other's density, larger than label permutations make "
        "any; their elements are listed in the tables. Axes, distances between clusters and areas have no meaning."
    ),
    paper_found=(
        "Regions drawn by hand at layer 6 hold, for example, 48 e2e + downstream elements and 2 local ones, or 3 and "
        "67 (appendix G.1); one at layer 10 holds 2 and 593 and stands out in its cosine with principal direction 0 "
        "(G.3)."
    ),
    captions={
        "umap_kind": "UMAP of the alive elements of two SAEs together, a row per group. Dark points lie in regions "
        "that one of the two has alone, which have letters; pale ones elsewhere.",
        "umap_direction": "The same points by their cosine with principal direction 0 of the clean residual stream.",
        "umap_frequency": "The same points by how often the element fires.",
    },
)
_PALE = 0.4
_SIGNED = LinearSegmentedColormap.from_list("signed", ["#2166ac", "#92c5de", "#dddddd", "#f4a582", "#b2182b"])
_BASELINE = "local"


def figures(tables: Tables) -> dict[str, Figure]:
    """`umap_kind`, `umap_direction` and `umap_frequency`."""
    points = [line for line in tables["umap_points"] if line["x"]]
    if not points:
        return {}
    cosines = np.concatenate([line["direction_cosine"] for line in points])
    logs = np.log10(np.concatenate([line["frequency"] for line in points]))
    most = max(0.05, float(np.abs(cosines).max()))
    with canvas.look():
        return {
            "umap_kind": _kinds(points, tables["umap_regions"]),
            "umap_direction": _values(
                points,
                lambda line: np.array(line["direction_cosine"]),
                Normalize(-most, most),
                _SIGNED,
                "cosine with principal direction 0",
            ),
            "umap_frequency": _values(
                points,
                lambda line: np.log10(line["frequency"]),
                Normalize(float(logs.min()), max(float(logs.max()), float(logs.min()) + 0.1)),
                "viridis",
                "log10 of the share of tokens\non which the element fires",
            ),
        }


def _kinds(points: Lines, regions: Lines) -> Figure:
    def colors(line: Any) -> np.ndarray:
        found = np.tile(to_rgba(loss_look(line["loss"]).color), (len(line["x"]), 1))
        found[np.array(line["is_inside"]) == 0, 3] = _PALE
        return found

    figure, places = _grid(points)
    for pair, axes in places.items():
        _scatter(axes, [line for line in points if line["pair"] == pair], colors)
        for region in (one for one in regions if one["pair"] == pair):
            axes.text(region["x"], region["y"], region["region"], fontsize=7, fontweight="bold", ha="center",
                      va="center", color="#000000", zorder=4,
                      bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor":
                            loss_look(region["loss"]).color, "linewidth": 0.8, "alpha": 0.85})  # fmt: skip
    dots = [Line2D([], [], color=loss_look(loss).color, marker="o", linestyle="", markersize=4, markeredgewidth=0.0,
                   label=loss_look(loss).label) for loss in losses_in(points)]  # fmt: skip
    legend(figure, [], *dots)
    return figure


def _values(
    points: Lines, value: Callable[[Any], np.ndarray], scale: Normalize, map_: Colormap | str, label: str
) -> Figure:
    mappable = ScalarMappable(scale, map_)
    figure, places = _grid(points)
    for pair, axes in places.items():
        _scatter(axes, [line for line in points if line["pair"] == pair], lambda line: mappable.to_rgba(value(line)))
    bar = figure.colorbar(mappable, ax=list(places.values()), fraction=0.05, shrink=0.9, aspect=30)
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)  # pyright: ignore[reportCallIssue] # the stubs take it for a table of spines
    return figure


def _grid(points: Lines) -> tuple[Figure, dict[str, Axes]]:
    """A row per group, a column per loss that is held against local."""
    titles = group_titles(points)
    losses = sorted({_loss(points, line["pair"]) for line in points}, key=loss_rank)
    figure, grid = panels(len(titles), len(losses), width=2.7, height=2.55)
    places: dict[str, Axes] = {}
    for row, (group, title) in zip(grid, titles.items(), strict=True):
        for axes, loss in zip(row, losses, strict=True):
            pair = next((one["pair"] for one in points if one["group"] == group and _loss(points, one["pair"]) == loss),
                        None)  # fmt: skip
            if pair is None:
                axes.set_axis_off()
                continue
            places[pair] = axes
            seeds = ", one seed" if next(one for one in points if one["pair"] == pair)["same_seed"] else ""
            axes.set_title(f"{title}: {loss_look(loss).label}\nand {loss_look(_BASELINE).label}{seeds}")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel("UMAP 1")
            axes.set_ylabel("UMAP 2")
            axes.spines[["top", "right"]].set_visible(True)
    return figure, places


def _loss(points: Lines, pair: str) -> str:
    """Of the pair's two the one that is not local."""
    return next(one["loss"] for one in points if one["pair"] == pair and one["loss"] != _BASELINE)


def _scatter(axes: Axes, lines: Lines, colors: Callable[[Any], np.ndarray]) -> None:
    """In an order that mixes both, so that neither covers the other. As one picture in SVG and PDF too."""
    x, y = (np.concatenate([line[name] for line in lines]) for name in ("x", "y"))
    shades = np.concatenate([colors(line) for line in lines])
    order = np.random.default_rng(0).permutation(len(x))
    order = order[np.argsort(shades[order, 3], kind="stable")]  # what is dark above what is pale
    size = float(np.clip(6e3 / len(x), 0.5, 7.0))
    axes.scatter(x[order], y[order], s=size, c=shades[order], linewidths=0, rasterized=True)
    axes.margins(0.05)
