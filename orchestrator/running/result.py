"""What a launch came to, read from the run folder: for the end's words, for MLflow, for programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.folder.records import RowStatus, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.cautions import Caution
from orchestrator.fronts.export import Exported
from orchestrator.planning.estimates import Compared, compared_by_pack
from orchestrator.running.next_round import found_so_far, next_round
from orchestrator.running.planned import Planned
from orchestrator.search.tried import Found
from orchestrator.tracking import how_to_open, read_links

Failure = tuple[str, str]
"""Name of a trial and why it failed."""


@dataclass(frozen=True)
class Result:
    """What a launch came to."""

    sweep_id: str
    state: SweepState
    folder: Path
    n_trials: int
    n_done: int
    n_done_before: int
    failures: tuple[Failure, ...]
    dominated: tuple[Failure, ...]
    """Trials that were stopped early, and by whom they are dominated."""
    front: tuple[dict[str, Any], ...]
    """Rows of `frontier.parquet` on the frontier of the first pair of objectives."""
    objectives: tuple[str, str]
    figures: tuple[Path, ...]
    mlflow: str
    """How to look at the runs; empty without tracking."""
    left_out: Mapping[str, str]
    """By trial, why a finished trial is not in the table."""
    compared: Mapping[str, Compared]
    """By pack, what it took beside what was estimated."""
    warnings: tuple[Caution, ...] = ()
    """What to know before trusting the frontiers."""
    search: str = ""
    """What was looked for after the grid; empty where nothing was."""
    found: tuple[Found, ...] = ()
    """What has come of that."""
    report: Path | None = None
    """The sweep as one HTML file."""

    @property
    def frontier(self) -> Path:
        return RunFolder(self.folder).frontier


def result_of(planned: Planned, exported: Exported, *, n_done_before: int, figures: tuple[Path, ...]) -> Result:
    """Everything that is said at the end, from the run folder."""
    folder = planned.folder
    rows = [row for trial in planned.plan.trials if (row := folder.row(trial.trial_id)) is not None]
    names = planned.saved.run_names
    objective = planned.sweep.frontier.planes[0]
    table = exported.fronts.own
    front: list[dict[str, Any]] = table.filter(table[f"on_front_{objective.label}"]).to_pylist()
    done = {row.trial_id for row in rows if row.status is RowStatus.DONE}
    return Result(
        sweep_id=planned.plan.sweep_id,
        state=state_of(planned),
        folder=folder.path,
        n_trials=len(planned.plan.trials),
        n_done=len(done),
        n_done_before=n_done_before,
        failures=tuple((names[row.trial_id], row.error or "") for row in rows if row.status is RowStatus.FAILED),
        dominated=tuple((names[row.trial_id], row.dominated.text) for row in rows if row.dominated is not None),
        front=tuple(front),
        objectives=(objective.x, objective.y),
        figures=figures,
        mlflow=mlflow_link(planned),
        left_out={names[id_]: why for id_, why in exported.left_out.items() if id_ in done},
        compared=compared_by_pack(planned.saved, rows),
        warnings=tuple(exported.fronts.warnings),
        search=planned.searching.planner.label if planned.searching is not None else "",
        found=found_so_far(planned),
    )


def state_of(planned: Planned) -> SweepState:
    """Complete where every trial is done, dominated or failed, and the sweep's search asks for no more."""
    rows = [planned.folder.row(trial.trial_id) for trial in planned.plan.trials]
    ended = all(row is not None and row.status is not RowStatus.STOPPED for row in rows)
    return SweepState.COMPLETE if ended and not next_round(planned)[1] else SweepState.STOPPED


def mlflow_link(planned: Planned) -> str:
    """How to look at the sweep in MLflow; empty where it is not there (yet)."""
    runs = planned.folder.mlflow_runs() if planned.options.tracking else None
    if runs is None:
        return ""
    links = read_links(planned.folder)
    return how_to_open(planned.tracking_uri, runs.experiment_id, (links and links.frontier_url) or "")


def sweep_metrics(result: Result) -> dict[str, float]:
    """What MLflow shows of the whole sweep."""
    return {
        "n_trials": float(result.n_trials),
        "n_done": float(result.n_done),
        "n_failed": float(len(result.failures)),
        "n_on_frontier": float(len(result.front)),
    }


def sweep_files(result: Result) -> list[Path]:
    """What goes to the sweep's own run in MLflow."""
    files = [result.frontier, *result.figures, result.folder / "sweep.yaml"]
    files += [result.report] if result.report is not None else []
    return [path for path in files if path.exists()]
