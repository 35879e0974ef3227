"""The live picture of a sweep in a terminal, drawn by Rich from status values alone. And which screen to use where.

`drawn` is pure: a view in, something to print out. It never learns of Ray, MLflow or the trainer.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from orchestrator.display.braille import Dot, scatter
from orchestrator.display.plain import plain
from orchestrator.display.progress import PackView, Point, Span, SweepView, short_loss
from orchestrator.display.screen import (
    Guarded,
    JsonLines,
    PlainLines,
    Screen,
    counts_text,
    duration_text,
    eta_text,
    preparing_text,
)
from orchestrator.display.streams import LogFormat
from orchestrator.folder.records import Event
from trainer.data import Preparing

_STYLES = {"info": "", "warning": "yellow", "error": "red"}
_COLOURS = ("blue", "red", "green", "magenta")
WIDTH = 100
"""Of what is printed to something that is no terminal."""
FRONT_WIDTH, FRONT_LINES = 60, 8
FEWEST_LINES_FOR_A_FRONT = 30


class SafeConsole(Console):
    """A console that obeys our styles, and no control character in a name, a path or an error."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


def choose_screen(
    *, err: TextIO, out: TextIO, plain: bool, log_format: LogFormat, environ: Mapping[str, str] = os.environ
) -> Screen:
    """JSON lines to `out`; or a live picture on `err` where that is a terminal that can show one; or plain lines."""
    if log_format == "json":
        return Guarded(JsonLines(out), PlainLines(err))
    if plain or not is_live(err, environ):
        return Guarded(PlainLines(err), PlainLines(sys.__stderr__ or err))
    return Guarded(LiveScreen(SafeConsole(file=err)), PlainLines(err))


def is_live(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a picture can be drawn and redrawn there."""
    return stream.isatty() and environ.get("TERM", "") not in ("", "dumb") and not environ.get("CI")


class LiveScreen:
    """A picture that is redrawn in place and gone at the end; warnings and errors stay above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._notes: dict[str, str] = {}
        self._live = Live(
            console=console,
            refresh_per_second=4,
            transient=True,
            # What others print is not ours to show: Ray's words are on their way to a file.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def note(self, label: str, text: str) -> None:
        self._notes[label] = text

    def phase(self, text: str) -> None:
        self._live.update(Spinner("dots", Text(text)))

    def preparing(self, news: Preparing) -> None:
        self._live.update(drawn_preparing(news))

    def event(self, event: Event) -> None:
        if event.level != "info":
            self._console.print(Text(f"{event.level}: {event.message}", style=_STYLES[event.level]))

    def update(self, view: SweepView) -> None:
        height = self._console.size.height
        with_front = height >= FEWEST_LINES_FOR_A_FRONT and bool(view.points)
        room = max(3, height - 8 - len(self._notes) - (FRONT_LINES + 3 if with_front else 0))
        self._live.update(drawn(view, notes=self._notes, max_rows=room, with_front=with_front))

    def close(self) -> None:
        self._live.stop()


def drawn_preparing(news: Preparing) -> RenderableType:
    """The making of rows, with a bar where its end is known."""
    done, total = news.n_documents, news.n_documents_total
    if news.n_rows_total and not total:
        done, total = news.n_rows, news.n_rows_total
    line = Spinner("dots", Text(preparing_text(news)))
    return Group(line, ProgressBar(total=total, completed=done, width=60)) if total else line


def drawn(view: SweepView, *, notes: Mapping[str, str], max_rows: int = 12, with_front: bool = False) -> RenderableType:
    """The whole picture. `max_rows`: lines for packs, if the terminal is small. `with_front`: what came out so far."""
    title = Text.assemble(
        (view.sweep_id, "bold"), f"   {_count(view.n_trials, 'trial')} in {_count(view.n_packs, 'pack')}"
    )
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=1.0, completed=view.fraction, width=40),
        f"{100 * view.fraction:3.0f} %",
        duration_text(view.elapsed_s) + (f", {eta_text(view)}" if view.active else ""),
    )
    parts: list[RenderableType] = [title, bar, _counts(view)]
    if view.packs:
        parts += ["", _packs(view, max_rows)]
    if with_front and view.points:
        parts += ["", _front(view.points)]
    if notes:
        parts += ["", _notes(notes)]
    return Group(*parts)


def _counts(view: SweepView) -> Text:
    text = Text(counts_text(view))
    text.highlight_regex(r"\d+ failed", "red")
    return text


def _packs(view: SweepView, max_rows: int) -> Table:
    """A row per running pack, and below it one per layer and loss where there is room for them all."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("pack", no_wrap=True)
    for name in ("trials", "step"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", width=16)
    for name in ("SAE tok/s", "left", "L0", "CE increase"):
        table.add_column(name, justify="right", no_wrap=True)
    with_groups = sum(1 + len(pack.groups) for pack in view.packs) <= max_rows
    shown = view.packs if len(view.packs) <= max_rows else view.packs[: max_rows - 1]
    for pack in shown:
        groups = pack.groups if with_groups and len(pack.groups) > 1 else ()
        table.add_row(
            Text(f"{pack.pack_id[:6]}  {pack.where}" if not groups else pack.pack_id[:6]),
            str(pack.n_trials),
            f"{pack.step}/{pack.n_steps}",
            ProgressBar(total=max(1, pack.n_steps), completed=pack.step, width=16),
            _rate(pack.sae_tokens_per_s),
            _left(pack),
            "" if groups else _span_text(pack.l0, ".0f"),
            "" if groups else _span_text(pack.ce_loss_increase, ".3f"),
        )
        for group in groups:
            table.add_row(
                Text(f"  L{group.layer} {short_loss(group.loss)}", style="dim"), Text(str(group.n_trials), style="dim"),
                "", "", "", "", _span_text(group.l0, ".0f"), _span_text(group.ce_loss_increase, ".3f"),
            )  # fmt: skip
    if len(shown) < len(view.packs):
        table.add_row(Text(f"and {len(view.packs) - len(shown)} more packs", style="dim"))
    return table


def _front(points: Sequence[Point]) -> RenderableType:
    """L0 to the right, CE increase upwards, of all trials that are done at the layer of the last of them."""
    layer = points[-1].layer
    here = [point for point in points if point.layer == layer]
    losses = list(dict.fromkeys(point.loss for point in here))
    dots = [Dot(point.l0, point.ce_loss_increase, losses.index(point.loss)) for point in here]
    text = Text(no_wrap=True)
    for row in scatter(dots, width=FRONT_WIDTH, height=FRONT_LINES):
        for cell in row:
            text.append(cell.character, None if cell.series is None else _COLOURS[cell.series % len(_COLOURS)])
        text.append("\n")
    for index, loss in enumerate(losses):
        text.append(f"{short_loss(loss)}  ", _COLOURS[index % len(_COLOURS)])
    l0, ce = ([getattr(point, name) for point in here] for name in ("l0", "ce_loss_increase"))
    text.append(f"L0 {min(l0):.3g} to {max(l0):.3g}, CE increase {min(ce):.3g} to {max(ce):.3g}", "dim")
    title = f"CE increase against L0, layer {layer}, {_count(len(here), 'trial')}"
    return Panel(text, title=title, title_align="left", expand=False)


def _notes(notes: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for label, text in notes.items():
        table.add_row(Text(label, style="dim"), Text(text, overflow="ellipsis", no_wrap=True))
    return table


def _left(pack: PackView) -> str:
    if pack.n_steps and pack.step >= pack.n_steps:
        return "measuring"
    return "" if pack.eta_s is None else duration_text(pack.eta_s)


def _rate(tokens_per_s: float | None) -> str:
    if tokens_per_s is None:
        return ""
    return f"{tokens_per_s / 1000:,.0f}k" if tokens_per_s >= 10_000 else f"{tokens_per_s:,.0f}"


def _span_text(span: Span | None, form: str) -> str:
    """Lowest to highest."""
    if span is None:
        return "-"
    low, high = (format(value, form) for value in span)
    return low if low == high else f"{low} to {high}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
