"""`orchestrator compare A B`: two sweeps against each other, where they can be compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.commands.find_run import complete_run, find_run
from orchestrator.commands.options import AsJson, AtAlive, AtCe, AtL0, Debug, Reference, Runs, targets
from orchestrator.display.streams import Streams, guarded

if TYPE_CHECKING:
    from orchestrator.folder.run_folder import RunFolder
    from orchestrator.fronts.paper_tables import TextTable
    from orchestrator.fronts.versus import Versus

Format = Literal["text", "markdown", "latex"]


def compare(
    first: Annotated[
        str,
        typer.Argument(metavar="A", help="Run folder, or the name or id of a sweep.", autocompletion=complete_run),
    ],
    second: Annotated[
        str, typer.Argument(metavar="B", help="The sweep to hold against it.", autocompletion=complete_run)
    ],
    runs: Runs = Path("runs"),
    at_ce: AtCe = None,
    at_l0: AtL0 = None,
    at_alive: AtAlive = None,
    reference: Reference = None,
    format: Annotated[
        Format, typer.Option(help="text: tables and what they say. markdown and latex: the tables alone.")
    ] = "text",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare two sweeps: hypervolume, metrics where another is equal, and which settings differ."""

    def command(streams: Streams) -> int:
        from orchestrator.fronts.fronts_of_run import assigned, fronts_of_run
        from orchestrator.fronts.versus import versus
        from trainer.errors import BadInput

        folders = find_run(first, runs), find_run(second, runs)
        if folders[0].path.resolve() == folders[1].path.resolve():
            raise BadInput(
                f"A and B are the same run, {folders[0].path}: there is no difference to show. Expected two runs. For "
                f"one alone:  python -m orchestrator frontier {folders[0].path}"
            )
        names = _names(folders)
        found = versus(
            *(fronts_of_run(folder) for folder in folders),
            names=names,
            targets=targets(at_ce, at_l0, at_alive) or _asked(folders[0]),
            reference=assigned(reference, "--reference"),
        )
        if as_json:
            _print_json(found, names, _settings(folders), streams)
        else:
            _print(found, names, _settings(folders), format, streams)
        return 0

    raise typer.Exit(guarded(command, debug=debug))


def _names(folders: "tuple[RunFolder, RunFolder]") -> tuple[str, str]:
    """Of the folders; with their parents where those are alike."""
    first, second = (folder.path.absolute() for folder in folders)
    if first.name != second.name:
        return first.name, second.name
    return str(folders[0].path), str(folders[1].path)


def _asked(folder: "RunFolder") -> dict[str, Any]:
    from orchestrator.fronts.fronts_of_run import frontier_section

    return dict(frontier_section(folder).match)


def _settings(folders: "tuple[RunFolder, RunFolder]") -> list[str]:
    """What differs between their sweep files, the name left out."""
    from orchestrator.fronts.fronts_of_run import sweep_of
    from orchestrator.sweep.sweep_diff import differences

    first, second = (sweep_of(folder) for folder in folders)
    if first is None or second is None:
        return []
    return [difference.line for difference in differences(first, second) if difference.path != "name"]


def _print_json(found: "Versus", names: tuple[str, str], settings: list[str], streams: Streams) -> None:
    import json

    from orchestrator.folder.files import without_non_finite
    from orchestrator.fronts.as_values import as_values

    value = {"first": names[0], "second": names[1], "settings": settings, **as_values(found)}
    print(json.dumps(without_non_finite(value), indent=1), file=streams.out)


def _print(found: "Versus", names: tuple[str, str], settings: list[str], format: Format, streams: Streams) -> None:
    from rich.console import Console

    from orchestrator.fronts.paper_tables import latex, markdown
    from orchestrator.fronts.versus_text import tables, words

    match format:
        case "markdown" | "latex":
            form = markdown if format == "markdown" else latex
            print("\n".join(form(table) for table in tables(found, names)), file=streams.out)
            for note in found.notes:
                print(f"note: {note}", file=streams.err)
        case "text":
            console = Console(file=streams.out, width=None if streams.out.isatty() else 140)
            for table in tables(found, names):
                _print_table(table, console)
            for line in words(found, names, settings):
                console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_table(table: "TextTable", console: Any) -> None:
    from rich.table import Table

    drawn = Table(title=table.title, title_justify="left", title_style="bold", box=None, padding=(0, 3, 0, 0),
                  header_style="dim")  # fmt: skip
    for place, head in enumerate(table.heads):
        drawn.add_column(
            head, justify="left" if place == 0 or head.startswith("among") else "right", no_wrap=place == 0
        )
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
    if table.note:
        console.print(table.note, style="dim", highlight=False, markup=False, soft_wrap=True)
    console.print()
