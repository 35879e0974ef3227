"""What searches save on real SAEs: `python -m benchmarks.search [--out benchmarks/results/search.json]`.

The quick start's model, losses and SAE size at one layer; `N_TOKENS` tokens a trial; each of `SEEDS` searched alone.

1. Two grids of `N_DENSE` coefficients per loss, logarithmically even: one that is tuned to each loss (`ENDS`), so that
   all of its trials are useful, and one as wide as it has to be where nothing is known yet, alike for all (`WIDE`).
2. `fill` with half the trials of each grid, by gaps and by hypervolume, and Optuna's TPE with the same number. Beside
   the tuned grid they begin with its two ends; beside the wide one with two of its coefficients, and one range of L0.
   Hypervolume of L0 (as log10) and CE loss increase as a share of the grid's, the tuned grid's worst values being the
   reference: of the trials alone, and with straight lines between neighbours on the front, which is what matched
   comparisons read. The same for the best half of the grid's own trials, and the widest gap in L0.
3. `match` from the ends of the tuned grid: the CE loss increase at `PLACES` of the way between theirs, as logarithms
   go; how many trials more it takes to come within 5 %.

Every SAE is really trained, as a launch trains it. The sweeps are kept in `--work`: the same command goes on where it
was cut off.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.machine import machine
from orchestrator.display.screen import PlainLines
from orchestrator.folder.records import Row, RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.pareto import hypervolume, pareto_mask
from orchestrator.running.driver import launch
from orchestrator.running.prepare import LaunchOptions

SEEDS = (0, 1, 2)
N_DENSE = 12
N_TOKENS = 25_000
ENDS = {"local": (0.25, 4.0), "e2e": (0.2, 8.0), "e2e_downstream": (0.6, 25.0)}
WIDE = (0.02, 200.0)
WIDE_START = (3, 8)
"""Which two of the wide grid's coefficients a search begins with."""
WIDE_L0 = (10.0, 170.0)
LAYERS = (3,)
SEARCHES = ("fill by gap", "fill by hypervolume", "tpe")
PLACES = (0.3, 0.7)
X, Y = "l0", "ce_loss_increase"

Name = tuple[int, str]
"""A series: layer and loss."""
Points = dict[float, tuple[float, float]]
"""L0 and CE loss increase by coefficient."""


def sweep(name: str, seeds: Sequence[int], coefficients: Mapping[str, Sequence[float]], **more: Any) -> dict[str, Any]:
    """A sweep file in the quick start's shape."""
    return {
        "name": name,
        "model": {"name": "builtin"},
        "data": {"dataset": "builtin", "context": 128, "eval_split": "held_out", "eval_rows": 64},
        "train": {"tokens": N_TOKENS, "batch_rows": 2, "lr": 4e-3},
        "sae": {"ratio": 8},
        "eval": {"alive_window_tokens": 25_000},
        "loss": {"e2e_downstream": {"downstream_coeff": 2.5, "kl_coeff": 0.5}},
        "grid": {
            "layer": list(LAYERS),
            "loss": list(ENDS),
            "sparsity_coeff": {loss: list(values) for loss, values in coefficients.items()},
            "seed": list(seeds),
        },
        "logging": {"log_every_steps": 50},
        **more,
    }


def trained(work: Path, asked: Mapping[str, Any]) -> list[Row]:
    """The rows of that sweep, trained now or before."""
    path = work / f"{asked['name']}.yaml"
    path.write_text(yaml.safe_dump(dict(asked), sort_keys=False))
    options = LaunchOptions(path, runs=work / "runs", local=True, tracking=False, n_slots=1)
    launch(options, PlainLines(sys.stderr))
    (folder,) = (work / "runs").glob(f"{asked['name']}-????????")
    return [row for row in RunFolder(folder).rows() if row.status is RowStatus.DONE]


def points(rows: Sequence[Row], seed: int) -> dict[Name, Points]:
    found: dict[Name, Points] = {(layer, loss): {} for layer in LAYERS for loss in ENDS}
    for row in sorted(rows, key=lambda row: row.config.loss.sparsity_coeff):
        if row.config.seed == seed:
            l0, ce = row.metrics[X], row.metrics[Y]
            assert isinstance(l0, float)
            assert isinstance(ce, float)
            found[row.config.layer, row.config.loss.kind][row.config.loss.sparsity_coeff] = (l0, ce)
    return found


def coefficients(grid: str) -> dict[str, list[float]]:
    ends = ENDS if grid == "tuned" else dict.fromkeys(ENDS, WIDE)
    return {loss: [float(f"{value:.3g}") for value in np.geomspace(*ends[loss], N_DENSE)] for loss in ENDS}


def start(grid: str) -> dict[str, list[float]]:
    """What searches begin with."""
    first, last = (0, -1) if grid == "tuned" else WIDE_START
    return {loss: [values[first], values[last]] for loss, values in coefficients(grid).items()}


def costs_of(series: Points) -> np.ndarray:
    return np.array([[log10(l0), ce] for l0, ce in series.values() if l0 > 0])


def joined(costs: np.ndarray) -> np.ndarray:
    """The front with straight lines between its neighbours, as many points."""
    front = costs[pareto_mask(costs)]
    front = front[np.argsort(front[:, 0])]
    x = np.linspace(front[0, 0], front[-1, 0], 2000)
    return np.column_stack([x, np.interp(x, front[:, 0], front[:, 1])])


def best_half(costs: np.ndarray, reference: np.ndarray) -> float:
    """The most that half of these trials have of their hypervolume."""
    halves = combinations(costs[pareto_mask(costs)], N_DENSE // 2)
    best = max((hypervolume(np.array(half), reference=reference) for half in halves), default=np.inf)
    return min(1.0, best / hypervolume(costs, reference=reference))


def widest_gap(series: Points, l0: Sequence[float]) -> float:
    """Decades of L0 between neighbours within that range, its ends included."""
    low, high = map(log10, l0)
    places = sorted(min(max(log10(value), low), high) for value, _ in series.values() if value > 0)
    return float(np.diff([low, *places, high]).max())


def range_of(grid: str, series: Points) -> list[float]:
    """Of L0, in which gaps are to be closed: between the two ends of a tuned grid."""
    l0 = [value for value, _ in series.values()]
    return [float(f"{value:.4g}") for value in ((min(l0), max(l0)) if grid == "tuned" else WIDE_L0)]


def of_kind(kind: str, grid: str, dense: Mapping[Name, Points]) -> dict[str, Any]:
    """The `search` section, with half of the dense grid's trials less the two that it starts with."""
    budget = {"budget": (N_DENSE // 2 - 2) * len(dense)}
    if not kind.startswith("fill"):
        whole = {
            loss: {"low": values[0], "high": values[-1], "log": True} for loss, values in coefficients(grid).items()
        }
        return {"kind": kind, "space": {"sparsity_coeff": whole}, **budget}
    l0 = {loss: {layer: range_of(grid, dense[layer, loss]) for layer in LAYERS} for loss in ENDS}
    # A gap narrower than the budget allows: it is spent to its end.
    return {"kind": "fill", "by": kind.split()[-1], "l0": l0, "max_gap": 0.02, "min_gain": 0.0005, **budget}


def compared(
    work: Path, kind: str, grid: str, seed: int, dense: Mapping[Name, Points], tuned: Mapping[Name, Points]
) -> list[dict[str, object]]:
    """One search beside a dense grid of the same seed."""
    name = f"{'' if grid == 'tuned' else 'wide-'}{kind.replace(' ', '-')}-{seed}"
    rows = trained(work, sweep(name, [seed], start(grid), search=of_kind(kind, grid, dense)))
    lines: list[dict[str, object]] = []
    for place, series in points(rows, seed).items():
        reference = costs_of(tuned[place]).max(axis=0)
        ours, theirs = costs_of(series), costs_of(dense[place])
        share = hypervolume(ours, reference=reference) / hypervolume(theirs, reference=reference)
        share_joined = hypervolume(joined(ours), reference=reference) / hypervolume(joined(theirs), reference=reference)
        l0 = range_of(grid, dense[place])
        lines.append(
            {
                "search": kind, "grid": grid, "seed": seed, "layer": place[0], "loss": place[1],
                "n_trials": len(series), "n_dense": len(dense[place]),
                "volume_ratio": round(share, 4),
                "volume_ratio_best_half": round(best_half(theirs, reference), 4),
                "volume_ratio_joined": round(share_joined, 4),
                "gap": round(widest_gap(series, l0), 3), "gap_dense": round(widest_gap(dense[place], l0), 3),
            }
        )  # fmt: skip
    return lines


def matched(work: Path, place: float, seed: int, dense: Mapping[Name, Points]) -> list[dict[str, object]]:
    """How many trials it took to meet the target in each series."""
    targets: dict[Name, float] = {}
    for name, series in dense.items():
        low, high = (series[end][1] for end in ENDS[name[1]])
        targets[name] = float(f"{low * (high / low) ** place:.3g}") if low > 0 else float(f"{place * high:.3g}")
    target = {loss: {layer: targets[layer, loss] for layer in LAYERS} for loss in ENDS}
    search = {"kind": "match", "target": target, "tolerance": 0.05, "max_trials": 6}
    rows = trained(work, sweep(f"match-{int(100 * place)}-{seed}", [seed], ENDS, search=search))
    lines: list[dict[str, object]] = []
    for name, series in points(rows, seed).items():
        off = min(abs(ce / targets[name] - 1) for _, ce in series.values())
        lines.append(
            {
                "search": "match", "place": place, "seed": seed, "layer": name[0], "loss": name[1],
                "target": targets[name], "n_more": len(series) - 2, "off": round(off, 4), "reached": off <= 0.05,
            }
        )  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--work", type=Path, default=Path("runs/search-benchmark"), help="folder for its sweeps")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    names = {"tuned": "dense", "wide": "wide"}
    rows = {grid: trained(given.work, sweep(name, SEEDS, coefficients(grid))) for grid, name in names.items()}
    fills: list[dict[str, object]] = []
    matches: list[dict[str, object]] = []
    for seed in SEEDS:
        dense = {grid: points(found, seed) for grid, found in rows.items()}
        for grid in names:
            for kind in SEARCHES:
                fills += compared(given.work, kind, grid, seed, dense[grid], dense["tuned"])
        for place in PLACES:
            matches += matched(given.work, place, seed, dense["tuned"])
    tables = {
        f"{grid} {loss} seed {seed}": values
        for grid, found in rows.items()
        for seed in SEEDS
        for (_, loss), values in points(found, seed).items()
    }
    record = {"machine": machine("cpu"), "n_tokens": N_TOKENS, "fill": fills, "match": matches, "grids": tables}
    text = json.dumps(record, indent=1)
    if given.out:
        given.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
