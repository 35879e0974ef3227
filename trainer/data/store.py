"""The token store: rows of tokens in one memory-mapped file, made once, whole or not there.

A store is a folder `rows/<key>/` below the cache: `tokens.bin` (rows of `context` ids, uint16 or uint32, little-endian,
nothing else) and `manifest.json`. It is written in a folder beside it, fsynced and renamed; a lock file makes processes
that want the same store wait for the one that makes it. Knows nothing of where the rows come from.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Integer
from pydantic import NonNegativeInt, PositiveInt, ValidationError

from trainer.data.stream import RowBatch
from trainer.errors import EnvironmentProblem
from trainer.files import sync_folder, write_whole
from trainer.values import Frozen

T = TypeVar("T", bound=Frozen)

SCHEMA = 1
"""Part of every key: raise it when the same inputs would give other rows."""
POLL_S = 0.5


class Manifest(Frozen):
    """What `tokens.bin` holds."""

    schema_version: Literal[1] = SCHEMA
    n_rows: PositiveInt
    context: PositiveInt
    dtype: Literal["uint16", "uint32"]
    largest_token: NonNegativeInt
    sha256: str
    """Of `tokens.bin`."""
    n_documents: NonNegativeInt
    """Documents, or lists of tokens, that were read to fill the rows."""
    made_from: dict[str, Any]
    """What the key is the hash of."""


class TokenStore(NamedTuple):
    folder: Path
    manifest: Manifest
    rows: Integer[np.ndarray, "rows pos"]
    """Memory-mapped, read-only."""


def dtype_for(d_vocab: int) -> Literal["uint16", "uint32"]:
    """The smallest of the two that holds every token of the vocabulary."""
    return "uint16" if d_vocab <= 2**16 else "uint32"


def key_of(made_from: dict[str, Any]) -> str:
    """32 hex digits of the SHA-256 of the canonical JSON."""
    canonical = json.dumps(made_from, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def open_store(folder: Path) -> TokenStore | None:
    """The store in `folder`, or None if it is not there or its file is not what its manifest says."""
    manifest = read_whole(folder / "manifest.json", Manifest)
    if manifest is None or not (folder / "tokens.bin").is_file():
        return None
    size = (folder / "tokens.bin").stat().st_size
    shape = (manifest.n_rows, manifest.context)
    dtype = np.dtype(manifest.dtype).newbyteorder("<")
    if size != shape[0] * shape[1] * dtype.itemsize:
        return None
    return TokenStore(folder, manifest, np.memmap(folder / "tokens.bin", dtype=dtype, mode="r", shape=shape))


def open_or_make(
    folder: Path,
    batches: Callable[[], Iterable[RowBatch]],
    *,
    made_from: dict[str, Any],
    context: int,
    d_vocab: int,
    waiting: Callable[[], None],
) -> TokenStore:
    """The store in `folder`; made from `batches()` if it is not there or broken, by one process while others wait.

    `waiting` is called now and then while another process makes it. `batches()` must give at least one row.

    Raises:
        EnvironmentProblem: the cache cannot be written, or there is no space left.
    """
    if (store := open_store(folder)) is not None:
        return store
    with writable(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{folder.name}.lock"), waiting):
            if (store := open_store(folder)) is not None:
                return store
            _clear(folder)
            beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
            try:
                beside.mkdir()
                _write(beside, batches(), made_from=made_from, context=context, dtype=dtype_for(d_vocab))
                beside.rename(folder)
                sync_folder(folder.parent)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    store = open_store(folder)
    if store is None:
        raise EnvironmentProblem(f"{folder} was written and is not there or not whole: is its disk all right?")
    return store


def _write(
    folder: Path,
    batches: Iterable[RowBatch],
    *,
    made_from: dict[str, Any],
    context: int,
    dtype: Literal["uint16", "uint32"],
) -> None:
    digest = hashlib.sha256()
    n_rows = n_documents = largest = 0
    with (folder / "tokens.bin").open("wb") as file:
        for batch in batches:
            n_documents = batch.n_documents
            if not len(batch.rows):
                continue
            data = batch.rows.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
            file.write(data)
            digest.update(data)
            n_rows += len(batch.rows)
            largest = max(largest, int(batch.rows.max()))
        file.flush()
        os.fsync(file.fileno())
    manifest = Manifest(
        n_rows=n_rows,
        context=context,
        dtype=dtype,
        largest_token=largest,
        sha256=digest.hexdigest(),
        n_documents=n_documents,
        made_from=made_from,
    )
    write_whole(folder / "manifest.json", manifest.model_dump_json(indent=1).encode())


@contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Generator[None]:
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=POLL_S)
            break
        except Timeout:
            waiting()
    try:
        yield
    finally:
        lock.release()


def _clear(folder: Path) -> None:
    """Removes a broken store, and what killed processes left of it. Only under its lock."""
    for leftover in [folder, *folder.parent.glob(f".{folder.name}.*")]:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


@contextmanager
def writable(folder: Path) -> Generator[None]:
    """Turns no permission and no space into one message."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.EACCES: "no write permission",
            errno.EPERM: "no write permission",
            errno.EROFS: "the disk is read-only",
            errno.ENOSPC: "no space left",
            errno.EDQUOT: "the disk quota is used up",
            errno.EEXIST: "there is a file where a folder is needed",
            errno.ENOTDIR: "there is a file where a folder is needed",
        }
        if error.errno not in reasons:
            raise
        raise EnvironmentProblem(
            f"cannot write the token cache in {folder}: {reasons[error.errno]} ({error.filename or error.strerror}). "
            "Name another folder: export SAE_FRONTIER_CACHE=FOLDER"
        ) from error


def read_whole(path: Path, kind: type[T]) -> T | None:
    """The value that a file holds; None if it is not there or holds something else."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None
