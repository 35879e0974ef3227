"""One launch at a time, and nobody is kept out by one that is gone."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.folder.clock import now
from orchestrator.folder.lease import STALE_AFTER_S, is_current, lease, who_holds
from orchestrator.folder.processes import is_running, kill, started
from orchestrator.folder.records import PackState, PackStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.fence import Fence, Fenced, attempts
from orchestrator.packs.jobs import PackJob
from orchestrator.running.hung import HungWatch
from tests.tiny import ROOT
from trainer.errors import EnvironmentProblem

HOLD = """
import sys, time
from pathlib import Path
from orchestrator.folder.lease import lease
from orchestrator.folder.run_folder import RunFolder
with lease(RunFolder(Path(sys.argv[1])), launch_id="first"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "größe mit Leerzeichen").mkdir()
    return RunFolder(tmp_path / "größe mit Leerzeichen")


def holding(folder: RunFolder) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_launch_is_refused_by_name_and_a_dead_one_is_in_nobodys_way(folder: RunFolder):
    assert who_holds(folder) is None
    with holding(folder) as process:
        holder = who_holds(folder)
        assert holder is not None
        assert (holder.pid, holder.host, holder.launch_id) == (process.pid, socket.gethostname(), "first")
        assert is_current(folder, "first")
        with pytest.raises(EnvironmentProblem, match=f"by process {process.pid} on {socket.gethostname()} since 20"):
            lease(folder, launch_id="second").__enter__()
        process.kill()
        process.wait()
        assert who_holds(folder) is None
        assert not is_current(folder, "first")
        with lease(folder, launch_id="second") as before:
            assert before == holder
            assert is_current(folder, "second")
            assert who_holds(folder) is not None
    assert who_holds(folder) is None
    with lease(folder, launch_id="third") as before:
        assert before is None


def test_a_holder_on_another_machine_counts_while_its_lease_is_fresh(folder: RunFolder):
    with lease(folder, launch_id="x"):
        here = folder.holder()
    assert here is not None
    elsewhere = here.model_copy(update={"host": "elsewhere", "pid": 1})
    folder.write_holder(elsewhere)
    assert who_holds(folder) == elsewhere
    with pytest.raises(EnvironmentProblem, match="process 1 on elsewhere"):
        lease(folder, launch_id="y").__enter__()
    old = time.time() - 2 * STALE_AFTER_S
    os.utime(folder.lease, (old, old))
    assert who_holds(folder) is None
    with lease(folder, launch_id="y") as before:
        assert before == elsewhere


def test_a_copy_of_a_run_folder_is_held_by_nobody(folder: RunFolder):
    with lease(folder, launch_id="x"):
        here = folder.holder()
    assert here is not None
    folder.write_holder(here.model_copy(update={"host": "elsewhere", "folder_inode": 1}))
    assert who_holds(folder) is None
    with lease(folder, launch_id="y"):
        pass


def test_a_lease_that_cannot_be_read_keeps_nobody_out(folder: RunFolder):
    folder.lease.write_text("{")
    with lease(folder, launch_id="y") as before:
        assert before is None


def test_a_process_is_known_by_its_start_and_not_by_its_number_alone():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        born = started(process.pid)
        assert born is not None
        assert is_running(process.pid, born)
        assert not is_running(process.pid, born + 1)
        assert not kill(process.pid, born + 1, 9)
        assert not kill(process.pid, None, 9)
        assert kill(process.pid, born, 9)
        process.wait()
    assert not is_running(process.pid, born)
    assert not kill(os.getpid(), started(os.getpid()), 9), "nobody ends himself"


def a_job(folder: RunFolder, **changes: object) -> PackJob:
    return PackJob(folder=str(folder.path), pack_id="p000", trial_ids=[], cache="").model_copy(update=changes)


def test_of_two_attempts_at_a_pack_the_newer_writes(folder: RunFolder):
    first, second = Fence(folder, a_job(folder)), Fence(folder, a_job(folder))
    first.take()
    first.check()
    second.take()
    second.check()
    with pytest.raises(Fenced):
        first.check()
    assert (first.attempt, second.attempt, attempts(folder, "p000")) == (1, 2, 2)


def test_a_run_folder_that_was_removed_is_written_by_nobody(folder: RunFolder):
    fence = Fence(folder, a_job(folder))
    fence.take()
    (folder.path / "packs" / "p000" / "owner").unlink()
    with pytest.raises(Fenced):
        fence.check()


def test_a_worker_whose_driver_was_killed_stops(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("orchestrator.packs.fence.LAUNCH_EVERY_S", 0.0)
    with holding(folder) as process:
        fence = Fence(folder, a_job(folder, launch_id="first"))
        fence.take()
        process.kill()
        process.wait()
        with pytest.raises(Fenced, match="the launch that started this worker is over"):
            fence.check_launch()


def a_status(pid: int | None, *, born: int | None, step: int = 3, state: PackState = PackState.RUNNING) -> PackStatus:
    host = socket.gethostname()
    return PackStatus(
        pack_id="p000", state=state, trial_ids=[], step=step, pid=pid, pid_started=born, host=host, updated_at=now()
    )


def test_a_worker_whose_status_stands_still_is_ended_once(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 10_000, 5))
    monkeypatch.setattr("orchestrator.running.hung.time.monotonic", lambda: float(next(clock)))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        watch = HungWatch(20.0)
        moving = [a_status(process.pid, born=started(process.pid), step=step) for step in range(10)]
        assert [watch.look({"p000": status}) for status in moving] == [[]] * 10
        still = moving[-1]
        looks = [watch.look({"p000": still}) for _ in range(3)]
        assert looks == [[]] * 3
        assert process.poll() is None
        assert watch.look({"p000": still}) == [(still, True)]
        assert process.wait() == -9
        assert watch.look({"p000": still}) == []


def test_nobody_is_ended_for_a_time_in_which_the_driver_itself_stood_still(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 1.0, 100_000.0, 100_001.0])
    monkeypatch.setattr("orchestrator.running.hung.time.monotonic", lambda: next(clock))
    watch, status = HungWatch(60.0), a_status(None, born=None)
    assert [watch.look({"p000": status}) for _ in range(3)] == [[], [], []]


def test_a_worker_elsewhere_is_told_of_and_left_alone(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 10_000, 5))
    monkeypatch.setattr("orchestrator.running.hung.time.monotonic", lambda: float(next(clock)))
    status = a_status(os.getpid(), born=started(os.getpid())).model_copy(update={"host": "elsewhere"})
    watch = HungWatch(5.0)
    assert [found for _ in range(4) for found in watch.look({"p000": status})] == [(status, False)]
