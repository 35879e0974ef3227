"""Folders that sweeps write to, and the clock: can be written, lock, have room, agree. Leaves nothing behind."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.commands.findings import Finding, gib, ok, problem, warning

MOST_SKEW_S = 2.0


def folder(name: str, path: Path, *, need_bytes: float = 0.0, what: str = "") -> Iterator[Finding]:
    """Whether files can be made, renamed and locked there, whether there is room, and what its clock says."""
    from filelock import FileLock, Timeout

    place = path.absolute()
    while not place.exists():
        place = place.parent
    another = f"choose another place with {'--runs DIR' if name == 'runs' else 'SAE_FRONTIER_CACHE=DIR'}"
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as held:
            probe = Path(held) / "probe"
            before_s = time.time()
            probe.write_bytes(b"x")
            written_s = probe.stat().st_mtime
            after_s = time.time()
            probe.replace(Path(held) / "renamed")
            first, second = FileLock(Path(held) / "lock"), FileLock(Path(held) / "lock")
            with first:
                try:
                    second.acquire(timeout=0)
                    locks = False
                    second.release()
                except Timeout:
                    locks = True
    except OSError as trouble:
        yield problem(name, f"cannot write in {place}: {trouble.strerror or trouble}", another)
        return
    if not locks:
        fix = f"mount it with locks, or {another}: two launches of one sweep could not be told apart"
        yield problem(name, f"{place} does not lock files", fix)
    skew_s = max(before_s - written_s, written_s - after_s)
    if skew_s > MOST_SKEW_S:
        yield warning("clock", f"{place} is {skew_s:.0f} s off this machine's clock", "set both clocks by NTP")
    free = shutil.disk_usage(place).free
    text = f"{name} folder: {place} can be written, {gib(free)} free"
    if need_bytes > 0.9 * free:
        yield problem(name, f"{text}, and {what} takes about {gib(need_bytes)}", f"free some space, or {another}")
    elif need_bytes:
        yield ok(name, f"{text}; {what} takes about {gib(need_bytes)}")
    elif free < 2**30:
        yield warning(name, text, f"free some space, or {another}")
    else:
        yield ok(name, text)


def clock() -> Iterator[Finding]:
    """A clock that stands in the past makes every later row look old."""
    built = Path(__file__).stat().st_mtime
    if time.time() < built - 86_400:
        yield warning("clock", f"it is {time.strftime('%Y-%m-%d %H:%M')} here, before this program was made", "set it")
    else:
        yield ok("clock", f"it is {time.strftime('%Y-%m-%d %H:%M:%S %Z')}")
