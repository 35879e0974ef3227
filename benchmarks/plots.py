"""Pictures of what was measured: growth of the cost, and how many times faster than other tools. Measures nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import Row
from dashboards.style import loss_look, loss_rank

AXES = {"n_saes": "SAEs in the pack", "ratio": "dictionary ratio (d_sae / d_model)", "l0": "L0", "layer": "layer"}
LOG_AXES = ("n_saes", "ratio", "l0")
PEER_LOOKS = {
    "e2e_sae": ("e2e_sae", "#0072b2", "o"),
    "saelens": ("SAELens", "#e69f00", "s"),
    "dictionary_learning": ("dictionary_learning", "#009e73", "^"),
    "plain": ("our own plain path", "#555555", "D"),
}


def growth(rows: list[Row], path: Path) -> None:
    """One panel per axis, SAE-tokens per second upwards, one line per loss."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    figure = Figure(figsize=(9, 6), layout="constrained")
    for panel, (axis, label) in zip(figure.subplots(2, 2, sharey=True).flat, AXES.items(), strict=True):
        here = [row for row in rows if row["axis"] == axis]
        for loss in sorted({str(row["loss"]) for row in here}, key=loss_rank):
            look = loss_look(loss)
            line = [(row[axis], float(str(row["sae_tokens_per_s"])) / 1000) for row in here if row["loss"] == loss]
            panel.plot(*zip(*line, strict=True), color=look.color, marker=look.marker, label=look.label)
        panel.set_yscale("log")
        panel.set_xscale("log" if axis in LOG_AXES else "linear")
        _ticks(panel, sorted({round(float(str(row[axis]))) for row in here}))
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_formatter(ScalarFormatter())
        panel.tick_params(labelleft=True)
        panel.set_xlabel(label)
    figure.supylabel("thousand SAE-tokens per second")
    figure.axes[0].legend(frameon=False)
    _write(figure, path)


def times_faster(
    table: Mapping[tuple[str, float], Mapping[str, float]], targets: Mapping[Any, float], path: Path
) -> None:
    """A line per (loss, ratio), a mark per tool, and its target as a bar of its colour."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panel = figure.subplots()
    labels = [f"{loss_look(loss).label}, ratio {ratio:g}" for loss, ratio in table]
    seen: set[str] = set()
    for height, ((loss, _), times) in enumerate(table.items()):
        for step, (tool, (name, color, marker)) in enumerate(PEER_LOOKS.items()):
            if tool in times:
                y = height + 0.18 * (step - 1.5)
                panel.plot(
                    times[tool], y, color=color, marker=marker, linestyle="", label=None if tool in seen else name
                )
                panel.plot(targets[tool, loss], y, color=color, marker="|", markersize=9, linestyle="")
                panel.plot([targets[tool, loss], times[tool]], [y, y], color=color, linewidth=0.8, alpha=0.6)
                seen.add(tool)
    panel.set_yticks(range(len(labels)), labels)
    panel.invert_yaxis()
    panel.set_xscale("log")
    _ticks(panel, [1, 2, 3, 4, 6, 8, 12, 16, 24])
    panel.set_xlabel("times as many SAE-tokens per second (bars: what we aimed at)")
    panel.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _write(figure, path)


def _ticks(panel: Any, values: list[int]) -> None:
    """Plain numbers at these values of x, and the look of all panels."""
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    panel.xaxis.set_major_locator(FixedLocator(values))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(ScalarFormatter())
    panel.tick_params(labelsize=8, which="both")
    panel.grid(alpha=0.3, which="both", linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)


def _write(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
