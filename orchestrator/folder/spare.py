"""Second copies of what nothing else in a run folder tells: the plan, the sweep, and how it was launched.

Which trials share a pack decides their last digits, so a plan that was lost cannot just be made again. Both copies have
a hash of themselves. The spare one is written first: cut off in between, the first is whole and a moment older.
"""

import json
from pathlib import Path
from typing import TypeVar

from orchestrator.folder.files import is_whole, sealed, write_json, write_text
from trainer.errors import BadInput
from trainer.values import Frozen

Record = TypeVar("Record", bound=Frozen)
SPARE = "spare"
_WHAT_TO_DO = (
    "There is no second copy of it that could be used. Get it back from a backup; or delete it and launch the sweep "
    "once more: finished trials are kept, and the others are put into packs anew"
)


def write_twice(folder: Path, name: str, record: Frozen) -> None:
    """The record as `name`, and its spare copy."""
    fields = sealed(record.model_dump(mode="json"))
    write_json(folder / SPARE / name, fields)
    write_json(folder / name, fields)


def read_either(folder: Path, name: str, kind: type[Record]) -> Record | None:
    """The record, from its spare copy where the first is damaged or gone; None where there are none.

    Raises BadInput where neither can be used.
    """
    try:
        found = _read(folder / name, kind)
    except BadInput:
        if (spare := _whole_spare(folder, name, kind)) is None:
            raise
        return spare
    return _read(folder / SPARE / name, kind) if found is None else found


def why_spare(folder: Path, name: str, kind: type[Record]) -> str | None:
    """Why the spare copy is used; None where it is not."""
    try:
        if _read(folder / name, kind) is not None:
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
        return _read(folder / SPARE / name, kind)
    except BadInput:
        return None


def _read(path: Path, kind: type[Record]) -> Record | None:
    """None where there is no such file. Those of earlier versions have no hash."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    fields = _parsed(content)
    was_whole = fields is None or is_whole(fields)
    try:
        record = kind.model_validate_json(content if fields is None else json.dumps(fields))
    except ValueError as problem:
        first = str(problem).splitlines()[2:3] or str(problem).splitlines()
        raise BadInput(f"{path} is not a readable {kind.__name__}: {first[0].strip()}. {_WHAT_TO_DO}") from problem
    if not was_whole:
        raise BadInput(f"{path} is not what was written: it was damaged, or changed by hand. {_WHAT_TO_DO}")
    return record


def _fields(path: Path) -> dict[str, object] | None:
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return None


def _parsed(content: bytes) -> dict[str, object] | None:
    try:
        fields: object = json.loads(content)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None  # pyright: ignore[reportUnknownVariableType]
