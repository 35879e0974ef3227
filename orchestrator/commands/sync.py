"""`orchestrator sync RUN`: bring MLflow to what the run folder says, and tell what that took.

A launch does the same while it runs. This is for a sweep whose MLflow was away at the end, has lost something, or shall
be another one. It may run beside a launch.
"""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.find_run import find_run
from orchestrator.commands.options import Debug, Plain, Run, Runs
from orchestrator.display.streams import Streams, guarded


def sync(
    run: Run,
    runs: Runs = Path("runs"),
    tracking_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="Another MLflow than that which the sweep names.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare every point, not each curve's newest.")] = False,
    plain: Plain = False,
    debug: Debug = False,
) -> None:
    """Bring MLflow to what the run folder says: what is missing there is sent. Exit code 4 if it does not answer."""

    def command(streams: Streams) -> int:
        from orchestrator.display.telling import Telling

        folder = find_run(run, runs)
        with Telling(streams.err, plain_lines=plain) as tell:
            from orchestrator.tracking.syncing import sync_run

            tell.phase(f"asking MLflow what it has of {folder.path.absolute().name}")
            synced = sync_run(folder, tracking_uri, check=check, say=tell.phase)
        print("\n".join(synced.lines), file=streams.out)
        return 0

    raise typer.Exit(guarded(command, debug=debug))
