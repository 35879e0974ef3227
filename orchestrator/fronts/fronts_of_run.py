"""The frontiers of a run folder in memory, as its sweep file wants them: what the reading commands start from.

Writes nothing, so it works on a running sweep and in somebody else's folder.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.folder.records import SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import fronts_of_lines, lines_of_trials
from orchestrator.fronts.external import read_external
from orchestrator.fronts.schema import objective_columns
from orchestrator.fronts.summary import Fronts
from orchestrator.sweep.objectives import check_objectives
from orchestrator.sweep.sweep_file import load_sweep
from orchestrator.sweep.sweep_schema import Frontier
from trainer.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.sweep.sweep_file import Sweep


def fronts_of_run(
    folder: RunFolder,
    *,
    include_removed: bool = False,
    reference: Mapping[str, float] | None = None,
    targets: Mapping[str, Sequence[float]] | None = None,
) -> Fronts:
    """Of all trials so far, those that the sweep asks for no longer only with `include_removed`.

    `reference` and `targets` stand in for the sweep file's, metric by metric. Raises `BadInput` where no trial is done.
    """
    wanted = frontier_section(folder)
    reference = {**wanted.reference, **(reference or {})}
    check_objectives(wanted.planes, reference)
    fronts = fronts_of_lines(
        lines_of_trials(folder, None if include_removed else wanted_trials(folder)),
        sweep_id=folder.path.absolute().name,
        objectives=wanted.planes,
        reference=reference,
        targets={**wanted.match, **(targets or {})},
        max_gap=wanted.max_gap,
        mlflow_runs=folder.mlflow_runs(),
        external=read_external(folder),
    )
    if fronts.own.num_rows == 0:
        raise BadInput(
            f"no trial of {folder.path} is done: expected at least one finished trial; see how it stands with "
            f"python -m orchestrator status {folder.path}"
        )
    return fronts


def frontier_section(folder: RunFolder) -> Frontier:
    """Of its sweep file; as if nothing were written there where it has none."""
    found = sweep_of(folder)
    return found.frontier if found is not None else Frontier()


def sweep_of(folder: RunFolder) -> "Sweep | None":
    """Its sweep file, read; None where it has none."""
    path = folder.path / "sweep.yaml"
    return load_sweep(path) if path.exists() else None


def wanted_trials(folder: RunFolder) -> set[str] | None:
    """The trials that the sweep asked for when it was last launched; None where there is no plan."""
    plan = folder.plan()
    return None if plan is None else plan.wanted


def state_of(folder: RunFolder) -> SweepState:
    """As its driver wrote it last."""
    status = folder.status()
    return status.state if status is not None else SweepState.STOPPED


def assigned(texts: Sequence[str] | None, option: str) -> dict[str, float]:
    """`["l0=300"]` as `{"l0": 300.0}`. Raises `BadInput` for anything else, and for what is no metric."""
    found: dict[str, float] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            equals, number = "", 0.0
        if not equals or name not in objective_columns():
            known = ", ".join(objective_columns())
            raise BadInput(
                f"{option} {text}: expected METRIC=NUMBER, such as {option} l0=300, with a metric among {known}"
            )
        found[name] = number
    return found
