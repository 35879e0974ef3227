"""What the sweep's own run shows at the end: its state, numbers of the whole sweep, files. Kept until MLflow has it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeInt, ValidationError

from orchestrator.folder.files import write_text
from orchestrator.folder.records import SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.points import points_of, send_points
from trainer.values import Frozen

if TYPE_CHECKING:
    from mlflow import MlflowClient

SWEEP_STATUS = {SweepState.RUNNING: "RUNNING", SweepState.COMPLETE: "FINISHED", SweepState.STOPPED: "KILLED"}
_NUMBERS = ""
"""In place of a file's name."""


class Publication(Frozen):
    """`mlflow/publication.json`."""

    schema_version: int = 1
    state: SweepState
    time_ms: NonNegativeInt
    """Recorded once, as a point's."""
    metrics: dict[str, float] = Field(default={})
    files: list[str] = Field(default=[])
    """Absolute, or relative to the run folder."""


def new_publication(
    folder: RunFolder, state: SweepState, *, time_ms: int, metrics: Mapping[str, float], files: Sequence[Path]
) -> Publication:
    """The one that the folder has if it says the same, so that its time stays; else a new one, written there."""
    root = folder.path.absolute()
    names = [
        str(path.relative_to(root)) if path.is_relative_to(root) else str(path) for path in map(Path.absolute, files)
    ]
    made = Publication(state=state, time_ms=time_ms, metrics=dict(metrics), files=names)
    before = read_publication(folder)
    if before is not None and before.model_copy(update={"time_ms": time_ms}) == made:
        return before
    write_text(folder.mlflow / "publication.json", made.model_dump_json() + "\n")
    return made


def read_publication(folder: RunFolder) -> Publication | None:
    """None where there is none, or none that can be read."""
    try:
        return Publication.model_validate_json((folder.mlflow / "publication.json").read_bytes())
    except (OSError, ValidationError):
        return None


def missing_parts(folder: RunFolder, publication: Publication, sent: Mapping[str, str]) -> dict[str, str]:
    """Its parts that are not among those `sent`, by name with their hashes. Files that are gone are left out."""
    parts = {_NUMBERS: _hash(publication.model_dump_json(include={"time_ms", "metrics"}).encode())}
    for name in publication.files:
        path = folder.path / name
        if path.is_file():
            parts[name] = _hash(path.read_bytes())
    return {name: content for name, content in parts.items() if sent.get(name) != content}


def send_part(client: "MlflowClient", run_id: str, folder: RunFolder, publication: Publication, name: str) -> None:
    """One of `missing_parts`; sent again it replaces itself."""
    if name == _NUMBERS:
        if publication.metrics:
            send_points(client, run_id, points_of(0, publication.time_ms, publication.metrics))
    else:
        client.log_artifact(run_id, str(folder.path / name))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
