"""Files of a run folder as plain values, whoever wrote them and however much of them there is.

Knows bytes, JSON, lines and Parquet; what is in them is the business of `runs.py` and its neighbours. What cannot be
read raises `Unreadable`, whose text is a sentence for people. Nothing is read from outside the folder that is asked
for, wherever a link in it leads.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

JSON_VERSION = 1
"""Of the JSON files of a run folder."""
TABLE_VERSION = 1
"""Of `frontier.parquet` and its neighbours, before the dot."""
MOST_BYTES = 64 * 2**20
METADATA_KEY = b"sae_frontier"

T = TypeVar("T")
Fields = dict[str, Any]


class Unreadable(ValueError):
    """A file, or a folder, that cannot be shown. Its text says what and, where something can be done, what to do."""


class Table(NamedTuple):
    """A Parquet file of a run folder."""

    data: pa.Table
    facts: Fields
    """What the file says about itself."""


def bytes_of(folder: Path, name: str) -> bytes | None:
    """A file's content; None where it is not there. `name` is relative to `folder`."""
    path = inside(folder, name)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable(f"{name} is no file")
        if found.st_size > MOST_BYTES:
            raise Unreadable(f"{name} is too large to show: {found.st_size:,} bytes, and {MOST_BYTES:,} are read")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise Unreadable(f"{name} may not be read: give the user of the dashboard the right to") from None
    except OSError as problem:
        raise Unreadable(f"{name} cannot be read: {problem.strerror or 'the disk refuses'}") from None


def json_of(folder: Path, name: str) -> Fields | None:
    """The fields of a JSON file; None where it is not there."""
    content = bytes_of(folder, name)
    if content is None:
        return None
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable(f"{name} is no JSON: it was cut off or damaged") from None
    if not isinstance(fields, dict):
        raise Unreadable(f"{name} is not as this program writes it: expected fields by name")
    version = fields.get("schema_version", JSON_VERSION)
    if version != JSON_VERSION:
        raise Unreadable(_newer(name, version, JSON_VERSION))
    return fields


def plan_of(folder: Path) -> Fields | None:
    """What a sweep's driver planned, from the spare copy where the first is damaged; None where there is none."""
    try:
        found = json_of(folder, "plan.json")
    except Unreadable:
        found = json_of(folder, "spare/plan.json")
        if found is None:
            raise
        return found
    return json_of(folder, "spare/plan.json") if found is None else found


def lines_of(folder: Path, name: str) -> Iterator[Fields]:
    """The lines of a file of JSON lines. Torn or damaged ones are left out, a missing file has none."""
    content = bytes_of(folder, name) or b""
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(fields, dict):
            yield fields


def table_of(folder: Path, name: str, *, columns: Sequence[str] | None = None) -> Table | None:
    """A table and its facts, through one open handle: whole even while a sweep replaces it. None where there is none.

    `columns`: only these, as far as it has them.
    """
    path = inside(folder, name)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Unreadable(f"{name} is no file")
        with path.open("rb") as file:
            opened = pq.ParquetFile(file, pre_buffer=False)
            facts = _facts(opened.schema_arrow, name)
            wanted = None if columns is None else [c for c in columns if c in opened.schema_arrow.names]
            # One thread: a second one costs more memory than it saves time on tables of this size.
            return Table(opened.read(columns=wanted, use_threads=False), facts)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise Unreadable(f"{name} may not be read: give the user of the dashboard the right to") from None
    except (pa.ArrowException, OSError):
        raise Unreadable(f"{name} is no Parquet file: it was cut off or damaged") from None


def rows_of(table: pa.Table) -> list[Fields]:
    """Its lines. Times as ISO 8601 in UTC: to make Python's own of them, Arrow would load pandas."""
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    for place, field in enumerate(table.schema):
        if field.name in times:
            in_us = table[field.name].cast(pa.timestamp("us", tz=field.type.tz), safe=False).cast(pa.int64())
            table = table.set_column(place, field.name, in_us)
    rows: list[Fields] = table.to_pylist()
    for row in rows:
        for name in times:
            row[name] = None if row[name] is None else _moment(row[name])
    return rows


def inside(folder: Path, name: str) -> Path:
    """The path of a file in `folder`. Raises `Unreadable` where a link in it leads out of the folder."""
    path = folder / name
    root, real = os.path.realpath(folder), os.path.realpath(path)
    if real != root and not real.startswith(root + os.sep):
        raise Unreadable(f"{name} is a link that leads out of the run folder, and is not followed")
    return path


def stamp(path: Path) -> tuple[int, int, int] | None:
    """By which a file that was written again is known; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def told(problems: list[str], read: Callable[[], T], otherwise: T) -> T:
    """What `read` gives; where that cannot be read `otherwise`, and its sentence goes to `problems`, once."""
    try:
        return read()
    except Unreadable as problem:
        said = str(problem)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError):
        said = "a file of this run is not as this program writes it; what follows from it is left out"
    if said not in problems:
        problems.append(said)
    return otherwise


def number(value: object) -> float | None:
    """A finite number as JSON has it, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < float("inf") else None  # False for NaN, too


def count(value: object) -> int:
    """A number of things; 0 where there is none."""
    found = number(value)
    return max(0, int(found)) if found is not None else 0


def text(value: object) -> str:
    """Text as it is, else empty."""
    return value if isinstance(value, str) else ""


def fields_in(value: object) -> Mapping[str, Any]:
    """A mapping as it is, else an empty one."""
    return value if isinstance(value, dict) else {}


def plain(value: object) -> Any:
    """The same for strict JSON: NaN and infinities, for which it has no sign, become None."""
    match value:
        case float():
            return number(value)
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case None | bool() | int() | str():
            return value
        case _:
            return str(value)


def _facts(schema: pa.Schema, name: str) -> Fields:
    try:
        facts = json.loads((schema.metadata or {})[METADATA_KEY])
        version = str(facts["schema_version"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise Unreadable(f"{name} is no table of a sweep: it says nothing about itself") from None
    if version.split(".")[0] != str(TABLE_VERSION):
        raise Unreadable(_newer(name, version, TABLE_VERSION))
    return facts


def _newer(name: str, found: object, known: int) -> str:
    shown = str(found)[:20]
    return (
        f"{name} has schema version {shown}, and this program reads {known}: look at it with the version that wrote it"
    )


def _moment(in_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=in_us)).isoformat()
