"""Rows as one Arrow table, a line per trial that ended, however it ended; kept beside a large sweep's rows.

The rows are the truth. Reading a hundred thousand JSON files takes longer than making a frontier of them, so from
`CACHED_FROM` rows on their lines are kept in `cache/lines.arrow` of the run folder, each with size and time of its
file: only rows that are new or changed are read again. The file may be deleted at any time.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.folder.files import write_bytes
from orchestrator.folder.records import TRIAL_ID, CurvePoint, Row
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.schema import METRIC_COLUMNS, RUN_COLUMNS, SCHEMA_VERSION, SETTING_COLUMNS, Column
from trainer.errors import EnvironmentProblem

CACHED_FROM = 2_000
REWRITTEN_AT = 0.02
"""The cache is written again where more than this share of the rows is not in it."""
READ_AT_ONCE = 1_000
FIFTH = 0.2
FEWEST_POINTS = 4
"""Of the training loss in a fifth of the steps; with fewer nothing is said."""

OF_THE_SWEEP = ("sweep_id", "source", "mlflow_experiment_id", "mlflow_run_id")
"""Columns of the table that no row knows."""
LINE_COLUMNS: tuple[Column, ...] = tuple(
    column for column in (*SETTING_COLUMNS, *METRIC_COLUMNS, *RUN_COLUMNS) if column.name not in OF_THE_SWEEP
)
_SCHEMA = pa.schema(
    [("status", pa.string()), ("error", pa.string()), *((column.name, column.type) for column in LINE_COLUMNS)]
)
_STAMP = pa.schema([("file", pa.string()), ("file_bytes", pa.int64()), ("file_time_ns", pa.int64())])
_VERSION = {b"lines": f"1 of schema {SCHEMA_VERSION}".encode()}

Curve = Callable[[str], Sequence[CurvePoint]]
"""A trial's curves by its id."""


def lines_of(rows: Iterable[Row], curve: Curve = lambda _: ()) -> pa.Table:
    """A line per row, in their order; what a row does not know is null."""
    return as_lines([_line(row, curve) for row in rows])


def as_lines(lines: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Values by column as lines; what one does not have is null."""
    return pa.table([pa.array([line.get(field.name) for line in lines], field.type) for field in _SCHEMA], _SCHEMA)


def read_lines(folder: RunFolder) -> pa.Table:
    """The lines of all rows so far, by trial id. Raises `BadInput` for a row that is broken."""
    files = sorted(_row_files(folder))
    names = [name for name, _, _ in files]
    kept = _kept(folder) if len(files) >= CACHED_FROM else None
    if kept is None:
        table = _read(folder, files).combine_chunks()
    else:
        places = {name: place for place, name in enumerate(kept["file"].to_pylist())}
        at = np.array([places.get(name, -1) for name in names])
        same = _same(files, kept, at)
        fresh = _read(folder, [file for file, is_same in zip(files, same, strict=True) if not is_same])
        if len(fresh) == 0 and len(kept) == len(files):
            return _without_stamp(kept)
        table = pa.concat_tables([kept.take(pa.array(at[same])), fresh]).sort_by("file").combine_chunks()
        if len(fresh) <= REWRITTEN_AT * len(files):
            return _without_stamp(table)
    if len(files) >= CACHED_FROM:
        _keep(folder, table)
    return _without_stamp(table)


def late_loss_fall(curve: Sequence[CurvePoint], *, since: int = 0) -> float | None:
    """Share by which the mean training loss fell from the fourth to the last fifth of the steps: 0 where it rose, or
    fell by less than two standard errors; null where a fifth has too few points to say.

    `since`: the first step, from 0, with the loss that is minimised at the end. Those before do not count.
    """
    after = [(point.step - since, point.metrics.get("train/loss")) for point in curve if point.step > since]
    points = [(step, value) for step, value in after if value is not None]
    if not points:
        return None
    steps, losses = np.array(points, dtype=np.float64).T
    last_step = steps.max()
    last = losses[steps > (1 - FIFTH) * last_step]
    before = losses[(steps > (1 - 2 * FIFTH) * last_step) & (steps <= (1 - FIFTH) * last_step)]
    if min(len(last), len(before)) < FEWEST_POINTS or before.mean() <= 0:
        return None
    fall = float(before.mean() - last.mean())
    noise = float(np.hypot(*(part.std(ddof=1) / np.sqrt(len(part)) for part in (before, last))))
    return fall / float(before.mean()) if fall > 2 * noise else 0.0


def _row_files(folder: RunFolder) -> Iterator[tuple[str, int, int]]:
    """Trial id, size and time of each row's file."""
    try:
        with os.scandir(folder.path / "results") as entries:
            for entry in entries:
                name, _, suffix = entry.name.partition(".")
                if suffix == "json" and re.fullmatch(TRIAL_ID, name):
                    found = entry.stat()
                    yield name, found.st_size, found.st_mtime_ns
    except FileNotFoundError:
        return


def _read(folder: RunFolder, files: Sequence[tuple[str, int, int]]) -> pa.Table:
    """In pieces: rows are large beside their lines, and a hundred thousand at once burden Python's memory."""
    starts = range(0, max(1, len(files)), READ_AT_ONCE)
    return pa.concat_tables([_read_some(folder, files[start : start + READ_AT_ONCE]) for start in starts])


def _read_some(folder: RunFolder, files: Sequence[tuple[str, int, int]]) -> pa.Table:
    found = [(file, row) for file in files if (row := folder.row(file[0])) is not None]
    table = lines_of((row for _, row in found), folder.curve)
    stamp = zip(*(file for file, _ in found), strict=True) if found else ((), (), ())
    for field, values in zip(_STAMP, stamp, strict=True):
        table = table.append_column(field, pa.array(values, field.type))
    return table


def _same(files: Sequence[tuple[str, int, int]], kept: pa.Table, at: np.ndarray) -> np.ndarray:
    """Whether each file is in the cache as it is now. `at`: its place there, -1 for none."""
    if len(kept) == 0:
        return np.zeros(len(files), dtype=bool)
    now = np.array([file[1:] for file in files], dtype=np.int64).T
    before = (kept["file_bytes"].to_numpy(), kept["file_time_ns"].to_numpy())
    return (at >= 0) & (before[0][at] == now[0]) & (before[1][at] == now[1])


def _cache(folder: RunFolder) -> Path:
    return folder.path / "cache" / "lines.arrow"


def _kept(folder: RunFolder) -> pa.Table | None:
    """None where there is none that this version can use."""
    try:
        with _cache(folder).open("rb") as file:
            table = pa.ipc.open_file(pa.BufferReader(file.read())).read_all()
    except (OSError, pa.ArrowException):
        return None
    wanted = pa.schema([*_SCHEMA, *_STAMP])
    return table if table.schema.metadata == _VERSION and table.schema.equals(wanted) else None


def _keep(folder: RunFolder, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(sink, table.schema.with_metadata(_VERSION), options=options) as writer:
        writer.write_table(table)
    try:
        write_bytes(_cache(folder), sink.getvalue().to_pybytes())
    except EnvironmentProblem:
        return  # somebody else's folder, or a full disk: the rows are read again next time


def _without_stamp(table: pa.Table) -> pa.Table:
    return table.select(_SCHEMA.names).replace_schema_metadata(None)


def _line(row: Row, curve: Curve) -> dict[str, Any]:
    config, facts, versions = row.config, row.facts, row.versions
    weights = config.loss.weights
    line: dict[str, Any] = {
        "status": str(row.status),
        "error": row.error,
        "trial_id": row.trial_id,
        "pack_id": row.pack_id,
        "run_name": row.run_name,
        "model": config.model.name,
        "dataset": config.data.dataset,
        "hookpoint": config.hookpoint,
        "layer": config.layer,
        "loss": config.loss.kind,
        "sparsity_coeff": config.loss.sparsity_coeff,
        "sparsity_p": weights.sparsity_p,
        "kl_coeff": weights.kl,
        "downstream_coeff": weights.downstream,
        "local_coeff": weights.local,
        "activation": config.sae.activation,
        "ratio": config.sae.ratio,
        "seed": config.seed,
        "lr": config.train.lr,
        "context": config.data.context,
        "alive_window_tokens": config.eval.alive_window_tokens,
        **{column.name: _as_stored(row.metrics.get(column.name), column) for column in METRIC_COLUMNS},
        **{column.name: _as_stored(row.cost.get(column.name), column) for column in RUN_COLUMNS if column.nullable},
        "late_loss_fall": late_loss_fall(curve(row.trial_id), since=config.stages[-1].start),
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "device": versions.device,
        "torch_version": versions.torch,
        "code_version": versions.code,
        "git_commit": versions.git_commit,
        "config_json": config.model_dump_json(),
    }
    return line | (facts.model_dump() if facts is not None else {})


def _as_stored(value: float | list[float | None] | None, column: Column) -> object:
    return round(value) if isinstance(value, float) and pa.types.is_integer(column.type) else value


def is_done(lines: pa.Table) -> np.ndarray:
    """Which lines are of trials that have a result."""
    return np.asarray(lines["status"].to_numpy() == "done", dtype=bool)


def is_dominated(lines: pa.Table) -> np.ndarray:
    """Which lines are of trials that were stopped early, since others are better."""
    return np.asarray(lines["status"].to_numpy() == "dominated", dtype=bool)


def is_among(lines: pa.Table, trial_ids: Iterable[str]) -> np.ndarray:
    """Which lines are of these trials."""
    wanted = set(trial_ids)
    return np.array([trial_id in wanted for trial_id in lines["trial_id"].to_pylist()], dtype=bool)


def failures_by_trial(lines: pa.Table) -> dict[str, str]:
    """Why trials have no result, by id."""
    bad = lines.filter(pa.array(~is_done(lines))).select(["trial_id", "status", "error"])
    return {
        line["trial_id"]: f"{line['status']}: {line['error']}" if line["error"] else line["status"]
        for line in bad.to_pylist()
    }
