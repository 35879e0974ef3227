"""`orchestrator export RUN`: a sweep's frontier as a table for other programs, or as tables for a paper."""

# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# pyarrow ships no types.

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.export_choice import Format, Table, check_no_choice, check_table, format_of
from orchestrator.commands.find_run import find_run
from orchestrator.commands.options import AtAlive, AtCe, AtL0, Debug, Reference, Removed, Run, Runs, targets
from orchestrator.display.streams import Streams, guarded

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.folder.run_folder import RunFolder
    from orchestrator.fronts.summary import Fronts


def export(
    run: Run,
    runs: Runs = Path("runs"),
    format: Annotated[
        Format | None,
        typer.Option(
            help="parquet and csv: a table. markdown and latex: the comparisons of a paper. html: the dashboard as one "
            "file. Default: as FILE's name ends (.parquet, .csv, .md, .tex, .html), else parquet.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where to; else the run folder (parquet, html) or the terminal."
        ),
    ] = None,
    table: Annotated[
        Table | None, typer.Option(help="Of parquet and csv: which table. Default: frontier.", show_default=False)
    ] = None,
    at_ce: AtCe = None,
    at_l0: AtL0 = None,
    at_alive: AtAlive = None,
    reference: Reference = None,
    include_removed: Removed = False,
    debug: Debug = False,
) -> None:
    """Write a sweep's frontier out of a running, stopped or finished run.

    Without -o and --format: its own frontier*.parquet anew, in the run folder.
    """

    def command(streams: Streams) -> int:
        from orchestrator.display.plain import plain
        from orchestrator.fronts.fronts_of_run import assigned, fronts_of_run
        from orchestrator.fronts.notes import notes

        chosen = format_of(format, output)
        check_table(table, chosen, output)
        folder = find_run(run, runs)
        if chosen == "html":
            check_no_choice({"--at-ce": at_ce, "--at-l0": at_l0, "--at-alive": at_alive, "--reference": reference,
                              "--include-removed": include_removed})  # fmt: skip
            return _report(folder, output, streams)
        fronts = fronts_of_run(
            folder,
            include_removed=include_removed,
            reference=assigned(reference, "--reference"),
            targets=targets(at_ce, at_l0, at_alive),
        )
        for note in notes(fronts):
            print(plain(f"note: {note}"), file=streams.err)
        return _write(fronts, folder, chosen, table or "frontier", output, streams)

    raise typer.Exit(guarded(command, debug=debug))


def _write(
    fronts: "Fronts", folder: "RunFolder", format: Format, table: Table, output: Path | None, streams: Streams
) -> int:
    from orchestrator.folder.files import write_bytes

    if format == "parquet" and output is None:
        path = _refresh(fronts, folder)
        print(path, file=streams.out)
        return 0
    made: dict[Format, Callable[[], bytes]] = {
        "parquet": lambda: _parquet(fronts, folder, table),
        "csv": lambda: _csv(_table(fronts, table)),
        "markdown": lambda: paper_text(fronts, latex=False).encode(),
        "latex": lambda: paper_text(fronts, latex=True).encode(),
    }
    content = made[format]()
    if output is None:
        streams.out.write(content.decode())
    else:
        write_bytes(output, content)
        print(output, file=streams.err)
    return 0


def _report(folder: "RunFolder", output: Path | None, streams: Streams) -> int:
    """From the run folder's files as they are."""
    from dashboards.report import report_of
    from orchestrator.folder.files import write_text

    path = output or folder.report
    write_text(path, report_of(folder.path))
    print(path, file=streams.out if output is None else streams.err)
    return 0


def _refresh(fronts: "Fronts", folder: "RunFolder") -> Path:
    """The run folder's own files, as a launch writes them, and a snapshot, whose name never means anything else."""
    from orchestrator.folder.clock import now
    from orchestrator.fronts.export import write_fronts
    from orchestrator.fronts.fronts_of_run import state_of

    written = write_fronts(
        folder, fronts, sweep_id=folder.path.absolute().name, state=state_of(folder), now=now(), snapshot=True
    )
    return written.path


def _table(fronts: "Fronts", table: Table) -> "pa.Table":
    made = {
        "frontier": lambda: fronts.table,
        "summary": fronts.summary_table,
        "matched": fronts.matched_table,
        "surfaces": fronts.surfaces_table,
    }
    return made[table]()


def _parquet(fronts: "Fronts", folder: "RunFolder", table: Table) -> bytes:
    from orchestrator.folder.files import parquet_bytes
    from orchestrator.fronts.columns import FILES
    from orchestrator.fronts.export import facts_of, with_facts
    from orchestrator.fronts.fronts_of_run import state_of

    made, wanted = _table(fronts, table), FILES.get(f"frontier_{table}.parquet")
    facts = facts_of(fronts, folder, sweep_id=folder.path.absolute().name, state=state_of(folder))
    if wanted is not None:
        facts |= {"rows": made.num_rows, "columns": {column.name: column.described for column in wanted}}
    return parquet_bytes(with_facts(made, facts))


def _csv(table: "pa.Table") -> bytes:
    """Lists as JSON, times in ISO 8601."""
    import json
    from io import BytesIO

    import pyarrow as pa
    import pyarrow.csv as csv

    for place, column in enumerate(table.schema):
        if pa.types.is_nested(column.type):
            texts = [None if value is None else json.dumps(value) for value in table[column.name].to_pylist()]
            table = table.set_column(place, column.name, pa.array(texts, pa.string()))
    buffer = BytesIO()
    csv.write_csv(table, buffer)
    return buffer.getvalue()


def paper_text(fronts: "Fronts", *, latex: bool) -> str:
    """The matched comparisons and the shares of local, one table after the other."""
    from orchestrator.fronts import paper_tables
    from orchestrator.fronts.series import planes
    from orchestrator.fronts.summary import key_of

    shares = [
        (place, plane, fronts.shares[key_of(place.keys), plane])
        for place in fronts.places
        for plane in planes(fronts.objectives)
    ]
    tables = [*paper_tables.matched_tables(fronts.matches), *paper_tables.share_tables(shares)]
    form = paper_tables.latex if latex else paper_tables.markdown
    return "\n".join(form(table) for table in tables)
