"""The main job as users do it: commands on files, down to the frontier and to MLflow's runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.folder.records import RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import read_frontier
from orchestrator.packs.held import forget
from tests.tiny import ROOT, Bench, save_model, save_text, save_tokens, science

SMALL = (
    "data.context=8", "data.max_rows=all", "data.eval_rows=4", "train.tokens=256", "train.batch_rows=4", "sae.ratio=2",
    "eval.alive_window_tokens=64", "resources={gpus_per_pack: 0, cpus_per_pack: 1}", "logging.eval_every_tokens=end",
)  # fmt: skip
"""What makes a sweep of the paper's a matter of seconds."""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SAE_FRONTIER_CACHE", str(tmp_path / "cache"))
    forget()
    return Bench(tmp_path, save_model(tmp_path / "model"), save_text(tmp_path / "text"))


def metrics_by_name(folder: Path) -> dict[str, object]:
    rows = RunFolder(folder).rows()
    assert {row.status for row in rows} == {RowStatus.DONE}
    return {row.config.run_name: row.metrics for row in rows}


def test_the_sweep_of_all_layers_runs_on_local_files_as_text_and_as_tokens_alike(bench: Bench):
    """The end-of-text token that follows each document is the only thing between the two forms."""
    found: list[dict[str, object]] = []
    for save in (save_text, save_tokens):
        data = save(bench.folder / save.__name__)
        options = [word for setting in (*SMALL, f"data.dataset={data}") for word in ("--set", setting)]
        runs = bench.folder / f"runs-{save.__name__}"
        arguments = ["launch", str(ROOT / "sweeps/gpt2_all_layers.yaml"), "--local", "--no-tracking", "--plain"]
        ran = CliRunner().invoke(app, [*arguments, "--runs", str(runs), "--set", f"model.name={bench.model}", *options])
        assert ran.exit_code == 0, ran.output
        (folder,) = runs.iterdir()
        found.append(metrics_by_name(folder))
        table = read_frontier(RunFolder(folder).frontier).to_pydict()
        assert set(table["layer"]) == {0, 1}
        assert set(table["loss"]) == {"local", "e2e", "e2e_downstream"}
        assert set(table["seed"]) == {0, 1}
        assert len(table["l0"]) == 58
    assert found[0] == found[1]


@pytest.mark.parametrize("resources", [[], ["--set", "resources={gpus_per_pack: 0, cpus_per_pack: 1}"]])
def test_without_the_hub_one_message_names_three_ways_on(bench: Bench, resources: list[str]):
    """Also where there is no GPU either: what is not there at all is said before what is too small."""
    command = [sys.executable, "-m", "orchestrator.launch", str(ROOT / "sweeps/gpt2_all_layers.yaml"), "--plain"]
    options = [*resources, "--runs", str(bench.runs)]
    environment = bench.environment() | {"HF_HOME": str(bench.folder / "hub")}
    ran = subprocess.run([*command, *options], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 4, ran.stderr
    assert ran.stderr.count("error: ") == 1
    assert "Traceback" not in ran.stderr
    for way in ("model.name=", "data.dataset=", "quickstart"):
        assert way in ran.stderr
    assert not bench.runs.exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's way with its database
def test_a_sweep_through_ray_gives_the_numbers_of_a_sweep_in_one_process(bench: Bench):
    through_ray = bench.run("--plain")
    assert through_ray.code == 0, through_ray
    assert "Frontier at layer 0" in through_ray.out
    for noise in ("Traceback", "WARNING", "Configuration for experiment", "raylet", "Ray Tune", "View detailed"):
        assert noise not in through_ray.out + through_ray.err
    with_ray = science(bench.run_folder)
    _check_mlflow(bench)
    again = bench.run("--plain")
    assert again.code == 0
    assert "starting Ray" not in again.err
    assert "8 of 8 trials were done already" in again.out
    bench.runs = bench.folder / "runs-local"
    in_one_process = bench.run("--plain", "--local", "--no-tracking")
    assert in_one_process.code == 0, in_one_process
    assert science(bench.run_folder) == with_ray
    assert len(with_ray) == 8


def _check_mlflow(bench: Bench) -> None:
    """One run for the sweep with its files, one below it per trial with the numbers of its row."""
    from mlflow import MlflowClient

    folder = RunFolder(bench.run_folder)
    runs = folder.mlflow_runs()
    assert runs is not None
    client = MlflowClient(runs.tracking_uri)
    parent = client.get_run(runs.parent_run_id)
    assert parent.info.status == "FINISHED"
    files = {file.path for file in client.list_artifacts(runs.parent_run_id)}
    assert {"frontier.parquet", "frontier.png", "frontier.svg", "report.html"} <= files
    for row in folder.rows():
        run = client.get_run(runs.trials[row.trial_id])
        assert run.info.status == "FINISHED"
        assert run.info.run_name == row.config.run_name
        assert run.data.tags["mlflow.parentRunId"] == runs.parent_run_id
        assert run.data.metrics["final/l0"] == row.metrics["l0"]
        history = client.get_metric_history(run.info.run_id, "train/loss")
        assert [point.step for point in history] == [5, 10, 15, 20]


@pytest.mark.slow
def test_the_quick_start_makes_a_frontier_of_every_layer_and_loss(bench: Bench):
    """As shipped, but short: the built-in model on the built-in text, which has to be installed."""
    short = ("train.tokens=8192", "data.eval_rows=4", "eval.alive_window_tokens=2048", "logging.eval_every_tokens=end")
    short = (*short, "grid.sparsity_coeff=[1]")
    options = [word for setting in short for word in ("--set", setting)]
    command = [sys.executable, "-m", "orchestrator.launch", str(ROOT / "sweeps/quickstart.yaml"), "--json", "--local"]
    ran = subprocess.run(
        [*command, "--runs", str(bench.runs), "--no-tracking", *options],
        capture_output=True, text=True, env=bench.environment(), check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert {(line["layer"], line["loss"]) for line in result["frontier"]} == {
        (layer, loss) for layer in (2, 4) for loss in ("local", "e2e", "e2e_downstream")
    }
    assert Path(result["files"]["frontier.png"]).read_bytes().startswith(b"\x89PNG")
