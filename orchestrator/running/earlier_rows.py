"""Rows that a run folder has from earlier launches: which of them stay, and which are put aside and made again."""

from functools import lru_cache
from pathlib import Path

from orchestrator.folder.records import Row, RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.running.planned import Planned
from trainer.errors import BadInput


def kept_rows(planned: Planned) -> list[Row]:
    """Rows of earlier launches that stay: done, dominated, and failed ones unless they are to be tried again.

    Rows that were damaged are not among them.
    """
    keep = {RowStatus.DONE, RowStatus.DOMINATED, *([] if planned.options.retry_failed else [RowStatus.FAILED])}
    rows = (row_if_whole(planned.folder, trial.trial_id) for trial in planned.plan.trials)
    return [row for row in rows if row is not None and row.status in keep]


def set_rows_aside(planned: Planned) -> list[tuple[str, str, Path]]:
    """Moves rows away that are damaged or to be tried again: their trials are open then.

    Returns of each the trial, why, and where the row is now.
    """
    moved: list[tuple[str, str, Path]] = []
    for trial in planned.plan.trials:
        try:
            row = whole_row(planned.folder, trial.trial_id)
        except BadInput as damage:
            why = str(damage)
        else:
            if row is None or row.status is not RowStatus.FAILED or not planned.options.retry_failed:
                continue
            why = "it failed, and is tried again"
        moved.append((trial.run_name, why, planned.folder.set_row_aside(trial.trial_id)))
    return moved


def row_if_whole(folder: RunFolder, trial_id: str) -> Row | None:
    """None also where it was damaged, or the curves that belong to it."""
    try:
        return whole_row(folder, trial_id)
    except BadInput:
        return None


def whole_row(folder: RunFolder, trial_id: str) -> Row | None:
    """Raises BadInput where it was damaged, or the curves that belong to it."""
    row = folder.row(trial_id)
    if row is not None and row.journal_sha256 is not None:
        path = folder.journal(trial_id)
        stamp = (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else (0, 0)
        if _journal_sha256(folder.path, trial_id, stamp) != row.journal_sha256:
            raise BadInput(f"{path} is not what it was when the trial ended: it was damaged, or changed by hand")
    return row


@lru_cache(maxsize=10_000)
def _journal_sha256(folder: Path, trial_id: str, stamp: tuple[int, int]) -> str | None:
    """`stamp`: what changes when the file does."""
    return RunFolder(folder).journal_sha256(trial_id)
