"""`orchestrator sync` brings any MLflow to what a run folder says, tells what that took, and does nothing twice."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from orchestrator.commands.sync import sync
from orchestrator.folder.lease import lease
from orchestrator.folder.records import CurvePoint, RowStatus
from orchestrator.tracking import store
from orchestrator.tracking.cursor import read_cursor
from tests.orchestrator.tracking.a_sweep import T0, ASweep, assert_equal, history
from tests.orchestrator.tracking.servers import wait_for

MlflowClient = Any


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def finished(sweep: ASweep) -> ASweep:
    sweep.save()
    sweep.train(5)
    sweep.end_all()
    return sweep


def synced(sweep: ASweep, *options: str) -> Result:
    app = typer.Typer()
    app.command()(sync)
    return CliRunner().invoke(app, [str(sweep.folder.path), *options])


def run_of(sweep: ASweep, n: int) -> str:
    runs = sweep.folder.mlflow_runs()
    assert runs is not None
    return runs.trials[sweep.ids[n]]


def test_an_empty_mlflow_gets_everything_and_then_there_is_nothing_to_do(
    uri: str, client: MlflowClient, finished: ASweep
) -> None:
    first = synced(finished, "--tracking-uri", uri)
    assert first.exit_code == 0, first.output
    assert_equal(client, finished)
    n_points = sum(len(finished.points(trial_id)) for trial_id in finished.ids) - 3 * 3  # less final metrics
    assert "  4 runs made\n" in first.output
    assert f"  {n_points} points sent\n" in first.output
    for options in ((), ("--check",)):
        again = synced(finished, "--tracking-uri", uri, *options)
        assert again.exit_code == 0
        assert "nothing to do: it has everything" in again.output
    assert_equal(client, finished)


def delete_a_run(client: MlflowClient, sweep: ASweep) -> None:
    client.delete_run(run_of(sweep, 0))


def delete_the_sweeps_run(client: MlflowClient, sweep: ASweep) -> None:
    runs = sweep.folder.mlflow_runs()
    assert runs is not None
    client.delete_run(runs.parent_run_id)


def change_a_status(client: MlflowClient, sweep: ASweep) -> None:
    client.update_run(run_of(sweep, 0), status="RUNNING")


def change_an_end(client: MlflowClient, sweep: ASweep) -> None:
    client.set_terminated(run_of(sweep, 0), "FINISHED", end_time=5)


def change_a_tag(client: MlflowClient, sweep: ASweep) -> None:
    client.set_tag(run_of(sweep, 0), "layer", "77")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (delete_a_run, "1 runs made"),
        (delete_the_sweeps_run, "1 runs made"),
        (change_a_status, "state of 1 runs put right"),
        (change_an_end, "state of 1 runs put right"),
        (change_a_tag, "params or tags added to 1 runs"),
    ],
)
def test_what_was_changed_in_mlflow_is_put_right(
    uri: str, client: MlflowClient, finished: ASweep, damage: Callable[[MlflowClient, ASweep], None], said: str
) -> None:
    synced(finished, "--tracking-uri", uri)
    damage(client, finished)
    repaired = synced(finished, "--tracking-uri", uri)
    assert repaired.exit_code == 0, repaired.output
    assert said in repaired.output
    assert_equal(client, finished)


def test_check_finds_a_point_that_is_missing_and_one_that_should_not_be_there(
    uri: str, client: MlflowClient, finished: ASweep
) -> None:
    late = [CurvePoint(step=99, tokens=0, time_ms=T0 + 99, metrics={"train/loss": 0.1})]
    early = [CurvePoint(step=3, tokens=0, time_ms=T0 + 3, metrics={"rare": 0.5})]
    finished.folder.add_curve_points(finished.ids[0], late)
    synced(finished, "--tracking-uri", uri)
    client.log_metric(run_of(finished, 1), "train/loss", 5.0, timestamp=T0 + 1, step=1)
    client.log_metric(run_of(finished, 2), "my own", 5.0, timestamp=1, step=1)
    journal = finished.folder.journal(finished.ids[0])
    before = journal.read_bytes()
    journal.unlink()  # a point in the middle that MLflow has not, and its cursor says that it has
    finished.folder.add_curve_points(finished.ids[0], early)
    journal.write_bytes(journal.read_bytes() + before)
    place = read_cursor(finished.folder).trials[finished.ids[0]]
    assert place.n_bytes == len(before)

    repaired = synced(finished, "--tracking-uri", uri, "--check")
    assert repaired.exit_code == 0, repaired.output
    assert ": 1 were missing" in repaired.output
    name = finished.configs[1].run_name
    assert f"made again, since it had points that the run folder has not: {name}" in repaired.output
    assert ("my own", "5.0", 1, 1) in history(client, run_of(finished, 2))  # not ours to take away
    for n in (0, 1):
        assert history(client, run_of(finished, n)) == finished.points(finished.ids[n])


def test_files_that_were_lost_are_found_missing_by_a_check(sqlite: str, runs: Path, finished: ASweep) -> None:
    finished.folder.frontier.write_bytes(b"PAR1")
    synced(finished, "--tracking-uri", sqlite)
    shutil.rmtree(runs / "mlartifacts")
    repaired = synced(finished, "--tracking-uri", sqlite, "--check")
    assert repaired.exit_code == 0, repaired.output
    assert sorted(path.name for path in (runs / "mlartifacts").rglob("*") if path.is_file()) == [
        "frontier.parquet",
        "lists.json",
        "sweep.yaml",
    ]


def test_a_copied_run_folder_is_shown_in_the_mlflow_beside_it(finished: ASweep, tmp_path: Path, template: Path) -> None:
    assert synced(finished).exit_code == 0
    moved = ASweep(tmp_path / "elsewhere", finished.name)
    shutil.copytree(finished.folder.path, moved.folder.path)
    shutil.rmtree(finished.runs)
    shutil.copy(template, moved.runs / "mlflow.db")
    result = synced(moved)
    assert result.exit_code == 0, result.output
    assert f"sqlite:///{tmp_path}/elsewhere/mlflow.db" in result.output
    assert_equal(store.open_client(f"sqlite:///{tmp_path}/elsewhere/mlflow.db"), moved)


def test_the_address_is_that_of_the_option_else_the_sweep_else_the_environment_else_the_last_launch(
    finished: ASweep, tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("option", "variable", "file"):
        shutil.copy(template, tmp_path / f"{name}.db")

    def address(*options: str) -> str:
        result = synced(finished, *options)
        found = re.search(r"MLflow at sqlite:///\S*/(\w+)\.db", result.output)
        assert found, result.output
        return found[1]

    assert address("--tracking-uri", f"sqlite:///{tmp_path}/option.db") == "option"
    assert address() == "option"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/variable.db")
    assert address() == "variable"
    finished.folder.write_sweep(f"name: {finished.name}\ntracking: {{uri: 'sqlite:///{tmp_path}/file.db'}}\n")
    assert address() == "file"


def test_beside_a_launch_it_sends_what_is_there_and_ends_nothing(sqlite: str, sweep: ASweep) -> None:
    sweep.save()
    sweep.train(3)
    sweep.end(sweep.ids[2])
    client = store.open_client(sqlite)
    with ExitStack() as held:
        held.enter_context(lease(sweep.folder, launch_id="another"))
        result = synced(sweep, "--check")
        assert result.exit_code == 0, result.output
        assert "the sweep runs (process" in result.output
        assert client.get_run(run_of(sweep, 0)).info.status == "RUNNING"
        assert_equal(client, sweep, ended=False)
        client.log_metric(run_of(sweep, 1), "train/loss", 5.0, timestamp=1, step=1)
        assert "left until the sweep ends" in synced(sweep, "--check").output
    assert synced(sweep).exit_code == 0
    assert client.get_run(run_of(sweep, 0)).info.status == "KILLED"


def test_what_cannot_work_ends_with_four_and_one_message(finished: ASweep, tmp_path: Path) -> None:
    for address in ("http://user:geheim@127.0.0.1:9", "gopher://x", f"sqlite:///{tmp_path}/a%20b/x.db"):
        result = synced(finished, "--tracking-uri", address)
        assert result.exit_code == 4
        assert len(re.findall("^error: ", result.stderr, re.M)) == 1
        assert "geheim" not in result.output + result.stderr
    stored = finished.folder.sweep()
    finished.folder.write_sweep(f"{stored}tracking: {{uri: 'http://u:***@127.0.0.1:9'}}\n")
    assert "set MLFLOW_TRACKING_URI to the whole address" in synced(finished).stderr
    shutil.rmtree(finished.folder.path)
    assert synced(finished).exit_code == 2


def test_a_damaged_row_is_told_and_the_rest_is_sent(sqlite: str, finished: ASweep) -> None:
    path = finished.folder.result(finished.ids[0])
    path.write_text(path.read_text().replace('"done"', '"dane"'))
    result = synced(finished)
    assert "MLflow is not told how" in result.stderr
    client = store.open_client(sqlite)
    assert client.get_run(run_of(finished, 1)).info.status == "FAILED"
    assert client.get_run(run_of(finished, 0)).info.status == "KILLED"


KILLED_OFTEN = """
import sys
from pathlib import Path
from tests.orchestrator.tracking.a_sweep import ASweep
sweep = ASweep(Path(sys.argv[1]), "killed")
mirror = sweep.mirror(sys.argv[2])
mirror.start()
sys.stdin.read()
"""


def newest_steps(client: MlflowClient, sweep: ASweep) -> list[int]:
    """How far each trial's curves have come in MLflow."""
    experiment = client.get_experiment_by_name(sweep.name)
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.run_id"]) if experiment else []
    return [max((point.step for point in run.data._metric_objs), default=-1) for run in found]


@pytest.mark.slow
def test_after_sigkills_at_any_time_mlflow_equals_the_run_folder(uri: str, client: MlflowClient, runs: Path) -> None:
    sweep = ASweep(runs, "killed")
    sweep.save()
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    for _ in range(4):
        sweep.train(400)
        before = newest_steps(client, sweep)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_OFTEN, str(runs), uri], stdin=subprocess.PIPE, env=environ
        )
        wait_for(lambda before=before: newest_steps(client, sweep) != before)
        process.kill()  # in the middle of the rest
        process.communicate()
    sweep.end(sweep.ids[0])
    sweep.end(sweep.ids[1], RowStatus.FAILED, "no")
    sweep.end(sweep.ids[2], RowStatus.STOPPED, "no")
    result = synced(sweep, "--tracking-uri", uri)
    assert result.exit_code == 0, result.output + result.stderr
    assert_equal(client, sweep)
