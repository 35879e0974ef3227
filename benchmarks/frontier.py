"""How long frontiers take: `python -m benchmarks.frontier [--out benchmarks/results/frontier.json]`.

1. The frontier of a million rows by three objectives, with and without naming a dominator of every other row: values at
   random, on a grid (ties), and all on the frontier.
2. A run folder of a hundred thousand trials (12 layers, 3 losses, 5 seeds): the first export, which reads one JSON file
   per trial; an export after 1,000 more have ended; one where nothing is new; and the summary, matched comparisons and
   surfaces alone. Files are in the page cache, as those of a running sweep are.

Seconds of wall-clock time and of processor time over all threads, the least of `REPEATS` where a repeat is the same: on
a machine with other work the second is what it would take alone, or more.
"""

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pyarrow as pa

from orchestrator.folder.records import Facts, Row, RowStatus, SweepState, Versions
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import export_frontier, fronts_of_lines
from orchestrator.fronts.pareto import dominators, pareto_mask
from orchestrator.fronts.schema import DEFAULT_OBJECTIVES
from orchestrator.fronts.trial_lines import read_lines
from trainer.config import DataConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss

REPEATS = 3
MILLION = 1_000_000
N_TRIALS, N_MORE, N_LAYERS, N_SEEDS = 100_000, 1_000, 12, 5
REFERENCE = {"l0": 3000.0, "ce_loss_increase": 3.0, "n_alive_elements": 50_000.0}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> dict[str, float]:
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall, processor = (round(min(column), 3) for column in zip(*times, strict=True))
    return {"wall_s": wall, "processor_s": processor}


def million_rows() -> dict[str, Any]:
    random = np.random.default_rng(0)
    sphere = np.abs(random.normal(size=(MILLION, 3)))
    kinds = {
        "random": random.random((MILLION, 3)),
        "grid of 50 values": random.integers(0, 50, (MILLION, 3)).astype(float),
        "all on the frontier": sphere / np.linalg.norm(sphere, axis=1, keepdims=True),
    }
    found: dict[str, Any] = {}
    for name, costs in kinds.items():
        on_front = pareto_mask(costs)
        found[name] = {
            "on frontier": int(on_front.sum()),
            "frontier": seconds(lambda costs=costs: pareto_mask(costs)),
            "frontier and dominators": seconds(lambda costs=costs: dominators(costs, pareto_mask(costs))),
        }
    return found


def a_row(number: int, random: np.random.Generator) -> Row:
    layer, loss, seed = number % N_LAYERS, number // N_LAYERS % 3, number // (3 * N_LAYERS) % N_SEEDS
    coeff = 0.01 * (1 + number // (3 * N_LAYERS * N_SEEDS))
    losses = (
        LocalLoss(sparsity_coeff=coeff),
        E2ELoss(sparsity_coeff=coeff),
        E2EDownstreamLoss(sparsity_coeff=coeff, downstream_coeff=2.5),
    )
    config = TrialConfig(
        model=ModelConfig(name="gpt2"),
        data=DataConfig(dataset="builtin", context=1024),
        hookpoint=f"blocks.{layer}.hook_resid_pre",
        sae=SAEConfig(ratio=60),
        loss=losses[loss],
        train=TrainConfig(tokens=409_600_000, batch_rows=16),
        seed=seed,
    )
    l0 = float(100 / coeff**0.9 * np.exp(random.normal(0, 0.1)))
    names = [
        "kl_div_with_sae",
        "mse",
        "explained_variance",
        "explained_variance_per_token",
        "cosine",
        "l2_ratio_pos0",
        "l2_ratio_rest",
    ]
    return Row(
        trial_id=config.trial_id,
        run_name=config.run_name,
        pack_id=f"p{number // 64}",
        status=RowStatus.DONE,
        config=config,
        facts=Facts(
            d_model=768, d_sae=46_080, n_train_tokens=409_600_000, n_eval_tokens=512_000,
            data_hash="d" * 64, eval_hash="e" * 64, model_hash="f" * 64,
        ),
        metrics={
            "l0": l0,
            "ce_loss_increase": float((3, 1.2, 1.4)[loss] * l0**-0.8 * np.exp(random.normal(0, 0.1))),
            "ce_loss_increase_stderr": 0.002,
            "n_alive_elements": float(min(46_080, round(400 * l0**0.8 * np.exp(random.normal(0, 0.1))))),
            "downstream_mse": random.random(11).tolist(),
            "density_histogram": random.integers(0, 5000, 15).astype(float).tolist(),
            **{name: float(random.random()) for name in names},
        },
        cost={"train_wall_s": 100.0, "device_s": 10.0, "tokens_per_s": 1e5, "peak_memory_bytes": 1e9},
        versions=Versions(code="0", python="3.11", torch="2", device="cpu"),
        started_at=NOON,
        finished_at=NOON,
    )  # fmt: skip


def write_rows(folder: RunFolder, numbers: range) -> None:
    """Without a sync of each file, which is what takes a worker's time and not the reader's."""
    random = np.random.default_rng(numbers.start)
    (folder.path / "results").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        row = a_row(number, random)
        folder.result(row.trial_id).write_text(json.dumps(row.model_dump(mode="json"), indent=2) + "\n")


def run_folder(path: Path) -> dict[str, Any]:
    folder = RunFolder(path)

    def export(minute: int) -> None:
        export_frontier(
            folder, sweep_id="bench", state=SweepState.RUNNING, now=NOON.replace(minute=minute), reference=REFERENCE
        )

    def say() -> None:
        fronts = fronts_of_lines(lines, sweep_id="bench", objectives=DEFAULT_OBJECTIVES, reference=REFERENCE)
        for table in (fronts.summary_table, fronts.matched_table, fronts.surfaces_table):
            table()

    write_rows(folder, range(N_TRIALS))
    found: dict[str, Any] = {"first export": seconds(lambda: export(0), 1)}
    write_rows(folder, range(N_TRIALS, N_TRIALS + N_MORE))
    found["export with 1,000 new trials"] = seconds(lambda: export(1), 1)
    found["export with nothing new"] = seconds(lambda: export(2))
    lines = read_lines(folder)
    found["read rows through the cache"] = seconds(partial(read_lines, folder))
    found["frontier, summary, matched, surfaces"] = seconds(say)
    found["frontier.parquet_mib"] = round(folder.frontier.stat().st_size / 2**20, 1)
    found["cache_mib"] = round((path / "cache" / "lines.arrow").stat().st_size / 2**20, 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="frontier-"))
    try:
        found = {
            "machine": {
                "cpus": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1),
                "python": platform.python_version(),
            },
            "versions": {"numpy": np.__version__, "pyarrow": pa.__version__, "moocore": moocore.__version__},
            "a million rows, three objectives": million_rows(),
            f"{N_TRIALS:,} trials": run_folder(scratch),
        }
    finally:
        shutil.rmtree(scratch)
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text)


if __name__ == "__main__":
    main()
