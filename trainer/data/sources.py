"""Which source a name means."""

import re
from pathlib import Path

from trainer.data.builtin_text import BUILTIN, BuiltinText
from trainer.data.hub import HubData
from trainer.data.local import READABLE, LocalData
from trainer.data.source import Source
from trainer.errors import BadInput

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(:[\w.-]+)?")


def source_for(dataset: str, *, split: str, column: str) -> Source:
    """The source that `dataset` names: `builtin`, else a file or folder if there is one, else a hub id.

    Raises:
        BadInput: a path with nothing there, or neither a path nor a hub id.
    """
    if dataset == BUILTIN:
        return BuiltinText(split, column)
    path = Path(dataset).expanduser()
    if path.exists():
        return LocalData(dataset, split, column)
    is_path = path.is_absolute() or dataset.startswith((".", "~")) or "\\" in dataset
    if is_path or path.suffix in READABLE or not _HUB_ID.fullmatch(dataset):
        raise BadInput(
            f"data.dataset={dataset}: there is no such file or folder (looked in {Path.cwd()}). Give a folder, a text "
            "file, `builtin`, or a hub id such as roneneldan/TinyStories (or ID:SUBSET)"
        )
    return HubData(dataset, split, column)
