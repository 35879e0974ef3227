"""What an analysis has computed, kept by content: the same SAEs, model, text, options and version are computed once.

    paper/
      cache/<analysis>/<key>.json    the lines of one task, with a hash by which damage is seen
      cache/running/<key>            how far a task is, while it runs
      cache/answers/...              what a language model answered, each as it came
      cache/firing/<key>.json        how often the elements of an SAE fire, for all tasks that look at alive ones
      <table>.parquet                all lines of a table, made from the cache
      figures/  latex/  paper.html  paper.json

A file of the cache appears whole, so a kill loses the tasks in flight and no other.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.folder.files import is_whole, sealed, write_text
from orchestrator.folder.records import Row
from orchestrator.folder.run_folder import RunFolder
from orchestrator.paper.analysis import Analysis, Tables, Task
from orchestrator.paper.tables import columns_hash

FORMAT = 1
"""Of the files of the cache."""
FOLDER = "paper"


class Kept(NamedTuple):
    """What a task came to."""

    tables: Tables
    seconds: float


class Store:
    """The cache of one folder of results."""

    def __init__(self, path: Path) -> None:
        """`path`: where tables and page are; `RUN/paper` unless somebody wants them elsewhere."""
        self.path = path

    @property
    def firing(self) -> Path:
        """The folder of what elements' firing came to, which tasks share."""
        return self.path / "cache" / "firing"

    def write(self, task: Task, key: str, kept: Kept) -> None:
        """Keep what a task came to."""
        fields = {"analysis": task.analysis, "task": task.key, "seconds": kept.seconds, "tables": kept.tables}
        write_text(self._file(task.analysis, key), json.dumps(sealed(fields), separators=(",", ":")) + "\n")

    def read(self, task: Task, key: str) -> Kept | None:
        """None where it was not computed, or cannot be read any more."""
        try:
            fields = json.loads(self._file(task.analysis, key).read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(fields, dict) or not is_whole(fields) or "tables" not in fields:
            return None
        return Kept(fields["tables"], float(fields.get("seconds") or 0.0))

    def has(self, task: Task, key: str) -> bool:
        return self.read(task, key) is not None

    def tell_far(self, key: str, share: float) -> None:
        """How far a running task is, for whoever shows it. For people: a word that is lost is no failure."""
        with suppress(OSError):
            path = self._running(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{share:.4f}")

    def far(self, key: str) -> float:
        """From 0 to 1; 0 where nothing was told."""
        try:
            return min(1.0, max(0.0, float(self._running(key).read_text())))
        except (OSError, ValueError):
            return 0.0

    def forget_far(self, key: str) -> None:
        with suppress(OSError):
            self._running(key).unlink(missing_ok=True)

    def _file(self, analysis: str, key: str) -> Path:
        return self.path / "cache" / analysis / f"{key}.json"

    def _running(self, key: str) -> Path:
        return self.path / "cache" / "running" / key


def key_of(task: Task, analysis: Analysis, rows: Mapping[str, Row], folder: RunFolder) -> str:
    """Names what a task's result depends on: 24 hex digits of the SHA-256 of all of it."""
    fields = {
        "format": FORMAT,
        "analysis": analysis.id,
        "version": analysis.version,
        "columns": columns_hash(analysis.tables),
        "subjects": [_subject(rows[id_], folder) for id_ in task.subjects],
        "options": dict(task.options),
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True, allow_nan=False).encode()).hexdigest()[:24]


def clear_running(store: Store) -> None:
    """Forget how far tasks of an earlier call were."""
    for path in (store.path / "cache" / "running").glob("*"):
        with suppress(OSError):
            path.unlink()


def rows_by_id(rows: Iterable[Row]) -> dict[str, Row]:
    return {row.trial_id: row for row in rows}


def _subject(row: Row, folder: RunFolder) -> dict[str, Any]:
    """All that an analysis may read of an SAE: its weights, what it was trained on, its name and its metrics."""
    facts = row.facts
    return {
        "trial_id": row.trial_id,
        "run_name": row.run_name,
        "sae_sha256": row.sae_sha256 or _sha256(folder.sae(row.trial_id) / "sae.safetensors"),
        "model_hash": facts.model_hash if facts else None,
        "data_hash": facts.data_hash if facts else None,
        "eval_hash": facts.eval_hash if facts else None,
        "metrics": dict(row.metrics),
    }


def _sha256(path: Path) -> str | None:
    """Of the weights of an SAE whose row does not say; None where they are gone."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
