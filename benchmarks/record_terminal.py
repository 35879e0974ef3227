"""Records what a terminal shows while a sweep runs, as an SVG that plays: `python -m benchmarks.record_terminal`.

Runs a real launch in a terminal of its own (a pseudo-terminal, read by pyte: `pip install pyte`), takes a picture of
its screen a few times a second, and draws those that differ one after the other. What stands there when the sweep has
ended is the last picture. Options after `--` go to the launch. The recording in the README was made with

    python -m benchmarks.record_terminal -- --set train.tokens=60_000 --set grid.layer=[2] \\
        --set resources.trials_per_pack=5
"""

import argparse
import fcntl
import html
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

COLUMNS, LINES = 100, 34
PICTURE_EVERY_S = 0.5
MOST_FRAMES = 24
FRAME_S, LAST_S = 0.7, 5.0
WIDTH, HEIGHT = 8.4, 18
"""Of a character, in pixels."""
PAPER, INK = "#16181d", "#d7dae0"
COLORS = {
    "black": "#5c6370", "red": "#e06c75", "green": "#7fbf7f", "brown": "#e5c07b", "yellow": "#e5c07b",
    "blue": "#61afef", "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#d7dae0",
}  # fmt: skip


class Cell(NamedTuple):
    """One character of a screen and how it looks."""

    data: str
    fg: str
    bold: bool


Screen = tuple[tuple[Cell, ...], ...]


def recorded(command: Sequence[str], cwd: Path) -> Iterator[Screen]:
    """The screen a few times a second while the command runs, and once after it."""
    import pyte

    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ python {' '.join(command[1:])}\r\n".encode())
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        command, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, env=environ | {"TERM": "xterm-256color"}
    )
    os.close(theirs)
    due_s = time.monotonic()
    while True:
        ready, _, _ = select.select([ours], [], [], PICTURE_EVERY_S)
        try:
            content = os.read(ours, 65536) if ready else b""
        except OSError:  # Linux says so when the other side is closed
            break
        if ready and not content:
            break
        stream.feed(content)
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + PICTURE_EVERY_S
            yield _picture(screen)
    process.wait()
    os.close(ours)
    yield _picture(screen)


def _picture(screen: Any) -> Screen:
    return tuple(
        tuple(Cell(at.data, at.fg, at.bold) for at in (screen.buffer[y][x] for x in range(COLUMNS)))
        for y in range(LINES)
    )


def chosen(screens: Sequence[Screen]) -> list[Screen]:
    """Those that differ from the one before, evenly thinned out; first and last stay."""
    different = [screen for n, screen in enumerate(screens) if n == 0 or screen != screens[n - 1]]
    if len(different) <= MOST_FRAMES:
        return different
    return [different[round(n * (len(different) - 1) / (MOST_FRAMES - 1))] for n in range(MOST_FRAMES)]


def drawn(screens: Sequence[Screen]) -> str:
    """An SVG that plays the screens for ever, the last one longest. Without animation it is the last one."""
    total_s = FRAME_S * (len(screens) - 1) + LAST_S
    n_lines = max((n + 1 for screen in screens for n, line in enumerate(screen) if _text(line)), default=1)
    width, height = round(COLUMNS * WIDTH) + 24, n_lines * HEIGHT + 24
    rules, frames = [], []
    for n, screen in enumerate(screens):
        is_last = n == len(screens) - 1
        start, end = (100 * FRAME_S * n / total_s, 100.0 if is_last else 100 * FRAME_S * (n + 1) / total_s)
        if len(screens) > 1:
            before = f"0%,{start:.3f}%{{visibility:hidden}}" if n else ""
            after = "" if is_last else f"{end:.3f}%,100%{{visibility:hidden}}"
            rules.append(
                f"@keyframes f{n}{{{before}{start + 0.001:.3f}%,{end - 0.001:.3f}%{{visibility:visible}}{after}}}"
            )
            rules.append(f"#f{n}{{animation:f{n} {total_s:.1f}s step-end infinite}}")
        hidden = "" if is_last else ' visibility="hidden"'
        frames.append(f'<g id="f{n}"{hidden}>{"".join(_line(y, line) for y, line in enumerate(screen))}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="A terminal in which a sweep runs"><style>text{{font:14px ui-monospace,'
        f'"DejaVu Sans Mono",Menlo,Consolas,monospace;white-space:pre;fill:{INK}}}{"".join(rules)}</style>'
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>{"".join(frames)}</svg>\n'
    )


def _text(line: Sequence[Cell]) -> str:
    return "".join(cell.data for cell in line).rstrip()


def _line(y: int, line: Sequence[Cell]) -> str:
    """Runs of characters that look alike, each at its place: fonts differ in the width of what is not a letter."""
    parts: list[str] = []
    end, x = len(_text(line)), 0
    while x < end:
        stop = x + 1
        while stop < end and line[stop][1:] == line[x][1:]:
            stop += 1
        text = "".join(cell.data for cell in line[x:stop])
        if text.strip():
            look = f"fill:{_color(line[x].fg)};" if line[x].fg != "default" else ""
            look += "font-weight:bold;" if line[x].bold else ""
            place = f'x="{12 + x * WIDTH:.1f}" y="{12 + (y + 1) * HEIGHT - 5}" textLength="{len(text) * WIDTH:.1f}"'
            style = f' style="{look}"' if look else ""
            parts.append(f"<text {place}{style}>{html.escape(text)}</text>")
        x = stop
    return "".join(parts)


def _color(name: str) -> str:
    return COLORS.get(name.removeprefix("bright"), f"#{name}" if len(name) == 6 else INK)


def main() -> None:
    """Record, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/img/launch.svg"))
    parser.add_argument("--sweep", type=Path, default=Path("sweeps/quickstart.yaml"))
    parser.add_argument("more", nargs="*", help="further options of the launch, after --")
    arguments = parser.parse_args()
    folder = Path(tempfile.gettempdir()) / "sae-frontier"  # paths that are shown should be short, and nobody's own
    folder.mkdir()
    try:
        shutil.copytree(arguments.sweep.absolute().parent, folder / "sweeps")
        (folder / ".venv").symlink_to(sys.prefix)
        python = str(folder / ".venv" / "bin" / "python")
        command = [python, "-m", "orchestrator.launch", f"sweeps/{arguments.sweep.name}", *arguments.more]
        screens = list(recorded(command, folder))
    finally:
        shutil.rmtree(folder)
    arguments.out.write_text(drawn(chosen(screens)), encoding="utf-8")
    print(f"{arguments.out}: {len(chosen(screens))} of {len(screens)} pictures, {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
