"""A record as one file, or as one line of a file: written whole, read back, and what is broken named.

Which record is where is the business of `run_folder.py`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from orchestrator.folder.files import SEAL, is_whole, sealed, whole_lines, write_json, write_text
from trainer.errors import BadInput
from trainer.values import Frozen

Record = TypeVar("Record", bound=Frozen)
DELETE_IT = "Delete it to have it made again."


def write_record(path: Path, record: Frozen) -> None:
    write_json(path, record.model_dump(mode="json"))


def write_compact(path: Path, record: Frozen) -> None:
    """On one line: for what has many numbers, and is read by programs."""
    write_text(path, record.model_dump_json() + "\n")


def write_sealed(path: Path, record: Frozen) -> None:
    """With a hash of its own, so that damage is seen."""
    write_json(path, sealed(record.model_dump(mode="json")))


def read_record(path: Path, kind: type[Record], *, what_to_do: str = DELETE_IT) -> Record | None:
    """None where there is no such file. Raises BadInput where it cannot be read."""
    content = _content(path)
    return None if content is None else _parsed(content, kind, where=str(path), what_to_do=what_to_do)


def read_sealed(path: Path, kind: type[Record], *, what_to_do: str = DELETE_IT) -> Record | None:
    """The same; raises BadInput also where it is not what was sealed. Files of earlier versions have no seal."""
    content = _content(path)
    if content is None:
        return None
    try:
        fields = json.loads(content)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or SEAL not in fields:
        return _parsed(content, kind, where=str(path), what_to_do=what_to_do)
    was_whole = is_whole(fields)
    record = _parsed(json.dumps(fields), kind, where=str(path), what_to_do=what_to_do)
    if not was_whole:
        raise BadInput(f"{path} is not what was written: it was damaged, or changed by hand. {what_to_do}")
    return record


def read_lines(path: Path, kind: type[Record], *, skip_broken: bool = False) -> Iterator[Record]:
    """A record per line, without a torn last one; of a missing file none. Raises BadInput for a broken line."""
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            yield _parsed(line, kind, where=f"{path}, line {number}", what_to_do="Delete that line to read the rest.")
        except BadInput:
            if not skip_broken:
                raise


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parsed(content: bytes | str, kind: type[Record], *, where: str, what_to_do: str) -> Record:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        problems = "; ".join(_problem(entry["loc"], entry["msg"]) for entry in error.errors(include_url=False))
        raise BadInput(f"{where} is not a readable {kind.__name__}: {problems}. {what_to_do}") from error


def _problem(location: tuple[int | str, ...], message: str) -> str:
    at = ".".join(str(part) for part in location)
    return f"{at}: {message}" if at else message
