"""What searches save on real SAEs: `python -m benchmarks.search [--out benchmarks/results/search.json]`.

The quick start's model, losses and SAE size at one layer; `N_TOKENS` tokens a trial; each of `SEEDS` searched alone.

1. A dense grid of `N_DENSE` coefficients per loss, logarithmically even.
2. `fill` from the two ends of that grid with half of its trials, by gaps and by hypervolume, and Optuna's TPE with the
   same budget: hypervolume of L0 (as log10) and CE loss increase per loss, as a share of the dense grid's and with the
   dense grid's worst values as the reference; and the widest gap in L0 between the ends.
3. `match` from the same two ends: the CE loss increase at `PLACES` of the way between theirs, as logarithms go; how
   many trials more it takes to come within 5 %.

Every SAE is really trained, as a launch trains it. The sweeps are kept in `--work`: the same command goes on where it
was cut off.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.machine import machine
from orchestrator.driver import launch
from orchestrator.pareto import hypervolume
from orchestrator.prepare import LaunchOptions
from orchestrator.records import Row, RowStatus
from orchestrator.run_folder import RunFolder
from orchestrator.screen import PlainLines

SEEDS = (0, 1, 2)
N_DENSE = 12
N_TOKENS = 25_000
ENDS = {"local": (0.25, 4.0), "e2e": (0.2, 8.0), "e2e_downstream": (0.6, 25.0)}
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


def volume(series: Points, reference: np.ndarray) -> float:
    costs = np.array([[log10(l0), ce] for l0, ce in series.values() if l0 > 0])
    return hypervolume(costs, reference=reference)


def widest_gap(series: Points, ends: Points) -> float:
    """Decades of L0 between neighbours, within what the ends of the grid span."""
    low, high = sorted(log10(l0) for l0, _ in ends.values())
    places = sorted(min(max(log10(l0), low), high) for l0, _ in series.values() if l0 > 0)
    return max(float(np.diff([low, *places, high]).max()), 0.0)


def of_kind(kind: str, ends: Mapping[Name, Points]) -> dict[str, Any]:
    """The `search` section, with half of the dense grid's trials less the two ends that it starts with."""
    budget = {"budget": (N_DENSE // 2 - 2) * len(ends)}
    if not kind.startswith("fill"):
        return {"kind": kind, **budget}
    l0 = {
        loss: {layer: sorted(float(f"{value:.4g}") for value, _ in ends[layer, loss].values()) for layer in LAYERS}
        for loss in ENDS
    }
    # A gap narrower than the budget allows: it is spent to its end.
    return {"kind": "fill", "by": kind.split()[-1], "l0": l0, "max_gap": 0.02, "min_gain": 0.0005, **budget}


def compared(work: Path, kind: str, seed: int, dense: Mapping[Name, Points]) -> list[dict[str, object]]:
    """One search from the ends of the grid, beside the dense grid of the same seed."""
    ends = {name: {c: value for c, value in series.items() if c in ENDS[name[1]]} for name, series in dense.items()}
    rows = trained(work, sweep(f"{kind.replace(' ', '-')}-{seed}", [seed], ENDS, search=of_kind(kind, ends)))
    lines: list[dict[str, object]] = []
    for name, series in points(rows, seed).items():
        reference = np.array([[log10(l0), ce] for l0, ce in dense[name].values()]).max(axis=0)
        lines.append(
            {
                "search": kind, "seed": seed, "layer": name[0], "loss": name[1],
                "n_trials": len(series), "n_dense": len(dense[name]),
                "volume_ratio": round(volume(series, reference) / volume(dense[name], reference), 4),
                "gap": round(widest_gap(series, ends[name]), 3),
                "gap_dense": round(widest_gap(dense[name], ends[name]), 3),
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


def table(work: Path) -> list[Row]:
    coefficients = {
        loss: [float(f"{value:.3g}") for value in np.geomspace(low, high, N_DENSE)]
        for loss, (low, high) in ENDS.items()
    }
    return trained(work, sweep("dense", SEEDS, coefficients))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--work", type=Path, default=Path("runs/search-benchmark"), help="folder for its sweeps")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    rows = table(given.work)
    record: dict[str, object] = {"machine": machine("cpu"), "n_tokens": N_TOKENS}
    fills: list[dict[str, object]] = []
    matches: list[dict[str, object]] = []
    for seed in SEEDS:
        dense = points(rows, seed)
        for kind in SEARCHES[:2]:
            fills += compared(given.work, kind, seed, dense)
        for place in PLACES:
            matches += matched(given.work, place, seed, dense)
        for kind in SEARCHES[2:]:
            fills += compared(given.work, kind, seed, dense)
        record |= {
            "dense": {
                f"{layer} {loss} {number}": values
                for number in SEEDS
                for (layer, loss), values in points(rows, number).items()
            },
            "fill": fills,
            "match": matches,
        }
        if given.out:
            given.out.write_text(json.dumps(record, indent=1) + "\n")
        print(json.dumps({"fill": fills, "match": matches}, indent=1))


if __name__ == "__main__":
    main()
