"""Run folders with invented numbers that look like a sweep's, through the real export: what the page is tried on.

No model, no training. `python -m tests.dashboards.fixture FOLDER` writes one of each kind, to look at.
"""

import math
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.folder.clock import now
from orchestrator.folder.elements import ShownElement, ShownElements, ShownSnippet
from orchestrator.folder.records import (
    CurvePoint,
    Event,
    PackState,
    PackStatus,
    Row,
    RowStatus,
    SavedPlan,
    SweepState,
    SweepStatus,
)
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import export_frontier
from orchestrator.fronts.schema import DEFAULT_OBJECTIVES, Objective
from tests.orchestrator.fake_sweep import fake_rows

REFERENCE = {"l0": 100.0, "ce_loss_increase": 2.0, "n_alive_elements": 500.0}
SWEEP = """name: {name}
model: {{name: gpt2}}
data: {{dataset: builtin, context: 64}}
train: {{tokens: 100_000, batch_rows: 8}}
sae: {{ratio: {ratio}}}
loss:
  e2e_downstream: {{downstream_coeff: 2.5, kl_coeff: 0.5}}
grid:
  layer: {layers}
  loss: [local, e2e, e2e_downstream]
  sparsity_coeff: [0.1, 1, 10]
  seed: {seeds}
"""
HOSTILE = "<img src=x onerror=alert(1)>"
_TEXT = [
    "The",
    "river",
    "rises",
    "in",
    "the",
    "northern",
    "hills",
    "and",
    "joins",
    "the",
    "sea",
    "near",
    "an",
    "old",
    "harbour",
    "town",
]


def made_sweep(
    runs: Path,
    name: str,
    rows: Sequence[Row],
    *,
    state: SweepState = SweepState.COMPLETE,
    n_waiting: int = 0,
    n_failed: int = 0,
    reference: dict[str, float] | None = None,
    title: str | None = None,
    with_elements: int = 0,
) -> RunFolder:
    """A run folder in which these rows are done, but for the last `n_waiting`, and `n_failed` of them failed."""
    folder = RunFolder(runs / name)
    done = list(rows[: len(rows) - n_waiting])
    seeds, layers = ({row.config.seed for row in rows}, {_layer(row) for row in rows})
    ratio = sorted({row.config.sae.ratio for row in rows})[0]
    layers_text, seeds_text = sorted(layers), sorted(seeds)
    folder.write_sweep(SWEEP.format(name=title or name, ratio=ratio, layers=layers_text, seeds=seeds_text))
    packs = {f"{n:012x}": [row.trial_id for row in rows[n * 8 : n * 8 + 8]] for n in range(math.ceil(len(rows) / 8))}
    folder.write_plan(
        SavedPlan(
            sweep_id=name,
            trials={row.trial_id: row.config for row in rows},
            run_names={row.trial_id: row.run_name for row in rows},
            packs=packs,
        )
    )
    for place, row in enumerate(done):
        failed = place < n_failed
        changes: dict[str, Any] = {"metrics": row.metrics | _more_metrics(row, place)}
        if failed:
            changes = {"status": RowStatus.FAILED, "error": "the loss is not finite at step 12", "metrics": {}}
        folder.write_row(row.model_copy(update=changes))
        if place % max(1, len(done) // 24) == 0 or place < n_failed + with_elements:
            folder.add_curve_points(row.trial_id, _curve(row))
        if place < n_failed + with_elements:
            folder.write_elements(_elements(row.trial_id))
    n_done = len(done) - n_failed
    running = state is SweepState.RUNNING
    write_status(folder, state, n_trials=len(rows), n_done=n_done, n_failed=n_failed)
    for pack_id, trial_ids in packs.items():
        if running and trial_ids[0] in {row.trial_id for row in rows[len(done) :]}:
            folder.write_pack_status(
                PackStatus(
                    pack_id=pack_id,
                    state=PackState.RUNNING,
                    trial_ids=trial_ids,
                    step=97,
                    n_steps=195,
                    tokens_per_s=2_310.0,
                    latest={trial_ids[0]: {"eval/l0": 33.0, "eval/ce_loss_increase": 0.25}},
                    updated_at=now(),
                )
            )
            break
    folder.add_event(Event(time=now(), event="sweep_started", message=f"{len(rows)} trials in {len(packs)} packs"))
    if n_failed:
        folder.add_event(
            Event(time=now(), level="error", event="trial_failed", message="the loss is not finite at step 12")
        )
    export(folder, state=state, reference=REFERENCE if reference is None else reference)
    return folder


def export(
    folder: RunFolder,
    *,
    state: SweepState,
    reference: dict[str, float],
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
) -> None:
    """As the driver does every ten seconds."""
    if any(row.status is RowStatus.DONE for row in folder.rows()):
        export_frontier(
            folder,
            sweep_id=folder.path.name,
            state=state,
            now=now(),
            objectives=objectives,
            reference=reference,
            targets={"ce_loss_increase": [0.15], "l0": [20.0]},
        )


def write_status(folder: RunFolder, state: SweepState, *, n_trials: int, n_done: int, n_failed: int = 0) -> None:
    """What the driver says about the sweep."""
    folder.write_status(
        SweepStatus(
            sweep_id=folder.path.name,
            state=state,
            n_trials=n_trials,
            n_done=n_done,
            n_failed=n_failed,
            n_running=min(8, n_trials - n_done - n_failed) if state is SweepState.RUNNING else 0,
            started_at=now() - timedelta(minutes=48),
            updated_at=now(),
        )
    )


def _layer(row: Row) -> int:
    return int(row.config.hookpoint.split(".")[1])


def _more_metrics(row: Row, place: int) -> dict[str, float | list[float]]:
    random = np.random.default_rng(place)
    l0, alive, ce = (float(row.metrics[name]) for name in ("l0", "n_alive_elements", "ce_loss_increase"))  # type: ignore[arg-type]
    d_sae = row.facts.d_sae if row.facts else 256
    weights = np.exp(-((np.arange(14) - 7 - random.normal(0, 0.4)) ** 2) / 6)
    alive = min(alive, float(d_sae))
    counts = np.round(weights / weights.sum() * alive)
    return {
        "n_alive_elements": alive,
        "ce_loss_increase_stderr": 0.02 * abs(ce) + 0.001,
        "frac_alive": alive / d_sae,
        "mse": 0.4 / l0**0.5,
        "explained_variance": 1 - 0.6 / l0**0.4,
        "kl_div_with_sae": 0.9 * abs(ce),
        "ce_loss_with_sae": 3.2 + ce,
        "ce_loss_without_sae": 3.2,
        "density_histogram": [d_sae - float(counts.sum()), *counts.tolist()],
        "downstream_mse": [float(0.02 * 1.4**n * random.uniform(0.9, 1.1)) for n in range(11 - _layer(row))],
    }


def _curve(row: Row) -> list[CurvePoint]:
    random = np.random.default_rng(int(row.trial_id[:8], 16))
    ce = float(row.metrics["ce_loss_increase"])  # type: ignore[arg-type]
    l0 = float(row.metrics["l0"])  # type: ignore[arg-type]
    points: list[CurvePoint] = []
    for step in range(0, 195, 3):
        left, noise = math.exp(-step / 40), float(random.normal(1, 0.03))
        metrics = {
            "train/loss": (ce + 4 * left + 0.3) * noise,
            "train/kl": (ce + 3 * left) * noise,
            "train/sparsity": 0.3 * (1 + left) * noise,
            "train/l0": l0 * (1 + 3 * left) * noise,
            "train/n_alive": 256 - 150 * (1 - left),
            "train/grad_norm": (0.5 + 5 * left) * float(random.lognormal(0, 0.3)),
            "train/lr": 4e-3 * min(1, step / 10) * (0.1 + 0.9 * math.cos(step / 195 * 1.5)),
        }
        if step % 30 == 0:
            metrics |= {"eval/ce_loss_increase": ce + 2 * left, "eval/l0": l0 * (1 + 2.5 * left)}
        points.append(CurvePoint(step=step, tokens=step * 512, time_ms=1_790_000_000_000 + step, metrics=metrics))
    return points


def _elements(trial_id: str) -> ShownElements:
    random = np.random.default_rng(int(trial_id[:8], 16))
    elements: list[ShownElement] = []
    for index in range(6):
        snippets: list[ShownSnippet] = []
        for row in range(4):
            strong = random.integers(5, 14)
            heat = [float(6 * math.exp(-((n - strong) ** 2) / 1.6)) for n in range(len(_TEXT))]
            heat = [round(value, 2) if value > 0.05 else 0.0 for value in heat]
            snippets.append(
                ShownSnippet(
                    row=row,
                    position=30 + int(strong),
                    start=30,
                    activation=heat[int(strong)],
                    topic=("geography", "rivers", None, HOSTILE)[row],
                    tokens=[f" {word}" for word in _TEXT],
                    activations=heat,
                )
            )
        elements.append(
            ShownElement(
                index=17 * index + 3,
                chosen="most_active" if index < 4 else "sampled",
                density=0.2 / (index + 1),
                mean_activation=1.2,
                max_activation=6.1 - index / 4,
                top_tokens=[(" sea", 31), (" harbour", 18), (HOSTILE, 7)],
                snippets=snippets,
            )
        )
    return ShownElements(
        trial_id=trial_id, n_eval_tokens=32_000, text_credit="Text: an invented corpus.", elements=elements
    )


def kinds(runs: Path) -> dict[str, RunFolder]:
    """One folder of each kind that a person may meet."""
    made = {
        "twelve": made_sweep(runs, "twelve-layers", fake_rows(layers=12, coeffs=6, seeds=1), with_elements=2),
        "one": made_sweep(runs, "one-layer", fake_rows(layers=1, coeffs=10, seeds=1)),
        "seeds": made_sweep(
            runs,
            "many-seeds",
            fake_rows(layers=3, coeffs=7, seeds=5),
            n_failed=2,
            with_elements=4,
            title=f"seeds {HOSTILE}",
        ),
        "dense": made_sweep(runs, "negative-ce", fake_rows(layers=2, coeffs=8, seeds=1, offset=-0.08), reference={}),
        "sizes": made_sweep(runs, "two-sizes", fake_rows(layers=2, coeffs=8, seeds=1, ratios=(4.0, 8.0))),
        "running": made_sweep(
            runs, "running-now", fake_rows(layers=2, coeffs=8, seeds=2), state=SweepState.RUNNING, n_waiting=48
        ),
        "empty": made_sweep(
            runs, "just-planned", fake_rows(layers=2, coeffs=3, seeds=1), state=SweepState.RUNNING, n_waiting=18
        ),
    }
    broken = made_sweep(runs, "broken-file", fake_rows(layers=2, coeffs=3, seeds=1))
    broken.frontier.write_bytes(broken.frontier.read_bytes()[:1000])
    return made | {"broken": broken}


if __name__ == "__main__":
    kinds(Path(sys.argv[1]))
