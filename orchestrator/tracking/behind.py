"""Whether MLflow lacks anything of a sweep, by what was noted of its answers. Asks nobody, and writes nothing."""

from collections.abc import Sequence

from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.cursor import Sent, read_cursor
from orchestrator.tracking.publication import missing_parts, read_publication
from orchestrator.tracking.trial_copy import TrialCopy
from orchestrator.tracking.trial_run import TrialRun


def is_behind(folder: RunFolder, trials: Sequence[TrialRun]) -> bool:
    """True also where it cannot be told: whoever sends everything once more does no harm."""
    cursor, publication = read_cursor(folder), read_publication(folder)
    if publication is None or missing_parts(folder, publication, cursor.published):
        return True
    return any(_lacks(folder, trial, cursor.trials.get(trial.trial_id)) for trial in trials)


def _lacks(folder: RunFolder, trial: TrialRun, sent: Sent | None) -> bool:
    if sent is None or sent.is_doubtful:
        return True
    journal, row = folder.journal(trial.trial_id), folder.result(trial.trial_id)
    size = journal.stat().st_size if journal.exists() else 0
    stamp = (row.stat().st_mtime_ns,) if row.exists() else None
    return TrialCopy(folder, trial, sent).missing(size, stamp) != (0, False)
