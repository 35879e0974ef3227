"""Is it the same frontier? `python -m benchmarks.same_frontier [--out results.json] [--tokens N]`.

The quick start three times over: as it is, with three seeds; on our plain path (dense, one SAE after another); and with
bfloat16 products. Each trial of the latter two is laid beside the trial of its seed as it is. How far they are apart is
laid beside how far two seeds of one setting are apart, which is the noise that any comparison has.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, without_paths
from orchestrator.folder.records import Row
from orchestrator.folder.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "sweeps" / "quickstart.yaml"
SEEDS = (0, 1, 2)
WAYS = {
    "default": ["--set", f"grid.seed={list(SEEDS)}"],
    "plain": ["--dense", "--no-share"],
    "bfloat16": ["--set", "train.compute_dtype=bfloat16"],
}
METRICS = ("l0", "ce_loss_increase", "explained_variance", "n_alive_elements")
Setting = tuple[str, str, float, int]
"""Hookpoint, loss, sparsity_coeff, seed."""
Result = dict[str, Any]


def trained(runs: Path, tokens: int, options: Sequence[str]) -> dict[Setting, Row]:
    """The rows of the quick start, trained in this way."""
    command = [sys.executable, "-m", "orchestrator.launch", str(QUICKSTART), "--runs", str(runs), "--local", "--plain"]
    more = ["--no-tracking", "--set", f"train.tokens={tokens}", *options]
    subprocess.run([*command, *more], cwd=ROOT, check=True, capture_output=True)
    (plan,) = runs.glob("*/plan.json")
    return {_setting(row): row for row in RunFolder(plan.parent).rows()}


def _setting(row: Row) -> Setting:
    config = row.config
    return config.hookpoint, config.loss.kind, config.loss.sparsity_coeff, config.seed


def apart(pairs: Iterable[tuple[Row, Row]]) -> dict[str, dict[str, float]]:
    """Per metric, half the pairs are at most `median` apart and all at most `max`: relative to the first's value."""
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    for first, second in pairs:
        for name in METRICS:
            a, b = first.metrics[name], second.metrics[name]
            assert isinstance(a, float | int)
            assert isinstance(b, float | int)
            found[name].append(abs(a - b) / max(abs(a), 1e-9))
    return {
        name: {"median": round(statistics.median(values), 5), "max": round(max(values), 5)}
        for name, values in found.items()
    }


def measure(tokens: int) -> Result:
    rows: dict[str, dict[Setting, Row]] = {}
    seconds: dict[str, float] = {}
    for name, options in WAYS.items():
        with tempfile.TemporaryDirectory() as runs:
            started_s = time.monotonic()
            rows[name] = trained(Path(runs), tokens, options)
            seconds[name] = round(time.monotonic() - started_s, 1)
            print(f"{name}: {len(rows[name])} trials in {seconds[name]} s", flush=True)
    default = rows["default"]
    settings = {setting[:3] for setting in default}
    two_seeds = [
        (default[(*setting, a)], default[(*setting, b)])
        for setting in sorted(settings)
        for a, b in itertools.combinations(SEEDS, 2)
    ]
    beside = {name: apart((default[s], row) for s, row in found.items()) for name, found in rows.items()}
    del beside["default"]
    return {"n_settings": len(settings), "tokens": tokens, "two seeds": apart(two_seeds), **beside, "wall_s": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tokens", type=int, default=200_000, help="per trial")
    arguments = parser.parse_args()
    command = " ".join(["python -m benchmarks.same_frontier", *without_paths(sys.argv[1:])])
    began = {"command": command, "machine": machine("cpu")}
    result = began | measure(arguments.tokens)
    text = json.dumps(result, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main()
