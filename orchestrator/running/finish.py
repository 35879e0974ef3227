"""What happens after packs trained: rows for what was cut off, the frontier and its picture, MLflow brought up to date.

Everything here is made from the run folder, so it may be done again at any time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.folder.clock import now
from orchestrator.folder.files import write_json
from orchestrator.folder.records import PackState, PackStatus, Row, RowStatus, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.folder.versions import versions_on
from orchestrator.fronts.cautions import Caution
from orchestrator.fronts.export import Exported, export_frontier
from orchestrator.packs import checkpoints
from orchestrator.packs.fence import fence_off
from orchestrator.packs.jobs import PackOutcome
from orchestrator.planning.estimates import Compared, compared_by_pack
from orchestrator.running.monitor import Monitor
from orchestrator.running.next_round import found_so_far, next_round
from orchestrator.running.prepare import Planned, row_if_whole
from orchestrator.search.tried import Found
from orchestrator.tracking import how_to_open, read_links
from trainer.errors import BadInput

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


def write_missing_rows(
    planned: Planned, outcomes: Mapping[str, PackOutcome], monitor: Monitor, *, cut_off: bool
) -> list[Row]:
    """Rows for trials whose worker could not write one: failed where it died, stopped where it was cut off."""
    folder, written = planned.folder, list[Row]()
    for pack in planned.plan.packs:
        outcome, status = outcomes.get(pack.pack_id), _status(folder, pack.pack_id)
        can_go_on = outcome is not None and outcome.reason in ("memory", "disk")  # by the same command
        died = outcome is not None and outcome.state is PackState.FAILED and not can_go_on and outcome.error is not None
        was_cut = cut_off and outcome is None and status is not None and status.state is PackState.RUNNING
        if not (died or was_cut) or status is None:
            continue
        state, kind = (PackState.FAILED, RowStatus.FAILED) if died else (PackState.STOPPED, RowStatus.STOPPED)
        error = outcome.error if outcome is not None else f"cut off at step {status.step}"
        fence_off(folder, pack.pack_id)
        for trial_id in status.trial_ids:
            if trial_id not in monitor.rows:
                written.append(_missing_row(planned, trial_id, pack.pack_id, kind, error))
                folder.write_row(written[-1])
        folder.write_pack_status(
            status.model_copy(update={"state": state, "error": error, "tokens_per_s": None, "updated_at": now()})
        )
    return written


def tidy(planned: Planned) -> None:
    """Remove what workers had no time for that were killed: half-written files, checkpoints of packs that are done."""
    folder = planned.folder
    folder.clear_leftovers()
    for pack in planned.plan.packs:
        rows = [row_if_whole(folder, id_) for id_ in pack.trial_ids if id_ in planned.trial_ids]
        if all(row is not None and row.status in (RowStatus.DONE, RowStatus.DOMINATED) for row in rows):
            checkpoints.remove(folder.checkpoints(pack.pack_id))


def _status(folder: RunFolder, pack_id: str) -> PackStatus | None:
    """None also where it was damaged: it says nothing that a row depends on."""
    try:
        return folder.pack_status(pack_id)
    except BadInput:
        return None


def export(planned: Planned, state: SweepState, *, snapshot: bool = False) -> Exported:
    """`frontier.parquet` of the rows so far."""
    return export_frontier(
        planned.folder,
        sweep_id=planned.plan.sweep_id,
        state=state,
        now=now(),
        objectives=planned.sweep.frontier.planes,
        reference=planned.sweep.frontier.reference,
        targets=planned.sweep.frontier.match,
        max_gap=planned.sweep.frontier.max_gap,
        trial_ids=None if planned.options.include_removed else planned.trial_ids,
        snapshot=snapshot,
    )


def draw(planned: Planned) -> tuple[Path, ...]:
    """The frontier's pictures, from its file alone."""
    from dashboards.figures import write_figures

    return tuple(write_figures(planned.folder.frontier, planned.folder.path))


def report(planned: Planned, state: SweepState) -> Path:
    """The page of the dashboard as one file with the sweep in it."""
    from dashboards.report import write_report

    return write_report(planned.folder.path, ended_as=str(state))


def write_found(planned: Planned) -> None:
    """`search/found.json`: what has come of the search, for readers of the folder. Nothing where there is none."""
    if planned.searching is not None:
        found = [{"text": one.text, "reached": one.reached, "numbers": one.numbers} for one in found_so_far(planned)]
        said = {"schema_version": 1, "label": planned.searching.planner.label, "found": found}
        write_json(planned.folder.path / "search" / "found.json", said)


def state_of(planned: Planned) -> SweepState:
    """Complete where every trial is done, dominated or failed, and the sweep's search asks for no more."""
    rows = [planned.folder.row(trial.trial_id) for trial in planned.plan.trials]
    ended = all(row is not None and row.status is not RowStatus.STOPPED for row in rows)
    return SweepState.COMPLETE if ended and not next_round(planned)[1] else SweepState.STOPPED


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


def mlflow_link(planned: Planned) -> str:
    """How to look at the sweep in MLflow; empty where it is not there (yet)."""
    runs = planned.folder.mlflow_runs() if planned.options.tracking else None
    if runs is None:
        return ""
    links = read_links(planned.folder)
    return how_to_open(planned.tracking_uri, runs.experiment_id, (links and links.frontier_url) or "")


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


def _missing_row(planned: Planned, trial_id: str, pack_id: str, status: RowStatus, error: str | None) -> Row:
    moment = now()
    return Row(
        trial_id=trial_id,
        run_name=planned.saved.run_names[trial_id],
        pack_id=pack_id,
        status=status,
        error=error,
        config=planned.saved.trials[trial_id],
        versions=versions_on("unknown"),
        started_at=moment,
        finished_at=moment,
    )
