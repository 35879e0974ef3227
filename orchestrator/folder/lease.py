"""Who runs a sweep: one launch at a time. A lock of the file system decides; `lease.json` says who has it.

A lock ends with its process, so a launch that was killed leaves nothing in the way. Where the lock of another machine
cannot be seen (some network file systems), the age of `lease.json` decides: its holder touches it while it lives.
"""

import os
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from orchestrator.folder.clock import now
from orchestrator.folder.files import disk_problems_explained
from orchestrator.folder.processes import boot_id, is_running, started
from orchestrator.folder.records import Holder
from orchestrator.folder.run_folder import RunFolder
from trainer.errors import EnvironmentProblem

TOUCH_EVERY_S = 5.0
STALE_AFTER_S = 60.0
_PATIENCE_S = 1.0  # `who_holds` has the lock for a moment


@contextmanager
def lease(folder: RunFolder, *, launch_id: str) -> Generator[Holder | None]:
    """Hold the run folder while inside. Yields who held it last and did not give it back, if anybody.

    Raises EnvironmentProblem where somebody else holds it.
    """
    path = _lock_path(folder)
    with disk_problems_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=_PATIENCE_S)
        try:
            lock.acquire()
        except Timeout:
            raise _in_use(folder, folder.holder()) from None
    try:
        before = folder.holder()
        if before is not None and _lives_elsewhere(folder, before):
            raise _in_use(folder, before)
        folder.write_holder(_holder(folder, launch_id))
        ended = threading.Event()
        beat = threading.Thread(target=_beat, args=(folder.lease, ended), name="lease", daemon=True)
        beat.start()
        try:
            yield before
        finally:
            ended.set()
            beat.join()
            with suppress(OSError):
                folder.lease.unlink(missing_ok=True)
    finally:
        lock.release()


def who_holds(folder: RunFolder) -> Holder | None:
    """Who runs this sweep now, as far as can be told from here; None if nobody does."""
    path = _lock_path(folder)
    if not path.exists():
        return None
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return folder.holder() or _unknown()
    except OSError:  # a folder that can only be read
        holder = folder.holder()
        return holder if holder is not None and _may_live(folder, holder) else None
    try:
        holder = folder.holder()
        return holder if holder is not None and _lives_elsewhere(folder, holder) else None
    finally:
        lock.release()


def is_current(folder: RunFolder, launch_id: str) -> bool:
    """Whether this launch, whose driver may be on another machine, still runs the sweep as far as a worker can tell."""
    try:
        holder = folder.holder()
    except OSError:  # a file server that does not answer for a moment is no reason to stop
        return True
    if holder is None:
        return folder.lease.exists()  # damaged: it tells nothing
    if holder.launch_id != launch_id:
        return False
    return not _is_here(holder) or is_running(holder.pid, holder.pid_started)


def _holder(folder: RunFolder, launch_id: str) -> Holder:
    return Holder(
        launch_id=launch_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        pid_started=started(os.getpid()),
        boot_id=boot_id(),
        folder_inode=folder.path.stat().st_ino,
        started_at=now(),
    )


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(TOUCH_EVERY_S):
        with suppress(OSError):
            os.utime(path)


def _is_here(holder: Holder) -> bool:
    """Whether it was started on this host since it last booted."""
    return holder.host == socket.gethostname() and holder.boot_id == boot_id()


def _may_live(folder: RunFolder, holder: Holder) -> bool:
    if _is_here(holder):
        return is_running(holder.pid, holder.pid_started)
    return _lives_elsewhere(folder, holder)


def _lives_elsewhere(folder: RunFolder, holder: Holder) -> bool:
    """Whether a holder on another host seems to live, although its lock is not seen from here."""
    if holder.host == socket.gethostname() or holder.folder_inode != folder.path.stat().st_ino:
        return False
    try:
        touched = folder.lease.stat().st_mtime
    except OSError:
        return False
    return _time_there(folder.path) - touched < STALE_AFTER_S


def _time_there(folder: Path) -> float:
    """The file server's clock, which may differ from ours."""
    probe = folder / f".time-{os.getpid()}-{threading.get_ident()}.tmp"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _in_use(folder: RunFolder, holder: Holder | None) -> EnvironmentProblem:
    who = f" by {holder}" if holder else ""
    return EnvironmentProblem(
        f"{folder.path} is in use: this sweep is being run already{who}. Wait for it, or stop it first"
    )


def _unknown() -> Holder:
    """Somebody who has the lock and has not said yet who he is."""
    return Holder(launch_id="", host="unknown", pid=0, started_at=now())


def _lock_path(folder: RunFolder) -> Path:
    return folder.path / ".lock"
