"""Room for packs, and that a pack in it takes no more threads than are its own."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.packs.held import forget
from orchestrator.packs.jobs import PackJob
from orchestrator.packs.worker import run_pack_here
from orchestrator.running import machine
from orchestrator.running.machine import free_bytes, room_for, usable_bytes
from orchestrator.running.pack_jobs import make_jobs, write_plan
from orchestrator.running.planned import LaunchOptions
from orchestrator.running.prepare import read_and_plan
from orchestrator.sweep.sweep_schema import Resources
from tests.tiny import Bench
from trainer.errors import EnvironmentProblem


@given(st.integers(1, 64), st.sampled_from([0.25, 0.5, 1, 2, 3, 8]))
def test_packs_side_by_side_have_a_cpu_for_each_of_their_threads(n_cpus: int, cpus_per_pack: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "n_cpus", lambda: n_cpus)
        resources = Resources(cpus_per_pack=cpus_per_pack)
        if cpus_per_pack > n_cpus:
            with pytest.raises(EnvironmentProblem, match=r"resources\.cpus_per_pack"):
                room_for(resources)
            return
        room = room_for(resources)
        job = PackJob(folder="/", pack_id="p", trial_ids=[], cache="/", cpus=cpus_per_pack)
        assert room.n_slots >= 1
        assert room.n_slots * cpus_per_pack <= n_cpus
        assert job.n_threads == max(1, math.floor(cpus_per_pack))


@given(st.integers(1, 16))
def test_slots_share_the_memory(n_slots: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "_memory_bytes", lambda: 16e9)
        room = room_for(Resources(), n_slots=n_slots)
    assert room.n_slots == n_slots
    assert room.memory_bytes * n_slots <= max(16e9 * machine.CPU_SHARE, 0)


def test_a_gpu_holds_what_others_left_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_bytes(80e9, None) == 72e9
    assert usable_bytes(80e9, 79e9) == 72e9
    assert usable_bytes(80e9, 30e9) == 29e9
    assert usable_bytes(80e9, 0.5e9) == 0
    assert free_bytes("81000\n 1024 \n") == [81000 * 2**20, 2**30]
    assert free_bytes("No devices were found\n") == free_bytes("") == []
    monkeypatch.setattr(machine, "_gpu_bytes", lambda: [70e9, 50e9])
    resources = Resources(gpus_per_pack=0.5, cpus_per_pack=0.1)
    assert room_for(resources).memory_bytes == 25e9
    assert room_for(resources).n_slots == 4


@pytest.mark.parametrize("cpus", [1, 3])
def test_a_pack_trains_with_the_threads_of_its_slot_not_with_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    forget()
    seen: set[int] = set()
    overrides = (f"model.name={bench.model}", f"data.dataset={bench.data}", f"resources.cpus_per_pack={cpus}")
    planned = read_and_plan(LaunchOptions(bench.sweep, overrides, bench.runs, tracking=False, n_slots=1))
    (job, *_) = make_jobs(planned, [])
    write_plan(planned, [job])
    before = torch.get_num_threads()
    try:
        monkeypatch.setattr("torch.autograd.grad", _spied(torch.autograd.grad, seen))
        run_pack_here(job.model_copy(update={"launch_id": ""}), stop=lambda: False)
    finally:
        torch.set_num_threads(before)
    assert seen == {cpus}


def _spied(real: Any, seen: set[int]) -> Any:
    """A function that notes with how many threads it was called."""

    def spy(*args: Any, **kwargs: Any) -> Any:
        seen.add(torch.get_num_threads())
        return real(*args, **kwargs)

    return spy
