"""`stop`: a launcher of this machine gets the signal, one of another finds a file; and what is said of it."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.folder.clock import now
from orchestrator.folder.records import Holder, RowStatus, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.jobs import stop_file
from orchestrator.running.stopping import StopNow, StopRequest, signals_handled
from tests.orchestrator.made_run import GONE, made_run
from tests.tiny import ROOT, Bench, finished, wait_until

LAUNCHER = """
import sys, time
from pathlib import Path
from orchestrator.folder.lease import lease
from orchestrator.folder.run_folder import RunFolder
from orchestrator.running.stopping import StopRequest, signals_handled

folder = RunFolder(Path(sys.argv[1]))
stop = StopRequest(folder.path)
stop.patient = True
with signals_handled(stop), lease(folder, launch_id="0123456789abcdef"):
    print("ready", flush=True)
    try:
        while not stop.asked:
            time.sleep(0.02)
        time.sleep(float(sys.argv[2]))
        print("after the step", flush=True)
    except KeyboardInterrupt:
        print("at once", flush=True)
"""
"""Holds a run folder as a launch does, and stops as one does."""


def stop(runs: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["stop", "demo", "--runs", str(runs), *more])


def launcher(folder: RunFolder, *, step_s: float) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder.path), str(step_s)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("state", "pid", "said"),
    [(SweepState.COMPLETE, None, "complete"), (SweepState.RUNNING, GONE, "cut off"), (None, None, "not started")],
)
def test_a_run_that_nobody_runs_is_no_error(
    tmp_path: Path, state: SweepState | None, pid: int | None, said: str
) -> None:
    made_run(tmp_path, state=state, pid=pid)
    ran = stop(tmp_path)
    assert ran.exit_code == 0
    assert "demo-12345678 is not running" in ran.stderr
    assert f"demo-12345678: {said}" in ran.stdout
    assert not stop_file(tmp_path / "demo-12345678").exists()


def test_a_launcher_is_asked_once_and_waited_for(tmp_path: Path) -> None:
    folder = made_run(tmp_path, state=SweepState.STOPPED, n_done=3)
    process = launcher(folder, step_s=0.5)
    ran = stop(tmp_path)
    assert (ran.exit_code, finished(process, timeout_s=20).out) == (0, "after the step\n"), ran.output
    assert f"asked process {process.pid} on this machine since " in ran.stderr
    assert "3 done, 5 waiting" in ran.stdout
    assert f"to go on:  python -m orchestrator resume {folder.path}" in ran.stdout.replace(
        Path(sys.executable).name, "python"
    )


def test_stopping_now_asks_a_second_time_when_the_first_was_heard(tmp_path: Path) -> None:
    folder = made_run(tmp_path, state=SweepState.STOPPED, n_done=3)
    process = launcher(folder, step_s=60)
    ran = stop(tmp_path, "--now")
    assert (ran.exit_code, finished(process, timeout_s=20).out) == (0, "at once\n"), ran.output


@pytest.mark.parametrize(("more", "content"), [((), ""), (("--now",), "now\n")])
def test_a_launcher_on_another_machine_finds_a_word(tmp_path: Path, more: tuple[str, ...], content: str) -> None:
    folder = made_run(tmp_path, state=SweepState.STOPPED, n_done=3)
    folder.write_holder(
        Holder(
            launch_id="0123456789abcdef",
            host=f"not-{socket.gethostname()}",
            pid=7,
            folder_inode=folder.path.stat().st_ino,
            started_at=now(),
        )
    )
    (folder.path / ".lock").touch()
    found: list[str] = []

    def other_machine() -> None:
        start_s = time.monotonic()
        while not stop_file(folder.path).exists() and time.monotonic() - start_s < 20:
            time.sleep(0.02)
        found.append(stop_file(folder.path).read_text())
        folder.lease.unlink()

    thread = threading.Thread(target=other_machine)
    thread.start()
    ran = stop(tmp_path, *more)
    thread.join()
    assert ran.exit_code == 0
    assert found == [content]
    assert f"left a word for process 7 on not-{socket.gethostname()}" in ran.stderr


def test_a_word_in_the_run_folder_counts_as_a_signal_and_a_hurried_one_as_two(tmp_path: Path) -> None:
    request, file = StopRequest(tmp_path), stop_file(tmp_path)
    request.patient = True
    with signals_handled(request):
        request.see_file()
        assert not request.asked
        file.write_text("")
        request.see_file()
        request.see_file()
        assert request.asked
        assert request.exit_code == 143
        file.write_text("now\n")
        with pytest.raises(StopNow):
            request.see_file()
        request.see_file()


@pytest.mark.slow
def test_a_running_sweep_is_stopped_from_another_process_and_gone_on_with(bench: Bench) -> None:
    process = bench.start(
        "--plain", "--local", "--no-tracking", "--set", "train.tokens=24_000", "--set", "logging.eval_every_tokens=end"
    )

    def trains() -> bool:
        statuses = [json.loads(path.read_text()) for path in bench.runs.glob("*/packs/*/status.json")]
        return any(status["state"] == "running" and status["step"] > 5 for status in statuses)

    wait_until(process, trains)
    shown = CliRunner().invoke(app, ["status", "tiny", "--runs", str(bench.runs)])
    assert f"running (process {process.pid} on this machine since " in shown.stdout
    ran = CliRunner().invoke(app, ["stop", "tiny", "--runs", str(bench.runs)])
    launched = finished(process)
    assert launched.code == 143, launched
    assert ran.exit_code == 0, ran.output
    assert f"{bench.run_folder.name}: stopped at " in ran.stdout
    assert f"resume {bench.run_folder}" in ran.stdout
    assert f"resume {bench.run_folder}" in launched.out
    again = CliRunner().invoke(app, ["resume", "tiny", "--runs", str(bench.runs), "--plain"])
    assert again.exit_code == 0, again.output
    assert {row.status for row in RunFolder(bench.run_folder).rows()} == {RowStatus.DONE}
