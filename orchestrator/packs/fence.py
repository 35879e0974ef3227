"""One attempt at a pack writes its files, the newest. An older one that lives still notices before its next write.

Ray may take a worker for dead that was only cut off for a minute, and start another; a driver that was killed may
leave workers behind. Whoever begins writes its name into `packs/<pack_id>/owner`; whoever finds another one's stops.
"""

import secrets
import time

from orchestrator.folder.lease import is_current
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.jobs import PackJob

LAUNCH_EVERY_S = 2.0


class Fenced(Exception):
    """Somebody else has this pack now. Whoever gets this writes nothing more."""


class Fence:
    """The right of one attempt to write."""

    def __init__(self, folder: RunFolder, job: PackJob) -> None:
        self._folder, self._job = folder, job
        self._mark = ""
        self._looked_s = float("-inf")

    @property
    def attempt(self) -> int:
        """1 for the first attempt at the pack, counted over all launches."""
        return _number(self._mark)

    def take(self) -> None:
        """Begin. Raises Fenced where the launch that gave this job is over."""
        self.check_launch()
        self._mark = f"{attempts(self._folder, self._job.pack_id) + 1}-{secrets.token_hex(8)}"
        self._folder.write_owner(self._job.pack_id, self._mark)

    def check(self) -> None:
        """Before each write. Raises Fenced."""
        if self._folder.owner(self._job.pack_id) != self._mark:
            raise Fenced("another attempt has this pack now")

    def check_launch(self) -> None:
        """Whether the launch goes on. Raises Fenced where another one runs this sweep, or its driver is gone.

        Looks every few seconds, however often it is called.
        """
        if time.monotonic() - self._looked_s < LAUNCH_EVERY_S:
            return
        self._looked_s = time.monotonic()
        if self._job.launch_id and not is_current(self._folder, self._job.launch_id):
            raise Fenced("the launch that started this worker is over")


def attempts(folder: RunFolder, pack_id: str) -> int:
    """How often the pack was begun, by any launch."""
    return _number(folder.owner(pack_id) or "")


def fence_off(folder: RunFolder, pack_id: str) -> None:
    """Nobody who works on this pack now may write any more."""
    folder.write_owner(pack_id, f"{attempts(folder, pack_id)}-driver-{secrets.token_hex(8)}")


def _number(mark: str) -> int:
    number, _, _ = mark.partition("-")
    return int(number) if number.isdecimal() else 0
