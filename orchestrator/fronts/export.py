"""`frontier.parquet` of a run folder and the files beside it: written, stamped, read, and kept under immutable names.

Readers that open a path twice (pandas, Polars, DuckDB and `pyarrow.parquet.read_table` do) can meet two files when a
sweep runs. `read_frontier` opens one handle; others read a snapshot, which never changes.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.folder.files import parquet_bytes, write_bytes
from orchestrator.folder.records import Manifest, MLflowRuns, Snapshot, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.columns import FILES
from orchestrator.fronts.external import External, external_lines, read_external
from orchestrator.fronts.frontier import frontier_of_lines, left_out_of, missing_by_front
from orchestrator.fronts.schema import (
    DEFAULT_OBJECTIVES,
    FRONT_GROUP,
    JOINT_FRONT_GROUP,
    MAX_GAP,
    METADATA_KEY,
    SCHEMA_VERSION,
    Objective,
    columns,
    objective_columns,
)
from orchestrator.fronts.summary import Fronts
from orchestrator.fronts.trial_lines import is_among, read_lines
from trainer.errors import BadInput


class Exported(NamedTuple):
    """What an export did."""

    path: Path
    n_rows: int
    """Trials of the sweep."""
    left_out: dict[str, str]
    """By trial id, why a row is not in the table."""
    changed: bool
    """Whether the file was written: it is not if the same is in it already."""
    snapshot: Path | None
    fronts: Fronts
    """What the frontiers say, warnings among it."""


def export_frontier(
    folder: RunFolder,
    *,
    sweep_id: str,
    state: SweepState,
    now: datetime,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    reference: Mapping[str, float] | None = None,
    targets: Mapping[str, Sequence[float]] | None = None,
    max_gap: float = MAX_GAP,
    trial_ids: Collection[str] | None = None,
    snapshot: bool = False,
) -> Exported:
    """Write the frontier of all rows so far and what follows from it, with `snapshot` the frontier also under a name of
    its own. `trial_ids`: only these.

    The same rows give the same bytes, `created_at` apart. Raises `BadInput` for a broken row or objective and
    `EnvironmentProblem` where the disk refuses; the old file then stays.
    """
    lines = lines_of_trials(folder, trial_ids)
    fronts = fronts_of_lines(
        lines, sweep_id=sweep_id, objectives=objectives, reference=reference, targets=targets, max_gap=max_gap,
        mlflow_runs=folder.mlflow_runs(), external=read_external(folder),
    )  # fmt: skip
    written = write_fronts(folder, fronts, sweep_id=sweep_id, state=state, now=now, snapshot=snapshot)
    return Exported(
        folder.frontier,
        fronts.own.num_rows,
        left_out_of(lines, objectives),
        written.changed,
        written.snapshot,
        fronts,
    )


class Written(NamedTuple):
    """What was done to the files."""

    path: Path
    changed: bool
    snapshot: Path | None


def write_fronts(
    folder: RunFolder, fronts: Fronts, *, sweep_id: str, state: SweepState, now: datetime, snapshot: bool
) -> Written:
    """`frontier.parquet` and the files beside it, unless they say the same already."""
    facts = facts_of(fronts, folder, sweep_id=sweep_id, state=state)
    content = _content_hash(fronts.table, facts)
    before = _metadata_if_any(folder.frontier)
    same = before.get("content_sha256") == content
    beside = [_metadata_if_any(folder.path / name).get("content_sha256") for name in FILES]
    stamp = {
        "sequence": _as_int(before.get("sequence")) + (not same),
        "created_at": before.get("created_at") if same else now.isoformat(),
        "content_sha256": content,
    }
    if not same:
        write_bytes(folder.frontier, parquet_bytes(with_facts(fronts.table, facts | stamp)))
    if not same or beside != [content] * len(FILES):
        _write_beside(folder, fronts, facts | stamp)
    return Written(folder.frontier, not same, _keep_snapshot(folder) if snapshot else None)


def lines_of_trials(folder: RunFolder, trial_ids: Collection[str] | None = None) -> pa.Table:
    """A line per trial that ended; only of these trials where they are given."""
    lines = read_lines(folder)
    if trial_ids is None:
        return lines
    return lines.filter(pa.array(is_among(lines, trial_ids)))


def fronts_of_lines(
    lines: pa.Table,
    *,
    sweep_id: str,
    objectives: Sequence[Objective],
    reference: Mapping[str, float] | None = None,
    targets: Mapping[str, Sequence[float]] | None = None,
    max_gap: float = MAX_GAP,
    mlflow_runs: MLflowRuns | None = None,
    external: External | None = None,
) -> Fronts:
    """The frontiers of trials, in memory, and beside them SAEs that others trained."""
    others = external_lines(external.rows) if external is not None else None
    table = frontier_of_lines(
        lines, sweep_id=sweep_id, objectives=objectives, reference=reference, mlflow_runs=mlflow_runs, external=others
    )
    missing = missing_by_front(lines, table)
    problems = [*external.problems, *_unplaced(external, objectives)] if external is not None else []
    return Fronts(
        table, tuple(objectives), dict(reference or {}), dict(targets or {}), max_gap, missing, tuple(problems)
    )


def _unplaced(external: External, objectives: Sequence[Objective]) -> list[str]:
    """SAEs of others that are not in the table, with the reason."""
    names = {row.sae_id: row.name for row in external.rows}
    why = left_out_of(external_lines(external.rows), objectives)
    return [f"{names[sae_id]}, an SAE of others, is not in the table: {reason}" for sae_id, reason in why.items()]


def facts_of(fronts: Fronts, folder: RunFolder, *, sweep_id: str, state: SweepState) -> dict[str, object]:
    """What the file says about itself."""
    return {
        "schema_version": SCHEMA_VERSION,
        "generator": "sae-frontier",
        "sweep_id": sweep_id,
        "sweep_file_sha256": hashlib.sha256((folder.sweep() or "").encode()).hexdigest(),
        "state": str(state),
        "rows": fronts.table.num_rows,
        "rows_external": fronts.table.num_rows - fronts.own.num_rows,
        "rows_missing": sum(len(trial_ids) for trial_ids in fronts.missing.values()),
        "objectives": [_described(objective) for objective in fronts.objectives],
        "front_groups": list(FRONT_GROUP),
        "joint_front_groups": list(JOINT_FRONT_GROUP),
        "hypervolume_reference": dict(fronts.reference) or None,
        "match": {metric: list(values) for metric, values in fronts.targets.items()},
        "max_gap": fronts.max_gap,
        "columns": {column.name: column.described for column in columns(fronts.objectives)},
    }


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


def _write_beside(folder: RunFolder, fronts: Fronts, facts: Mapping[str, object]) -> None:
    """Each file says of which frontier it is: `content_sha256` and `sequence` are those of frontier.parquet."""
    tables = (fronts.summary_table(), fronts.matched_table(), fronts.surfaces_table())
    for (name, wanted), table in zip(FILES.items(), tables, strict=True):
        own = {"rows": table.num_rows, "columns": {column.name: column.described for column in wanted}}
        write_bytes(folder.path / name, parquet_bytes(with_facts(table, {**facts, **own})))


def _described(objective: Objective) -> dict[str, object]:
    known = objective_columns()
    found: dict[str, object] = {"metrics": list(objective), "better": [known[name].better for name in objective]}
    return found | {"label": objective.label} | ({"x": objective.x, "y": objective.y} if objective.is_plane else {})


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
        with path.open("rb") as file:
            value = (pq.ParquetFile(file).schema_arrow.metadata or {}).get(METADATA_KEY)
        return json.loads(value) if value is not None else {}
    except (OSError, pa.ArrowException, ValueError):
        return {}


def _as_int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _keep_snapshot(folder: RunFolder) -> Path:
    """Copy the frontier to a name that says which it is, then name it in the manifest."""
    facts = _metadata_if_any(folder.frontier)
    sequence, content_hash = _as_int(facts["sequence"]), str(facts["content_sha256"])
    path = folder.snapshots / f"frontier-{sequence:06d}-{content_hash[:6]}.parquet"
    entry = _snapshot(folder, path, facts)
    kept, was_damaged = _kept_snapshots(folder)
    if entry not in kept:
        write_bytes(path, folder.frontier.read_bytes())
        kept = [*kept, entry]
    elif not was_damaged:
        return path
    folder.write_manifest(Manifest(snapshots=kept))
    return path


def _snapshot(folder: RunFolder, path: Path, facts: Mapping[str, object]) -> Snapshot:
    return Snapshot(
        file=str(path.relative_to(folder.path)),
        sequence=_as_int(facts["sequence"]),
        content_sha256=str(facts["content_sha256"]),
        n_rows=_as_int(facts["rows"]),
        state=SweepState(str(facts["state"])),
        created_at=datetime.fromisoformat(str(facts["created_at"])),
    )


def _kept_snapshots(folder: RunFolder) -> tuple[list[Snapshot], bool]:
    """What the manifest names, and whether it was damaged. Then the snapshots themselves say what they are."""
    try:
        return folder.manifest().snapshots, False
    except BadInput:
        there = {path: _metadata_if_any(path) for path in sorted(folder.snapshots.glob("frontier-*.parquet"))}
        return [_snapshot(folder, path, facts) for path, facts in there.items() if facts], True
