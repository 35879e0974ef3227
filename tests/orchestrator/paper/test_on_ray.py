"""`paper` as it runs by default: tasks as Ray's, side by side, in processes that may die."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from tests.orchestrator.paper.made import paper
from tests.orchestrator.paper.seeded_run import seeded_run
from tests.tiny import Bench, finished, wait_until

pytestmark = pytest.mark.slow

ONLY = ("--only", "saes,geometry,norms")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_text: Path) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("on ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_FRONTIER_CACHE", str(folder / "cache"))
        forget()
        made = Bench(folder, tiny_model, tiny_text)
        yield made
        made.end_all()
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


def started(bench: Bench, run: RunFolder, output: Path, **environ: str) -> "subprocess.Popen[str]":
    return bench.started("orchestrator", "paper", str(run.path), *ONLY, "-o", str(output), "--plain", **environ)


def test_side_by_side_it_comes_to_the_same_though_a_worker_dies(
    run: RunFolder, here: dict[str, object], bench: Bench
) -> None:
    output, once = bench.folder / "killed once", bench.folder / "once"
    faults = {"SAE_FRONTIER_FAULTS": "paper:norms:1=kill", "SAE_FRONTIER_FAULTS_ONCE": str(once)}
    result = finished(started(bench, run, output, **faults))
    assert (once / "fault-0").exists()
    assert result.code == 0, result
    assert tables(output) == here


def test_a_task_whose_worker_always_dies_is_told_and_the_others_are_done(
    run: RunFolder, here: dict[str, object], bench: Bench
) -> None:
    output = bench.folder / "always"
    result = finished(started(bench, run, output, SAE_FRONTIER_FAULTS="paper:norms=kill"))
    assert result.code == 3, result
    assert "its worker died 3 times" in result.out
    assert "Traceback" not in result.out + result.err
    found = tables(output)
    assert "norms" not in found
    assert found["geometry"] == here["geometry"]
    assert json.loads((output / "paper.json").read_text())["analyses"]["norms"]["done"] == 0


def test_after_ctrl_c_the_same_command_goes_on(run: RunFolder, here: dict[str, object], bench: Bench) -> None:
    output = bench.folder / "stopped"
    process = started(bench, run, output, SAE_FRONTIER_FAULTS="paper:norms=hang")
    wait_until(process, lambda: bool(list(output.glob("cache/geometry/*"))))
    process.send_signal(signal.SIGINT)
    stopped = finished(process, timeout_s=60)
    assert stopped.code == 130, stopped
    kept = {path: path.stat().st_mtime_ns for path in output.glob("cache/geometry/*")}
    again = finished(started(bench, run, output))
    assert again.code == 0, again
    assert tables(output) == here
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
