"""A copy of a sampled search as a file that `optuna-dashboard` shows. Written, never read: the rows are the truth."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from orchestrator.folder.files import write_bytes
from orchestrator.search.sampled import Sampled
from orchestrator.search.tried import Tried


def write_studies(path: Path, planner: Sampled, tried: Sequence[Tried]) -> None:
    """All of it anew, one study a layer and loss."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with tempfile.TemporaryDirectory() as folder:
        draft = os.path.join(folder, "optuna.journal")  # noqa: PTH118 - Optuna wants text
        storage = JournalStorage(JournalFileBackend(draft))
        for group in planner.groups:
            planner.study(group, tried, storage)
        write_bytes(path, Path(draft).read_bytes())
