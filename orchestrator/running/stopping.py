"""Ctrl-C and SIGTERM: while packs train the first asks for a stop after the current step, the second stops at once.

Before packs train there is nothing to finish, and the first stops at once too.

Knows signals and one file. Workers in other processes see the file (`jobs.stop_file`); nobody is killed here.
"""

import signal
import threading
from _thread import interrupt_main
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from orchestrator.packs.jobs import stop_file

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class StopNow(KeyboardInterrupt):
    """Leave at once. Not an `Exception`, so that nothing on the way out takes it for a failure."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.signal]


class StopRequest:
    """Whether somebody wants this sweep to stop, and who."""

    def __init__(self, folder: Path) -> None:
        self._file = stop_file(folder)
        self._asked = threading.Event()
        self.patient = False
        """Whether the first signal waits for the current step. Set while packs train."""
        self.signal: signal.Signals | None = None
        """The first one that came."""
        self._hurried = False

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it."""
        return EXIT_CODES[self.signal or signal.SIGINT]

    def __call__(self) -> bool:
        return self.asked

    def see_file(self) -> None:
        """A word that `stop` left there from another machine counts as SIGTERM, and one that says `now` as two.

        From any thread; to be called again and again.
        """
        try:
            word = self._file.read_text()
        except OSError:
            return
        if not self.asked:
            interrupt_main(signal.SIGTERM)
        elif "now" in word and not self._hurried:
            self._hurried = True
            interrupt_main(signal.SIGTERM)

    def clear_file(self) -> None:
        """Forget the stop of an earlier launch."""
        self._file.unlink(missing_ok=True)

    def install(self) -> None:
        """Take both signals. Again after `ray.init`, which takes SIGTERM for itself. Main thread only."""
        for number in EXIT_CODES:
            signal.signal(number, self._handle)

    @contextmanager
    def not_now(self) -> Generator[None]:
        """Nothing interrupts what is done inside: a second or two of cleaning up. Main thread only."""
        for number in EXIT_CODES:
            signal.signal(number, signal.SIG_IGN)
        try:
            yield
        finally:
            self.install()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.asked
        self.signal = self.signal or signal.Signals(number)
        self._asked.set()
        if again or not self.patient:
            raise StopNow(self.signal)
        with suppress(OSError):
            self._file.touch()


@contextmanager
def signals_handled(request: StopRequest) -> Generator[StopRequest]:
    """`request` takes the signals while inside; outside of the main thread nobody does."""
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in EXIT_CODES}
    request.install()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
