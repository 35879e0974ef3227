"""`doctor`: what is missing is found and its fix said; what is in order is not complained about."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.commands import doctor_machine as machine
from orchestrator.commands import doctor_places as places
from orchestrator.commands import doctor_sweep as needs
from orchestrator.commands.findings import Finding, looked
from orchestrator.folder.processes import started
from orchestrator.folder.records import SweepState
from tests.orchestrator.made_run import GONE, made_run
from tests.tiny import Bench

Usage = namedtuple("Usage", "total used free")


def doctor(*words: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *words])


def by_check(findings: Iterable[Finding], check: str) -> list[Finding]:
    return [finding for finding in findings if finding.check == check]


def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_nvidia_gpus", list)


def test_a_machine_that_has_everything_gets_0_and_leaves_no_trace(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_gpu(monkeypatch)
    ran = doctor("--quick", *bench.arguments())
    assert ran.exit_code == 0, ran.output
    assert "problem" not in ran.stdout
    for said in ("Python 3.", "torch ", "this sweep takes about", "2 blocks, d_model 16", "column 'text' of text"):
        assert said in ran.stdout
    assert not bench.runs.exists()
    assert not (bench.folder / "cache").exists()


def test_as_json_each_finding_has_a_check_a_level_a_text_and_a_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_gpu(monkeypatch)
    monkeypatch.setattr(machine, "_version_of", lambda name: "0.1" if name == "torch" else "99")
    ran = doctor("--quick", "--json", "--runs", str(tmp_path / "runs"))
    assert ran.exit_code == 4
    found = json.loads(ran.stdout)
    assert found["ok"] is False
    (torch,) = [line for line in found["findings"] if line["check"] == "torch"]
    assert torch["level"] == "problem"
    assert torch["text"].startswith("torch 0.1, wanted >=2.9")
    assert torch["fix"] == f"{sys.executable} -m pip install 'torch>=2.9,<=2.13.0'"


def test_a_package_that_is_not_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    real = machine._version_of
    monkeypatch.setattr(machine, "_version_of", lambda name: None if name == "ray" else real(name))
    (finding,) = by_check(machine.versions(), "ray")
    assert finding.level == "problem"
    assert "pip install 'ray[tune]==2.60.0'" in finding.fix or "pip install 'ray==2.60.0'" in finding.fix


@pytest.mark.parametrize(("wanted", "level"), [(1.0, "problem"), (0.0, "warning")])
def test_a_torch_for_cpus_beside_a_gpu_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: float, level: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA H100 80GB HBM3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", None)
    (finding,) = machine.gpus(wanted=wanted)
    assert finding.level == level
    assert "1 GPUs (NVIDIA H100 80GB HBM3)" in finding.text
    assert "is a build for CPUs alone" in finding.text
    assert "pip install --force-reinstall 'torch>=" in finding.fix


def test_hidden_gpus_are_said_to_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_nvidia_gpus", lambda: ["H100"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", "12.8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (finding,) = machine.gpus(wanted=1)
    assert "CUDA_VISIBLE_DEVICES=''" in finding.text


def test_a_sweep_for_gpus_on_a_machine_without_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    no_gpu(monkeypatch)
    (finding,) = machine.gpus(wanted=1)
    assert finding.level == "problem"
    assert "resources.gpus_per_pack=0" in finding.fix


def test_too_little_room_is_found_before_it_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 9, 2**31))
    (fits,) = places.folder("runs", tmp_path, need_bytes=2**30, what="this sweep")
    (full,) = places.folder("runs", tmp_path, need_bytes=2**31, what="this sweep")
    assert (fits.level, full.level) == ("ok", "problem")
    assert "this sweep takes about 2.0 GiB" in full.text


def test_a_place_that_cannot_be_written_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = places.folder("runs", Path("/proc/nowhere/runs"))
    assert finding.level == "problem"
    assert "cannot write in /proc" in finding.text
    assert "--runs DIR" in finding.fix


def test_a_place_without_locks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    found = list(places.folder("runs", tmp_path))
    assert [finding.level for finding in found] == ["problem", "ok"]
    assert "does not lock files" in found[0].text


def test_a_run_that_was_cut_off_and_its_worker_that_lives_on_are_found(tmp_path: Path) -> None:
    folder = made_run(tmp_path, state=SweepState.RUNNING, n_done=4, pid=GONE)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        status = folder.pack_status("bbbbbbbbbbbb")
        assert status is not None
        told = {"pid": worker.pid, "pid_started": started(worker.pid), "host": os.uname().nodename}
        folder.write_pack_status(status.model_copy(update=told))
        found = list(needs.leftovers(tmp_path))
        folder.write_pack_status(status.model_copy(update=told | {"pid_started": 1}))
        of_another = list(needs.leftovers(tmp_path))
        worker.communicate(b"\n")
    assert [(finding.check, finding.level) for finding in found] == [
        ("runs", "warning"), ("workers", "problem"), ("runs", "ok"),
    ]  # fmt: skip
    assert found[0].fix.endswith(f"resume {folder.path}")
    assert found[1].fix == f"kill {worker.pid}"
    assert "workers" not in [finding.check for finding in of_another]


@pytest.mark.parametrize(
    ("address", "level"),
    [("http://me:secret@127.0.0.1:9", "warning"), ("gopher://me:secret@127.0.0.1:9", "problem")],
)
def test_an_mlflow_that_may_come_is_a_warning_and_one_that_cannot_is_a_problem(address: str, level: str) -> None:
    (finding,) = looked("mlflow", lambda: needs.mlflow(lambda: address))
    assert finding.level == level
    assert "127.0.0.1:9" in finding.text
    assert "secret" not in finding.text


def test_a_model_that_cannot_be_had_is_a_problem_and_the_rest_is_looked_at(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_gpu(monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    ran = doctor("--quick", *bench.arguments("--set", "model.name=nobody/has-this-model"))
    assert ran.exit_code == 4
    assert ran.stdout.startswith("problem  ")
    assert "nobody/has-this-model" in ran.stdout.splitlines()[0]
    assert "Python 3." in ran.stdout


def test_a_sweep_that_is_wrong_anywhere_is_bad_input(bench: Bench) -> None:
    ran = doctor("--quick", *bench.arguments("--set", "train.tokenz=1"))
    assert ran.exit_code == 2
    assert "did you mean 'tokens'" in ran.stderr


def test_a_check_that_breaks_takes_no_other_with_it() -> None:
    def broken() -> Iterable[Finding]:
        raise OSError("no such thing here")

    (finding,) = looked("clock", broken)
    assert (finding.level, finding.text) == ("warning", "cannot be told: OSError: no such thing here")


@pytest.mark.slow
def test_ray_is_started_and_ended_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    no_gpu(monkeypatch)
    ran = doctor("--runs", str(tmp_path / "runs"))
    assert ran.exit_code == 0, ran.output
    assert "Ray starts: " in ran.stdout
    assert "mlflow.db answers or can be made" in ran.stdout
    assert not (tmp_path / "runs").exists()


def test_a_folder_whose_clock_differs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 90)
    (skew, _) = places.folder("runs", tmp_path)
    assert (skew.check, skew.level) == ("clock", "warning")
    assert "90 s off" in skew.text
