"""What Ray runs is killed for real: workers, the driver, everything at once, a node. It ends as if nothing had been."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.folder.records import RowStatus
from orchestrator.folder.run_folder import RunFolder
from tests.orchestrator.forked import launched
from tests.orchestrator.test_killed import everything
from tests.tiny import Bench, finished, wait_until

pytestmark = pytest.mark.slow

OPTIONS = ("--slots", "2", "--set", "train.tokens=1280", "--set", "resources.trials_per_pack=4")
"""Packs of four trials, 40 steps each."""
ON_RAY = ("--plain", "--no-tracking", *OPTIONS)


@pytest.fixture(autouse=True)
def checkpoints_at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAE_FRONTIER_CHECKPOINT_S", "0")


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_text: Path) -> dict[str, object]:
    """What the sweep comes to undisturbed, in one process."""
    bench = Bench(tmp_path_factory.mktemp("twin"), tiny_model, tiny_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_FRONTIER_CACHE", str(bench.folder / "cache"))
        code, said = launched(bench, *OPTIONS)
    assert code == 0, said
    return everything(bench.run_folder)


def furthest(bench: Bench) -> int:
    """Step of the newest checkpoint of any pack."""
    return max((int(path.name) for path in bench.runs.glob("*/packs/*/checkpoints/[0-9]*")), default=0)


def check_like(bench: Bench, twin: dict[str, object]) -> RunFolder:
    assert everything(bench.run_folder) == twin
    folder = RunFolder(bench.run_folder)
    for path in folder.path.glob("journal/*.jsonl"):
        assert len(path.read_text().splitlines()) == len(folder.curve(path.stem))
    assert not list(folder.path.rglob("*.tmp"))
    return folder


def test_workers_that_die_or_hang_are_started_again_and_go_on(
    bench: Bench, twin: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    faults = "step:5=kill,checkpoint.before_rename:14=kill,step:20=stop,step:30=hang,evaluate:6=kill"
    monkeypatch.setenv("SAE_FRONTIER_FAULTS", faults)
    monkeypatch.setenv("SAE_FRONTIER_FAULTS_ONCE", str(bench.folder / "happened"))
    ran = bench.run(*ON_RAY, "--set", "resources.hung_after_minutes=0.5")
    assert ran.code == 0, ran
    assert len(list((bench.folder / "happened").iterdir())) == 5
    folder = check_like(bench, twin)
    events = [event.event for event in folder.events()]
    assert events.count("pack_waiting") >= 5
    assert events.count("pack_resumed") >= 4
    assert "Traceback" not in ran.err


def test_a_driver_that_is_killed_and_then_everything_at_once_costs_nothing_but_time(
    bench: Bench, twin: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    faults = "step:10=stop"  # workers stand still there, so that there is time to kill
    monkeypatch.setenv("SAE_FRONTIER_FAULTS", faults)
    process = bench.start(*ON_RAY)
    wait_until(process, lambda: furthest(bench) >= 9)
    orphans = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    finished(process)
    dead = RunFolder(bench.run_folder).holder()
    monkeypatch.setenv("SAE_FRONTIER_FAULTS", "step:25=stop")
    process = bench.start(*ON_RAY)  # at once
    wait_until(process, lambda: RunFolder(bench.run_folder).holder() != dead)
    for orphan in orphans:  # those that stood still when their driver died come back to life: others have their packs
        with suppress(psutil.NoSuchProcess):
            orphan.send_signal(signal.SIGCONT)
    wait_until(process, lambda: furthest(bench) >= 24)
    everybody = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in everybody:
        one.kill()
    finished(process)
    _, left = psutil.wait_procs([*everybody, *orphans], timeout=20)
    for helper in left:  # Ray's own, which notice late that nobody needs them
        helper.kill()
    monkeypatch.delenv("SAE_FRONTIER_FAULTS")
    ran = bench.run(*ON_RAY)
    assert ran.code == 0, ran
    folder = check_like(bench, twin)
    resumed = [event.fields["step"] for event in folder.events() if event.event == "pack_resumed"]
    assert max(step for step in resumed if isinstance(step, int)) >= 24
    events = [event.event for event in folder.events()]
    assert events.count("took_over") == 2
    again = bench.run(*ON_RAY)
    assert "8 of 8 trials were done already" in again.out


def test_ctrl_c_has_workers_write_checkpoints_before_they_leave(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SAE_FRONTIER_CHECKPOINT_S", "1e6")
    longer = (*ON_RAY, "--set", "train.tokens=640_000")
    process = bench.start(*longer)

    def trains() -> bool:
        statuses = [json.loads(path.read_text()) for path in bench.runs.glob("*/packs/*/status.json")]
        return any(status["state"] == "running" and status["step"] > 20 for status in statuses)

    wait_until(process, trains)
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for connection in one.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    os.killpg(process.pid, signal.SIGINT)
    ran = finished(process)
    assert ran.code == 130, ran
    assert listening == {"127.0.0.1"}
    stopped = [int(path.name) for path in bench.run_folder.glob("packs/*/checkpoints/*")]
    assert stopped
    assert min(stopped) > 0
    assert {row.status for row in RunFolder(bench.run_folder).rows()} == {RowStatus.STOPPED}


def test_a_node_that_leaves_has_its_packs_go_on_on_one_that_joins(
    bench: Bench, twin: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    script = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=0, include_dashboard=False))
node = cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(node, allow_graceful=False)
cluster.add_node(num_cpus=1)
print("another one", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""
    environment = bench.environment() | {"RAY_memory_monitor_refresh_ms": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    cluster = subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    try:
        address = cluster.stdout.readline().strip()
        monkeypatch.setattr(bench, "environment", lambda: environment | {"RAY_ADDRESS": address})
        process = bench.start(*ON_RAY)
        wait_until(process, lambda: furthest(bench) >= 9)
        cluster.stdin.write("leave\n")
        cluster.stdin.flush()
        ran = finished(process)
        assert ran.code == 0, ran
        check_like(bench, twin)
    finally:
        everybody = [psutil.Process(cluster.pid), *psutil.Process(cluster.pid).children(recursive=True)]
        for one in everybody:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        cluster.communicate()
