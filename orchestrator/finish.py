"""What happens after packs trained: rows for what was cut off, the frontier and its picture, MLflow brought up to date.

Everything here is made from the run folder, so it may be done again at any time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.export import Exported, export_frontier, read_frontier
from orchestrator.jobs import PackOutcome, in_ms, now
from orchestrator.monitor import Monitor
from orchestrator.prepare import Planned
from orchestrator.records import PackState, Row, RowStatus, SweepState
from orchestrator.run_folder import RunFolder
from orchestrator.tracking import Tracker, how_to_open
from orchestrator.versions import versions_on
from trainer.errors import EnvironmentProblem

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
    front: tuple[dict[str, Any], ...]
    """Rows of `frontier.parquet` on the frontier of the first pair of objectives."""
    objectives: tuple[str, str]
    figures: tuple[Path, ...]
    mlflow: str
    """How to look at the runs; empty without tracking."""
    left_out: Mapping[str, str]
    """By trial, why a finished trial is not in the table."""

    @property
    def frontier(self) -> Path:
        return RunFolder(self.folder).frontier


def write_missing_rows(
    planned: Planned, outcomes: Mapping[str, PackOutcome], monitor: Monitor, *, cut_off: bool
) -> list[Row]:
    """Rows for trials whose worker could not write one: failed where it died, stopped where it was cut off."""
    folder, written = planned.folder, list[Row]()
    for pack in planned.plan.packs:
        outcome, status = outcomes.get(pack.pack_id), folder.pack_status(pack.pack_id)
        died = outcome is not None and outcome.state is PackState.FAILED and outcome.error is not None
        was_cut = cut_off and outcome is None and status is not None and status.state is PackState.RUNNING
        if not (died or was_cut) or status is None:
            continue
        state, kind = (PackState.FAILED, RowStatus.FAILED) if died else (PackState.STOPPED, RowStatus.STOPPED)
        error = outcome.error if outcome is not None else f"cut off at step {status.step}"
        for trial_id in status.trial_ids:
            if trial_id not in monitor.rows:
                written.append(_missing_row(planned, trial_id, pack.pack_id, kind, error))
                folder.write_row(written[-1])
        folder.write_pack_status(
            status.model_copy(update={"state": state, "error": error, "tokens_per_s": None, "updated_at": now()})
        )
    return written


def export(planned: Planned, state: SweepState, *, snapshot: bool = False) -> Exported:
    """`frontier.parquet` of the rows so far."""
    return export_frontier(
        planned.folder,
        sweep_id=planned.plan.sweep_id,
        state=state,
        now=now(),
        objectives=planned.sweep.frontier.planes,
        reference=planned.sweep.frontier.reference,
        snapshot=snapshot,
    )


def draw(planned: Planned) -> tuple[Path, ...]:
    """The frontier's pictures, from its file alone."""
    from dashboards.figures import write_figures

    return tuple(write_figures(planned.folder.frontier, planned.folder.path))


def state_of(planned: Planned) -> SweepState:
    """Complete where every trial is done or failed."""
    rows = (planned.folder.row(trial.trial_id) for trial in planned.plan.trials)
    ended = all(row is not None and row.status is not RowStatus.STOPPED for row in rows)
    return SweepState.COMPLETE if ended else SweepState.STOPPED


def catch_up(
    planned: Planned, tracker: Tracker, outcomes: Iterable[PackOutcome], rows: Iterable[Row]
) -> EnvironmentProblem | None:
    """Send to MLflow what workers could not send, and how the trials of `rows` ended. Returns what went wrong."""
    runs = planned.folder.mlflow_runs()
    assert runs is not None  # there is a tracker
    late = {trial_id: planned.folder.row(trial_id) for outcome in outcomes for trial_id in outcome.unsent}
    late |= {row.trial_id: row for row in rows}
    try:
        for trial_id, row in late.items():
            run_id = runs.trials[trial_id]
            tracker.replay(run_id, planned.folder.curve(trial_id))
            if row is not None:
                tracker.end_trial(
                    run_id, row.status, time_ms=in_ms(row.finished_at), metrics=row.metrics, error=row.error or ""
                )
    except EnvironmentProblem as problem:
        return problem
    return None


def publish(planned: Planned, tracker: Tracker, result: Result) -> EnvironmentProblem | None:
    """Numbers and files of the sweep on its parent run. Returns what went wrong."""
    runs = planned.folder.mlflow_runs()
    assert runs is not None  # there is a tracker
    metrics = {
        "n_trials": float(result.n_trials),
        "n_done": float(result.n_done),
        "n_failed": float(len(result.failures)),
        "n_on_frontier": float(len(result.front)),
    }
    files = [result.frontier, *result.figures, planned.folder.path / "sweep.yaml"]
    return tracker.publish(runs, result.state, metrics=metrics, artifacts=[path for path in files if path.exists()])


def result_of(planned: Planned, exported: Exported, *, n_done_before: int, figures: tuple[Path, ...]) -> Result:
    """Everything that is said at the end, from the run folder."""
    folder = planned.folder
    rows = [row for trial in planned.plan.trials if (row := folder.row(trial.trial_id)) is not None]
    names = planned.saved.run_names
    objective = planned.sweep.frontier.planes[0]
    table: list[dict[str, Any]] = read_frontier(folder.frontier).to_pylist()
    runs = folder.mlflow_runs() if planned.options.tracking else None
    done = {row.trial_id for row in rows if row.status is RowStatus.DONE}
    return Result(
        sweep_id=planned.plan.sweep_id,
        state=state_of(planned),
        folder=folder.path,
        n_trials=len(planned.plan.trials),
        n_done=len(done),
        n_done_before=n_done_before,
        failures=tuple((names[row.trial_id], row.error or "") for row in rows if row.status is RowStatus.FAILED),
        front=tuple(line for line in table if line[f"on_front_{objective.label}"] and line["trial_id"] in names),
        objectives=(objective.x, objective.y),
        figures=figures,
        mlflow=how_to_open(planned.tracking_uri, runs.experiment_id) if runs else "",
        left_out={names[id_]: why for id_, why in exported.left_out.items() if id_ in done},
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
