"""A random GPT-2 with a tokenizer of letters, and texts to go with it, saved to disk as users have them; and a command
line to launch sweeps with.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

ROOT = Path(__file__).resolve().parent.parent
SWEEP = """\
name: tiny
model: {name: to-be-set}
data: {dataset: to-be-set, context: 8, eval_rows: 4}
train: {tokens: 640, batch_rows: 4, lr: 1e-2}
sae: {ratio: 2}
eval: {alive_window_tokens: 256}
grid:
  layer: all
  loss: [local, e2e]
  sparsity_coeff: [0.1, 1]
  seed: 0
resources: {cpus_per_pack: 1}
logging: {log_every_steps: 5, eval_every_tokens: 320}
"""
"""2 layers x 2 losses x 2 coefficients, 20 steps each."""
ALPHABET = "abcdefgh "
END = len(ALPHABET)


def save_model(folder: Path) -> Path:
    """A GPT-2 of 2 layers with d_model 16 and 10 tokens, and its tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    vocab = {letter: index for index, letter in enumerate(ALPHABET)} | {"<end>": END}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(vocab), n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=END, eos_token_id=END,
        initializer_range=0.3,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def documents(n_documents: int = 60, n_letters: int = 40) -> list[str]:
    """Random texts, always the same."""
    dice = random.Random(0)
    return ["".join(dice.choice(ALPHABET[:-1]) for _ in range(n_letters)) for _ in range(n_documents)]


def save_text(folder: Path, texts: list[str] | None = None) -> Path:
    """The texts as lines of JSON, column `text`."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = documents() if texts is None else texts
    (folder / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return folder


def save_tokens(folder: Path) -> Path:
    """The same texts, tokenised already, column `input_ids`: each with its end-of-text token."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [[ALPHABET.index(letter) for letter in text] + [END] for text in documents()]
    (folder / "train.jsonl").write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in rows))
    return folder


class Bench:
    """A folder with model, text and sweep file, and the launch command on them."""

    def __init__(self, folder: Path, model: Path, data: Path) -> None:
        self.folder, self.model, self.data = folder, model, data
        self.runs = folder / "runs"
        self.sweep = folder / "tiny.yaml"
        self.sweep.write_text(SWEEP)
        self._started: list[subprocess.Popen[str]] = []

    def arguments(self, *more: str, sweep: Path | None = None) -> list[str]:
        """What comes after `orchestrator.launch`."""
        return [
            str(sweep or self.sweep), "--runs", str(self.runs), "--set", f"model.name={self.model}", "--set",
            f"data.dataset={self.data}", *more,
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """That of a user with nothing set, with this bench's cache."""
        unset = ("MLFLOW_", "RAY_", "TUNE_", "CI")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
        return kept | {"SAE_FRONTIER_CACHE": str(self.folder / "cache"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}

    def start(self, *more: str, sweep: Path | None = None) -> "subprocess.Popen[str]":
        """The launch as its own process."""
        return self.started("orchestrator.launch", *self.arguments(*more, sweep=sweep))

    def started(self, module: str, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        """A command as its own process, in a session of its own: a signal to its group is a Ctrl-C."""
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env=self.environment() | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end_all(self) -> None:
        """Kill what a failed test left running, so that it disturbs no other."""
        for process in self._started:
            with process:  # closes its pipes
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def run(self, *more: str, sweep: Path | None = None) -> "Ran":
        """The command to its end."""
        return finished(self.start(*more, sweep=sweep))

    @property
    def run_folders(self) -> list[Path]:
        """Those that sweeps have made."""
        return sorted(path for path in self.runs.glob("*") if path.is_dir() and path.name != "mlartifacts")

    @property
    def run_folder(self) -> Path:
        """The only one."""
        (folder,) = self.run_folders
        return folder


class Ran:
    """What a process did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def finished(process: "subprocess.Popen[str]", *, timeout_s: float = 300) -> Ran:
    """Wait for its end."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    return Ran(process.returncode, out, err)


def wait_until(process: "subprocess.Popen[str]", condition: Callable[[], bool], *, timeout_s: float = 120) -> None:
    """Until it holds; fails where the process ends before."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, finished(process)
        assert time.monotonic() < end_s
        time.sleep(0.02)


def science(folder: Path) -> dict[str, object]:
    """All that two runs of a sweep must agree on: metrics and curves by trial."""
    from orchestrator.folder.run_folder import RunFolder

    run = RunFolder(folder)
    return {
        row.trial_id: (
            row.status, row.error, row.facts, row.metrics,
            [(point.step, point.tokens, point.metrics) for point in run.curve(row.trial_id)],
        )
        for row in run.rows()
    }  # fmt: skip
