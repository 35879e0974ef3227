"""`orchestrator doctor [SWEEP]`: look at everything that a sweep needs, and say of each thing that is wrong what to do.

Starts no training and leaves nothing behind. The looking is in `doctor_machine.py`, `doctor_places.py` and
`doctor_sweep.py`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.options import AsJson, Debug, Overrides, Runs
from orchestrator.display.streams import ENVIRONMENT, Streams, guarded

if TYPE_CHECKING:
    from orchestrator.commands.findings import Finding
    from orchestrator.running.planned import Planned


def doctor(
    sweep: Annotated[
        Path | None,
        typer.Argument(
            metavar="SWEEP", help="Sweep file whose model, data and size to look at too.", show_default=False
        ),
    ] = None,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    quick: Annotated[bool, typer.Option("--quick", help="Do not start Ray, and do not ask MLflow.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check that this machine has what sweeps need, and say each fix. Exit code 4 if something is missing."""

    def command(streams: Streams) -> int:
        from orchestrator.commands.findings import AS_SAID, problem
        from trainer.errors import EnvironmentProblem

        planned, first = None, list["Finding"]()
        try:
            planned = _planned(sweep, overrides or [], runs) if sweep is not None else None
        except EnvironmentProblem as trouble:  # the rest can be looked at all the same
            first = [problem("sweep", str(trouble), AS_SAID)]
        found = chain(first, _findings(planned, runs, quick=quick, debug=debug))
        return _tell(found, streams, as_json=as_json)

    raise typer.Exit(guarded(command, debug=debug))


def _planned(sweep: Path, overrides: list[str], runs: Path) -> "Planned":
    """Raises BadInput for a sweep that could not be launched anywhere."""
    from orchestrator.running.planned import LaunchOptions
    from orchestrator.running.prepare import read_and_plan

    return read_and_plan(LaunchOptions(sweep, tuple(overrides), runs), only_look=True)


def _findings(planned: "Planned | None", runs: Path, *, quick: bool, debug: bool) -> "Iterator[Finding]":
    from orchestrator.commands import doctor_machine as machine
    from orchestrator.commands import doctor_places as places
    from orchestrator.commands import doctor_sweep as needs
    from orchestrator.commands.findings import Check, looked
    from trainer.data import default_cache

    wanted_gpus = planned.sweep.resources.gpus_per_pack if planned is not None else 0.0
    need = needs.disk_bytes(planned) if planned is not None else 0.0
    checks: dict[str, Check] = {
        "versions": machine.versions,
        "cpus": machine.cpus,
        "memory": machine.memory,
        "gpu": partial(machine.gpus, wanted=wanted_gpus),
        "limits": machine.limits,
        "clock": places.clock,
        "runs": partial(places.folder, "runs", runs, need_bytes=need, what="this sweep"),
        "cache": partial(places.folder, "cache", default_cache()),
        "leftovers": partial(needs.leftovers, runs),
    }
    if planned is not None:
        checks |= {"model": partial(needs.model, planned), "data": partial(needs.data, planned)}
    if not quick:
        checks |= {"mlflow": partial(needs.mlflow, lambda: _tracking_uri(planned, runs)), "ray": needs.ray}
    for name, check in checks.items():
        yield from check() if debug else looked(name, check)


def _tracking_uri(planned: "Planned | None", runs: Path) -> str:
    import os

    from orchestrator.tracking import resolve_tracking_uri

    return planned.tracking_uri if planned is not None else resolve_tracking_uri(None, runs=runs, environ=os.environ)


def _tell(findings: "Iterable[Finding]", streams: Streams, *, as_json: bool) -> int:
    """Each as it comes, since some take seconds."""
    from orchestrator.commands.findings import AS_SAID
    from orchestrator.commands.status import print_json
    from orchestrator.display.plain import plain

    found: list[Finding] = []
    for finding in findings:
        found.append(finding)
        if not as_json:
            text = finding.text.replace("\n", f"\n{'':<9}")
            print(plain(f"{finding.level:<9}{text}"), file=streams.out)
            if finding.fix and finding.fix != AS_SAID:
                print(plain(f"{'':<9}fix: {finding.fix}"), file=streams.out)
    counts = {level: sum(finding.level == level for finding in found) for level in ("problem", "warning")}
    if as_json:
        print_json({"ok": not counts["problem"], "findings": [asdict(finding) for finding in found]}, streams)
    else:
        said = [f"{n} {level}{'' if n == 1 else 's'}" for level, n in counts.items() if n]
        print(", ".join(said) or "everything is in order", file=streams.out)
    return ENVIRONMENT if counts["problem"] else 0
