"""Files that appear whole: readers see the old content or the new, whatever is killed when. Raises plain `OSError`."""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from trainer.faults import Killed, fault_point


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` at `path`: written beside it, synced, renamed over it, and the rename synced."""
    half = len(content) // 2
    write_parts_whole(path, (content[:half], content[half:]))


def write_parts_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """`write_whole` of content that comes piece by piece."""
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        fault_point(f"write:{path.name}")
        with beside.open("xb") as file:
            _write_all(file, parts, name=path.name)
            fault_point(f"sync:{path.name}")
            file.flush()
            os.fsync(file.fileno())
        fault_point(f"rename:{path.name}")
        beside.replace(path)
    except Killed:
        raise
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    fault_point(f"renamed:{path.name}")
    sync_folder(path.parent)


def _write_all(file: BinaryIO, parts: Iterable[bytes | memoryview], *, name: str) -> None:
    for number, part in enumerate(parts):
        if number == 1:
            file.flush()
            fault_point(f"write.middle:{name}")
        file.write(part)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
