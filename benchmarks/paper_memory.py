"""What the paper's analyses hold in memory at GPT2-small's size: `python -m benchmarks.paper_memory [ANALYSIS ...]`.

Three SAEs of 46,080 elements on a GPT2-small with random weights, rows of 1,024 tokens. Each analysis runs as a process
of its own; what is told is the largest resident set of that process, Python and PyTorch included, beside what
`--dry-run` says. Few rows: what an analysis keeps per row is a small part of it. Times are of whatever else the machine
did.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import Row, machine
from benchmarks.random_model import save_random_gpt2
from orchestrator.folder.run_folder import RunFolder
from orchestrator.paper.call import Asked, planned_call
from orchestrator.paper.costs import PROCESS_BYTES

ROOT = Path(__file__).parents[1]
GIB = 2**30
D_VOCAB, CONTEXT, N_ROWS = 50_257, 1024, 24
ANALYSES = ("downstream", "geometry", "cross_type", "norms", "umap", "pca", "ablation", "sva", "generation")
LESS = {"sva": ("--set", "sva.n_prompts=50")}
"""Options that make an analysis shorter, and no smaller."""
SWEEP = """\
name: big
model: {name: gpt2-random}
data: {dataset: text, context: 1024, eval_rows: 8}
train: {tokens: 8192, batch_rows: 2, lr: 1e-3}
sae: {ratio: 60}
eval: {alive_window_tokens: 8192}
loss: {e2e_downstream: {downstream_coeff: 2.5, kl_coeff: 0.5}}
grid: {layer: 6, loss: [local, e2e, e2e_downstream], sparsity_coeff: 1, seed: 0}
resources: {cpus_per_pack: 1, trials_per_pack: 1}
"""


def prepare(folder: Path) -> None:
    """Model, tokenizer, text, and the sweep, trained for a few steps."""
    from tests.trainer.analysis.spoken import WORDS, word_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    save_random_gpt2(folder / "gpt2-random")
    fillers = [f"word{number}" for number in range(D_VOCAB - len(WORDS) - 2)]
    word_tokenizer([*WORDS, *fillers]).save_pretrained(folder / "gpt2-random")
    (folder / "text").mkdir(exist_ok=True)
    dice = random.Random(0)
    rows = [{"input_ids": dice.choices(range(D_VOCAB), k=CONTEXT)} for _ in range(N_ROWS)]
    (folder / "text" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "big.yaml").write_text(SWEEP)
    command = [sys.executable, "-m", "orchestrator.launch", "big.yaml", "--local", "--plain", "--no-tracking"]
    subprocess.run(command, cwd=folder, env=_environ(), check=True)


def expected(folder: Path) -> dict[str, float]:
    """Bytes of each analysis' largest task, as `--dry-run` says them."""
    (path,) = (folder / "runs").glob("big-*")
    before = Path.cwd()
    os.chdir(folder)
    try:
        planned = planned_call(Asked(RunFolder(path), local=True)).planned
    finally:
        os.chdir(before)
    return {
        one.analysis.id: PROCESS_BYTES + max(task.cost.memory_bytes for task in one.tasks)
        for one in planned
        if one.tasks
    }


def measured(analysis: str, folder: Path) -> Row:
    """One call of `paper`."""
    command = [sys.executable, "-m", "orchestrator", "paper", "big", "--local", "--only", analysis, "--plain"]
    began_s = time.monotonic()
    process = subprocess.Popen(
        [*command, *LESS.get(analysis, ())], cwd=folder, env=_environ(), stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    return {
        "exit_code": os.waitstatus_to_exitcode(status),
        "peak_gib": round(usage.ru_maxrss * 1024 / GIB, 2),
        "seconds": round(time.monotonic() - began_s),
    }


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("analyses", nargs="*", default=[*ANALYSES], metavar="ANALYSIS")
    parser.add_argument("--folder", type=Path, default=Path("paper-memory"), help="made where it is missing")
    parser.add_argument("--out", type=Path, help="JSON file to write, or to put these analyses into")
    options = parser.parse_args()
    if not (options.folder / "runs").exists():
        prepare(options.folder)
    said = expected(options.folder)
    found: dict[str, Row] = {}
    for analysis in options.analyses:
        found[analysis] = {**measured(analysis, options.folder), "said_gib": round(said[analysis] / GIB, 2)}
        print(analysis, found[analysis], flush=True)
        if options.out:
            before = json.loads(options.out.read_text())["analyses"] if options.out.exists() else {}
            record = {"command": "python -m benchmarks.paper_memory", "machine": machine("cpu")}
            options.out.write_text(json.dumps({**record, "analyses": before | found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
