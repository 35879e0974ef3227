"""What happens after packs trained: rows for what was cut off, the frontier and its picture, MLflow brought up to date.

Everything here is made from the run folder, so it may be done again at any time.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.display.screen import Screen
from orchestrator.folder.clock import now
from orchestrator.folder.files import write_json
from orchestrator.folder.records import PackState, PackStatus, Row, RowStatus, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.folder.versions import versions_on
from orchestrator.fronts.export import Exported, export_frontier
from orchestrator.packs import checkpoints
from orchestrator.packs.fence import fence_off
from orchestrator.packs.jobs import PackOutcome
from orchestrator.running.earlier_rows import row_if_whole
from orchestrator.running.mlflow_copy import Tracking
from orchestrator.running.monitor import Monitor
from orchestrator.running.next_round import found_so_far
from orchestrator.running.planned import Planned
from orchestrator.running.result import Result, mlflow_link, result_of, state_of
from trainer.errors import BadInput

MLFLOW_S = 60.0
"""Longest wait at the end for MLflow to have everything."""
MLFLOW_CUT_OFF_S = 5.0
"""The same after a second Ctrl-C."""


def finish_launch(
    planned: Planned,
    outcomes: Mapping[str, PackOutcome],
    monitor: Monitor,
    screen: Screen,
    tracking: Tracking,
    *,
    n_kept: int,
    cut_off: bool,
) -> Result:
    """Rows, frontier, pictures, report and MLflow, in that order; what cannot be made costs none of the others."""
    screen.phase("writing the frontier")
    write_missing_rows(planned, outcomes, monitor, cut_off=cut_off)
    monitor.look()
    tidy(planned)
    state = state_of(planned)
    exported = export(planned, state, snapshot=True)
    try:
        figures = draw(planned)
    except Exception as trouble:  # a picture that cannot be drawn costs no result
        figures = ()
        monitor.event("trouble", f"no picture of the frontier: {trouble}", level="warning")
    result = result_of(planned, exported, n_done_before=n_kept, figures=figures)
    monitor.write_status(SweepState.RUNNING)  # with what the last packs did: the report tells it
    page = report(planned, state, lambda text: monitor.event("trouble", text, level="warning"))
    result = replace(result, report=page)
    if tracking.mirror is not None:
        screen.phase("bringing MLflow up to date")
        tracking.finish(result, deadline_s=MLFLOW_CUT_OFF_S if cut_off else MLFLOW_S)
        result = replace(result, mlflow=mlflow_link(planned))  # its runs may have been made just now
    monitor.write_status(state)
    monitor.event("sweep_ended", f"{result.n_done} of {result.n_trials} trials are done", state=str(state))
    return result


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


def _status(folder: RunFolder, pack_id: str) -> PackStatus | None:
    """None also where it was damaged: it says nothing that a row depends on."""
    try:
        return folder.pack_status(pack_id)
    except BadInput:
        return None


def tidy(planned: Planned) -> None:
    """Remove what workers had no time for that were killed: half-written files, checkpoints of packs that are done."""
    folder = planned.folder
    folder.clear_leftovers()
    for pack in planned.plan.packs:
        rows = [row_if_whole(folder, id_) for id_ in pack.trial_ids if id_ in planned.trial_ids]
        if all(row is not None and row.status in (RowStatus.DONE, RowStatus.DOMINATED) for row in rows):
            checkpoints.remove(folder.checkpoints(pack.pack_id))


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


def report(planned: Planned, state: SweepState, say: Callable[[str], None]) -> Path | None:
    """The page of the dashboard as one file with the sweep in it. None where it cannot be written; `say` hears why."""
    try:
        from dashboards.report import write_report

        write_found(planned)
        return write_report(planned.folder.path, ended_as=str(state))
    except Exception as trouble:  # it costs no result
        say(f"no report of the sweep: {trouble or type(trouble).__name__}")
        return None


def write_found(planned: Planned) -> None:
    """`search/found.json`: what has come of the search, for readers of the folder. Nothing where there is none."""
    if planned.searching is not None:
        found = [{"text": one.text, "reached": one.reached, "numbers": one.numbers} for one in found_so_far(planned)]
        said = {"schema_version": 1, "label": planned.searching.planner.label, "found": found}
        write_json(planned.folder.path / "search" / "found.json", said)
