"""Workers that do nothing any more, as the driver sees them: their status stands still. It ends those on its own host.

A worker has a timer of its own (`watchdog.py`), which a process that was stopped as a whole cannot run.
"""

import os
import signal
import socket
import time
from collections.abc import Mapping

from orchestrator.folder import processes
from orchestrator.folder.records import PackState, PackStatus

LONGEST_LOOK_S = 10.0
"""Time between two looks that counts: if this process stood still itself, nobody else is to blame."""


class HungWatch:
    """Measures for how long each running pack's status has stood still."""

    def __init__(self, hung_after_s: float) -> None:
        self._hung_after_s = hung_after_s
        self._seen: dict[str, PackStatus] = {}
        self._idle_s: dict[str, float] = {}
        self._looked_s = time.monotonic()

    def look(self, statuses: Mapping[str, PackStatus]) -> list[tuple[PackStatus, bool]]:
        """Packs that are found to hang, each once, and whether their worker was ended."""
        moment = time.monotonic()
        passed_s, self._looked_s = min(moment - self._looked_s, LONGEST_LOOK_S), moment
        hung: list[tuple[PackStatus, bool]] = []
        for pack_id, status in statuses.items():
            if status.state is not PackState.RUNNING or self._seen.get(pack_id) != status:
                self._seen[pack_id], self._idle_s[pack_id] = status, 0.0
                continue
            before_s = self._idle_s[pack_id]
            self._idle_s[pack_id] += passed_s
            if before_s < self._hung_after_s <= self._idle_s[pack_id]:
                hung.append((status, _end(status)))
        return hung


def _end(status: PackStatus) -> bool:
    if status.pid in (None, os.getpid()) or status.host != socket.gethostname():
        return False
    assert status.pid is not None
    return processes.kill(status.pid, status.pid_started, signal.SIGKILL)
