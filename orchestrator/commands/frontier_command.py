"""`orchestrator frontier RUN`: what a sweep's frontiers say, from its rows alone, while it runs or after."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.find_run import find_run
from orchestrator.display.streams import Streams, guarded

AtCe = Annotated[
    list[float] | None, typer.Option("--at-ce", metavar="NATS", help="Compare losses at this CE increase; repeatable.")
]
AtL0 = Annotated[
    list[float] | None, typer.Option("--at-l0", metavar="L0", help="Compare losses at this L0; repeatable.")
]
AtAlive = Annotated[
    list[float] | None,
    typer.Option("--at-alive", metavar="N", help="Compare losses at so many alive elements; repeatable."),
]
Reference = Annotated[
    list[str] | None,
    typer.Option("--reference", metavar="METRIC=NUMBER", help="Measure hypervolume from here; once per metric."),
]
Removed = Annotated[bool, typer.Option("--include-removed", help="With trials that the sweep file asks for no longer.")]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder that holds run folders.")]
Run = Annotated[str, typer.Argument(help="Run folder, or the name or id of a sweep in the runs folder.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")]


def frontier(
    run: Run,
    runs: Runs = Path("runs"),
    at_ce: AtCe = None,
    at_l0: AtL0 = None,
    at_alive: AtAlive = None,
    reference: Reference = None,
    include_removed: Removed = False,
    trials: Annotated[bool, typer.Option("--trials", help="List every trial on a frontier.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Show a sweep's frontiers: their size, which loss is ahead and how sure that is, and what to be warned of."""

    def command(streams: Streams) -> int:
        import json

        from rich.console import Console

        from orchestrator.folder.files import without_non_finite
        from orchestrator.fronts.front_text import print_fronts
        from orchestrator.fronts.fronts_of_run import assigned, fronts_of_run

        fronts = fronts_of_run(
            find_run(run, runs),
            include_removed=include_removed,
            reference=assigned(reference, "--reference"),
            targets=targets(at_ce, at_l0, at_alive),
        )
        if as_json:
            value = {
                "frontiers": fronts.summary_table().to_pylist(),
                "matched": fronts.matched_table().to_pylist(),
                "warnings": [caution.text for caution in fronts.warnings],
            }
            print(json.dumps(without_non_finite(value), indent=1), file=streams.out)
        else:
            print_fronts(fronts, Console(file=streams.out, width=None if streams.out.isatty() else 140), trials=trials)
        return 0

    raise typer.Exit(guarded(command, debug=debug))


def targets(
    at_ce: list[float] | None, at_l0: list[float] | None, at_alive: list[float] | None
) -> dict[str, list[float]]:
    """Options as values by metric. Raises `BadInput` for what is no number above 0."""
    from math import isfinite

    from trainer.errors import BadInput

    found = {"ce_loss_increase": at_ce, "l0": at_l0, "n_alive_elements": at_alive}
    for metric, values in found.items():
        for value in values or ():
            if not isfinite(value) or (value <= 0 and metric != "ce_loss_increase"):
                raise BadInput(
                    f"cannot compare at {metric} {value:g}: expected a number{'' if 'ce' in metric else ' above 0'}"
                )
    return {metric: values for metric, values in found.items() if values}
