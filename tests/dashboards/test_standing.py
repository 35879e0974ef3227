"""Whether a launcher is at work on a sweep is told without writing anything and without standing in its way."""

import json
import os
import socket
from pathlib import Path

import pytest

from dashboards.standing import held, standing
from orchestrator.folder.lease import lease
from orchestrator.folder.records import SweepState
from tests.dashboards.shown import shown_run
from tests.orchestrator import made_run


def said_by(host: str, folder: Path, *, age_s: float = 0.0, inode: int | None = None) -> None:
    """A lease as a driver on that host leaves it."""
    path = folder / "lease.json"
    path.write_text(json.dumps({"host": host, "folder_inode": inode or folder.stat().st_ino, "schema_version": 1}))
    then = path.stat().st_mtime - age_s
    os.utime(path, (then, then))


def test_a_launcher_of_this_machine_is_known_by_its_lock_alone(tmp_path: Path) -> None:
    run = shown_run(tmp_path, state=SweepState.RUNNING, n_done=4)
    said_by(socket.gethostname(), run.path)
    assert not held(run.path)
    with made_run.held(run):
        assert held(run.path)
        assert standing(run.path, [])["state"] == "running"
    assert not held(run.path)


def test_looking_takes_no_launch_its_lock_and_writes_nothing(tmp_path: Path) -> None:
    run = shown_run(tmp_path)
    with lease(run, launch_id="a"):
        before = {path: path.stat().st_mtime_ns for path in run.path.iterdir() if path.name != "lease.json"}
        assert held(run.path)
        assert {path: path.stat().st_mtime_ns for path in run.path.iterdir() if path.name != "lease.json"} == before
    assert not held(run.path)
    with lease(run, launch_id="b"):
        pass


@pytest.mark.parametrize(("age_s", "inode", "is_at_work"), [(0, None, True), (120, None, False), (0, 1, False)])
def test_a_launcher_of_another_machine_is_known_by_its_lease(
    tmp_path: Path, age_s: float, inode: int | None, is_at_work: bool
) -> None:
    run = shown_run(tmp_path, state=SweepState.RUNNING, n_done=4)
    said_by("elsewhere", run.path, age_s=age_s, inode=inode)
    assert held(run.path) == is_at_work
    assert standing(run.path, [])["state"] == ("running" if is_at_work else "incomplete")


@pytest.mark.parametrize(
    ("state", "n_done", "n_failed", "wanted"),
    [
        (None, 0, 0, "waiting"), (SweepState.COMPLETE, 8, 0, "done"), (SweepState.COMPLETE, 7, 1, "done"),
        (SweepState.COMPLETE, 0, 8, "failed"), (SweepState.STOPPED, 3, 0, "stopped"),
        (SweepState.RUNNING, 3, 0, "incomplete"),
    ],
)  # fmt: skip
def test_every_state_is_told(tmp_path: Path, state: SweepState | None, n_done: int, n_failed: int, wanted: str) -> None:
    run = made_run.made_run(tmp_path, state=state, n_done=n_done, n_failed=n_failed)
    found = standing(run.path, [])
    assert (found["state"], found["n_trials"]) == (wanted, 8)
