"""`export-sae`: which trials, where to, and that the target is whole or untouched."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from orchestrator.commands.export_sae import export_sae
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from tests.orchestrator.sae_run import a_trial, below, make_run
from tests.tiny import Bench
from trainer.external import read_saelens

FRONT = ["L0-local-c0.1-s0", "L0-local-c0.2-s0", "L1-local-c0.1-s0", "L1-local-c0.2-s0"]
SAELENS_FILES = {"cfg.json", "sae_weights.safetensors", "sparsity.safetensors"}


@pytest.fixture(autouse=True)
def nothing_held() -> None:
    forget()


@pytest.fixture
def run(bench: Bench) -> RunFolder:
    return make_run(bench)


def exported(run: RunFolder, to: Path, *more: str) -> Result:
    app = typer.Typer()
    app.command()(export_sae)
    return CliRunner().invoke(app, [str(run.path), "--to", str(to), *more])


def names(to: Path) -> list[str]:
    return [sae["run_name"] for sae in json.loads((to / "export.json").read_text())["saes"]]


def test_the_trials_on_a_frontier_are_exported_unless_others_are_asked_for(run: RunFolder, tmp_path: Path) -> None:
    result = exported(run, tmp_path / "to")
    assert result.exit_code == 0, result.output
    lines = result.stdout.split()
    assert lines == [str(tmp_path / "to" / name) for name in names(tmp_path / "to")]
    assert names(tmp_path / "to") == FRONT
    assert below(tmp_path / "to") == {
        "export.json",
        *(f"{name}/{file}" for name in names(tmp_path / "to") for file in SAELENS_FILES),
    }


def test_all_one_layer_or_named_trials_are_exported(run: RunFolder, tmp_path: Path) -> None:
    assert exported(run, tmp_path / "all", "--all", "--no-sparsity").exit_code == 0
    assert len(names(tmp_path / "all")) == 6
    assert exported(run, tmp_path / "layer", "--all", "--layer", "1", "--no-sparsity").exit_code == 0
    assert {name[:2] for name in names(tmp_path / "layer")} == {"L1"}
    by_id = next(row for row in run.rows() if row.run_name == "L0-local-c0.2-s0")
    asked = ["--trial", by_id.trial_id[:8], "--trial", "L1-local-c0.3-s0"]
    assert exported(run, tmp_path / "named", *asked, "--no-sparsity").exit_code == 0
    assert set(names(tmp_path / "named")) == {by_id.run_name, "L1-local-c0.3-s0"}


def test_what_is_exported_is_the_sae_of_the_run_with_its_row(run: RunFolder, bench: Bench, tmp_path: Path) -> None:
    assert exported(run, tmp_path / "to", "--trial", "L1-local-c0.2-s0").exit_code == 0
    folder = tmp_path / "to" / "L1-local-c0.2-s0"
    trial = a_trial(bench, coeff=0.2)
    found = run.read_sae(trial.trial_id)
    assert found is not None
    assert load_file(folder / "sae_weights.safetensors")["W_enc"].equal(found[0]["w_enc"].T)
    own = json.loads((folder / "cfg.json").read_text())["metadata"]["sae_frontier"]
    row = run.row(trial.trial_id)
    assert row is not None
    assert row.facts is not None
    assert (own["run_name"], own["sweep_id"], own["trial_id"]) == ("L1-local-c0.2-s0", "made-0123", trial.trial_id)
    assert (own["model_hash"], own["eval_hash"]) == (row.facts.model_hash, row.facts.eval_hash)
    assert own["metrics"] == row.metrics
    sparsity = load_file(folder / "sparsity.safetensors")["sparsity"]
    assert sparsity.shape == (32,)
    assert -10.001 < sparsity.min().item() <= sparsity.max().item() <= 1e-6
    assert read_saelens(folder).hook == "blocks.1.hook_resid_pre"


def test_dictionary_learning_folders_are_where_its_tools_look(run: RunFolder, tmp_path: Path) -> None:
    more = ("--format", "dictionary_learning", "--all")
    assert exported(run, tmp_path / "to", *more, "--layer", "1").exit_code == 0
    assert below(tmp_path / "to") == {"export.json"} | {
        f"resid_post_layer_0/trainer_{i}/{file}" for i in range(3) for file in ("ae.pt", "config.json")
    }
    refused = exported(run, tmp_path / "other", *more)
    assert refused.exit_code == 2
    assert "block 0 cannot be exported to it: L0-local-c0.1-s0, L0-local-c0.2-s0" in refused.stderr
    assert not (tmp_path / "other").exists()


def test_e2e_sae_folders_hold_one_checkpoint_each(run: RunFolder, tmp_path: Path) -> None:
    assert exported(run, tmp_path / "to", "--format", "e2e_sae", "--trial", "L0-local-c0.1-s0").exit_code == 0
    assert below(tmp_path / "to" / "L0-local-c0.1-s0") == {"samples_80.pt", "final_config.yaml", "sae_frontier.json"}


def test_a_folder_with_files_is_refused_or_written_into_without_touching_what_is_not_ours(
    run: RunFolder, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    assert exported(run, to, "--all", "--no-sparsity").exit_code == 0
    (to / "mine.txt").write_text("keep")
    before = below(to)
    refused = exported(run, to, "--no-sparsity")
    assert refused.exit_code == 2
    assert "holds files already" in refused.stderr
    assert below(to) == before
    again = exported(run, to, "--trial", "L1-local-c0.2-s0", "--no-sparsity", "--overwrite")
    assert again.exit_code == 0
    kept = {f"L1-local-c0.2-s0/{file}" for file in SAELENS_FILES - {"sparsity.safetensors"}}
    assert below(to) == {"mine.txt", "export.json", *kept}
    assert not (to / "L0-local-c0.1-s0").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--trial", "L1-local-c9-s0"), "no SAE of L1-local-c9-s0: expected trials that are done"),
        (("--trial", "nothing"), "no trial that ended is 'nothing'; expected a trial id or a name such as L0-local"),
        (("--all", "--front"), "exclude each other"),
        (("--all", "--layer", "7"), "at layer 7: they are at 0, 1"),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(
    run: RunFolder, tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    before = below(tmp_path)
    result = exported(run, tmp_path / "to", *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("error:") == 1
    assert message in result.stderr
    assert below(tmp_path) == before


def test_a_file_as_target_and_a_lost_sae_are_refused_and_leave_nothing_behind(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file: expected a folder" in exported(run, tmp_path / "file", "--all").stderr
    lost = next(row for row in run.rows() if row.run_name == "L1-local-c0.3-s0")
    (run.sae(lost.trial_id) / "config.json").unlink()
    result = exported(run, tmp_path / "to", "--all", "--no-sparsity")
    assert result.exit_code == 2
    assert "its weights were moved or deleted" in result.stderr
    assert not (tmp_path / "to").exists()
    assert not list(tmp_path.glob(".to.*"))


def test_frequencies_of_another_text_than_the_trial_saw_are_refused(
    run: RunFolder, bench: Bench, tmp_path: Path
) -> None:
    row = run.row(a_trial(bench).trial_id)
    assert row is not None
    assert row.facts is not None
    run.write_row(row.model_copy(update={"facts": row.facts.model_copy(update={"data_hash": "0" * 64})}))
    result = exported(run, tmp_path / "to", "--trial", row.run_name)
    assert result.exit_code == 2
    assert "is not what it was when L1-local-c0.1-s0 was trained" in result.stderr
    assert "--no-sparsity" in result.stderr
    assert exported(run, tmp_path / "to", "--trial", row.run_name, "--no-sparsity").exit_code == 0


def test_progress_is_told_beside_the_result(run: RunFolder, tmp_path: Path) -> None:
    result = exported(run, tmp_path / "to", "--plain")
    assert result.stdout.split() == [str(tmp_path / "to" / name) for name in names(tmp_path / "to")]
    assert "counting how often elements fire" in result.stderr
    assert re.search(r"^\d\d:\d\d:\d\d counting", result.stderr, re.MULTILINE)


REFUSED_AT_ONCE = (
    "export-sae {run} --to {to} --trial nothing",
    "export-sae {run} --to {run}",
    "export-sae {run} --to {to} --all --format dictionary_learning",
    "export-sae nosuch --to {to}",
    "evaluate --sae {to} --like {run}",
    "evaluate --sae {sae} --like nosuch",
    "evaluate --sae {sae} --like {run} --trial nothing",
    "sync nosuch",
)


def test_what_cannot_be_done_is_said_before_pytorch_is_loaded(run: RunFolder, tmp_path: Path) -> None:
    sae = tmp_path / "sae"
    sae.mkdir()
    for file in ("cfg.json", "sae_weights.safetensors"):
        (sae / file).write_text("{}")
    places = {"run": run.path, "to": tmp_path / "to", "sae": sae}
    commands = [[part.format(**places) for part in line.split()] for line in REFUSED_AT_ONCE]
    code = f"""
import sys
from typer.testing import CliRunner
from orchestrator.cli import app
codes = [CliRunner().invoke(app, arguments).exit_code for arguments in {commands}]
print(codes, [name for name in ("torch", "transformers", "mlflow", "ray") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == f"{[2] * len(commands)} []"
