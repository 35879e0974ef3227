"""What a command that takes long is doing, and how far it is, on standard error: a line that is redrawn on a terminal,
else plain lines: every few seconds, and rarer when it takes long. Says it from a thread, so whatever is being done need
not know.
"""

import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import TextIO

from orchestrator.display.plain import plain
from orchestrator.display.words import duration_text

SAY_EVERY_S = 5.0
SAY_LEAST_S = 30.0
"""Between two plain lines of something that takes very long."""
_LOOK_EVERY_S = 0.25
FEWEST_S = 2.0
"""Of counted work, before the time that is left is guessed from it."""


class Telling:
    """`with Telling(streams.err) as tell: tell.phase("loading the model"); ...; tell.far(rows, of_rows, "rows")`."""

    def __init__(
        self, stream: TextIO, *, plain_lines: bool = False, say_every_s: float = SAY_EVERY_S,
        environ: Mapping[str, str] = os.environ,
    ) -> None:  # fmt: skip
        """`plain_lines`: also on a terminal."""
        self._stream, self._say_every_s = stream, say_every_s
        self._is_live = not plain_lines and _can_redraw(stream, environ)
        self._text, self._far = "starting", ""
        self._first: tuple[float, float] | None = None
        self._began_s = self._said_s = time.monotonic()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Telling":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def phase(self, text: str, *, quietly: bool = False) -> None:
        """What is being done from now on. `quietly`: a plain line of it comes only if it takes long."""
        with self._lock:
            self._text, self._far, self._first, self._began_s = text, "", None, time.monotonic()
            if not self._is_live and not quietly:
                self._say(text)

    def far(self, done: float, total: float, what: str = "") -> None:
        """How far it is; as often as one likes."""
        with self._lock:
            self._far = f"{done:,.0f} of {total:,.0f}{f' {what}' if what else ''}{self._left(done, total)}"

    def share(self, share: float, text: str) -> None:
        """How far it is where there is nothing to count: `share` from 0 to 1, and the phase in other words."""
        with self._lock:
            self._text, self._far = text, f"{100 * share:.0f} %{self._left(share, 1.0)}"

    def _left(self, done: float, total: float) -> str:
        first_s, first = self._first = self._first or (time.monotonic(), done)
        took = time.monotonic() - first_s
        left_s = took / (done - first) * (total - done) if done > first and took > FEWEST_S else 0.0
        return f", about {duration_text(left_s)} left" if left_s >= 1 else ""

    def _watch(self) -> None:
        with suppress(Exception):  # a closed pipe, an odd terminal: whatever it is, the work goes on
            self._redraw() if self._is_live else self._repeat()

    def _repeat(self) -> None:
        while not self._ended.wait(min(_LOOK_EVERY_S, self._say_every_s)):
            with self._lock:
                moment = time.monotonic()
                wait_s = max(self._say_every_s, min(SAY_LEAST_S, (moment - self._began_s) / 10))
                if moment - self._said_s >= wait_s:
                    self._say(self._now())

    def _redraw(self) -> None:
        from rich.console import Console
        from rich.text import Text

        console = Console(file=self._stream)
        with console.status(Text(plain(self._now()))) as status:
            while not self._ended.wait(_LOOK_EVERY_S):
                with self._lock:
                    status.update(Text(plain(self._now())))

    def _now(self) -> str:
        return f"{self._text}: {self._far or duration_text(time.monotonic() - self._began_s)}"

    def _say(self, text: str) -> None:
        self._said_s = time.monotonic()
        with suppress(OSError, ValueError):
            print(plain(f"{time.strftime('%H:%M:%S')} {text}"), file=self._stream, flush=True)


def _can_redraw(stream: TextIO, environ: Mapping[str, str]) -> bool:
    return stream.isatty() and environ.get("TERM", "") not in ("", "dumb") and not environ.get("CI")
