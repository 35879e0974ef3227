"""Arguments and options that several commands have, said the same way in each."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.find_run import complete_run
from orchestrator.display.streams import LogFormat

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Run folder, or the name or id of a sweep in the runs folder.",
        autocompletion=complete_run,
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder that holds run folders.")]
Plain = Annotated[bool, typer.Option("--plain", help="Plain lines in place of the live picture.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the sweep file. Can be repeated."),
]
LogFormats = Annotated[LogFormat, typer.Option(help="Progress as text, or as JSON lines on stdout.")]
Removed = Annotated[bool, typer.Option("--include-removed", help="With trials that the sweep file asks for no longer.")]
AtCe = Annotated[
    list[float] | None,
    typer.Option("--at-ce", metavar="NATS", help="Compare losses at this CE increase. Can be repeated."),
]
AtL0 = Annotated[
    list[float] | None, typer.Option("--at-l0", metavar="L0", help="Compare losses at this L0. Can be repeated.")
]
AtAlive = Annotated[
    list[float] | None,
    typer.Option("--at-alive", metavar="N", help="Compare losses at so many alive elements. Can be repeated."),
]
Reference = Annotated[
    list[str] | None,
    typer.Option(
        "--reference",
        metavar="METRIC=NUMBER",
        help="Measure hypervolume from here. Once per metric: a frontier needs one of each of its metrics.",
    ),
]


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
