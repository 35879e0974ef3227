"""`paper` as it runs by default: tasks as Ray's, side by side, in processes that may die."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from tests.orchestrator.paper.made import paper
from tests.orchestrator.paper.seeded_run import seeded_run
from tests.tiny import ROOT, Bench

pytestmark = pytest.mark.slow

ONLY = ("--only", "saes,geometry,norms")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_text: Path) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("on ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_FRONTIER_CACHE", str(folder / "cache"))
        forget()
        yield Bench(folder, tiny_model, tiny_text)
        forget()


@pytest.fixture(scope="module")
def run(bench: Bench) -> RunFolder:
    return seeded_run(bench)


@pytest.fixture(scope="module")
def here(run: RunFolder, bench: Bench) -> dict[str, object]:
    """What one process makes of it."""
    result = paper(run, *ONLY, "-o", str(bench.folder / "here"))
    assert result.exit_code == 0, result.output
    return tables(bench.folder / "here")


def tables(folder: Path) -> dict[str, object]:
    return {path.stem: pq.read_table(path).to_pylist() for path in sorted(folder.glob("*.parquet"))}


def command(run: RunFolder, output: Path) -> list[str]:
    return [sys.executable, "-m", "orchestrator", "paper", str(run.path), *ONLY, "-o", str(output), "--plain"]


def called(run: RunFolder, output: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(run, output),
        cwd=ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_side_by_side_it_comes_to_the_same_though_a_worker_dies(
    run: RunFolder, here: dict[str, object], bench: Bench
) -> None:
    output, once = bench.folder / "killed once", bench.folder / "once"
    faults = {"SAE_FRONTIER_FAULTS": "paper:norms:1=kill", "SAE_FRONTIER_FAULTS_ONCE": str(once)}
    result = called(run, output, **faults)
    assert (once / "fault-0").exists()
    assert result.returncode == 0, result.stderr
    assert tables(output) == here


def test_a_task_whose_worker_always_dies_is_told_and_the_others_are_done(
    run: RunFolder, here: dict[str, object], bench: Bench
) -> None:
    output = bench.folder / "always"
    result = called(run, output, SAE_FRONTIER_FAULTS="paper:norms=kill")
    assert result.returncode == 3
    assert "its worker died 3 times" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    found = tables(output)
    assert "norms" not in found
    assert found["geometry"] == here["geometry"]
    assert json.loads((output / "paper.json").read_text())["analyses"]["norms"]["done"] == 0


def test_after_ctrl_c_the_same_command_goes_on(run: RunFolder, here: dict[str, object], bench: Bench) -> None:
    output = bench.folder / "stopped"
    process = subprocess.Popen(
        command(run, output), cwd=ROOT, env=os.environ | {"SAE_FRONTIER_FAULTS": "paper:norms=hang"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        end_s = time.monotonic() + 120
        while not list(output.glob("cache/geometry/*")):
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < end_s
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
    kept = {path: path.stat().st_mtime_ns for path in output.glob("cache/geometry/*")}
    assert called(run, output).returncode == 0
    assert tables(output) == here
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
