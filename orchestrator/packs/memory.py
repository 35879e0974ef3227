"""When memory runs out: what counts as that, how it is said, and a guard that notices before the kernel kills.

A kernel that is out of memory kills a process without a word, and not always the one that is too large.
"""

import ctypes
import gc
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

LOOK_EVERY_S = 0.5
LEAST_LEFT = 0.03
"""Of the machine's memory: with less left the guard speaks."""
LEAST_OURS = 0.1
"""Of the machine's memory: a process that has less is not the one to give way."""
_SAYS_SO = re.compile(
    r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|Unable to allocate", re.IGNORECASE
)
_CGROUP = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_NO_LIMIT = 2**60


class MemoryGuard:
    """Looks now and then, and raises MemoryError while there is still room to do so."""

    def __init__(self) -> None:
        self._looked_s = 0.0

    def look(self) -> None:
        moment = time.monotonic()
        if moment - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = moment
        left, total = memory_left()
        ours = process_bytes()
        if left < LEAST_LEFT * total and ours > LEAST_OURS * total:
            raise MemoryError(
                f"this process has {_gib(ours)}, and of {_gib(total)} only {_gib(left)} are left; it gives way before "
                "the system ends it"
            )


def memory_left() -> tuple[float, float]:
    """Bytes that can still be had, and bytes in all: of this machine, or of its container or job if that has less."""
    machine = psutil.virtual_memory()
    found = [(float(machine.available), float(machine.total))]
    for folder, names in _control_groups():
        with suppress(OSError, ValueError, IndexError):
            limit = float((folder / names.limit).read_text())  # "max" is no number: no limit
            used = float((folder / names.used).read_text())
            text = (folder / "memory.stat").read_text()
            reclaimable = float(re.findall(rf"^{names.reclaimable} (\d+)$", text, re.MULTILINE)[0])
            if limit < _NO_LIMIT:
                found.append((limit - used + reclaimable, limit))
    return min(found)


class _Names(NamedTuple):
    """Files of a control group, and a line of its `memory.stat`."""

    limit: str
    used: str
    reclaimable: str


_V2 = _Names("memory.max", "memory.current", "inactive_file")
_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _control_groups() -> Iterator[tuple[Path, _Names]]:
    """Those that this process is in: a limit of any of them holds."""
    yield _CGROUP, _V2
    yield _CGROUP / "memory", _V1
    with suppress(OSError):
        for line in _OWN.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            parts = Path(path.lstrip("/")).parts
            root, names = (_CGROUP / "memory", _V1) if "memory" in controllers.split(",") else (_CGROUP, _V2)
            if controllers and names is _V2:  # of something else than memory
                continue
            for n in range(1, len(parts) + 1):
                yield root.joinpath(*parts[:n]), names


def process_bytes() -> float:
    """Of this process, in memory."""
    return float(psutil.Process().memory_info().rss)


def is_out_of_memory(problem: BaseException) -> bool:
    """Of a device or of this machine, by whatever name."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(problem, RuntimeError) and bool(_SAYS_SO.search(str(problem)))


def out_of_memory_text(problem: BaseException, device: str) -> str:
    """How much was needed and what there was, in a line or two."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    said = next((line for line in lines if _SAYS_SO.search(line)), lines[0] if lines else "no more could be had")
    left, total = memory_left()
    machine = f"the machine has {_gib(total)}, {_gib(left)} of it left; this process has {_gib(process_bytes())}"
    return f"out of memory on {device}: {said[:300].rstrip('.')} ({machine})"


def let_go() -> None:
    """Hand back what nobody uses any more, to the device and to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def killed_for_memory() -> int:
    """How many processes this machine's kernel has killed for want of memory so far; 0 where it does not say."""
    for path, pattern in (
        (_CGROUP / "memory.events", r"^oom_kill (\d+)$"),
        (Path("/proc/vmstat"), r"^oom_kill (\d+)$"),
    ):
        with suppress(OSError):
            if found := re.findall(pattern, path.read_text(), re.MULTILINE):
                return int(found[0])
    return 0


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.3g} GiB"
