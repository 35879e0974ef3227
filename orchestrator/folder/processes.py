"""Which process is meant: its number alone may be somebody else's by now. Knows this host only."""

import os
from functools import cache
from pathlib import Path

_TEXT_AFTER_NAME = 19
"""Place of the start time in `/proc/PID/stat`, counted after the process's name."""


@cache
def boot_id() -> str | None:
    """Of this host's kernel, new at each boot; None where there is none to read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def started(pid: int) -> int | None:
    """When a process started, in a measure of its own that no change of the clock touches. None if it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return _started_elsewhere(pid) if not Path("/proc/self/stat").exists() else None
    return None if words[0] in (b"Z", b"X") else int(words[_TEXT_AFTER_NAME])


def is_running(pid: int, pid_started: int | None) -> bool:
    """Whether that very process runs; without its start, whether some process has the number."""
    found = started(pid)
    return found is not None and pid_started in (None, found)


def kill(pid: int, pid_started: int | None, number: int) -> bool:
    """Send a signal to that very process. False if it is gone or not ours."""
    if pid == os.getpid() or pid_started is None or not is_running(pid, pid_started):
        return False
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _started_elsewhere(pid: int) -> int | None:
    """Where there is no `/proc`."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time())
    except psutil.Error:
        return None
