"""`resume`, `retry` and changed sweep files, on a small sweep that is trained for real in this process."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.folder.records import RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import read_frontier
from orchestrator.packs.held import forget
from tests.tiny import Bench, science

ONE_LAYER = ("--set", "grid.layer=[0]", "--set", "train.tokens=320", "--set", "logging.eval_every_tokens=end")


def command(*words: str) -> Result:
    forget()
    return CliRunner().invoke(app, list(words))


def launch(bench: Bench, *more: str) -> Result:
    return command("launch", *bench.arguments("--local", "--no-tracking", "--plain", *ONE_LAYER, *more))


def lose_a_row(folder: Path) -> Path:
    """As if the run had stopped before its last trial."""
    row = sorted((folder / "results").glob("*.json"))[0]
    row.unlink()
    return row


@pytest.fixture(scope="module")
def finished_bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_text: Path) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("finished"), tiny_model, tiny_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_FRONTIER_CACHE", str(bench.folder / "cache"))
        assert launch(bench).exit_code == 0
    return bench


@pytest.fixture
def done(bench: Bench, finished_bench: Bench) -> Bench:
    """A bench whose sweep, four trials at one layer, is finished."""
    shutil.copytree(finished_bench.runs, bench.runs)
    return bench


def test_a_run_is_gone_on_with_after_its_sweep_file_is_deleted(
    done: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = science(done.run_folder)
    lost = lose_a_row(done.run_folder)
    done.sweep.unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    ran = command("resume", str(done.run_folder), "--plain")
    assert ran.exit_code == 0, ran.output
    assert "3 of 4 trials were done already" in ran.stdout
    assert "4 of 4 trials are done" in ran.stdout
    assert lost.exists()
    assert science(done.run_folder).keys() == before.keys()
    assert [path.name for path in done.runs.iterdir() if path.is_dir()] == [done.run_folder.name]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_run_folder_under_another_name_is_gone_on_with_where_it_is(done: Bench) -> None:
    moved = done.runs / "größer und copied"
    done.run_folder.rename(moved)
    lose_a_row(moved)
    ran = command("resume", str(moved), "--plain", "--json")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["n_done"] == 4
    assert done.run_folders == [moved]


def test_the_options_of_the_launch_are_kept(done: Bench) -> None:
    launched = RunFolder(done.run_folder).launch()
    assert launched is not None
    assert (launched.local, launched.tracking, launched.n_slots) == (True, False, None)
    assert Path(launched.sweep_file).name == done.sweep.name
    lose_a_row(done.run_folder)
    assert command("resume", "tiny", "--runs", str(done.runs), "--plain", "--slots", "3").exit_code == 0
    again = RunFolder(done.run_folder).launch()
    assert again is not None
    assert (again.sweep_file, again.cwd, again.n_slots) == (launched.sweep_file, launched.cwd, 3)


def test_resuming_what_is_complete_shows_it_once_more(done: Bench) -> None:
    written = {path: path.stat().st_mtime_ns for path in done.run_folder.rglob("*")}
    ran = command("resume", str(done.run_folder))
    assert ran.exit_code == 0
    assert "Frontier at layer 0" in ran.stdout
    assert {path: path.stat().st_mtime_ns for path in done.run_folder.rglob("*")} == written


def test_a_sweep_file_that_was_damaged_is_put_back_and_told(done: Bench) -> None:
    path = done.run_folder / "sweep.yaml"
    written = path.read_text()
    assert "seed: 0" in written
    path.write_text(written.replace("seed: 0", "seed: 2"))  # one bit, and another sweep
    ran = command("resume", str(done.run_folder))
    assert ran.exit_code == 0
    assert path.read_text() == written
    assert "seed: 2" in (done.run_folder / "aside" / "sweep.yaml").read_text()
    path.unlink()
    assert command("resume", str(done.run_folder)).exit_code == 0
    assert path.read_text() == written


def test_a_folder_without_a_sweep_says_what_to_do(done: Bench) -> None:
    (done.run_folder / "sweep.yaml").unlink()
    (done.run_folder / "spare" / "sweep.json").unlink()
    ran = command("resume", str(done.run_folder))
    assert ran.exit_code == 2
    assert "has no sweep.yaml" in ran.stderr


def test_a_password_that_the_folder_does_not_hold_is_asked_for(done: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(done.run_folder)
    sweep = yaml.safe_load(folder.sweep() or "") | {"tracking": {"uri": "https://me:***@127.0.0.1:9"}}
    folder.write_sweep(yaml.safe_dump(sweep))
    launched = folder.launch()
    assert launched is not None
    folder.write_launch(launched.model_copy(update={"tracking": True}))
    lose_a_row(done.run_folder)
    ran = command("resume", str(done.run_folder), "--plain")
    assert ran.exit_code == 4
    assert "set MLFLOW_TRACKING_URI to the whole address" in ran.stderr


@pytest.mark.slow
def test_failed_trials_are_tried_again_and_nothing_else_is(bench: Bench) -> None:
    options = ("--set", "train.lr={local: 1e-2, e2e: 1e38}")
    assert launch(bench, *options).exit_code == 3
    results = bench.run_folder / "results"
    before = {path: path.stat().st_mtime_ns for path in results.glob("*.json")}
    assert command("retry", str(bench.run_folder)).exit_code == 2
    ran = command("resume", str(bench.run_folder), "--plain")
    assert ran.exit_code == 3
    assert {path: path.stat().st_mtime_ns for path in results.glob("*.json")} == before
    ran = command("retry", str(bench.run_folder), "--failed", "--plain")
    assert ran.exit_code == 3, ran.output
    assert f"retry {bench.run_folder} --failed" in ran.stdout
    changed = [path for path, time_ns in before.items() if path.stat().st_mtime_ns != time_ns]
    rows = RunFolder(bench.run_folder).rows()
    assert {path.stem for path in changed} == {row.trial_id for row in rows if row.status is RowStatus.FAILED}


# Changed sweep files


def test_a_grown_grid_keeps_its_trials_and_trains_the_new_ones(done: Bench) -> None:
    kept = {path: path.stat().st_mtime_ns for path in (done.run_folder / "results").glob("*.json")}
    ran = launch(done, "--set", "grid.sparsity_coeff=[0.1, 1, 3]")
    assert ran.exit_code == 0, ran.output
    assert "grid.sparsity_coeff: +3" in ran.stderr
    assert "trials: 4 kept (4 done), 2 added, 0 removed" in ran.stderr
    assert "6 of 6 trials are done" in ran.stdout
    folder = RunFolder(done.run_folder)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert read_frontier(folder.frontier).num_rows == 6
    assert "sweep_changed" in [event.event for event in folder.events()]


def test_a_shrunk_grid_leaves_its_trials_out_of_the_frontier_unless_they_are_asked_for(done: Bench) -> None:
    fewer = ("--set", "grid.loss=[local]")
    ran = launch(done, *fewer)
    assert ran.exit_code == 0, ran.output
    assert "grid.loss: -e2e" in ran.stderr
    assert "trials: 2 kept (2 done), 0 added, 2 removed" in ran.stderr
    assert "2 of 2 trials are done" in ran.stdout
    assert "e2e" not in ran.stdout
    folder = RunFolder(done.run_folder)
    assert set(read_frontier(folder.frontier).column("loss").to_pylist()) == {"local"}
    assert len(folder.rows()) == 4
    shown = command("status", "tiny", "--runs", str(done.runs), "--json")
    assert (json.loads(shown.stdout)["n_trials"], json.loads(shown.stdout)["n_done"]) == (2, 2)

    ran = launch(done, *fewer, "--include-removed")
    assert ran.exit_code == 0
    assert "the sweep has changed" not in ran.stderr
    assert "e2e" in ran.stdout
    assert read_frontier(folder.frontier).num_rows == 4

    ran = launch(done)
    assert ran.exit_code == 0, ran.output
    assert "trials: 2 kept (2 done), 2 added (2 done before), 0 removed" in ran.stderr
    assert read_frontier(folder.frontier).num_rows == 4


def test_a_slip_in_the_number_of_tokens_trains_nothing(done: Bench) -> None:
    written = {path: path.stat().st_mtime_ns for path in done.runs.rglob("*")}
    slip = ("--set", "train.tokens=640")
    ran = launch(done, *slip)
    assert ran.exit_code == 2
    assert "train.tokens: 320 -> 640" in ran.stderr
    assert "none of its 4 trials (4 done) would be kept" in ran.stderr
    assert {path: path.stat().st_mtime_ns for path in done.runs.rglob("*")} == written
    dry = launch(done, *slip, "--dry-run")
    assert dry.exit_code == 0
    assert "train.tokens: 320 -> 640" in dry.stderr
    assert dry.stdout.endswith("nothing was started\n")


@pytest.mark.slow
def test_what_is_allowed_to_change_begins_beside_the_old_run(done: Bench) -> None:
    old = done.run_folder
    before = science(old)
    ran = launch(done, "--set", "train.tokens=640", "--allow-changed")
    assert ran.exit_code == 0, ran.output
    assert len(done.run_folders) == 2
    assert science(old) == before
    assert launch(done, "--set", "train.tokens=640").exit_code == 0
    assert "4 of 4 trials were done already" in launch(done).stdout
