"""Who is told how a sweep goes, where that is no live picture: plain lines, JSON lines, nobody. See `terminal.py`.

A screen is told things and answers nothing; it cannot slow, stop or change a sweep.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TextIO

from orchestrator.display.plain import plain, plain_json
from orchestrator.display.progress import SweepView
from orchestrator.display.words import duration_text
from orchestrator.folder.clock import now
from orchestrator.folder.files import without_non_finite
from orchestrator.folder.records import Event
from trainer.data import Preparing

HEARTBEAT_S = 60.0


class Screen(Protocol):
    """Somebody who watches."""

    def phase(self, text: str) -> None:
        """What is being done now, before packs run and after."""
        ...

    def preparing(self, news: Preparing) -> None:
        """How far the making of rows is."""
        ...

    def note(self, label: str, text: str) -> None:
        """Something to keep in view, such as where the results will be."""
        ...

    def event(self, event: Event) -> None: ...

    def update(self, view: SweepView) -> None:
        """How the sweep stands; a few times a second."""
        ...

    def close(self) -> None: ...


class PlainLines:
    """One line per event, and one a minute while nothing happens."""

    def __init__(self, stream: TextIO, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._stream, self._heartbeat_s = stream, heartbeat_s
        self._said_s = time.monotonic()

    def phase(self, text: str) -> None:
        self._say(text)

    def preparing(self, news: Preparing) -> None:
        if news.state == "done":
            self._say(f"{news.label}: {news.n_rows:,} rows of {news.n_documents:,} documents")
        elif time.monotonic() - self._said_s >= self._heartbeat_s:
            self._say(preparing_text(news))

    def note(self, label: str, text: str) -> None:
        self._say(f"{label}: {text}")

    def event(self, event: Event) -> None:
        self._say(event.message if event.level == "info" else f"{event.level}: {event.message}")

    def update(self, view: SweepView) -> None:
        if time.monotonic() - self._said_s >= self._heartbeat_s:
            steps = ", ".join(f"{pack.pack_id[:6]} at step {pack.step}/{pack.n_steps}" for pack in view.packs)
            self._say(
                f"{counts_text(view)}, {100 * view.fraction:.0f} %, {eta_text(view)}{': ' if steps else ''}{steps}"
            )

    def close(self) -> None: ...

    def _say(self, text: str) -> None:
        self._said_s = time.monotonic()
        print(plain(f"{time.strftime('%H:%M:%S')} {text}"), file=self._stream, flush=True)


class JsonLines:
    """An event a line, as JSON: `ts`, `level`, `event`, `sweep_id`, `pack_id`, `trial_id`, `msg`, then its fields."""

    def __init__(self, stream: TextIO, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._stream, self._heartbeat_s = stream, heartbeat_s
        self._sweep_id: str | None = None
        self._beat_s = time.monotonic()

    def phase(self, text: str) -> None:
        self._say("phase", text)

    def preparing(self, news: Preparing) -> None:
        if news.state == "done":
            self._say("rows_prepared", preparing_text(news), n_rows=news.n_rows, n_documents=news.n_documents)

    def note(self, label: str, text: str) -> None:
        self._say("note", f"{label}: {text}")

    def event(self, event: Event) -> None:
        self._say(
            event.event,
            event.message,
            ts=event.time.isoformat(),
            level=event.level,
            pack_id=event.pack_id,
            trial_id=event.trial_id,
            **event.fields,
        )

    def update(self, view: SweepView) -> None:
        self._sweep_id = view.sweep_id
        if time.monotonic() - self._beat_s >= self._heartbeat_s:
            self._say(
                "heartbeat",
                f"{counts_text(view)}, {eta_text(view)}",
                fraction=view.fraction,
                n_done=view.n_done,
                n_failed=view.n_failed,
                eta_s=view.eta_s,
            )

    def close(self) -> None: ...

    def _say(self, event: str, msg: str, **fields: object) -> None:
        self._beat_s = time.monotonic()
        line = {"ts": now().isoformat(), "level": "info", "event": event, "sweep_id": self._sweep_id}
        line |= {"pack_id": None, "trial_id": None, "msg": msg} | fields
        print(plain_json(json.dumps(without_non_finite(line), ensure_ascii=False)), file=self._stream, flush=True)


class Nobody:
    """Watches nothing."""

    def phase(self, text: str) -> None: ...

    def preparing(self, news: Preparing) -> None: ...

    def note(self, label: str, text: str) -> None: ...

    def event(self, event: Event) -> None: ...

    def update(self, view: SweepView) -> None: ...

    def close(self) -> None: ...


class Guarded:
    """A screen that may break: then plain lines go on in its place, and the sweep never hears of it."""

    def __init__(self, screen: Screen, fallback: Screen | None = None) -> None:
        self._screen: Screen = screen
        self._fallback: Screen = fallback or PlainLines(sys.stderr)

    def phase(self, text: str) -> None:
        self._tell(lambda screen: screen.phase(text))

    def preparing(self, news: Preparing) -> None:
        self._tell(lambda screen: screen.preparing(news))

    def note(self, label: str, text: str) -> None:
        self._tell(lambda screen: screen.note(label, text))

    def event(self, event: Event) -> None:
        self._tell(lambda screen: screen.event(event))

    def update(self, view: SweepView) -> None:
        self._tell(lambda screen: screen.update(view))

    def close(self) -> None:
        self._tell(lambda screen: screen.close())

    def _tell(self, what: Callable[[Screen], None]) -> None:
        # A closed pipe, a terminal of an unknown kind, a bug: whatever it is, it is only a screen.
        try:
            what(self._screen)
        except Exception as trouble:
            with suppress(Exception):
                self._screen.close()
            self._screen = self._fallback
            try:
                self._screen.phase(f"the display broke ({trouble}); plain lines follow")
                what(self._screen)
            except Exception:
                self._screen = Nobody()


def preparing_text(news: Preparing) -> str:
    """How far the making of rows is, in words."""
    if news.state == "waiting":
        return f"{news.label}: another process is making these rows, waiting for it"
    of_all = f" of {news.n_documents_total:,}" if news.n_documents_total else ""
    return f"{news.label}: {news.n_documents:,}{of_all} documents, {news.n_rows:,} rows"


def counts_text(view: SweepView) -> str:
    """How many trials are where."""
    counts = [
        (view.n_done, "done"), (view.n_running, "running"), (view.n_waiting, "waiting"), (view.n_failed, "failed"),
        (view.n_stopped, "stopped"), (view.n_dominated, "dominated"),
    ]  # fmt: skip
    round_text = [f"search round {view.search_round}"] if view.search_round else []
    return ", ".join([*(f"{count} {word}" for count, word in counts if count or word == "done"), *round_text])


def eta_text(view: SweepView) -> str:
    """How long it still takes."""
    if view.fraction >= 1 or not (view.n_running or view.n_waiting):
        return "finishing"
    if view.eta_s is None:
        return "estimating time left"
    if view.eta_s < 1:
        return "measuring"
    longest = view.eta_high_s or 0.0
    up_to = f", up to {duration_text(longest)}" if longest > 1.15 * view.eta_s else ""
    return f"about {duration_text(view.eta_s)} left{up_to}"
