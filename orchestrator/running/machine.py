"""What this machine has for packs: how many run side by side, and with how much memory each."""

import os
import subprocess
from dataclasses import dataclass
from math import floor

from orchestrator.running.run import does_not_fit
from orchestrator.sweep.sweep_schema import Resources
from trainer.errors import EnvironmentProblem

CPU_SHARE = 0.6
"""Of the memory, for packs: the rest is for Ray, the driver and whoever else is here."""
GPU_SHARE = 0.9
GPU_CONTEXT_BYTES = 1e9
"""Of each process on a GPU, beside what PyTorch allocates."""
MOST_CPU_BYTES = 8e9
"""More for one pack on a CPU makes it slow, not better."""


@dataclass(frozen=True)
class Room:
    """For packs of one size."""

    n_slots: int
    memory_bytes: float
    """Of each slot."""
    what: str
    """For people, such as `2 CPUs`."""


def n_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def room_for(resources: Resources, *, n_slots: int | None = None, only_look: bool = False) -> Room:
    """Room on this machine, or for `n_slots` packs where that many are known to fit elsewhere.

    Raises EnvironmentProblem where not even one pack fits, unless packs run elsewhere or `only_look` is set.
    """
    cpus, gpus = resources.cpus_per_pack, resources.gpus_per_pack
    elsewhere = only_look or n_slots is not None or bool(os.environ.get("RAY_ADDRESS"))
    gpu_bytes = _gpu_bytes() if gpus > 0 else []
    fit = floor(n_cpus() / cpus)
    if gpus > 0:
        fit = min(fit, floor(len(gpu_bytes) / gpus))
    if fit < 1 and not elsewhere:
        raise EnvironmentProblem(does_not_fit(cpus, gpus, have=[(n_cpus(), len(gpu_bytes))]))
    fit = n_slots or max(1, fit)
    if gpus > 0:
        memory = min(gpu_bytes, default=64e9) * min(1.0, gpus)
        return Room(fit, memory, f"{len(gpu_bytes)} GPUs" if len(gpu_bytes) != 1 else "1 GPU")
    return Room(fit, min(MOST_CPU_BYTES, _memory_bytes() * CPU_SHARE / fit), f"{n_cpus()} CPUs")


def usable_bytes(total: float, free: float | None) -> float:
    """Of a GPU, for what packs allocate: most of it, or what others left. `free`: None where nobody knows."""
    most = total * GPU_SHARE
    return most if free is None else max(0.0, min(most, free - GPU_CONTEXT_BYTES))


def free_bytes(said: str) -> list[float]:
    """From what `nvidia-smi` says of free memory: a line of MiB for each GPU."""
    lines = [line.strip() for line in said.splitlines()]
    return [float(line) * 2**20 for line in lines if line.isdecimal()]


def _memory_bytes() -> float:
    import psutil

    return float(psutil.virtual_memory().total)


def _gpu_bytes() -> list[float]:
    """Of each GPU, what packs can use. Does not touch the GPUs: a process that does so takes memory on each."""
    import torch

    if not torch.cuda.is_available():
        return []
    totals = [float(torch.cuda.get_device_properties(i).total_memory) for i in range(torch.cuda.device_count())]
    free: list[float] = free_bytes(_nvidia_smi())
    known = free if len(free) == len(totals) else [None] * len(totals)
    return [usable_bytes(total, left) for total, left in zip(totals, known, strict=True)]


def _nvidia_smi() -> str:
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
