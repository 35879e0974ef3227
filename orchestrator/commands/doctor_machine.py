"""What a machine has for sweeps: versions, CPUs, memory, GPUs, limits. `doctor_places.py` has disks and clocks.

Reads what the system says of itself; loads PyTorch only where there is a GPU to ask it about. Linux knows most.
"""

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from orchestrator.commands.findings import Finding, gib, ok, problem, warning
from orchestrator.running.machine import n_cpus

DISTRIBUTION = "sae-frontier"
NAMED = ("torch", "ray", "mlflow", "transformers", "datasets")
"""Packages that get a line of their own; the others share one."""
FEWEST_FILES = 4096
SHM_BYTES = 128 * 2**20
LEAST_MEMORY = 2 * 2**30
PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
_CGROUP = Path("/sys/fs/cgroup")


def versions() -> Iterator[Finding]:
    """Python and each package against the bounds of `pyproject.toml`."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    wanted_python, lines = _wanted()
    python = platform.python_version()
    if SpecifierSet(wanted_python).contains(python, prereleases=True):
        yield ok("python", f"Python {python} (wanted {wanted_python})")
    else:
        yield problem("python", f"Python {python}, wanted {wanted_python}", "make the environment with a newer Python")
    others = 0
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name, wanted = requirement.name, _after_name(line)
        found = _version_of(name)
        install = f"{sys.executable} -m pip install '{name}{wanted}'"
        if found is None:
            yield problem(name, f"{name} is not installed, wanted {wanted or 'any version'}", install)
        elif not requirement.specifier.contains(found, prereleases=True):
            yield problem(name, f"{name} {found}, wanted {wanted}", install)
        elif name.lower() in NAMED:
            yield ok(name, f"{name} {found} (wanted {wanted})")
        else:
            others += 1
    yield ok("packages", f"{others} more packages are as wanted")


def cpus() -> Iterator[Finding]:
    """What this process may use, and whether threads are held back."""
    may, has = n_cpus(), os.cpu_count() or 1
    quota = _cpu_quota()
    text = f"{may} CPUs" if may == has else f"{may} of {has} CPUs"
    if quota is not None and quota < may:
        fix = f"give the container more CPUs, or launch with --slots {max(1, int(quota))}"
        yield warning("cpus", f"{text}, and a limit of {quota:g} CPUs of time for all of them", fix)
    else:
        yield ok("cpus", text)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value) > may:
            yield warning("threads", f"{name}={value} is more than {may} CPUs", f"unset {name}: packs set their own")


def memory() -> Iterator[Finding]:
    """What can be had now, of the machine or of the container if that has less."""
    from orchestrator.packs.memory import memory_left

    left, total = memory_left()
    text = f"{gib(left)} of {gib(total)} of memory free"
    if left < LEAST_MEMORY:
        yield warning("memory", text, "close what else runs here; a pack on GPT2-small takes 2 GiB and more")
    else:
        yield ok("memory", text)


def gpus(*, wanted: float) -> Iterator[Finding]:
    """GPUs that are there, and whether PyTorch sees them. `wanted`: of one pack."""
    there = _nvidia_gpus()
    if not there:
        if wanted:
            fix = "run it on a machine with a GPU, or add --set resources.gpus_per_pack=0"
            yield problem("gpu", f"no GPU is here, and a pack of this sweep wants {wanted:g}", fix)
        else:
            yield ok("gpu", "no GPU; packs train on the CPU")
        return
    import torch

    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    text = f"{len(there)} GPUs ({', '.join(dict.fromkeys(there))})"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen:
        yield ok("gpu", f"{text}, PyTorch sees {seen}")
        if not wanted:
            yield warning("gpu", "a pack of this sweep asks for none", "add --set resources.gpus_per_pack=1")
        return
    say = problem if wanted else warning
    if torch.version.cuda is None:
        fix = f"{sys.executable} -m pip install --force-reinstall 'torch{_bounds('torch')}', without a CPU index"
        yield say("gpu", f"{text}, and PyTorch {torch.__version__} is a build for CPUs alone", fix)
    elif visible is not None:
        fix = "unset CUDA_VISIBLE_DEVICES, or name devices in it"
        yield say("gpu", f"{text}, and CUDA_VISIBLE_DEVICES={visible!r} hides them", fix)
    else:
        fix = f"bring the driver up to what CUDA {torch.version.cuda} needs: compare with nvidia-smi"
        yield say("gpu", f"{text}, and PyTorch for CUDA {torch.version.cuda} cannot use them", fix)


def limits() -> Iterator[Finding]:
    """Open files and shared memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{'any number of' if soft == resource.RLIM_INFINITY else soft} open files"
    may_raise = hard == resource.RLIM_INFINITY or hard >= FEWEST_FILES
    if soft != resource.RLIM_INFINITY and soft < FEWEST_FILES and not may_raise:
        yield warning(
            "open files", f"{text} at most", f"raise the limit: ulimit -n {FEWEST_FILES}, or in Docker --ulimit"
        )
    else:
        raised = "" if soft == resource.RLIM_INFINITY or soft >= FEWEST_FILES else "; Ray raises that by itself"
        yield ok("open files", f"{text}{raised}")
    shm = Path("/dev/shm")
    if shm.is_dir():
        free = shutil.disk_usage(shm).free
        if free < SHM_BYTES:
            fix = "free it, or in Docker add --shm-size=1g (compose: shm_size)"
            yield warning(
                "/dev/shm", f"/dev/shm has {gib(free)} free, and Ray wants {gib(SHM_BYTES)}; it would use a disk", fix
            )
        else:
            yield ok("/dev/shm", f"/dev/shm has {gib(free)} free")


def _wanted() -> tuple[str, list[str]]:
    """The Python and the packages that this program asks for: of `pyproject.toml`, else as it was installed."""
    if PROJECT.exists():
        import tomllib

        project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
        return project["requires-python"], project["dependencies"]
    found = metadata.metadata(DISTRIBUTION)
    return found["Requires-Python"] or ">=3.11", metadata.requires(DISTRIBUTION) or []


def _bounds(name: str) -> str:
    return next((_after_name(line) for line in _wanted()[1] if re.match(rf"{name}\b", line)), "")


def _after_name(requirement: str) -> str:
    """The bounds, the lower bound first: builders of packages write them down in any order."""
    wanted = re.sub(r"^[\w.-]+(\[[^]]*\])?", "", requirement.partition(";")[0]).strip()
    return ",".join(sorted(wanted.split(","), reverse=True))


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_quota() -> float | None:
    """CPUs' worth of time that a container gets; None for no limit."""
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # "max" is no number: no limit
        return None


def _nvidia_gpus() -> list[str]:
    """Their names, as the driver tells them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in told.stdout.splitlines() if line.strip()]
