"""Launches in processes of their own that start at once: forks of this one, which has everything imported already."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from orchestrator.cli import app
from tests.tiny import Bench
from trainer.faults import Hook, hook_of, injected, parsed


class Child:
    """A launch in another process, without Ray and MLflow."""

    def __init__(self, bench: Bench, *more: str, faults: str = "", hook: Hook | None = None) -> None:
        """`hook` in place of `faults`: called at each fault point of the other process."""
        self.output = bench.folder / f"output-{time.monotonic_ns()}.txt"
        arguments = ["launch", *bench.arguments("--local", "--no-tracking", "--plain", *more)]
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(_launch(arguments, hook or hook_of(parsed(faults)), self.output))

    def wait(self, *, timeout_s: float = 120) -> int:
        """The exit code; of a process that a signal ended, minus its number."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"no end after {timeout_s} s: {self.said}")

    def wait_until(self, condition: Callable[[], bool], *, timeout_s: float = 60) -> None:
        """Until it holds; fails where the process ends before."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert os.waitpid(self.pid, os.WNOHANG) == (0, 0), self.said
            assert time.monotonic() < end_s, self.said
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""


def launched(bench: Bench, *more: str, faults: str = "") -> tuple[int, str]:
    """Exit code and output."""
    child = Child(bench, *more, faults=faults)
    return child.wait(), child.said


def _launch(arguments: list[str], hook: Hook, output: Path) -> int:
    with output.open("w", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            with injected(hook):
                ran = CliRunner().invoke(app, arguments)
            file.write(ran.output)
            return ran.exit_code
        except BaseException:
            traceback.print_exc(file=file)
            return 99
