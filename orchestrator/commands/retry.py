"""`orchestrator retry RUN --failed`: try the failed trials of a run again, and do what else is left of it."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.find_run import find_run
from orchestrator.commands.options import Debug, LogFormats, Plain, Run, Runs
from orchestrator.commands.resume import ResultAsJson, Slots, as_launched
from orchestrator.display.streams import Streams, guarded
from orchestrator.launch import run_and_tell


def retry(
    run: Run,
    failed: Annotated[bool, typer.Option("--failed", help="The failed trials: their rows are made anew.")] = False,
    runs: Runs = Path("runs"),
    slots: Slots = None,
    plain: Plain = False,
    as_json: ResultAsJson = False,
    log_format: LogFormats = "text",
    debug: Debug = False,
) -> None:
    """Try trials of a run again, as it was launched, without its sweep file. Exit codes are those of launch."""

    def command(streams: Streams) -> int:
        from trainer.errors import BadInput

        if not failed:
            raise BadInput(
                "say which trials to try again: retry RUN --failed. What was stopped goes on with: resume RUN"
            )
        with as_launched(find_run(run, runs)) as options:
            options = replace(options, retry_failed=True, n_slots=slots or options.n_slots)
            return run_and_tell(options, streams, plain=plain, log_format=log_format, as_json=as_json)

    raise typer.Exit(guarded(command, debug=debug))
