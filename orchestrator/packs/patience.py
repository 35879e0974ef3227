"""Writing where the disk may be full: waits for room, with growing pauses, then gives up and says why."""

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from orchestrator.folder.files import disk_problems_explained
from trainer.errors import EnvironmentProblem
from trainer.pulse import pulse

T = TypeVar("T")

FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (*FULL, errno.EIO, errno.EROFS)
"""What a disk says, whoever asked: no trial's fault, and over when the disk is well again."""
PATIENCE_S = 600.0
LONGEST_PAUSE_S = 30.0
CHECKPOINTS_FREE, RESERVE = 2, 1.1
"""Room for so many checkpoints and a tenth is wanted before one is written."""


class DiskProblem(EnvironmentProblem):
    """The disk does not take what has to be written."""


class Patience:
    """For one worker: `patience(write)` is `write()`, later if it cannot be now."""

    def __init__(
        self, *, say: Callable[[str, str], None], stop: Callable[[], bool], patience_s: float = PATIENCE_S
    ) -> None:
        """`say`: an event's kind and its message. `stop` ends the waiting."""
        self._say, self._stop, self._patience_s = say, stop, patience_s
        self.is_waiting = False
        """For room. Whoever hears a pulse meanwhile must write nothing that waits, too."""
        self.waited_s = 0.0
        """In all."""

    def __call__(self, write: Callable[[], T]) -> T:
        """Raises DiskProblem where there is no room in time, or anything else is wrong with the disk."""
        waited_s, pause_s = 0.0, min(1.0, self._patience_s / 4)
        while True:
            try:
                result = write()
            except EnvironmentProblem as problem:
                is_full = isinstance(problem.__cause__, OSError) and problem.__cause__.errno in FULL
                if not is_full or waited_s >= self._patience_s or self._stop():
                    raise DiskProblem(f"disk: {problem}") from problem
                if waited_s == 0.0:
                    self._say("disk_full", f"waits for room on the disk: {problem}")
                self._pause(pause_s)
                waited_s += pause_s
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            if waited_s:
                self._say("disk_has_room", f"goes on after {waited_s:.0f} s without room on the disk")
            return result

    def _pause(self, pause_s: float) -> None:
        """A wait is no hang."""
        start_s, self.is_waiting = time.monotonic(), True
        try:
            while (left_s := start_s + pause_s - time.monotonic()) > 0 and not self._stop():
                pulse("disk")
                time.sleep(min(1.0, left_s))
        finally:
            self.is_waiting = False
            self.waited_s += time.monotonic() - start_s


def check_room(path: Path, n_bytes: float) -> None:
    """Raises EnvironmentProblem where there is no room for checkpoints of that size."""
    wanted = CHECKPOINTS_FREE * RESERVE * n_bytes
    with disk_problems_explained(path):
        free = shutil.disk_usage(path).free
        if free < wanted:
            raise OSError(errno.ENOSPC, f"{free / 1e6:.0f} MB are free, checkpoints want {wanted / 1e6:.0f} MB")
