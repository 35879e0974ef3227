"""`orchestrator plot RUN -o figure.pdf`: the picture of a sweep's frontiers for a paper."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.find_run import find_run
from orchestrator.commands.options import Debug, Removed, Run, Runs
from orchestrator.display.streams import Streams, guarded


def plot(
    run: Run,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to; its name ends in .pdf, .svg or .png.")
    ],
    runs: Runs = Path("runs"),
    layer: Annotated[list[int] | None, typer.Option(metavar="N", help="Only this layer. Can be repeated.")] = None,
    inverted_y: Annotated[
        bool, typer.Option("--inverted-y", help="Low values on top, as the paper draws CE loss increase.")
    ] = False,
    include_removed: Removed = False,
    debug: Debug = False,
) -> None:
    """Draw a sweep's frontiers for a paper: a row per layer, seeds as bands. The same rows give the same bytes."""

    def command(streams: Streams) -> int:
        from tempfile import TemporaryDirectory

        from dashboards.paper_figure import write_paper_figure
        from orchestrator.folder.clock import now
        from orchestrator.folder.files import disk_problems_explained
        from orchestrator.folder.run_folder import RunFolder
        from orchestrator.fronts.export import write_fronts
        from orchestrator.fronts.fronts_of_run import fronts_of_run, state_of
        from trainer.errors import BadInput

        folder = find_run(run, runs)
        fronts = fronts_of_run(folder, include_removed=include_removed)
        # The picture is drawn from files alone; the run folder's own may be another user's, or of a running sweep.
        with TemporaryDirectory() as made, disk_problems_explained(output):
            copy = RunFolder(Path(made))
            name = folder.path.absolute().name
            write_fronts(copy, fronts, sweep_id=name, state=state_of(folder), now=now(), snapshot=False)
            try:
                write_paper_figure(
                    copy.frontier,
                    copy.path / "frontier_surfaces.parquet",
                    output,
                    inverted_y=inverted_y,
                    layers=layer or (),
                )
            except ValueError as problem:
                raise BadInput(str(problem)) from problem
        print(output, file=streams.out)
        return 0

    raise typer.Exit(guarded(command, debug=debug))
