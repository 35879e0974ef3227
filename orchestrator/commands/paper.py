"""`orchestrator paper RUN`: what the paper measured, on the SAEs of a run. Reads options, shows how it goes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.find_run import complete_run, find_run
from orchestrator.commands.options import Debug, Plain, Runs
from orchestrator.display.streams import Streams, guarded

if TYPE_CHECKING:
    from orchestrator.paper.call import Asked, Call, Done


def paper(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Run folder, or the name or id of a sweep in the runs folder.",
            autocompletion=complete_run,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAMES", help="These analyses, with commas between. Can be repeated."),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select",
            metavar="WHICH",
            help="SAEs: matched-ce, matched-l0, front, or a trial's id or name. Can be repeated. [default: matched-ce]",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="ANALYSIS.OPTION=VALUE", help="An option of an analysis. Can be repeated."),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="Name the analyses and their options, and do nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which SAEs, what is missing, time and memory; start nothing.")
    ] = False,
    local: Annotated[bool, typer.Option("--local", help="One after another in this process, without Ray.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Where to. [default: RUN/paper]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")] = False,
    runs: Runs = Path("runs"),
    plain: Plain = False,
    debug: Debug = False,
) -> None:
    """Run the paper's analyses on the SAEs of a run: tables, figures, LaTeX and one page, in RUN/paper.

    What is done already is not done again.
    """

    def command(streams: Streams) -> int:
        from orchestrator.paper.call import Asked
        from trainer.errors import BadInput

        if listing:
            print(_list_text(), file=streams.out)
            return 0
        if run is None:
            raise BadInput("which run? Expected a run folder or the name of a sweep: python -m orchestrator paper RUN")
        asked = Asked(
            find_run(run, runs), tuple(only or ()), _split(select), tuple(setting or ()), output=output, local=local
        )
        if dry_run:
            return _dry_run(asked, streams, plain_lines=plain)
        return _run(asked, streams, plain_lines=plain, as_json=as_json)

    raise typer.Exit(guarded(command, debug=debug))


def _split(select: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for text in select or () for name in text.split(",") if name.strip())


def _dry_run(asked: "Asked", streams: Streams, *, plain_lines: bool) -> int:
    from orchestrator.display.telling import Telling
    from orchestrator.paper.call import planned_call
    from orchestrator.paper.told import plan_text

    with Telling(streams.err, plain_lines=plain_lines) as tell:
        tell.phase("choosing SAEs", quietly=True)
        call = planned_call(asked)
    print(plan_text(call), file=streams.out)
    return 0


def _run(asked: "Asked", streams: Streams, *, plain_lines: bool, as_json: bool) -> int:
    import json

    from orchestrator.display.plain import plain
    from orchestrator.paper.told import done_text

    call, done = _done(asked, streams, plain_lines=plain_lines)
    if as_json:
        print(json.dumps(done.summary, indent=2), file=streams.out)
    else:
        print(plain(done_text(call, done)), file=streams.out)
    return done.exit_code


def _done(asked: "Asked", streams: Streams, *, plain_lines: bool) -> "tuple[Call, Done]":
    from orchestrator.display.plain import plain
    from orchestrator.display.telling import Telling
    from orchestrator.paper.call import planned_call, run_call
    from orchestrator.running.stopping import StopRequest, signals_handled

    with signals_handled(StopRequest(asked.path)), Telling(streams.err, plain_lines=plain_lines) as tell:
        tell.phase("choosing SAEs", quietly=True)
        call = planned_call(asked)
        for note in call.notes:
            print(plain(f"note: {note}"), file=streams.err)

        def heard(share: float, what: str) -> None:
            tell.share(share, what)

        done = run_call(call, heard=heard, ended=lambda _: None, phase=tell.phase)
    return call, done


def _list_text() -> str:
    from orchestrator.paper.registry import analyses
    from orchestrator.paper.told import list_text

    return list_text(analyses())
