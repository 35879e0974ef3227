"""What the search of a run folder's sweep asks for next, and what it has found: read from its plan and rows."""

from pathlib import Path

from orchestrator.folder.records import Row
from orchestrator.running.earlier_rows import row_if_whole
from orchestrator.running.planned import Planned
from orchestrator.running.prepare import with_trials
from orchestrator.search.sampled import Sampled
from orchestrator.search.searching import Round
from orchestrator.search.tried import Found


def next_round(planned: Planned) -> tuple[Planned, Round]:
    """The plan with the next trials of its search, and those trials.

    None where the search is over, and while trials have no result.
    """
    if planned.searching is None:
        return planned, Round(1, ())
    asked = planned.searching.next_round(planned.plan.trials, rows_of(planned), n_slots=planned.room.n_slots)
    return with_trials(planned, asked.trials), asked


def rows_of(planned: Planned) -> dict[str, Row]:
    """How trials ended, by their ids."""
    rows = (row_if_whole(planned.folder, trial.trial_id) for trial in planned.plan.trials)
    return {row.trial_id: row for row in rows if row is not None}


def write_study(planned: Planned) -> Path | None:
    """The trials as Optuna studies, one a layer and loss, for `optuna-dashboard`; None for a search that has none."""
    searching = planned.searching
    if searching is None or not isinstance(planner := searching.planner, Sampled):
        return None
    from orchestrator.search.journal import write_studies

    path = planned.folder.path / "search" / "optuna.journal"
    write_studies(path, planner, searching.told(planned.plan.trials, rows_of(planned)))
    return path


def found_so_far(planned: Planned) -> tuple[Found, ...]:
    """What has come of the search; nothing where there is none."""
    if planned.searching is None:
        return ()
    return tuple(planned.searching.found(planned.plan.trials, rows_of(planned)))
