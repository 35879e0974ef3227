"""What a long command says meanwhile: often enough, on its own stream, and never in the way of the work."""

import itertools
import os
import pty
import re
import time
from collections.abc import Callable
from io import StringIO
from types import SimpleNamespace

import pytest

from orchestrator.display.telling import Telling

SOON_S = 20.0


def until(stream: StringIO, holds: Callable[[str], object]) -> str:
    """What is written once that holds."""
    ends = time.monotonic() + SOON_S
    while not holds(stream.getvalue()):
        assert time.monotonic() < ends, stream.getvalue()
        time.sleep(0.01)
    return stream.getvalue()


def test_a_phase_is_a_line_at_once_and_again_while_it_lasts():
    stream = StringIO()
    with Telling(stream, say_every_s=0.05) as tell:
        tell.phase("counting")
        assert re.fullmatch(r"\d\d:\d\d:\d\d counting\n", stream.getvalue())
        text = until(stream, lambda text: text.count("counting") >= 3)
        assert re.search(r"counting: \d+ s$", text, re.MULTILINE)
        tell.far(3, 12, "batches")
        until(stream, lambda text: "counting: 3 of 12 batches" in text)
    ended = stream.getvalue()
    time.sleep(0.2)
    assert stream.getvalue() == ended


def test_what_is_short_or_quiet_is_not_said_twice():
    stream = StringIO()
    with Telling(stream, say_every_s=60.0) as tell:
        tell.phase("one")
        tell.phase("two", quietly=True)
        tell.far(1, 2)
    assert [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()] == ["one"]


def test_the_time_that_is_left_is_guessed_from_what_was_counted(monkeypatch: pytest.MonkeyPatch):
    seconds = iter([0.0, 0.0, 100.0, 100.0, 110.0, 110.0])
    monkeypatch.setattr("orchestrator.display.telling.time.monotonic", lambda: next(seconds, 110.0))
    tell = Telling(StringIO())
    tell.phase("measuring")
    tell.far(10, 40)  # loading took 100 s; that says nothing of what is left
    tell.far(20, 40)
    assert tell._now() == "measuring: 20 of 40, about 20 s left"  # pyright: ignore[reportPrivateUsage]


def test_a_share_of_the_work_has_its_own_words_and_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch):
    seconds = iter([0.0, 100.0, 110.0])
    monkeypatch.setattr("orchestrator.display.telling.time.monotonic", lambda: next(seconds, 110.0))
    tell = Telling(StringIO())
    tell.share(0.25, "1 of 4 tasks is done")
    tell.share(0.5, "2 of 4 tasks are done")
    assert tell._now() == "2 of 4 tasks are done: 50 %, about 20 s left"  # pyright: ignore[reportPrivateUsage]


def test_what_takes_very_long_is_said_less_often(monkeypatch: pytest.MonkeyPatch):
    fast = SimpleNamespace(monotonic=lambda: 1000 * time.monotonic(), strftime=time.strftime)
    monkeypatch.setattr("orchestrator.display.telling.time", fast)
    stream = StringIO()
    with Telling(stream, say_every_s=5.0) as tell:
        tell.phase("counting", quietly=True)
        text = until(stream, lambda text: text.count(" min") >= 4)
    lasted = [60 * int(minutes) + int(s) for minutes, s in re.findall(r"counting: (\d+):(\d\d) min", text)]
    late = [second - first for first, second in itertools.pairwise(lasted) if first >= 300]
    assert late
    assert min(late) >= 29


def test_a_stream_that_is_closed_stops_nothing():
    stream = StringIO()
    with Telling(stream, say_every_s=0.01) as tell:
        stream.close()
        tell.phase("working")
        time.sleep(0.1)
        tell.far(1, 2)


def test_a_terminal_has_one_line_that_is_redrawn_and_gone_at_the_end():
    shown, written = pty.openpty()
    with os.fdopen(written, "w") as terminal:
        with Telling(terminal, environ={"TERM": "xterm"}) as tell:
            tell.phase("measuring")
            time.sleep(1.0)
        text = os.read(shown, 100_000).decode()
        assert "measuring: " in text
        assert not re.search(r"\d\d:\d\d:\d\d", text)
        assert text.rstrip().endswith("\x1b[2K") or "\x1b[2K" in text
    os.close(shown)


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {}, {"TERM": "xterm", "CI": "1"}])
def test_a_terminal_that_cannot_redraw_has_plain_lines(environ: dict[str, str]):
    shown, written = pty.openpty()
    with os.fdopen(written, "w") as terminal, Telling(terminal, environ=environ) as tell:
        tell.phase("measuring")
        assert re.match(rb"\d\d:\d\d:\d\d measuring", os.read(shown, 1000))
    os.close(shown)
