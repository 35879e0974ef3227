"""Files that appear whole. Whoever reads sees the old content or the new, never half of it, whatever is killed when.

Knows bytes and paths; what is in a file is the business of `run_folder.py` and `frontier.py`.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

import errno
import hashlib
import json
import math
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO, RawIOBase
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.errors import EnvironmentProblem
from trainer.faults import fault_point
from trainer.files import sync_folder, write_whole

SEAL = "sha256"
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


def sealed(fields: Mapping[str, object]) -> dict[str, object]:
    """For JSON that must be seen to be damaged: the same fields, as JSON has them, and a hash of them."""
    plain: dict[str, object] = json.loads(json.dumps(without_non_finite(dict(fields)), allow_nan=False))
    return plain | {SEAL: _hash(plain)}


def is_whole(fields: dict[str, object]) -> bool:
    """Whether fields that were read are those that were sealed. Takes the seal off. True where there is none."""
    seal = fields.pop(SEAL, None)
    return seal is None or seal == _hash(fields)


def write_parquet(path: Path, table: pa.Table) -> None:
    """`write_bytes` of one Parquet file: zstd, one row group, the same bytes for the same table."""
    write_bytes(path, parquet_bytes(table))


def parquet_bytes(table: pa.Table) -> bytes:
    """What `write_parquet` writes."""
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=max(1, table.num_rows))
    return buffer.getvalue()


def append_lines(path: Path, lines: Iterable[str], *, durable: bool = False) -> None:
    """Add whole lines at the end: all of them, or where it raises none. For files with one writer at a time.

    If a killed writer left a torn last line, that piece is cut off first. `durable`: they outlast a loss of power.
    Raises like `write_bytes`.
    """
    content = "".join(f"{line}\n" for line in lines).encode()
    if not content:
        return
    with disk_problems_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("ab+", buffering=0) as file:
            end = _cut_torn_line(file.fileno())
            fault_point(f"append:{path.name}")
            try:
                _write_all(file, content, place=path.name)
                if durable:
                    fault_point(f"append.sync:{path.name}")
                    os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file.fileno(), end)
                raise
        if durable and is_new:
            sync_folder(path.parent)


def whole_lines(path: Path) -> Iterator[str]:
    """Its lines in order, without line ends. A torn last line is left out, a missing file has no lines."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    yield from content[: content.rfind(b"\n") + 1].decode(errors="replace").split("\n")[:-1]


def _hash(fields: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, allow_nan=False).encode()).hexdigest()


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


def _write_all(file: RawIOBase, content: bytes, *, place: str) -> None:
    """Also where the system takes it in pieces."""
    half = len(content) // 2
    for part in (memoryview(content)[:half], memoryview(content)[half:]):
        while part:
            part = part[file.write(part) or 0 :]
        fault_point(f"append.middle:{place}")


def _cut_torn_line(handle: int) -> int:
    """Truncate after the last line end, and return its place. Looks back block by block: pieces are short."""
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
    return end
