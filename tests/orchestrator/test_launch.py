"""The command line: exit codes, messages, what is skipped, what is left behind. Signals and Ray with real processes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from click.testing import Result
from filelock import FileLock
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.folder.records import PackState, RowStatus, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.packs.jobs import PackJob, PackOutcome
from tests.tiny import ROOT, Bench, finished, save_text, science, wait_until

HEAVY = ("torch", "ray", "mlflow", "transformers", "datasets", "pyarrow", "matplotlib", "numpy", "pydantic")


def launch(bench: Bench, *more: str) -> Result:
    """The command in this process, without Ray and MLflow."""
    forget()
    return CliRunner().invoke(app, ["launch", *bench.arguments("--local", "--no-tracking", "--plain", *more)])


@pytest.fixture(scope="module")
def finished_runs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_text: Path) -> Path:
    """The runs folder of a finished sweep."""
    bench = Bench(tmp_path_factory.mktemp("finished"), tiny_model, tiny_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_FRONTIER_CACHE", str(bench.folder / "cache"))
        assert launch(bench).exit_code == 0
    return bench.runs


@pytest.fixture
def done(bench: Bench, finished_runs: Path) -> Bench:
    """A bench whose sweep is finished."""
    shutil.copytree(finished_runs, bench.runs)
    return bench


def rows_of(bench: Bench) -> dict[str, RowStatus]:
    return {row.trial_id: row.status for row in RunFolder(bench.run_folder).rows()}


# Help and dry runs


@pytest.mark.parametrize("module", ["orchestrator.launch", "orchestrator"])
def test_help_loads_nothing_heavy(module: str):
    code = f"""
import runpy, sys
sys.argv = ["x", "--help"]
try:
    runpy.run_module({module!r}, run_name="__main__")
except SystemExit:
    pass
print("heavy:", [name for name in {HEAVY} if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Usage: " in ran.stdout
    assert ran.stdout.rstrip().endswith("heavy: []")


def test_a_dry_run_prints_the_plan_and_makes_nothing(bench: Bench):
    ran = launch(bench, "--dry-run")
    assert ran.exit_code == 0
    assert "2 layers x 2 losses x coefficients x 1 seed = 8 trials" in ran.stdout
    assert ran.stdout.endswith("nothing was started\n")
    assert not bench.runs.exists()


def test_a_dry_run_plans_for_machines_that_are_not_this_one(bench: Bench):
    ran = launch(bench, "--dry-run", "--set", "resources.gpus_per_pack=8", "--set", "resources.cpus_per_pack=999")
    assert ran.exit_code == 0


def test_a_dry_run_as_json_is_the_plan(bench: Bench):
    plan = json.loads(launch(bench, "--dry-run", "--json").stdout)
    assert len(plan["trials"]) == 8
    assert not bench.runs.exists()


# What a run leaves


def test_a_sweep_ends_with_its_frontier_and_where_everything_is(bench: Bench):
    ran = launch(bench)
    assert ran.exit_code == 0, ran.output
    folder = RunFolder(bench.run_folder)
    assert "Frontier at layer 0: ce_loss_increase against l0" in ran.stdout
    assert "8 of 8 trials are done" in ran.stdout
    names = ("frontier.parquet", "frontier.png", "frontier.svg", "report.html", "saes")
    for path in (folder.path / name for name in names):
        assert path.exists()
        assert str(path) in ran.stdout
    status = folder.status()
    assert status is not None
    assert (status.state, status.n_done, status.pid) == (SweepState.COMPLETE, 8, None)
    assert set(status.packs.values()) == {PackState.DONE}
    assert (status.fraction, status.eta_s) == (1.0, None)
    [said] = re.findall(r'"sweeps":\[{.*?}\]', folder.report.read_text("utf-8"))
    assert all(part in said for part in ('"state":"done"', '"n_done":8', '"n_running":0', '"n_rows":8'))
    events = [event.event for event in folder.events()]
    assert (events[0], events[-1]) == ("sweep_started", "sweep_ended")
    assert events.count("trial_done") == 8
    assert len(folder.manifest().snapshots) == 1


def test_a_report_that_cannot_be_made_costs_no_result(done: Bench, monkeypatch: pytest.MonkeyPatch):
    folder = RunFolder(done.run_folder)
    folder.report.unlink()
    status = folder.status()
    assert status is not None
    folder.write_status(status.model_copy(update={"state": SweepState.STOPPED}))

    def broken(*_: object, **__: object) -> None:
        raise OSError("the page is gone")

    monkeypatch.setattr("dashboards.report.write_report", broken)
    ran = launch(done)
    assert ran.exit_code == 0, ran.output
    assert str(folder.report) not in ran.stdout
    assert [event.message for event in folder.events() if event.event == "trouble"] == [
        "no report of the sweep: the page is gone"
    ]
    monkeypatch.undo()
    assert str(folder.report) in launch(done).stdout
    assert folder.report.exists()


def test_the_same_command_again_does_nothing_and_shows_the_frontier(done: Bench):
    written = {path: path.stat().st_mtime_ns for path in done.run_folder.rglob("*")}
    ran = launch(done)
    assert ran.exit_code == 0
    assert "Frontier at layer 0" in ran.stdout
    assert "8 of 8 trials were done already" in ran.stdout
    assert {path: path.stat().st_mtime_ns for path in done.run_folder.rglob("*")} == written


def test_only_missing_trials_are_trained(done: Bench):
    before = science(done.run_folder)
    lost = sorted((done.run_folder / "results").iterdir())[3]
    kept = {path: path.stat().st_mtime_ns for path in (done.run_folder / "results").iterdir() if path != lost}
    lost.unlink()
    again = launch(done)
    assert again.exit_code == 0
    assert "1 trials in 1 packs" in again.stderr
    assert "7 of 8 trials were done already" in again.stdout
    assert lost.exists()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert science(done.run_folder).keys() == before.keys()


def test_a_failed_trial_gives_3_and_says_why(bench: Bench):
    ran = launch(bench, "--set", "train.lr={local: 1e-2, e2e: 1e38}")
    assert ran.exit_code == 3
    assert "4 of 8 trials are done, 4 failed" in ran.stdout
    assert "failed  L0-e2e-c0.1-s0: diverged at step" in ran.stdout
    assert f"orchestrator retry {bench.run_folder} --failed" in ran.stdout


def test_trials_whose_workers_died_are_failed_rows(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    def nobody_comes_back(jobs: list[PackJob], **_: object) -> dict[str, PackOutcome]:
        return {
            job.pack_id: PackOutcome(pack_id=job.pack_id, state=PackState.FAILED, error="its worker died")
            for job in jobs
        }

    monkeypatch.setattr("orchestrator.running.driver.run_here", nobody_comes_back)
    ran = launch(bench)
    assert ran.exit_code == 3
    assert "0 of 8 trials are done, 8 failed" in ran.stdout
    assert "failed  L1-local-c1-s0: its worker died" in ran.stdout
    assert set(rows_of(bench).values()) == {RowStatus.FAILED}


def test_failed_trials_are_tried_again_only_when_asked(bench: Bench):
    options = ("--set", "train.lr={local: 1e-2, e2e: 1e38}")
    launch(bench, *options)
    results = bench.run_folder / "results"
    written = {path: path.stat().st_mtime_ns for path in results.iterdir()}
    assert launch(bench, *options).exit_code == 3
    assert {path: path.stat().st_mtime_ns for path in results.iterdir()} == written
    assert launch(bench, *options, "--retry-failed").exit_code == 3
    changed = [path for path in results.iterdir() if path.stat().st_mtime_ns != written[path]]
    assert len(changed) == 4


def test_the_result_as_json_names_the_front_and_the_files(bench: Bench):
    ran = launch(bench, "--json")
    result = json.loads(ran.stdout)
    assert (result["state"], result["exit_code"], result["n_done"]) == ("complete", 0, 8)
    assert {line["loss"] for line in result["frontier"]} == {"local", "e2e"}
    assert Path(result["files"]["frontier.parquet"]).exists()


def test_progress_as_json_is_lines_of_json(bench: Bench):
    ran = launch(bench, "--log-format", "json")
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    done = [event for event in events if event["event"] == "trial_done"]
    assert len(done) == 8
    assert {"ts", "level", "event", "sweep_id", "pack_id", "trial_id", "msg", "l0"} <= done[0].keys()


def test_status_tells_how_a_sweep_stands(done: Bench):
    for name in (str(done.run_folder), done.run_folder.name, "tiny"):
        ran = CliRunner().invoke(app, ["status", name, "--runs", str(done.runs)])
        assert ran.exit_code == 0
        assert "8 done" in ran.stdout
        assert "complete" in ran.stdout
    as_json = CliRunner().invoke(app, ["status", "tiny", "--runs", str(done.runs), "--json"])
    assert json.loads(as_json.stdout)["n_done"] == 8
    unknown = CliRunner().invoke(app, ["status", "tinny", "--runs", str(done.runs)])
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert done.run_folder.name in unknown.stderr


# Bad input and bad environments


def _no_documents(bench: Bench) -> list[str]:
    return ["--set", f"data.dataset={save_text(bench.folder / 'empty', [])}"]


def _few_documents(bench: Bench) -> list[str]:
    return ["--set", f"data.dataset={save_text(bench.folder / 'few', ['abc def'])}"]


def _other_family(bench: Bench) -> list[str]:
    folder = bench.folder / "bert"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return ["--set", f"model.name={folder}"]


def _broken_weights(bench: Bench) -> list[str]:
    folder = bench.folder / "broken"
    folder.mkdir()
    for file in bench.model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: 500 if file.suffix == ".safetensors" else None])
    return ["--set", f"model.name={folder}"]


def _runs_is_a_file(bench: Bench) -> list[str]:
    (bench.folder / "file").write_text("")
    return ["--runs", str(bench.folder / "file")]


def _set(*overrides: str) -> Callable[[Bench], list[str]]:
    return lambda _: [word for override in overrides for word in ("--set", override)]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (_set("grid.sparsity_coef=1"), 2, "did you mean 'sparsity_coeff'?"),
        (_set("train.tokens=many"), 2, "train.tokens"),
        (_set("grid.layer=[0, 2]"), 2, "layer"),
        (_set("grid.sparsity_coeff=[0]"), 2, "sparsity_coeff"),
        (_set("grid.sparsity_coeff=[.nan]"), 2, "sparsity_coeff"),
        (_set("grid.sparsity_coeff={local: [1]}"), 2, "e2e"),
        (_set("data.context=32"), 2, "context"),
        (_set("data.dataset=./nowhere"), 2, "nowhere"),
        (_set("model.name=./nowhere"), 2, "nowhere"),
        (_set("data.eval_rows=1000"), 2, "eval_rows"),
        (_set("train.batch_rows=400", "train.tokens=6400", "logging.eval_every_tokens=end"), 2, "train.batch_rows=400"),
        (_set("tracking.uri=gopher://x"), 0, ""),  # not looked at without tracking
        (_set("resources.cpus_per_pack=9999"), 4, "resources.cpus_per_pack"),
        (_no_documents, 2, "is empty"),
        (_few_documents, 2, "few"),
        (_other_family, 2, "bert"),
        (_broken_weights, 2, "broken"),
        (_runs_is_a_file, 2, "is a file"),
    ],
)
def test_what_cannot_work_ends_in_one_message_before_anything_is_made(
    bench: Bench, more: Callable[[Bench], list[str]], code: int, message: str
):
    ran = launch(bench, *more(bench))
    assert ran.exit_code == code, ran.output
    if code == 0:
        return
    assert ran.stdout == ""
    assert message in ran.stderr
    assert ran.stderr.count("error: ") == 1
    assert "Traceback" not in ran.output
    assert not bench.runs.exists()


def test_a_sweep_file_that_is_not_there_is_bad_input(bench: Bench):
    ran = CliRunner().invoke(app, ["launch", str(bench.folder / "nowhere.yaml")])
    assert ran.exit_code == 2
    assert "nowhere.yaml" in ran.stderr


def test_an_mlflow_that_does_not_answer_delays_no_training_and_is_told_how_to_catch_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    forget()
    monkeypatch.setattr("orchestrator.running.finish.MLFLOW_S", 1.0)
    options = bench.arguments("--local", "--plain", "--set", "tracking.uri=http://127.0.0.1:9")
    ran = CliRunner().invoke(app, ["launch", *options])
    assert ran.exit_code == 0
    assert "training does not wait for MLflow" in ran.stderr
    assert f"python -m orchestrator sync {bench.run_folder}" in ran.stderr
    assert (bench.run_folder / "frontier.parquet").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_a_ray_cluster_that_does_not_answer_is_found_before_anything_is_made(
    bench: Bench, address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAY_ADDRESS", address)
    ran = CliRunner().invoke(app, ["launch", *bench.arguments("--no-tracking", "--plain")])
    assert ran.exit_code == 4
    assert f"RAY_ADDRESS={address}" in ran.stderr
    assert not bench.runs.exists()


def test_no_permission_to_write_is_found_before_anything_is_made(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != bench.folder and real(path, mode))
    ran = launch(bench)
    assert ran.exit_code == 4
    assert f"no permission to write in {bench.folder}" in ran.stderr
    assert not bench.runs.exists()


def test_a_second_launch_of_a_running_sweep_is_refused(done: Bench):
    sorted((done.run_folder / "results").iterdir())[0].unlink()
    with FileLock(done.run_folder / ".lock"):
        ran = launch(done)
    assert ran.exit_code == 4
    assert "is being run already" in ran.stderr


def test_a_bug_is_a_short_message_with_the_place_of_its_traceback(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("orchestrator.running.prepare.describe_model", broken)
    ran = launch(bench)
    assert ran.exit_code == 1
    assert "this is a bug" in ran.stderr
    assert "Traceback" not in ran.stderr
    place = Path(ran.stderr.split("The traceback is in ")[1].split(". What")[0])
    assert "a mistake of ours" in place.read_text()
    place.unlink()
    assert "Traceback" in launch(bench, "--debug").stderr


# Signals and dying workers, with real processes

LONG = ("--plain", "--set", "train.tokens=6_000_000", "--set", "logging.eval_every_tokens=end")


def trains(bench: Bench) -> bool:
    """Whether some pack has done a few steps."""
    statuses = [json.loads(path.read_text()) for path in bench.runs.glob("*/packs/*/status.json")]
    return any(status["state"] == "running" and status["step"] > 5 for status in statuses)


def children_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def none_left(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=10)
    return not alive


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_current_step_and_says_how_to_go_on(bench: Bench, number: signal.Signals, code: int):
    process = bench.start(*LONG, "--local", "--no-tracking")
    wait_until(process, lambda: trains(bench))
    process.send_signal(number)
    ran = finished(process)
    assert ran.code == code, ran
    assert "stopping after the current step; finished trials are kept; press again to stop now" in ran.err
    assert "to run the rest:" in ran.out
    assert "Traceback" not in ran.err
    status = RunFolder(bench.run_folder).status()
    assert status is not None
    assert status.state is SweepState.STOPPED
    assert set(rows_of(bench).values()) == {RowStatus.STOPPED}


@pytest.mark.slow
def test_a_signal_before_anything_trains_leaves_nothing(bench: Bench):
    text = ["".join(chr(97 + (i * j) % 8) for i in range(200_000)) for j in range(60)]
    save_text(bench.folder / "much", text)
    process = bench.start("--plain", "--local", "--no-tracking", "--set", f"data.dataset={bench.folder / 'much'}")
    assert process.stderr is not None
    while "preparing rows" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    ran = finished(process)
    assert ran.code == 130, ran
    assert "Traceback" not in ran.err
    assert f"to begin again:  {Path(sys.executable).name} -m orchestrator.launch {bench.sweep}" in ran.err
    assert not bench.runs.exists()


@pytest.mark.slow
def test_ctrl_c_on_ray_keeps_what_is_done_and_the_same_command_does_the_rest(bench: Bench):
    # Four packs on two slots or fewer: when the first are done, others train.
    options = ("--plain", "--no-tracking", "--slots", "4", "--set", "train.tokens=48_000")
    process = bench.start(*options)
    wait_until(process, lambda: bool(bench.run_folders and rows_of(bench)) and trains(bench))
    children = children_of(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of its processes
    ran = finished(process)
    assert ran.code == 130, ran
    assert "Traceback" not in ran.err
    assert none_left(children)
    before = {id_: status for id_, status in rows_of(bench).items() if status is RowStatus.DONE}
    assert before
    assert len(before) < 8
    again = bench.run(*options)
    assert again.code == 0, again
    assert f"{len(before)} of 8 trials were done already" in again.out
    assert list(rows_of(bench).values()) == [RowStatus.DONE] * 8


@pytest.mark.slow
def test_a_second_ctrl_c_ends_even_workers_that_hang(bench: Bench):
    process = bench.start(*LONG, "--no-tracking")
    wait_until(process, lambda: trains(bench))
    children = children_of(process)
    for child in children:
        if "train" in child.name():
            child.suspend()
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(2)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    ran = finished(process, timeout_s=60)
    assert ran.code == 130, ran
    assert none_left(children)
    assert set(rows_of(bench).values()) == {RowStatus.STOPPED}


@pytest.mark.slow
def test_a_pack_whose_worker_is_killed_is_tried_again(bench: Bench):
    options = ("--plain", "--no-tracking", "--set", "train.tokens=48_000")
    process = bench.start(*options)
    wait_until(process, lambda: trains(bench))
    victim = next(child for child in children_of(process) if "train" in child.name())
    victim.kill()
    ran = finished(process)
    assert ran.code == 0, ran
    assert "is tried again: its worker died" in ran.err
    assert list(rows_of(bench).values()) == [RowStatus.DONE] * 8


@pytest.mark.parametrize(("name", "what"), [("eval_hash", "text"), ("data_hash", "text"), ("model_hash", "model")])
def test_trials_of_another_text_or_model_do_not_join_those_that_are_done(done: Bench, name: str, what: str):
    """A folder may hold something else by now; here, a finished row says that it once did."""
    first, second, *_ = sorted((done.run_folder / "results").iterdir())
    row = json.loads(first.read_text())
    row["facts"][name] = "0" * 64
    del row["sha256"]
    first.write_text(json.dumps(row))
    second.unlink()
    ran = launch(done)
    assert ran.exit_code == 2
    assert f"the {what} is another one than that of" in ran.output
    assert not second.exists()


@pytest.mark.parametrize("sweep", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_sweep_shows_its_plan_without_a_network(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise AssertionError("a dry run asked the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    ran = CliRunner().invoke(app, ["launch", str(sweep), "--dry-run", "--runs", str(tmp_path / "runs")])
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.endswith("nothing was started\n")
    assert not (tmp_path / "runs").exists()
