"""`frontier.parquet` of a run folder: written, stamped, read, and kept under immutable names.

Readers that open a path twice (pandas, Polars, DuckDB and `pyarrow.parquet.read_table` do) can meet two files when a
sweep runs. `read_frontier` opens one handle; others read a snapshot, which never changes.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.files import parquet_bytes, write_bytes
from orchestrator.frontier import frontier_table, left_out
from orchestrator.records import Snapshot, SweepState
from orchestrator.run_folder import RunFolder
from orchestrator.schema import (
    DEFAULT_OBJECTIVES,
    FRONT_GROUP,
    JOINT_FRONT_GROUP,
    METADATA_KEY,
    SCHEMA_VERSION,
    Objective,
    columns,
    objective_columns,
)
from trainer.errors import BadInput


class Exported(NamedTuple):
    """What an export did."""

    path: Path
    n_rows: int
    left_out: dict[str, str]
    """By trial id, why a row is not in the table."""
    changed: bool
    """Whether the file was written: it is not if the same is in it already."""
    snapshot: Path | None


def export_frontier(
    folder: RunFolder,
    *,
    sweep_id: str,
    state: SweepState,
    now: datetime,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    reference: Mapping[str, float] | None = None,
    snapshot: bool = False,
) -> Exported:
    """Write the frontier of all rows so far, and with `snapshot` also under a name of its own.

    The same rows give the same bytes, `created_at` apart. Raises `BadInput` for a broken row or objective and
    `EnvironmentProblem` where the disk refuses; the old file then stays.
    """
    rows = folder.rows()
    table = frontier_table(
        rows, sweep_id=sweep_id, objectives=objectives, reference=reference, mlflow_runs=folder.mlflow_runs()
    )
    facts = {
        "schema_version": SCHEMA_VERSION,
        "generator": "sae-frontier",
        "sweep_id": sweep_id,
        "sweep_file_sha256": hashlib.sha256((folder.sweep() or "").encode()).hexdigest(),
        "state": str(state),
        "rows": table.num_rows,
        "objectives": [_described(objective) for objective in objectives],
        "front_groups": list(FRONT_GROUP),
        "joint_front_groups": list(JOINT_FRONT_GROUP),
        "hypervolume_reference": dict(reference or {}) or None,
        "columns": {column.name: column.described for column in columns(objectives)},
    }
    content = _content_hash(table, facts)
    before = _metadata_if_any(folder.frontier)
    changed = before.get("content_sha256") != content
    if changed:
        sequence = _as_int(before.get("sequence")) + 1
        stamp = {"sequence": sequence, "created_at": now.isoformat(), "content_sha256": content}
        write_bytes(folder.frontier, parquet_bytes(with_facts(table, facts | stamp)))
    kept = _keep_snapshot(folder) if snapshot else None
    return Exported(folder.frontier, table.num_rows, left_out(rows, objectives), changed, kept)


def read_frontier(path: Path) -> pa.Table:
    """The table at `path`, through one open handle, so whole even while a sweep replaces it.

    Raises `BadInput` where there is none, where it is something else, or of a schema this version does not know.
    """
    try:
        with path.open("rb") as file:
            table = pq.ParquetFile(file).read()
    except FileNotFoundError:
        raise BadInput(
            f"no frontier at {path}: expected a frontier.parquet; a sweep writes it with its first trial"
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise BadInput(
            f"cannot read {path} as Parquet: {error}. Expected the frontier.parquet of a run folder."
        ) from error
    version = str(metadata_of(table, path).get("schema_version"))
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise BadInput(
            f"{path} has schema version {version}, and this program reads {SCHEMA_VERSION}: "
            "export the sweep again, or read it with the version that wrote it"
        )
    return table


def metadata_of(table: pa.Table, path: Path) -> dict[str, object]:
    """What the file says about itself. `path` is for the error if it says nothing."""
    value = (table.schema.metadata or {}).get(METADATA_KEY)
    if value is None:
        raise BadInput(f"{path} is no frontier table: its metadata has no key {METADATA_KEY.decode()!r}")
    return json.loads(value)


def with_facts(table: pa.Table, facts: Mapping[str, object]) -> pa.Table:
    """The same table that says these facts about itself."""
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(facts, ensure_ascii=False)})


def _described(objective: Objective) -> dict[str, object]:
    known = objective_columns()
    better = [known[objective.x].better, known[objective.y].better]
    return {"x": objective.x, "y": objective.y, "better": better, "label": objective.label}


def _content_hash(table: pa.Table, facts: Mapping[str, object]) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    digest = hashlib.sha256(memoryview(sink.getvalue()))
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _metadata_if_any(path: Path) -> dict[str, object]:
    """Of the file that is there now; what cannot be read is simply replaced."""
    try:
        return metadata_of(read_frontier(path), path)
    except BadInput:
        return {}


def _as_int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _keep_snapshot(folder: RunFolder) -> Path:
    """Copy the frontier to a name that says which it is, then name it in the manifest."""
    content = folder.frontier.read_bytes()
    facts = _metadata_if_any(folder.frontier)
    sequence, content_hash = _as_int(facts["sequence"]), str(facts["content_sha256"])
    path = folder.snapshots / f"frontier-{sequence:06d}-{content_hash[:6]}.parquet"
    manifest = folder.manifest()
    entry = Snapshot(
        file=str(path.relative_to(folder.path)),
        sequence=sequence,
        content_sha256=content_hash,
        n_rows=_as_int(facts["rows"]),
        state=SweepState(str(facts["state"])),
        created_at=datetime.fromisoformat(str(facts["created_at"])),
    )
    if entry not in manifest.snapshots:
        write_bytes(path, content)
        folder.write_manifest(manifest.model_copy(update={"snapshots": [*manifest.snapshots, entry]}))
    return path
