"""`orchestrator sync RUN`: bring MLflow to what the run folder says, and tell what that took.

A launch does the same while it runs. This is for a sweep whose MLflow was away at the end, has lost something, or shall
be another one. It may run beside a launch.
"""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.display.streams import Streams, guarded


def sync(
    run: Annotated[str, typer.Argument(help="Run folder, or the name or id of a sweep in the runs folder.")],
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds run folders.")] = Path("runs"),
    tracking_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="Another MLflow than that which the sweep names.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare every point, not each curve's newest.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Bring MLflow to what the run folder says."""

    def command(streams: Streams) -> int:
        from orchestrator.commands.find_run import find_run
        from orchestrator.tracking.syncing import sync_run

        def say(text: str) -> None:
            print(text, file=streams.err)

        synced = sync_run(find_run(run, runs), tracking_uri, check=check, say=say)
        print("\n".join(synced.lines), file=streams.out)
        return 0

    raise typer.Exit(guarded(command, debug=debug))
