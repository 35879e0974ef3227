"""What figures of largest cosines share: a histogram of elements with its mean, names of groups."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dashboards.paper.drawing import Lines
from dashboards.style import loss_look

N_BINS = 200
"""Of the column `counts`: equal bins from -1 to 1."""
_WIDTHS = (1, 2, 4, 5, 8, 10, 20)
CHANCE = "#777777"


def cosine_histogram(axes: Axes, lines: Lines, *, style: Any = "-") -> None:
    """A step line per line of a table with `counts` and `mean_cosine`; a tick at the top for each mean.

    Bins are joined where elements are few, in all lines alike. Limits are left to `cosine_limits`.
    """
    lines = [line for line in lines if line["counts"] and sum(line["counts"])]
    width = max((_width(np.array(line["counts"])) for line in lines), default=1)
    for line in lines:
        counts = np.array(line["counts"])
        share = 100 * counts.reshape(-1, width).sum(1) / counts.sum() / width
        look = loss_look(line["loss"])
        axes.stairs(share, np.linspace(-1, 1, N_BINS // width + 1), color=look.color, linewidth=1.2, linestyle=style)
        axes.plot([line["mean_cosine"]], [1.0], transform=axes.get_xaxis_transform(), marker=look.marker,
                  color=look.color, markersize=5.5, markeredgecolor="white", markeredgewidth=0.5, clip_on=False,
                  zorder=5)  # fmt: skip


def cosine_limits(axes: Axes, lines: Iterable[Any]) -> None:
    """Along cosines from the least that there is to 1, and a grey line at what chance gives."""
    lines = [line for line in lines if line["counts"] and sum(line["counts"])]
    edges = np.linspace(-1, 1, N_BINS + 1)
    low = min((float(edges[np.flatnonzero(line["counts"])[0]]) for line in lines), default=0.0)
    axes.set_xlim(min(low, 0.9) - 0.02, 1.01)
    axes.set_ylim(bottom=0)
    chance = [line["chance_cosine"] for line in lines if line["chance_cosine"] is not None]
    if chance:
        axes.axvline(float(np.mean(chance)), color=CHANCE, linewidth=0.9, linestyle="--", zorder=1)


def group_titles(lines: Lines) -> dict[str, str]:
    """`layer 2`, or with what else tells its groups apart where a layer has several. In the order of the lines."""
    layers = {line["group"]: line["layer"] for line in lines}
    alone = {layer for layer in layers.values() if list(layers.values()).count(layer) == 1}
    return {
        group: f"layer {layer}" if layer in alone else f"layer {layer}, {group.partition('-')[2]}"
        for group, layer in layers.items()
    }


def _width(counts: np.ndarray) -> int:
    """How many bins are joined into one, so that there are about as many as the root of the elements."""
    places = np.flatnonzero(counts)
    span = places[-1] - places[0] + 1
    wanted = max(8.0, 1.5 * counts.sum() ** 0.5)
    return next((width for width in _WIDTHS if span / width <= wanted), _WIDTHS[-1])
