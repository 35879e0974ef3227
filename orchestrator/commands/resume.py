"""`orchestrator resume RUN`: go on with a run from its folder alone. The sweep file it came from may be gone.

The same launch as ever; only where its options come from differs.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.find_run import find_run
from orchestrator.commands.options import Debug, LogFormats, Plain, Run, Runs
from orchestrator.display.streams import Streams, guarded
from orchestrator.launch import run_and_tell

if TYPE_CHECKING:
    from orchestrator.folder.run_folder import RunFolder
    from orchestrator.running.planned import LaunchOptions

Slots = Annotated[
    int | None, typer.Option(min=1, help="Packs to run side by side. Default: as it was launched.", show_default=False)
]
ResultAsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def resume(
    run: Run,
    runs: Runs = Path("runs"),
    slots: Slots = None,
    include_removed: Annotated[
        bool, typer.Option("--include-removed", help="Show results of trials too that the sweep has no longer.")
    ] = False,
    plain: Plain = False,
    as_json: ResultAsJson = False,
    log_format: LogFormats = "text",
    debug: Debug = False,
) -> None:
    """Go on with a run where it stopped, as it was launched, without its sweep file. Exit codes are those of launch."""

    def command(streams: Streams) -> int:
        with as_launched(find_run(run, runs)) as options:
            options = replace(options, include_removed=include_removed, n_slots=slots or options.n_slots)
            return run_and_tell(options, streams, plain=plain, log_format=log_format, as_json=as_json)

    raise typer.Exit(guarded(command, debug=debug))


@contextmanager
def as_launched(folder: "RunFolder") -> "Generator[LaunchOptions]":
    """The options of the last launch, its sweep that of the run folder; inside, we are where it was launched.

    Raises BadInput where the folder has no sweep.
    """
    from orchestrator.folder.records import SavedLaunch
    from orchestrator.running.planned import LaunchOptions
    from trainer.errors import BadInput

    path = folder.path.absolute()
    mended = folder.mend_sweep()
    if not (path / "sweep.yaml").is_file():
        raise BadInput(f"{path} has no sweep.yaml: launch the sweep file once more, which writes it")
    saved = folder.launch() or SavedLaunch(sweep_file="")
    options = LaunchOptions(
        sweep_file=path / "sweep.yaml",
        runs=path.parent,
        folder=path,
        local=saved.local,
        tracking=saved.tracking,
        n_slots=saved.n_slots,
        path=saved.path,
        share=saved.share,
        notes=() if mended is None else (mended,),
    )
    with folder.where_launched():
        yield options
