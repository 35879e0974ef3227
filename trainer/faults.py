"""Places where a fault can be made to happen, so that what follows from it can be tested. In use they do nothing.

`SAE_FRONTIER_FAULTS` names faults, comma-separated, each `PLACE[:NUMBER]=ACTION`:

    SAE_FRONTIER_FAULTS="step:17=kill,checkpoint.before_rename:2=kill,write:*.json=enospc"

A place is a pattern (as for file names); `step` is each optimizer step, `bank` each bank's part of one, `evaluate` each
batch of an evaluation, and the writes are `write:NAME`, `write.middle:NAME`, `sync:NAME`, `rename:NAME`,
`renamed:NAME`, `append:NAME`, `append.middle:NAME`, `append.sync:NAME`; `checkpoint.*` are in `checkpoints.py`. Without
a number a fault happens at each such place; with one, where the place says that number (`step`), else when it is come
by for the NUMBER-th time in this process. Actions are `kill`, `term`, `int`, `stop` (signals to this process), `hang`,
`oom`, `enospc`, `eio` and `erofs`.

A worker that is started again would meet its fault again. `SAE_FRONTIER_FAULTS_ONCE` names a folder in which faults
leave a mark; one that has left it does not happen again, in no process.
"""

import errno
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

FAULTS = "SAE_FRONTIER_FAULTS"
ONCE = "SAE_FRONTIER_FAULTS_ONCE"

Hook = Callable[[str, int | None], None]
"""Called with a place and the number it gives, if any; what it raises happens there."""

_SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT, "stop": signal.SIGSTOP}
_ERRORS = {"enospc": errno.ENOSPC, "eio": errno.EIO, "erofs": errno.EROFS}
_ACTIONS = (*_SIGNALS, "hang", "oom", *_ERRORS)
_HANG_S = 3600.0


class Killed(BaseException):
    """Stands for SIGKILL within a test's process: whoever cleans up on the way out leaves everything as it is."""


@dataclass(frozen=True)
class Fault:
    """One entry of `SAE_FRONTIER_FAULTS`."""

    place: str
    number: int | None
    action: str


def fault_point(place: str, number: int | None = None) -> None:
    """Where a fault may be made to happen."""
    if _hook is not None:
        _hook(place, number)


@contextmanager
def injected(hook: Hook) -> Generator[None]:
    """`hook` is called at every fault point while inside."""
    global _hook
    before, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = before


def parsed(text: str) -> list[Fault]:
    """The faults that a value of `SAE_FRONTIER_FAULTS` names.

    Raises:
        ValueError: it names no such action.
    """
    return [_parsed(entry.strip()) for entry in text.split(",") if entry.strip()]


def _parsed(entry: str) -> Fault:
    where, _, action = entry.rpartition("=")
    place, _, number = where.rpartition(":")
    if not place or not number.isdecimal():
        place, number = where, ""
    if not place or action not in _ACTIONS:
        raise ValueError(f"{FAULTS}: {entry!r} is not PLACE[:NUMBER]=ACTION with one of {', '.join(_ACTIONS)}")
    return Fault(place, int(number) if number else None, action)


def hook_of(faults: list[Fault], *, once: Path | None = None) -> Hook:
    """What makes these faults happen."""
    passed: Counter[int] = Counter()

    def hook(place: str, number: int | None) -> None:
        for index, fault in enumerate(faults):
            if not fnmatchcase(place, fault.place):
                continue
            passed[index] += 1
            if fault.number in (None, passed[index] if number is None else number) and _is_first(once, index):
                _happen(fault.action)

    return hook


def _is_first(once: Path | None, index: int) -> bool:
    if once is None:
        return True
    try:
        once.mkdir(parents=True, exist_ok=True)
        (once / f"fault-{index}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _happen(action: str) -> None:
    if action in _SIGNALS:
        os.kill(os.getpid(), _SIGNALS[action])
        time.sleep(0.5)  # a signal to oneself may take a moment
    elif action == "hang":
        time.sleep(_HANG_S)
    elif action == "oom":
        raise MemoryError("injected: there is no memory left")
    else:
        code = _ERRORS[action]
        raise OSError(code, os.strerror(code))


def _from_environment() -> Hook | None:
    faults = parsed(os.environ.get(FAULTS, ""))
    once = os.environ.get(ONCE)
    return hook_of(faults, once=Path(once) if once else None) if faults else None


_hook: Hook | None = _from_environment()
