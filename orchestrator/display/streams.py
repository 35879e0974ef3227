"""Streams of our own to the terminal, and errors as messages with exit codes. What every command starts with."""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import UnsupportedOperation
from pathlib import Path
from typing import Literal, NamedTuple, TextIO

from orchestrator.display.plain import plain

LogFormat = Literal["text", "json"]
"""How progress is told."""
OUR_FAULT, BAD_INPUT, ENVIRONMENT, INTERRUPTED = 1, 2, 4, 130


class Streams(NamedTuple):
    """Where data (`out`) and words for people (`err`) go, whatever happens to descriptors 1 and 2 meanwhile."""

    out: TextIO
    err: TextIO


def own_streams() -> Streams:
    """Copies of this process's standard output and error."""
    return Streams(_copy(sys.stdout), _copy(sys.stderr))


def guarded(command: Callable[[Streams], int], *, debug: bool) -> int:
    """Run a command and give its exit code; trouble becomes one message on standard error.

    2 for bad input, 4 for the environment, 130 and 143 for signals, 1 for a bug, whose traceback goes to a file. With
    `debug` every error shows its traceback instead.
    """
    from trainer.errors import BadInput, EnvironmentProblem

    streams = own_streams()
    try:
        return command(streams)
    except KeyboardInterrupt as stop:
        print("stopped", file=streams.err)
        return int(getattr(stop, "exit_code", INTERRUPTED))
    except BrokenPipeError:
        return OUR_FAULT
    except Exception as problem:
        if debug:
            traceback.print_exc(file=streams.err)
        if isinstance(problem, BadInput | EnvironmentProblem):
            if not debug:
                print(plain(f"error: {problem}"), file=streams.err)
            return BAD_INPUT if isinstance(problem, BadInput) else ENVIRONMENT
        if not debug:
            print(plain(_bug_text(problem)), file=streams.err)
        return OUR_FAULT
    finally:
        for stream in streams:
            _flush(stream)


@contextmanager
def console_goes_to(path: Path) -> Generator[None]:
    """What this process and its children print goes to a file: Ray's C++ parts print whatever they are told.

    Screens are not affected: they write to `own_streams`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    try:
        with path.open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, descriptor in enumerate(saved, start=1):
            os.dup2(descriptor, target)
            os.close(descriptor)


def _bug_text(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    what = f"{type(problem).__name__}: {lines[0][:300]}" if lines else type(problem).__name__
    path = Path(tempfile.gettempdir()) / f"sae-frontier-error-{os.getpid()}.txt"
    try:
        path.write_text("".join(traceback.format_exception(problem)))
        where = f"The traceback is in {path}."
    except OSError:
        where = "Run it with --debug to see where."
    return f"error: this is a bug, not something you did: {what}\n{where} What was finished before is kept."


def _copy(stream: TextIO) -> TextIO:
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, UnsupportedOperation, ValueError, AttributeError):
        return stream  # not a file: a test's, or a notebook's
    return os.fdopen(descriptor, "w", encoding=stream.encoding or "utf-8", errors="replace", buffering=1)


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        return
