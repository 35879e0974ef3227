"""What searches save on real SAEs: `python -m benchmarks.search [--out benchmarks/results/search.json]`.

The quick start's model, losses and SAE size at one layer; `N_TOKENS` tokens a trial; each of `SEEDS` searched alone.

1. Two dense grids of `N_DENSE` coefficients per loss, logarithmically even. One is shipped as `sweeps/dense.yaml`:
   alike for all losses and as wide as it has to be where nothing is known. The other is tuned to each loss (`ENDS`):
   what one would take who had seen the front before.
2. `fill` by gaps and by hypervolume, and Optuna's TPE, with half of the grid's SAE-tokens (`--shares` for others).
   Beside the wide grid they begin with two of its coefficients and one range of L0; beside the tuned one with its two
   ends. Hypervolume of L0 (as log10) and CE loss increase up to `WORST`, as a share of the grid's: of trials alone, and
   with straight lines between neighbours on the front, which is what matched comparisons read; for the wide grid from
   the L0 on that searches are asked for, and everywhere. Beside it the most that as many of the grid's own trials have,
   and the widest gap in L0.
3. `match` from the ends of the tuned grid: the CE loss increase at `PLACES` of the way between theirs, as logarithms
   go; how many trials more it takes to come within 5 %.

Every SAE is really trained; nothing is interpolated. Trials are kept in `--work` by their ids and trained once.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log10
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml

from benchmarks.machine import machine
from benchmarks.trained import TrainedTrials, points_of
from orchestrator.folder.records import Row
from orchestrator.fronts.pareto import hypervolume, pareto_mask
from orchestrator.planning.planned import PlannedTrial
from orchestrator.planning.trials import expand
from orchestrator.search.searching import Searching
from orchestrator.sweep.sweep_file import load_sweep
from trainer.models import ModelFacts, describe_model

SEEDS = (0, 1, 2)
N_DENSE = 12
N_TOKENS = 25_000
ENDS = {"local": (0.25, 4.0), "e2e": (0.2, 8.0), "e2e_downstream": (0.6, 25.0)}
WIDE = (0.02, 200.0)
WIDE_START = (3, 8)
"""Which two of the wide grid's coefficients a search begins with."""
WIDE_L0 = (10.0, 170.0)
LAYER = 3
SHARES = (0.5,)
SEARCHES = ("fill by gap", "fill by hypervolume", "tpe")
PLACES = (0.3, 0.7)
WORST = {"l0": 200.0, "ce_loss_increase": 3.5}
REFERENCE = np.array([log10(WORST["l0"]), WORST["ce_loss_increase"]])
Points = dict[float, tuple[float, ...]]
"""L0 and CE loss increase by coefficient."""


def sweep(coefficients: Mapping[str, Sequence[float]], seeds: Sequence[int], **more: Any) -> dict[str, Any]:
    """A sweep file in the quick start's shape."""
    return {
        "name": "benchmark",
        "model": {"name": "builtin"},
        "data": {"dataset": "builtin", "context": 128, "eval_split": "held_out", "eval_rows": 64},
        "train": {"tokens": N_TOKENS, "batch_rows": 2, "lr": 4e-3},
        "sae": {"ratio": 8},
        "eval": {"alive_window_tokens": 25_000},
        "loss": {"e2e_downstream": {"downstream_coeff": 2.5, "kl_coeff": 0.5}},
        "grid": {
            "layer": LAYER,
            "loss": list(ENDS),
            "sparsity_coeff": {loss: list(values) for loss, values in coefficients.items()},
            "seed": list(seeds),
        },
        "frontier": {"reference": WORST},
        **more,
    }


@dataclass
class Searched:
    """A sweep with a search, as a launch has it: its grid, then round after round. Without one, a grid."""

    file: dict[str, Any]
    facts: ModelFacts
    work: Path
    trials: list[PlannedTrial] = field(default_factory=list[PlannedTrial])
    rows: dict[str, Row] = field(default_factory=dict[str, Row])

    def __post_init__(self) -> None:
        path = self.work / "sweep.yaml"
        path.write_text(yaml.safe_dump(self.file, sort_keys=False))
        loaded = load_sweep(path, [])
        self.trials = list(expand(loaded, self.facts))
        self.searching = Searching.of(loaded, self.facts, len(self.trials))

    def wants(self) -> list[PlannedTrial]:
        """What is to be trained next."""
        if len(self.rows) < len(self.trials):
            return [trial for trial in self.trials if trial.trial_id not in self.rows]
        if self.searching is None:
            return []
        asked = self.searching.next_round(self.trials, self.rows, n_slots=1)
        self.trials += asked.trials
        return list(asked.trials)

    def points(self, loss: str, seed: int) -> Points:
        """L0 and CE loss increase by coefficient."""
        mine = [row for row in self.rows.values() if (row.config.loss.kind, row.config.seed) == (loss, seed)]
        return points_of(mine, *WORST)


def run_together(sweeps: Sequence[Searched], trained: TrainedTrials) -> None:
    """All of them to their ends; what they want in a round shares packs."""
    while wanted := [(each, trial) for each in sweeps for trial in each.wants()]:
        rows = trained.rows([trial.config for _, trial in wanted])
        for each, trial in wanted:
            each.rows[trial.trial_id] = rows[trial.trial_id]


def coefficients(grid: str) -> dict[str, list[float]]:
    ends = ENDS if grid == "tuned" else dict.fromkeys(ENDS, WIDE)
    return {loss: [float(f"{value:.3g}") for value in np.geomspace(*ends[loss], N_DENSE)] for loss in ENDS}


def start(grid: str) -> dict[str, list[float]]:
    """What searches begin with."""
    first, last = (0, -1) if grid == "tuned" else WIDE_START
    return {loss: [values[first], values[last]] for loss, values in coefficients(grid).items()}


def of_kind(kind: str, grid: str, share: float, dense: Mapping[str, Points]) -> dict[str, Any]:
    """The `search` section, with that share of the dense grid's trials less the two that it starts with."""
    budget = {"budget": round((share * N_DENSE - 2) * len(ENDS))}
    if not kind.startswith("fill"):
        whole = {
            loss: {"low": values[0], "high": values[-1], "log": True} for loss, values in coefficients(grid).items()
        }
        return {"kind": kind, "space": {"sparsity_coeff": whole}, **budget}
    l0 = {loss: range_of(grid, dense[loss]) for loss in ENDS}
    # A gap narrower than the budget allows: it is spent to its end.
    return {"kind": "fill", "by": kind.split()[-1], "l0": l0, "max_gap": 0.02, "min_gain": 0.0002, **budget}


def range_of(grid: str, series: Points) -> list[float]:
    """Of L0, in which gaps are to be closed: between the two ends of a tuned grid."""
    l0 = [value for value, _ in series.values()]
    return [float(f"{value:.4g}") for value in ((min(l0), max(l0)) if grid == "tuned" else WIDE_L0)]


def costs_of(series: Points) -> np.ndarray:
    return np.array([[log10(l0), ce] for l0, ce in series.values() if l0 >= 1])


def volume(costs: np.ndarray, from_l0: float = 1.0) -> float:
    """Hypervolume; L0 below `from_l0` counts as that, since nobody asked for it."""
    counted = np.column_stack([np.maximum(costs[:, 0], log10(from_l0)), costs[:, 1]])
    return hypervolume(counted, reference=REFERENCE)


def joined(costs: np.ndarray) -> np.ndarray:
    """The front with straight lines between its neighbours, as many points."""
    front = costs[pareto_mask(costs)]
    front = front[np.argsort(front[:, 0])]
    x = np.linspace(front[0, 0], front[-1, 0], 2000)
    return np.column_stack([x, np.interp(x, front[:, 0], front[:, 1])])


def best_part(costs: np.ndarray, n: int, from_l0: float = 1.0) -> float:
    """The largest hypervolume of `n` of these trials."""
    from orchestrator.search.layout import Layout, Place

    places = [Place(max(float(x), log10(from_l0)), float(y), float(index)) for index, (x, y) in enumerate(costs)]
    layout = Layout([], places, (float(REFERENCE[0]), float(REFERENCE[1])))
    return volume(np.array([place[:2] for place in layout.best(n)]))


def widest_gap(series: Points, l0: Sequence[float]) -> float:
    """Decades of L0 between neighbours within that range, its ends included."""
    low, high = map(log10, l0)
    places = sorted(min(max(log10(value), low), high) for value, _ in series.values() if value > 0)
    return float(np.diff([low, *places, high]).max())


def compared(
    asked: tuple[str, str, float, int], found: Searched, dense: Mapping[str, Points]
) -> list[dict[str, object]]:
    """One search beside a dense grid of the same seed, for each loss and for all of them together."""
    kind, grid, share, seed = asked
    lines: list[dict[str, object]] = []
    ours = {loss: found.points(loss, seed) for loss in ENDS}
    ours["all"], theirs = {}, {**dense, "all": {}}
    for loss in (*ENDS, "all"):
        both = [ours, theirs]
        if loss == "all":  # coefficients of several losses may be the same: by number
            mine, grids = (costs_of(dict(enumerate(p for name in ENDS for p in all_[name].values()))) for all_ in both)
        else:
            mine, grids = costs_of(ours[loss]), costs_of(theirs[loss])
        low = WIDE_L0[0] if grid == "wide" else 1.0
        n, n_dense = (sum(len(all_[name]) for name in ENDS if loss in (name, "all")) for all_ in both)
        line: dict[str, object] = {"search": kind, "grid": grid, "share": share, "seed": seed, "loss": loss}
        line |= {"n_trials": n, "n_dense": n_dense, "volume_ratio": round(volume(mine, low) / volume(grids, low), 4)}
        line["volume_ratio_everywhere"] = round(volume(mine) / volume(grids), 4)
        if loss != "all":
            line["best_part_of_grid"] = round(best_part(grids, round(share * N_DENSE), low) / volume(grids, low), 4)
            line["volume_ratio_joined"] = round(volume(joined(mine), low) / volume(joined(grids), low), 4)
            l0 = range_of(grid, theirs[loss])
            line |= {"gap": round(widest_gap(ours[loss], l0), 3), "gap_dense": round(widest_gap(theirs[loss], l0), 3)}
        lines.append(line)
    return lines


def target_of(place: float, loss: str, series: Points) -> float:
    low, high = (series[end][1] for end in ENDS[loss])
    return float(f"{low * (high / low) ** place:.3g}") if low > 0 else float(f"{place * high:.3g}")


def matched(place: float, seed: int, found: Searched, targets: Mapping[str, float]) -> list[dict[str, object]]:
    """How many trials it took to meet the target in each series."""
    lines: list[dict[str, object]] = []
    for loss, target in targets.items():
        series = found.points(loss, seed)
        off = min(abs(ce / target - 1) for _, ce in series.values())
        n_more = len(series.keys() - {*ENDS[loss]})
        line: dict[str, object] = {"place": place, "seed": seed, "loss": loss, "target": target, "n_more": n_more}
        lines.append({**line, "off": round(off, 4), "reached": off <= 0.05})
    return lines


def summary(fills: Sequence[dict[str, Any]]) -> list[str]:
    """Mean over seeds, for people."""
    lines: list[str] = []
    for key in dict.fromkeys((line["grid"], line["search"], line["share"]) for line in fills):
        mine = [line for line in fills if (line["grid"], line["search"], line["share"]) == key]
        for loss in (*ENDS, "all"):
            of_loss = [line for line in mine if line["loss"] == loss]
            ratios = ", ".join(f"{line['volume_ratio']:.3f}" for line in of_loss)
            joined_ratio = fmean(line.get("volume_ratio_joined", float("nan")) for line in of_loss)
            best = fmean(line.get("best_part_of_grid", float("nan")) for line in of_loss)
            lines.append(f"{key[0]} {key[1]} {key[2]} {loss}: {ratios}; joined {joined_ratio:.3f}, of grid {best:.3f}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--work", type=Path, default=Path("runs/search-benchmark"), help="folder for trained trials")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of the grid's SAE-tokens")
    parser.add_argument("--places", type=float, nargs="*", default=PLACES, help="of the targets of match")
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=SEARCHES)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    trained, facts = TrainedTrials(given.work / "trials.jsonl"), describe_model_of_benchmark()
    grids = {grid: Searched(sweep(coefficients(grid), given.seeds), facts, given.work) for grid in ("wide", "tuned")}
    run_together(list(grids.values()), trained)
    dense = {
        (grid, seed): {loss: found.points(loss, seed) for loss in ENDS}
        for grid, found in grids.items()
        for seed in given.seeds
    }
    fills = {
        (kind, grid, share, seed): Searched(
            sweep(start(grid), [seed], search=of_kind(kind, grid, share, dense[grid, seed])), facts, given.work
        )
        for share in given.shares
        for kind in given.searches
        if kind.startswith("fill") or share == SHARES[0]
        for grid in grids
        for seed in given.seeds
    }
    targets = {
        (place, seed): {loss: target_of(place, loss, dense["tuned", seed][loss]) for loss in ENDS}
        for place in given.places
        for seed in given.seeds
    }
    match = {"kind": "match", "tolerance": 0.05, "max_trials": 6}
    matches = {
        (place, seed): Searched(sweep(start("tuned"), [seed], search={**match, "target": target}), facts, given.work)
        for (place, seed), target in targets.items()
    }
    run_together(list(fills.values()), trained)
    run_together(list(matches.values()), trained)
    compared_lines = [line for key, found in fills.items() for line in compared(key, found, dense[key[1], key[3]])]
    matched_lines = [line for key, found in matches.items() for line in matched(*key, found, targets[key])]
    tables = {f"{grid} {loss} seed {seed}": dense[grid, seed][loss] for grid, seed in dense for loss in ENDS}
    record = {"machine": machine("cpu"), "n_tokens": N_TOKENS, "fill": compared_lines, "match": matched_lines}
    text = json.dumps(record | {"grids": tables}, indent=1)
    if given.out:
        given.out.write_text(text + "\n")
    print("\n".join(summary(compared_lines)))
    counts = [line["n_more"] for line in matched_lines]
    print(f"match: {counts}, {sum(bool(line['reached']) for line in matched_lines)} of {len(counts)} reached")


def describe_model_of_benchmark() -> ModelFacts:
    from trainer.config import ModelConfig

    return describe_model(ModelConfig(name="builtin"))


if __name__ == "__main__":
    main()
