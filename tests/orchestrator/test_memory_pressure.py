"""Memory that really runs out: allocations that the system refuses, and a control group that is nearly full."""

import os
import resource
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch

from orchestrator.folder.records import RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.packs.memory import LEAST_LEFT, MemoryGuard, memory_left
from tests.orchestrator.forked import Child
from tests.tiny import Bench

pytestmark = pytest.mark.slow

MB = 2**20
GROUPS = Path("/sys/fs/cgroup/memory")
"""Of the first version: the second lets nobody make groups below one that has processes."""


@pytest.fixture(autouse=True)
def checkpoints_at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAE_FRONTIER_CHECKPOINT_S", "0")
    forget()


def n_training(bench: Bench) -> int:
    """Trials of the pack that is being trained."""
    folder = RunFolder(bench.run_folder)
    plan = folder.plan()
    assert plan is not None
    statuses = (folder.pack_status(pack_id) for pack_id in plan.packs)
    return max((len(status.trial_ids) for status in statuses if status and status.state == "running"), default=0)


def check_split(bench: Bench, said: str) -> None:
    folder = RunFolder(bench.run_folder)
    events = [event for event in folder.events() if event.event == "pack_split"]
    assert len(events) >= 2, said
    assert all((event.fields["step"] or 0) > 0 for event in events)
    assert {row.status for row in folder.rows()} == {RowStatus.DONE}
    assert len(folder.rows()) == 8


def test_a_pack_whose_memory_the_system_refuses_is_split(bench: Bench) -> None:
    """Each trial wants 700 MB more at its step, and there are two gigabytes."""

    def hook(place: str, number: int | None) -> None:
        if (place, number) == ("step", 1):
            used = psutil.Process().memory_info().vms
            resource.setrlimit(resource.RLIMIT_AS, (used + 2048 * MB, -1))
        if (place, number) == ("step", 5):
            torch.empty(n_training(bench) * 700 * MB, dtype=torch.uint8)

    child = Child(bench, "--slots", "2", hook=hook)
    assert child.wait() == 0, child.said
    assert "out of memory on cpu: " in child.said
    assert "can't allocate memory" in child.said
    check_split(bench, child.said)


@contextmanager
def control_group(limit_bytes: int) -> Generator[Path]:
    """One with that limit. Skips the test where none can be made."""
    folder = GROUPS / f"sae-frontier-test-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(limit_bytes))
    except OSError:
        pytest.skip("no control group can be made here")
    try:
        yield folder
    finally:
        folder.rmdir()


def test_a_process_gives_way_before_its_control_group_is_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds grows at each step while more than two trials share it; nobody is killed."""
    ballast: list[bytes] = []
    look = MemoryGuard.look

    def looked(guard: MemoryGuard) -> None:
        try:
            look(guard)
        except MemoryError:
            ballast.clear()  # what the larger pack needed
            raise

    monkeypatch.setattr(MemoryGuard, "look", looked)
    limit, room = 4000 * MB, 100 * MB  # more than a few steps take, less than the guard wants to see
    assert room < LEAST_LEFT * limit
    with control_group(limit) as group:

        def hook(place: str, number: int | None) -> None:
            if (place, number) == ("step", 1) and str(os.getpid()) not in (group / "cgroup.procs").read_text().split():
                (group / "cgroup.procs").write_text(str(os.getpid()))
                assert memory_left()[1] == limit
            if place == "step" and (number or 0) >= 5 and n_training(bench) > 2:
                left, _ = memory_left()
                ballast.append(os.urandom(1) * max(1, int(left - room)))
                time.sleep(0.6)

        child = Child(bench, "--slots", "2", hook=hook)
        assert child.wait() == 0, child.said
    assert "it gives way before the system ends it" in child.said
    check_split(bench, child.said)
