"""Data on disk: a folder that `save_to_disk` wrote, a folder of files of one kind, or one file.

Text files hold documents separated by blank lines. In the other kinds a row is a document. A file belongs to the
split that its path names (`train`, `validation`, `test`, ... as a whole word in a folder's or the file's name), else to
`train`.
"""

import hashlib
import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from trainer.data.columns import choose_column
from trainer.data.source import ArrowArray, Contents, check_split, column_arrays, quiet, schema_of
from trainer.errors import BadInput

READABLE = {
    ".txt": "text",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
"""File endings of local data, and the reader of the `datasets` library for each."""
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "eval": "eval",
    "evaluation": "eval",
    "heldout": "held_out",
    "holdout": "held_out",
}
NOT_DATA = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
SAMPLED_ABOVE_BYTES = 2**26
"""Of bigger files the fingerprint reads 64 places, and takes size and time of change."""


class LocalData:
    """One split of a folder or file."""

    def __init__(self, dataset: str, split: str, column: str) -> None:
        """Checks that there is data and that the split exists.

        Raises:
            BadInput: nothing readable, files of several kinds, an unknown split, no read permission.
        """
        self._dataset, self._split, self._column = dataset, split, column
        self._path = Path(dataset).expanduser()
        with _reading(dataset):
            self._saved = saved_splits(self._path)
            if self._saved:
                splits = {name: _all_files(folder) for name, folder in self._saved.items()}
                self._reader = "saved"
            else:
                self._reader, splits = sort_files(self._path)
            check_split(split, list(splits), dataset=dataset)
            self._files = splits[split]

    @property
    def label(self) -> str:
        return self._dataset if self._path.is_file() else f"split '{self._split}' of {self._dataset}"

    def identity(self) -> dict[str, str]:
        with _reading(self._dataset):
            content = fingerprint(self._files, relative_to=self._path)
        reader = f"{self._reader}{self._files[0].suffix}"
        return {"source": "local", "reader": reader, "content": content, "column": self._column}

    def look(self) -> Contents:
        with quiet(), _reading(self._dataset):
            dataset = self._open()
            column = choose_column(schema_of(dataset, label=self.label), self._column, where=self.label)
            n_documents = len(dataset) if hasattr(dataset, "__len__") else None
        return Contents(kind=column.kind, column=column.name, revision="", n_documents=n_documents)

    def read(self, contents: Contents) -> Iterator[ArrowArray]:
        with quiet(), _reading(self._dataset):
            yield from column_arrays(self._open(), contents.column)

    def _open(self) -> Any:
        import datasets

        if self._saved:
            return datasets.load_from_disk(str(self._saved[self._split]))
        options: dict[str, Any] = {"text": {"sample_by": "paragraph"}}.get(self._reader, {})
        if self._files[0].suffix == ".tsv":
            options = {"sep": "\t"}
        names = [str(file) for file in self._files]
        try:
            return datasets.load_dataset(self._reader, data_files=names, split="train", streaming=True, **options)
        except StopIteration:  # what its JSON reader makes of empty files
            raise BadInput(f"{self.label} is empty: it holds no documents") from None


def saved_splits(folder: Path) -> dict[str, Path]:
    """Folder of each split that `save_to_disk` wrote; nothing if it did not. A `Dataset` on its own is its split."""
    if (folder / "dataset_dict.json").is_file():
        names = json.loads((folder / "dataset_dict.json").read_text("utf-8"))["splits"]
        return {name: folder / name for name in names}
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        return {json.loads((folder / "state.json").read_text("utf-8")).get("_split") or "train": folder}
    return {}


def sort_files(path: Path) -> tuple[str, dict[str, list[Path]]]:
    """(reader, files of each split by name) of a folder, or of one file, which is split `train` whatever its name.

    A file on its own with an ending we do not know is taken for text.
    """
    if path.is_file():
        return READABLE.get(path.suffix, "text"), {"train": [path]}
    files = [file for file in _all_files(path) if file.suffix in READABLE and file.name not in NOT_DATA]
    kinds = {file.suffix: sum(other.suffix == file.suffix for other in files) for file in files}
    if not kinds:
        raise BadInput(
            f"data.dataset={path} holds nothing readable: expected a folder written by datasets' save_to_disk, or "
            f"files that end in {', '.join(READABLE)}"
        )
    if len(kinds) > 1:
        found = ", ".join(f"{count} {suffix}" for suffix, count in sorted(kinds.items()))
        raise BadInput(
            f"data.dataset={path} holds files of several kinds ({found}): name a folder with one, or one file"
        )
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(split_of(file.relative_to(path)), []).append(file)
    return READABLE[files[0].suffix], splits


def split_of(file: Path) -> str:
    """The split that a path inside a data folder names: the first such word, folders first; else `train`."""
    words = re.split(r"[^a-z]+", str(file.with_suffix("")).lower().replace("held_out", "heldout"))
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "train")


def fingerprint(files: list[Path], *, relative_to: Path) -> str:
    """SHA-256 over the names and contents of files; see `SAMPLED_ABOVE_BYTES` for big ones."""
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{file.relative_to(relative_to)}\0{status.st_size}\0".encode())
        with file.open("rb") as opened:
            if status.st_size <= SAMPLED_ABOVE_BYTES:
                digest.update(opened.read())
                continue
            digest.update(str(status.st_mtime_ns).encode())
            for place in range(64):
                opened.seek(place * (status.st_size - 2**20) // 63)
                digest.update(opened.read(2**20))
    return digest.hexdigest()


def _all_files(folder: Path) -> list[Path]:
    """Below `folder`, sorted by path, without hidden ones."""
    found = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts))


@contextmanager
def _reading(dataset: str) -> Generator[None]:
    """Turns what the readers raise about broken or forbidden files into one message."""
    try:
        yield
    except BadInput:
        raise
    except (ValueError, TypeError, KeyError, OSError, pa.ArrowException) as error:
        reason = str(error).strip().splitlines() or [""]
        raise BadInput(
            f"cannot read data.dataset={dataset}: {reason[0]} ({type(error).__name__}). "
            "Are its files whole, all of the kind their names say, and readable by you?"
        ) from error
