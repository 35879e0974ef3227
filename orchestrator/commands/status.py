"""`orchestrator status [RUN]`: how a sweep stands, or all of them, from run folders alone, from any machine that sees
them. It works on a run in progress, ended, killed or half copied, and never touches it.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.find_run import all_runs, complete_run, find_run
from orchestrator.commands.options import AsJson, Debug, Plain, Runs
from orchestrator.display.plain import plain_json
from orchestrator.display.streams import Streams, guarded

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.commands.standing import Standing
    from orchestrator.folder.run_folder import RunFolder

__all__ = ["find_run", "status"]

WATCH_EVERY_S = 1.0
MOST_FAILURES = 5


def status(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Run folder, or the name or id of a sweep in the runs folder. Without one: all of them.",
            autocompletion=complete_run,
        ),
    ] = None,
    runs: Runs = Path("runs"),
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay until the sweep ends. Ctrl-C only ends watching.")
    ] = False,
    as_json: AsJson = False,
    plain: Plain = False,
    debug: Debug = False,
) -> None:
    """Show how a sweep stands, or list all of them."""

    def command(streams: Streams) -> int:
        if run is None and not watch:
            return _list(runs, streams, as_json=as_json)
        folder = find_run(run, runs) if run is not None else _newest(runs)
        if watch and not as_json:
            return _watch(folder, streams, plain=plain)
        return _show(folder, streams, as_json=as_json)

    raise typer.Exit(guarded(command, debug=debug))


def print_standing(standing: "Standing", streams: Streams) -> None:
    """The picture, what failed, what could not be read, and the command to go on with."""
    from orchestrator.display.terminal import drawn

    notes = {"state": standing.who, "folder": str(standing.folder)}
    console = _console(streams)
    console.print(drawn(standing.view, notes=notes, max_rows=1000, with_front=streams.out.isatty()))
    for name, why in standing.failures[:MOST_FAILURES]:
        console.print(f"failed     {name}: {why}", markup=False, highlight=False, soft_wrap=True)
    if len(standing.failures) > MOST_FAILURES:
        console.print(
            f"           and {len(standing.failures) - MOST_FAILURES} more, see {standing.folder / 'results'}"
        )
    for trouble in standing.troubles:
        console.print(f"trouble    {trouble}", markup=False, highlight=False, soft_wrap=True)
    if standing.go_on:
        console.print(f"to go on   {standing.go_on}", markup=False, highlight=False, soft_wrap=True)


def print_json(value: object, streams: Streams) -> None:
    """As data, on one side of a pipe or the other."""
    from orchestrator.folder.files import without_non_finite

    print(plain_json(json.dumps(without_non_finite(value), indent=1, ensure_ascii=False)), file=streams.out)


def _show(folder: "RunFolder", streams: Streams, *, as_json: bool) -> int:
    from orchestrator.commands.standing import stand

    standing = stand(folder)
    if as_json:
        print_json(standing.to_json(), streams)
    else:
        print_standing(standing, streams)
    return 0


def _watch(folder: "RunFolder", streams: Streams, *, plain: bool) -> int:
    from orchestrator.commands.standing import Onlooker
    from orchestrator.display.terminal import choose_screen

    onlooker = Onlooker(folder)
    standing = onlooker.look()
    onlooker.new_events()  # those of the past were told when they happened
    screen = choose_screen(err=streams.err, out=streams.out, plain=plain, log_format="text")
    screen.note("folder", str(folder.path))
    said = ""
    try:
        while standing.is_live:
            if standing.who != said:
                screen.note("state", said := standing.who)
            screen.update(standing.view)
            for event in onlooker.new_events():
                screen.event(event)
            time.sleep(WATCH_EVERY_S)
            standing = onlooker.look()
        for event in onlooker.new_events():
            screen.event(event)
    except KeyboardInterrupt:
        return 0  # only the watching ends
    finally:
        screen.close()
    print_standing(standing, streams)
    return 0


def _list(runs: Path, streams: Streams, *, as_json: bool) -> int:
    from orchestrator.commands.run_list import summary
    from orchestrator.folder.run_folder import RunFolder

    found = [summary(RunFolder(path)) for path in all_runs(runs)]
    if as_json:
        print_json([line.to_json() for line in found], streams)
    elif not found:
        print(f"no runs in {runs}", file=streams.err)
    else:
        from rich.table import Table

        table: Table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        for heading, justify in (("run", "left"), ("state", "left"), ("done", "right"), ("failed", "right"),
                                 ("left", "right"), ("last word", "left")):  # fmt: skip
            table.add_column(heading, justify=justify, no_wrap=True)  # pyright: ignore[reportArgumentType]
        for line in found:
            table.add_row(*line.cells)
        console = _console(streams)
        console.print(table)
        for line in found:
            if line.trouble:
                console.print(f"{line.folder.name}: {line.trouble}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _newest(runs: Path) -> "RunFolder":
    from orchestrator.folder.run_folder import RunFolder
    from trainer.errors import BadInput

    found = all_runs(runs)
    if not found:
        raise BadInput(f"no runs in {runs}; name a run folder, or the folder of runs with --runs")
    return RunFolder(found[0])


def _console(streams: Streams) -> "Console":
    from orchestrator.display.terminal import WIDTH, SafeConsole

    return SafeConsole(file=streams.out, width=None if streams.out.isatty() else WIDTH)
