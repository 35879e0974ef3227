"""A worker's own timer, in C: if nothing calls it for long enough, it writes all stacks to the pack's log and ends the
process, even one that is stuck in a library and runs no Python any more.
"""

import faulthandler
import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

SET_EVERY_S = 1.0
_LAST_BYTES = 100_000


@contextmanager
def watched(log: Path, hung_after_s: float) -> Generator[Callable[[], None]]:
    """Ends this process if what it yields is not called for `hung_after_s`. Not for a process that others use too."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        set_s = float("-inf")

        def alive() -> None:
            nonlocal set_s
            if time.monotonic() - set_s >= min(SET_EVERY_S, hung_after_s / 2):
                set_s = time.monotonic()
                faulthandler.dump_traceback_later(hung_after_s, exit=True, file=file)

        alive()
        try:
            yield alive
        finally:
            faulthandler.cancel_dump_traceback_later()


def was_ended(log: Path) -> bool:
    """Whether the last thing in a pack's log is where its worker hung when its timer ended it."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return False
    _, timer, after = text.rpartition("Timeout (")
    return bool(timer) and not re.search(r"^\d{4}-\d\d-\d\dT", after, re.MULTILINE)  # what a worker says has its time
