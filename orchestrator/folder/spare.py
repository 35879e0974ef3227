"""Second copies of what nothing else in a run folder tells: the plan, the sweep, and how it was launched.

Which trials share a pack decides their last digits, so a plan that was lost cannot just be made again. Both copies have
a hash of themselves. The spare one is written first: cut off in between, the first is whole and a moment older.
"""

import json
from pathlib import Path

from orchestrator.folder.files import is_whole, sealed, write_json, write_text
from orchestrator.folder.record_files import Record, read_sealed, write_sealed
from trainer.errors import BadInput
from trainer.values import Frozen

SPARE = "spare"
_WHAT_TO_DO = (
    "There is no second copy of it that could be used. Get it back from a backup; or delete it and launch the sweep "
    "once more: finished trials are kept, and the others are put into packs anew"
)


def write_twice(folder: Path, name: str, record: Frozen) -> None:
    """The record as `name`, and its spare copy."""
    write_sealed(folder / SPARE / name, record)
    write_sealed(folder / name, record)


def read_either(folder: Path, name: str, kind: type[Record]) -> Record | None:
    """The record, from its spare copy where the first is damaged or gone; None where there are none.

    Raises BadInput where neither can be used.
    """
    try:
        found = read_sealed(folder / name, kind, what_to_do=_WHAT_TO_DO)
    except BadInput:
        if (spare := _whole_spare(folder, name, kind)) is None:
            raise
        return spare
    return read_sealed(folder / SPARE / name, kind, what_to_do=_WHAT_TO_DO) if found is None else found


def why_spare(folder: Path, name: str, kind: type[Record]) -> str | None:
    """Why the spare copy is used; None where it is not."""
    try:
        if read_sealed(folder / name, kind) is not None:
            return None
        why = f"{folder / name} is gone"
    except BadInput as damage:
        why = str(damage).partition(". ")[0]
    return None if _whole_spare(folder, name, kind) is None else why


def write_text_twice(folder: Path, name: str, text: str) -> None:
    """The same for a text."""
    write_json((folder / SPARE / name).with_suffix(".json"), sealed({"text": text}))
    write_text(folder / name, text)


def spare_text(folder: Path, name: str) -> str | None:
    """The spare copy of a text; None where there is none that is whole."""
    fields = _fields((folder / SPARE / name).with_suffix(".json"))
    return str(fields["text"]) if fields is not None and "text" in fields and is_whole(fields) else None


def _whole_spare(folder: Path, name: str, kind: type[Record]) -> Record | None:
    try:
        return read_sealed(folder / SPARE / name, kind)
    except BadInput:
        return None


def _fields(path: Path) -> dict[str, object] | None:
    try:
        fields: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return fields if isinstance(fields, dict) else None  # pyright: ignore[reportUnknownVariableType]
