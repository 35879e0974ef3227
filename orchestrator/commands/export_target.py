"""The folder that an export writes: made beside its place, moved there when it is whole, with an index of its SAEs.

A folder that holds files is written into only when asked to; then files of an earlier export that the new one lacks are
removed, and nothing that this program did not write.
"""

import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.folder.files import disk_problems_explained, write_json
from orchestrator.folder.records import Row
from trainer.errors import BadInput
from trainer.values import Frozen

if TYPE_CHECKING:
    from trainer.export import TrainedSAE

INDEX = "export.json"


class Index(Frozen):
    """`export.json`: which SAE is where."""

    schema_version: int = 1
    format: str
    sweep_id: str
    saes: list[dict[str, Any]]
    files: list[str]
    """Relative to the folder, this one not included."""


class Stage:
    """The export while it is made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._saes: list[dict[str, Any]] = []
        self._files: list[str] = []

    def add(self, name: str, sae: "TrainedSAE", *, row: Row, format: str) -> None:
        """Write one SAE into the folder `name` of it."""
        from trainer.export import save_sae  # loads PyTorch, which a refusal need not wait for

        with disk_problems_explained(self.folder / name):
            files = save_sae(sae, self.folder / name, format=format)
        self._files += [str(path.relative_to(self.folder)) for path in files]
        self._saes.append(
            {
                "folder": name,
                "trial_id": row.trial_id,
                "run_name": row.run_name,
                "hookpoint": row.config.hookpoint,
                "l0": row.metrics.get("l0"),
                "ce_loss_increase": row.metrics.get("ce_loss_increase"),
            }
        )

    def finish(self, *, sweep_id: str, format: str) -> None:
        """Write the index: the export is whole."""
        index = Index(format=format, sweep_id=sweep_id, saes=self._saes, files=self._files)
        write_json(self.folder / INDEX, index.model_dump(mode="json"))


def check_target(to: Path, *, overwrite: bool) -> None:
    """Raise BadInput where `to` is a file, or holds files that nobody allowed to overwrite."""
    if to.exists() and not to.is_dir():
        raise BadInput(f"--to {to} is a file: expected a folder, new or empty")
    if not overwrite and to.is_dir() and any(to.iterdir()):
        raise BadInput(f"--to {to} holds files already: give a new folder, or --overwrite to write into it")


@contextmanager
def placed(to: Path) -> Generator[Stage]:
    """A stage whose files are in `to` once the block ends; where it raises, `to` is as it was."""
    to = Path(os.path.abspath(to))  # noqa: PTH100 - links stay as they are
    beside = to.with_name(f".{to.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with disk_problems_explained(to):
        beside.mkdir(parents=True)
    try:
        yield Stage(beside)
        with disk_problems_explained(to):
            _move(beside, to)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _move(stage: Path, to: Path) -> None:
    if not to.exists() or not any(to.iterdir()):
        stage.replace(to)
        return
    before = _files_of_index(to)
    files = sorted(path.relative_to(stage) for path in stage.rglob("*") if path.is_file() and path.name != INDEX)
    for file in [*files, Path(INDEX)]:
        (to / file).parent.mkdir(parents=True, exist_ok=True)
        (stage / file).replace(to / file)
    for file in before - set(files):
        (to / file).unlink(missing_ok=True)
        for parent in list(file.parents)[:-1]:
            if (to / parent).is_dir() and not any((to / parent).iterdir()):
                (to / parent).rmdir()


def _files_of_index(to: Path) -> set[Path]:
    """What an earlier export wrote there, as far as it says so; names that lead elsewhere are left alone."""
    try:
        index = Index.model_validate_json((to / INDEX).read_bytes())
    except (OSError, ValidationError):
        return set()
    named = {Path(name) for name in index.files}
    return {path for path in named if not path.is_absolute() and ".." not in path.parts}
