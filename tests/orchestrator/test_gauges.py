"""A running sweep's numbers for Prometheus, and that the board asks for names that a real run exports."""

import json
import re
import time
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.folder.records import PackState, PackStatus, SweepState, SweepStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.jobs import PackOutcome
from orchestrator.running.gauges import GAUGES, TOKENS, TRIALS, readings
from orchestrator.running.run import run_on_ray
from orchestrator.running.stopping import StopRequest, signals_handled
from tests.orchestrator.packs import SmallPack
from tests.tiny import ROOT, Bench

BOARD = ROOT / "dashboards/grafana/board.json"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONLY_WITH_A_GPU = {"ray_node_gpus_utilization", "ray_node_gram_used"}


def names_on_the_board() -> set[str]:
    texts = [target["expr"] for panel in json.loads(BOARD.read_text())["panels"] for target in panel["targets"]]
    return {name for text in texts for name in re.findall(r"\bray_\w+", text)}


def write_status(folder: RunFolder, packs: Mapping[str, PackState]) -> None:
    folder.write_status(
        SweepStatus(
            sweep_id="s-1", state=SweepState.RUNNING, n_trials=9, n_done=4, n_failed=1, n_running=3, packs=dict(packs),
            started_at=NOON, updated_at=NOON,
        )
    )  # fmt: skip


def test_the_gauges_say_how_a_sweep_stands(tmp_path: Path):
    folder = RunFolder(tmp_path / "s-1")
    assert list(readings(folder, tracking=False)) == []
    write_status(folder, {"p1": PackState.RUNNING, "p2": PackState.DONE, "p3": PackState.WAITING})
    for pack_id in ("p1", "p2"):
        folder.write_pack_status(
            PackStatus(pack_id=pack_id, state=PackState.RUNNING, trial_ids=[], tokens_per_s=700.0, updated_at=NOON)
        )
    found = {(each.name, *sorted(each.labels.values())): each.value for each in readings(folder, tracking=False)}
    assert found == {
        (TOKENS, "p1", "s-1"): 700, (TOKENS, "p2", "s-1"): 0, (TOKENS, "p3", "s-1"): 0,
        (TRIALS, "done", "s-1"): 4, (TRIALS, "failed", "s-1"): 1, (TRIALS, "running", "s-1"): 3,
        (TRIALS, "s-1", "stopped"): 0, (TRIALS, "s-1", "waiting"): 1,
    }  # fmt: skip
    for reading in readings(folder, tracking=True):
        assert set(reading.labels) == set(GAUGES[reading.name].labels)


def test_the_board_asks_for_all_of_our_gauges_and_says_what_each_panel_is():
    assert {f"ray_{name}" for name in GAUGES} <= names_on_the_board()
    for panel in json.loads(BOARD.read_text())["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")


@pytest.mark.slow
def test_a_real_run_exports_every_name_that_the_board_asks_for(bench: Bench):
    pytest.importorskip("prometheus_client", reason="Ray exports no metrics without ray[default] (the test extra)")
    pytest.importorskip("opencensus", reason="Ray exports no metrics without ray[default] (the test extra)")
    job = SmallPack(bench).fresh()
    folder = RunFolder(Path(job.folder))
    write_status(folder, {job.pack_id: PackState.RUNNING})
    wanted = names_on_the_board() - ONLY_WITH_A_GPU
    found: set[str] = set()

    def read_metrics(_: dict[str, PackOutcome]) -> list[None]:
        import ray

        port = ray.nodes()[0]["MetricsExportPort"]
        deadline_s = time.monotonic() + 90
        while not wanted <= found and time.monotonic() < deadline_s:
            time.sleep(1)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                found.update(re.findall(r"^(ray_\w+)", answer.read().decode(), flags=re.MULTILINE))
        return []

    with signals_handled(StopRequest(folder.path)) as stop:
        run_on_ray([job], folder=folder.path, stop=stop, after=read_metrics, tracking=True)
    assert wanted - found == set()


def test_the_names_of_gpu_numbers_are_those_of_the_pinned_ray():
    import ray

    text = (Path(ray.__file__).parent / "dashboard/modules/reporter/reporter_agent.py").read_text()
    for name in ONLY_WITH_A_GPU:
        assert f'"{name.removeprefix("ray_")}"' in text
