"""The command that trains one trial alone again means exactly that trial, whatever its sweep file says."""

import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from dashboards.settings import alone_command, commands_of, settings_of
from orchestrator.planning.trials import expand
from orchestrator.sweep.sweep_file import load_sweep
from tests.tiny import ROOT
from trainer.models import describe_model

AXES = """\
name: axes
model: {name: builtin}
data: {dataset: builtin, context: 128, eval_split: held_out, eval_rows: 64}
train: {tokens: 200_000, batch_rows: 4, lr: {local: 4e-3, e2e: 1e-3, e2e_downstream: 2e-3}}
sae: {ratio: 8}
eval: {alive_window_tokens: 100_000}
grid:
  layer: [1, 3]
  loss: [local, e2e, e2e_downstream]
  sparsity_coeff: {local: [0.5, 2], e2e: 0.3, e2e_downstream: {1: 1.5, 3: 2.5}}
  seed: [0, 3]
  sae.ratio: [4, 8]
  loss.e2e_downstream.downstream_coeff: [1, 2.5]
  exclude: [{layer: 3, loss: local}]
"""


def sweeps() -> list[tuple[str, str]]:
    return [(path.stem, path.read_text("utf-8")) for path in sorted((ROOT / "sweeps").glob("*.yaml"))] + [
        ("axes", AXES)
    ]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in sweeps()])
def test_the_command_for_one_trial_alone_means_that_trial_and_no_other(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "it's; a folder"
    folder.mkdir()
    (folder / "sweep.yaml").write_text(text)
    sweep = load_sweep(folder / "sweep.yaml")
    facts = describe_model(sweep.model)
    trials = expand(sweep, facts)
    for trial in trials[:: max(1, len(trials) // 6)]:
        command = alone_command(folder, trial.config.model_dump(mode="json"), settings_of(text))
        words = shlex.split(command)
        assert words[:4] == ["python", "-m", "orchestrator", "launch"]
        overrides = [word for before, word in pairwise(words) if before == "--set"]
        again = load_sweep(Path(words[4]), overrides)
        assert [one.trial_id for one in expand(again, facts)] == [trial.trial_id]
        assert again.name != sweep.name
        assert again.search.get("kind", "grid") == "grid"


def test_commands_are_quoted_for_a_shell() -> None:
    folder = Path("runs/$(touch made) '; rm -rf x")
    for command in commands_of(folder).values():
        assert str(folder) in shlex.split(command)
