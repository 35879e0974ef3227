"""`rates.json` in the cache folder: how fast machines were found to work, so that later plans need not guess.

One entry per device, threads, packs side by side, and versions: with another of these, work takes another time. A file
that cannot be read is as good as none; it is made again.
"""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock
from pydantic import Field, ValidationError

from orchestrator.folder.files import write_json
from orchestrator.planning.rates import Device, Rates
from trainer.values import Frozen

FILE = "rates.json"


class KeptRates(Frozen):
    """The file's content."""

    schema_version: int = 1
    machines: dict[str, Rates] = Field(default={})
    """By `machine_key`."""


def machine_key(device: Device, *, n_threads: int, n_slots: int) -> str:
    """What measured rates hold for. Asks PyTorch only where a GPU is meant."""
    versions = f"torch {_version('torch')}, sae-frontier {_version('sae-frontier')}"
    name = _gpu_name() if device == "gpu" else _cpu_name()
    return f"{name}, {n_threads} threads, {n_slots} at a time, {versions}"


def read_rates(cache: Path, key: str) -> Rates | None:
    """What was measured here before, if anything was."""
    return _read(cache / FILE).machines.get(key)


def keep_rates(cache: Path, key: str, rates: Rates) -> None:
    """Write them beside those of other machines. Raises EnvironmentProblem where the cache cannot be written."""
    path = cache / FILE
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        kept = _read(path)
        new = KeptRates(machines={**kept.machines, key: rates})
        write_json(path, new.model_dump(mode="json"))


def _read(path: Path) -> KeptRates:
    try:
        return KeptRates.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return KeptRates()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU here"


def _cpu_name() -> str:
    """Such as `Intel(R) Xeon(R) Processor`; what `platform` says on other systems than Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "a CPU"
