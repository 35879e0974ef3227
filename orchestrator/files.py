"""Files that appear whole. Whoever reads sees the old content or the new, never half of it, whatever is killed when.

Knows bytes and paths; what is in a file is the business of `run_folder.py` and `frontier.py`.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

import errno
import json
import math
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.errors import EnvironmentProblem
from trainer.files import write_whole

_WHAT_TO_DO = {
    errno.EACCES: "Give this user the right to write there, or choose another folder.",
    errno.EPERM: "Give this user the right to write there, or choose another folder.",
    errno.EROFS: "Choose a folder on a file system that can be written.",
    errno.ENOSPC: "Free some space there and run the same command again: what is finished is kept.",
    errno.EDQUOT: "Free some space in your quota and run the same command again: what is finished is kept.",
    errno.ENOTDIR: "One of the folders of that path is a file: move it away, or choose another folder.",
    errno.EEXIST: "One of the folders of that path is a file: move it away, or choose another folder.",
}


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path`: written beside it, synced, renamed over it, and the rename synced.

    Missing folders are made. Raises `EnvironmentProblem` with the path and what to do; the old file is then untouched.
    """
    with disk_problems_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """`write_bytes` of indented JSON; NaN and infinities become null, since JSON has neither."""
    write_text(path, json.dumps(without_non_finite(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_parquet(path: Path, table: pa.Table) -> None:
    """`write_bytes` of one Parquet file: zstd, one row group, the same bytes for the same table."""
    write_bytes(path, parquet_bytes(table))


def parquet_bytes(table: pa.Table) -> bytes:
    """What `write_parquet` writes."""
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=max(1, table.num_rows))
    return buffer.getvalue()


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add whole lines at the end, in one write. For files with one writer at a time.

    If a killed writer left a torn last line, that piece is cut off first. Raises like `write_bytes`.
    """
    content = "".join(f"{line}\n" for line in lines).encode()
    if not content:
        return
    with disk_problems_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            _cut_torn_line(file.fileno())
            file.write(content)


def whole_lines(path: Path) -> Iterator[str]:
    """Its lines in order, without line ends. A torn last line is left out, a missing file has no lines."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    yield from content[: content.rfind(b"\n") + 1].decode(errors="replace").split("\n")[:-1]


def without_non_finite(value: object) -> object:
    """The same lists and dicts with None for every NaN and infinity."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: without_non_finite(item) for key, item in value.items()}
        case list() | tuple():
            return [without_non_finite(item) for item in value]
        case _:
            return value


@contextmanager
def disk_problems_explained(path: Path) -> Generator[None]:
    """Turn an `OSError` while writing `path` into an `EnvironmentProblem` that says what to do."""
    try:
        yield
    except OSError as error:
        what_to_do = _WHAT_TO_DO.get(error.errno or 0, "Check that disk, or choose another folder.")
        raise EnvironmentProblem(f"cannot write {path}: {error.strerror or error}. {what_to_do}") from error


def _cut_torn_line(handle: int) -> None:
    """Truncate after the last line end. Looks back block by block, since files are long and pieces short."""
    size = end = os.fstat(handle).st_size
    while end > 0:
        start = max(0, end - 4096)
        found = os.pread(handle, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end != size:
        os.ftruncate(handle, end)
