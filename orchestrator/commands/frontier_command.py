"""`orchestrator frontier RUN`: what a sweep's frontiers say, from its rows alone, while it runs or after."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.find_run import find_run
from orchestrator.commands.options import AsJson, AtAlive, AtCe, AtL0, Debug, Reference, Removed, Run, Runs, targets
from orchestrator.display.streams import Streams, guarded

if TYPE_CHECKING:
    from orchestrator.fronts.summary import Fronts


def frontier(
    run: Run,
    runs: Runs = Path("runs"),
    at_ce: AtCe = None,
    at_l0: AtL0 = None,
    at_alive: AtAlive = None,
    reference: Reference = None,
    include_removed: Removed = False,
    trials: Annotated[bool, typer.Option("--trials", help="List every trial on a frontier.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show a sweep's frontiers: their size, which loss is ahead and how sure that is, and what to be warned of."""

    def command(streams: Streams) -> int:
        import json

        from rich.console import Console

        from orchestrator.folder.files import without_non_finite
        from orchestrator.fronts.front_text import print_fronts
        from orchestrator.fronts.fronts_of_run import assigned, fronts_of_run
        from orchestrator.fronts.notes import notes

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
                "external": standings_of(fronts),
                "warnings": [caution.text for caution in fronts.warnings],
                "notes": notes(fronts),
            }
            print(json.dumps(without_non_finite(value), indent=1), file=streams.out)
        else:
            print_fronts(fronts, Console(file=streams.out, width=None if streams.out.isatty() else 140), trials=trials)
        return 0

    raise typer.Exit(guarded(command, debug=debug))


def standings_of(fronts: "Fronts") -> list[dict[str, object]]:
    """Of each SAE that others trained, per set of objectives, who of the sweep is ahead of it and behind it."""
    from orchestrator.fronts.as_values import as_values
    from orchestrator.fronts.others import of_source, standings
    from orchestrator.fronts.schema import EXTERNAL

    others = of_source(fronts.table, EXTERNAL)
    return [as_values(one) for objective in fronts.objectives for one in standings(others, fronts.own, objective)]
