"""What `frontier.stop_dominated` saves: `python -m benchmarks.stopping [--out benchmarks/results/stopping.json]`.

A random search over coefficient and learning rate, as a user would run it who knows neither: the quick start's model,
losses and SAE size at one layer, `N_TOKENS` tokens a trial, rounds of `AT_ONCE` points per loss with every seed. All of
its SAEs are trained to their ends, with their curves. What stopping would have done follows from these without error,
since a trial's numbers do not depend on who else trains: round by round the trials that are left to run are judged by
those that were done before, by the code that workers use. Beside the order of the search, `N_ORDERS` others.

Said is the share of SAE-tokens that is saved, and for the frontier of each loss and seed what it lost: the factor by
which the best that is left is worse, in the worst objective of the worst point (epsilon; 0 is nothing), and the share
of its hypervolume.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.search import ENDS, Searched, describe_model_of_benchmark, run_together, sweep
from benchmarks.trained import TrainedTrials
from orchestrator.folder.records import CurvePoint, Row, RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.costs import costs_of, reference_of, scaled
from orchestrator.fronts.pareto import hypervolume, pareto_mask
from orchestrator.fronts.schema import Objective
from orchestrator.packs.dominance import ALIVE, Judge
from trainer.config import TrialConfig

SEEDS = (0, 1, 2)
N_TOKENS = 25_000
EVAL_EVERY = 5_120
LRS = (2e-4, 6e-4, 2e-3, 5e-3, 1.2e-2)
LOSSES = ("local", "e2e_downstream")
N_POINTS = 8
"""Per loss, beyond the two of the grid."""
AT_ONCE = 2
"""Points per loss in a round."""
MARGINS = (0.02, 0.05, 0.1, 0.2)
N_ORDERS = 10
PLANES = {
    "l0, ce_loss_increase": (Objective("l0", "ce_loss_increase"),),
    "the default": (Objective("l0", "ce_loss_increase"), Objective("n_alive_elements", "ce_loss_increase")),
}
REFERENCE = {"l0": 300.0, "ce_loss_increase": 5.0, "n_alive_elements": 1100.0}
Rounds = Sequence[Sequence[TrialConfig]]


def a_sweep(seeds: Sequence[int], **more: Any) -> dict[str, Any]:
    whole = {loss: {"low": low, "high": high, "log": True} for loss, (low, high) in ENDS.items() if loss in LOSSES}
    search = {"kind": "random", "budget": N_POINTS * len(LOSSES) * len(seeds), "at_once": AT_ONCE * len(LOSSES)}
    made = sweep({loss: [values[0], values[1]] for loss, values in ENDS.items() if loss in LOSSES}, seeds, **more)
    made["grid"] |= {"loss": list(LOSSES)}
    made["search"] = search | {"space": {"sparsity_coeff": whole, "train.lr": list(LRS)}}
    made["logging"] = {"log_every_steps": 5, "eval_every_tokens": EVAL_EVERY}
    return made


def rounds_of(found: Searched) -> list[list[TrialConfig]]:
    rounds: dict[int, list[TrialConfig]] = {}
    for trial in found.trials:
        rounds.setdefault(0 if trial.proposed is None else trial.proposed.round, []).append(trial.config)
    return [rounds[number] for number in sorted(rounds)]


def in_another_order(rounds: Rounds, dice: random.Random) -> list[list[TrialConfig]]:
    """The same points, in rounds of the same sizes; the seeds of a point stay together."""
    points: dict[object, list[TrialConfig]] = {}
    for config in (config for trials in rounds for config in trials):
        key = config.loss.kind, config.loss.sparsity_coeff, config.train.lr
        points.setdefault(key, []).append(config)
    shuffled = dice.sample([*points.values()], len(points))
    size = AT_ONCE * len(LOSSES)
    return [[config for point in shuffled[at : at + size] for config in point] for at in range(0, len(shuffled), size)]


def stopped_by(
    rounds: Rounds, rows: Mapping[str, Row], trained: TrainedTrials, objectives: Sequence[Objective], margin: float
) -> dict[str, int]:
    """The trials that would have been stopped, and after how many tokens."""
    names = sorted({name for objective in objectives for name in objective})
    stopped: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary))
        for trials in rounds:
            judge = Judge(folder, dict.fromkeys(names, "lower"), margin)
            for config in trials:
                if (tokens := _stopped_at(config, rows[config.trial_id], trained, judge)) is not None:
                    stopped[config.trial_id] = tokens
            for config in trials:
                row = rows[config.trial_id]
                if config.trial_id not in stopped and row.status is RowStatus.DONE:
                    folder.add_curve_points(config.trial_id, _points(config, trained))
                    folder.write_row(row)
    return stopped


def _stopped_at(config: TrialConfig, row: Row, trained: TrainedTrials, judge: Judge) -> int | None:
    assert row.facts is not None
    for tokens, point in trained.curve(config.trial_id):
        latest = {"train/n_alive" if name == ALIVE else f"eval/{name}": value for name, value in point.items()}
        step = tokens // config.tokens_per_step
        if judge.verdict(config, step, latest, eval_hash=row.facts.eval_hash) is not None:
            return tokens
    return None


def _points(config: TrialConfig, trained: TrainedTrials) -> list[CurvePoint]:
    return [
        CurvePoint(
            step=tokens // config.tokens_per_step,
            tokens=tokens,
            time_ms=0,
            metrics={"train/n_alive" if name == ALIVE else f"eval/{name}": value for name, value in point.items()},
        )
        for tokens, point in trained.curve(config.trial_id)
    ]


def lost(rows: Sequence[Row], stopped: Mapping[str, int], objective: Objective) -> tuple[float, float]:
    """Of one frontier: by which share the best that is left is worse, and the share of its hypervolume that is left."""
    values = {name: np.array([row.metrics[name] for row in rows], dtype=float) for name in objective}
    plain = costs_of(values, objective)
    kept = np.array([row.trial_id not in stopped for row in rows])
    front = plain[pareto_mask(plain)]
    factors = [float((plain[kept] / point).max(axis=1).min()) for point in front]
    costs, reference = scaled(plain, objective), reference_of(objective, REFERENCE)
    volumes = [hypervolume(part, reference=reference) for part in (costs[kept], costs)]
    return max(0.0, max(factors) - 1), volumes[0] / volumes[1]


def measured(
    rounds: Rounds, rows: Mapping[str, Row], trained: TrainedTrials, objectives: Sequence[Objective], margin: float
) -> dict[str, Any]:
    stopped = stopped_by(rounds, rows, trained, objectives, margin)
    whole = {id_: row.config.n_steps * row.config.tokens_per_step for id_, row in rows.items()}
    saved = sum(whole[id_] - tokens for id_, tokens in stopped.items())
    done = [row for row in rows.values() if row.status is RowStatus.DONE]
    groups = {(row.config.loss.kind, row.config.seed) for row in done}
    losses = [
        lost([row for row in done if (row.config.loss.kind, row.config.seed) == group], stopped, objective)
        for group in sorted(groups)
        for objective in objectives
    ]
    return {
        "n_trials": len(rows),
        "n_stopped": len(stopped),
        "saved": round(saved / sum(whole.values()), 4),
        "epsilon_max": round(max(epsilon for epsilon, _ in losses), 4),
        "volume_min": round(min(share for _, share in losses), 5),
        "volume_mean": round(fmean(share for _, share in losses), 5),
        "n_fronts": len(losses),
        "n_fronts_changed": sum(epsilon > 0 for epsilon, _ in losses),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--work", type=Path, default=Path("runs/stopping-benchmark"), help="folder for trained trials")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    trained = TrainedTrials(given.work / "curves.jsonl", eval_every_tokens=EVAL_EVERY)
    facts = describe_model_of_benchmark()
    found = Searched(a_sweep(SEEDS), facts, given.work)
    run_together([found], trained)
    rounds, dice = rounds_of(found), random.Random(0)
    orders = [rounds, *(in_another_order(rounds, dice) for _ in range(N_ORDERS))]
    lines: list[dict[str, Any]] = []
    for name, objectives in PLANES.items():
        for margin in MARGINS:
            each = [measured(order, found.rows, trained, objectives, margin) for order in orders]
            summary = {
                "saved_mean": round(fmean(one["saved"] for one in each), 4),
                "saved_min": min(one["saved"] for one in each),
                "saved_max": max(one["saved"] for one in each),
                "epsilon_max": max(one["epsilon_max"] for one in each),
                "volume_min": min(one["volume_min"] for one in each),
            }
            lines.append({"objectives": name, "margin": margin, "as_searched": each[0], "all_orders": summary})
            print(json.dumps(lines[-1]), flush=True)
    record: dict[str, Any] = {"machine": machine("cpu"), "n_tokens": N_TOKENS, "stopping": lines}
    _write(given.out, record)


def _write(path: Path | None, record: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
