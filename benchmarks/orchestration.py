"""What a sweep costs beside training: `python -m benchmarks.orchestration [--out results.json] [--run RUN] [PART ...]`.

    start     seconds from the command to the first training step of the quick start, with and without MLflow
    share     of the slot time of a finished sweep, what was not training: from its run folder (`--run`), else from a
              short quick start
    many      500 trials of a few steps each in packs of one: how long it takes, how late events are, and how long the
              driver's monitor takes for one look at such a folder
    estimate  the quick start's estimates, calibrated just before, against what it took

All parts by default. Sweeps are real processes on this machine; nothing else should run on it.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.folder.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "sweeps" / "quickstart.yaml"
MANY = """\
name: many
model: {name: builtin}
data: {dataset: builtin, context: 32, eval_split: held_out, eval_rows: 4}
train: {tokens: 640, batch_rows: 2, lr: 4e-3}
sae: {ratio: 1}
eval: {alive_window_tokens: 64}
grid: {layer: 2, loss: local, sparsity_coeff: [0.25, 0.5, 1, 2, 4], seed: SEEDS}
resources: {cpus_per_pack: 1, trials_per_pack: 1}
"""
Result = dict[str, Any]


def command(sweep: Path, runs: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "orchestrator.launch", str(sweep), "--runs", str(runs), "--plain", *options]


def run(sweep: Path, runs: Path, *options: str) -> tuple[RunFolder, float]:
    """A sweep to its end, and how long that took."""
    started_s = time.monotonic()
    subprocess.run(command(sweep, runs, *options), cwd=ROOT, check=True, capture_output=True)
    return run_folder(runs), time.monotonic() - started_s


def run_folder(runs: Path) -> RunFolder:
    (path,) = (found.parent for found in runs.glob("*/plan.json"))
    return RunFolder(path)


# From the command to the first step


def start_s(runs: Path, *options: str) -> dict[str, float]:
    """Seconds until the run folder is there, until a worker has a pack, and until some pack has done a step."""
    started_s = time.monotonic()
    process = subprocess.Popen(
        command(QUICKSTART, runs, *options), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    found: dict[str, float] = {}

    def statuses() -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in runs.glob("*/packs/*/status.json")]

    conditions: dict[str, Callable[[], bool]] = {
        "run folder": lambda: any(runs.glob("*/plan.json")),
        "worker": lambda: any(status["state"] == "running" for status in statuses()),
        "first step": lambda: any(status["step"] > 0 for status in statuses()),
    }
    try:
        for name, holds in conditions.items():
            while not holds():
                if process.poll() is not None:
                    raise RuntimeError(f"the launch ended with code {process.returncode} before: {name}")
                time.sleep(0.02)
            found[name] = round(time.monotonic() - started_s, 2)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
    return found


def start(repeats: int) -> Result:
    """Medians. The first launch of all, which makes the rows, is not counted."""
    wanted = {"without MLflow": ["--no-tracking"], "with MLflow": []}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in wanted}
    for repeat in range(repeats + 1):
        for name, options in wanted.items():
            with tempfile.TemporaryDirectory() as runs:
                # No evaluation before the first step: it is a part of the science, not of the start.
                found = start_s(Path(runs), *options, "--set", "logging.eval_every_tokens=end")
            if repeat:
                times[name].append(found)
    return {
        name: {what: statistics.median(each[what] for each in found) for what in found[0]}
        for name, found in times.items()
    }


# What of a sweep's slot time is not training


def share(folder: RunFolder, n_slots: int) -> Result:
    """From the launch to the last row, times the slots: what part was training, measuring, and neither."""
    rows = folder.rows()
    begun = next(event.time for event in reversed(folder.events()) if event.event == "sweep_started")
    wall_s = seconds(begun, max(row.finished_at for row in rows))
    packs = {row.pack_id: row.cost for row in rows}
    work_s = sum(cost["pack_s"] or 0.0 for cost in packs.values())
    measuring_s = sum((cost["evaluation_s"] or 0.0) * (cost["n_trials_in_pack"] or 0.0) for cost in packs.values())
    slot_s = n_slots * wall_s
    members = [[row for row in rows if row.pack_id == pack_id] for pack_id in packs]
    starts = [min(row.started_at for row in each) for each in members]
    in_packs_s = sum(
        seconds(start, max(row.finished_at for row in each)) for start, each in zip(starts, members, strict=True)
    )
    before_s = sum(seconds(begun, start) for start in sorted(starts)[:n_slots])
    return {
        "wall_s": round(wall_s, 1),
        "n_slots": n_slots,
        "n_packs": len(packs),
        "n_trials": len(rows),
        "training": round((work_s - measuring_s) / slot_s, 4),
        "measuring": round(measuring_s / slot_s, 4),
        "neither": round(1 - work_s / slot_s, 4),
        "of it, before packs": round(before_s / slot_s, 4),
        "of it, in packs": round((in_packs_s - work_s) / slot_s, 4),
        "of it, between packs and after": round(1 - (before_s + in_packs_s) / slot_s, 4),
    }


def seconds(begun: datetime, ended: datetime) -> float:
    return (ended - begun).total_seconds()


# Many small trials


def many(n_trials: int) -> Result:
    """500 packs of one trial. Latency: from a row's time to that of the event which tells of it."""
    with tempfile.TemporaryDirectory() as place:
        sweep = Path(place) / "many.yaml"
        sweep.write_text(MANY.replace("SEEDS", str(list(range(n_trials // 5)))))
        folder, wall_s = run(sweep, Path(place) / "runs", "--no-tracking")
        rows = {row.trial_id: row for row in folder.rows()}
        late_s = [
            seconds(rows[event.trial_id].finished_at, event.time)
            for event in folder.events()
            if event.event == "trial_done" and event.trial_id
        ]
        looks_ms = monitor_ms(folder)
    return {
        "n_trials": len(rows),
        "wall_s": round(wall_s, 1),
        "packs_per_s": round(len(rows) / wall_s, 2),
        "event latency, median s": round(statistics.median(late_s), 2),
        "event latency, longest s": round(max(late_s), 2),
        **looks_ms,
    }


def monitor_ms(folder: RunFolder) -> dict[str, float]:
    """Milliseconds of process time that the driver's monitor takes for a look, on a copy of a finished run's folder:
    where nothing was written yet, where every pack runs, where all has ended since the last look, and after that."""
    from orchestrator.display.screen import Nobody
    from orchestrator.running.monitor import Monitor
    from orchestrator.running.stopping import StopRequest

    plan = folder.plan()
    assert plan is not None
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        copy = RunFolder(Path(place))
        monitor = Monitor(copy, plan, screen=Nobody(), stop=StopRequest(copy.path), kept=[], export=lambda: None)
        for name, parts, times in (
            ("nothing began", (), 20),
            ("all packs run", ("packs",), 20),
            ("all is new", ("packs", "results"), 1),
            ("all is known", (), 20),
        ):
            for part in parts:
                shutil.copytree(folder.path / part, copy.path / part, dirs_exist_ok=True)
            if name == "all packs run":
                for path in copy.path.glob("packs/*/status.json"):
                    path.write_text(path.read_text().replace('"done"', '"running"'))
            begun_s = time.process_time()
            for _ in range(times):
                monitor.look()
            found[f"monitor, {name}, ms"] = round(1000 * (time.process_time() - begun_s) / times, 2)
    return found


# Estimates


def estimate(*options: str) -> Result:
    """The quick start, calibrated just before: what was estimated, and what happened."""
    with tempfile.TemporaryDirectory() as place:
        before = time.monotonic()
        planned = subprocess.run(
            command(QUICKSTART, Path(place), "--dry-run", "--json", "--calibrate", *options),
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        calibration_s = time.monotonic() - before
        said = json.loads(planned.stdout)["estimate"]
        ran = subprocess.run(
            command(QUICKSTART, Path(place), "--no-tracking", "--json", *options),
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        happened = json.loads(ran.stdout)["estimates"]
        folder = run_folder(Path(place))
        begun = next(event.time for event in folder.events() if event.event == "sweep_started")
        wall_s = seconds(begun, max(row.finished_at for row in folder.rows()))
        return {
            "calibration_s": round(calibration_s, 1),
            "wall": {"estimated_s": round(said["seconds"], 1), "actual_s": round(wall_s, 1)},
            "packs": happened,
            "slots": share(folder, n_slots_here()),
        }


def n_slots_here() -> int:
    return len(os.sched_getaffinity(0))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each part's figures, and write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("start", "share", "many", "estimate")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--slots", type=int, default=n_slots_here())
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="for the quick start")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(parts)}")
    options = [word for override in asked.overrides for word in ("--set", override)]

    def of_a_sweep() -> Result:
        if asked.run:
            return share(RunFolder(asked.run), asked.slots)
        with tempfile.TemporaryDirectory() as runs:
            folder, _ = run(QUICKSTART, Path(runs), "--no-tracking", *options)
            return share(folder, asked.slots)

    measures: dict[str, Callable[[], Result]] = {
        "start": lambda: start(asked.repeats),
        "share": of_a_sweep,
        "many": lambda: many(asked.trials),
        "estimate": lambda: estimate(*options),
    }
    found: Result = {"processor": platform.processor(), "n_cpus": n_slots_here(), "python": platform.python_version()}
    for part in asked.parts or parts:
        busy = round(os.getloadavg()[0], 1)
        found[part] = {**measures[part](), "load average before": busy}
        print(json.dumps({part: found[part]}, indent=1), flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
