"""SAEs of others as measured beside a run's own: `external/<sae_id>.json`, and all of them as `external.parquet`.

The table has the columns of `frontier.parquet` that do not depend on frontiers, with null where an SAE of somebody else
has no answer (its loss is `external`), so that the two can be put under each other.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import AwareDatetime, Field, ValidationError

from orchestrator.folder.files import write_json, write_parquet
from orchestrator.folder.records import TRIAL_ID, Facts, Number, TrialId, Versions
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.schema import (
    METADATA_KEY,
    METRIC_COLUMNS,
    RUN_COLUMNS,
    SCHEMA_VERSION,
    SETTING_COLUMNS,
    Column,
)
from trainer.config import TrialConfig
from trainer.errors import BadInput
from trainer.values import Frozen

LOSS = "external"
"""In the column `loss`, and as `pack_id`."""
FOLDER, TABLE = "external", "external.parquet"


class ExternalRow(Frozen):
    """An SAE that somebody else trained, measured like the trials of a run."""

    schema_version: Literal[1] = 1
    sae_id: TrialId
    """Hash of its weights and config."""
    name: str
    """Of its folder."""
    source: str
    """Where it was read."""
    hookpoint: str
    layer: int
    like: TrialConfig
    """A trial of the run: model, text, alive window and precision of the evaluation are its."""
    facts: Facts
    """Those of the run, and its own shape. `n_train_tokens` is 0: not known."""
    metrics: dict[str, Number | list[Number]]
    notes: list[str] = Field(default=[])
    """What differs between its training and this evaluation."""
    saelens: dict[str, Any]
    """Its `cfg.json`."""
    versions: Versions
    measured_at: AwareDatetime
    loss: Annotated[str, Field(pattern=f"^{LOSS}$")] = LOSS


def write_external(folder: RunFolder, rows: Iterable[ExternalRow]) -> None:
    """Add to those of the run folder, in place of earlier measurements of the same SAEs, and write the table anew."""
    for row in rows:
        write_json(folder.path / FOLDER / f"{row.sae_id}.json", row.model_dump(mode="json"))
    write_parquet(folder.path / TABLE, external_table(read_external(folder), sweep_id=folder.path.name))


def read_external(folder: RunFolder) -> list[ExternalRow]:
    """All that were added to a run, by id. Raises BadInput for a broken file."""
    paths = sorted((folder.path / FOLDER).glob("*.json"))
    rows: list[ExternalRow] = []
    for path in paths:
        if re.fullmatch(TRIAL_ID, path.stem):
            try:
                rows.append(ExternalRow.model_validate_json(path.read_bytes()))
            except ValidationError as error:
                problem = error.errors(include_url=False)[0]["msg"]
                raise BadInput(f"{path} is no measured SAE ({problem}): delete it, and evaluate it again") from None
    return rows


def external_table(rows: Sequence[ExternalRow], *, sweep_id: str) -> pa.Table:
    """The rows under the columns of `frontier.parquet`, all of which may be null here."""
    columns = [replace(column, nullable=True) for column in (*SETTING_COLUMNS, *METRIC_COLUMNS, *RUN_COLUMNS)]
    lines = [external_line(row, sweep_id=sweep_id) for row in rows]
    facts = {"schema_version": SCHEMA_VERSION, "generator": "sae-frontier", "sweep_id": sweep_id, "kind": LOSS}
    return pa.table(
        [pa.array([line.get(column.name) for line in lines], column.type) for column in columns],
        schema=pa.schema([column.field for column in columns], metadata={METADATA_KEY: json.dumps(facts)}),
    )


def external_line(row: ExternalRow, *, sweep_id: str) -> dict[str, object]:
    """One row by column; columns that it has no answer to are left out."""
    like, facts = row.like, row.facts
    described = {"source": row.source, "notes": row.notes, "saelens": row.saelens}
    return {
        "sweep_id": sweep_id,
        "trial_id": row.sae_id,
        "pack_id": LOSS,
        "run_name": row.name,
        "model": like.model.name,
        "dataset": like.data.dataset,
        "hookpoint": row.hookpoint,
        "layer": row.layer,
        "loss": LOSS,
        "activation": "relu",
        "d_model": facts.d_model,
        "d_sae": facts.d_sae,
        "ratio": facts.d_sae / facts.d_model,
        "context": like.data.context,
        "n_eval_tokens": facts.n_eval_tokens,
        "alive_window_tokens": like.eval.alive_window_tokens,
        **_stored(row.metrics, METRIC_COLUMNS),
        "started_at": row.measured_at,
        "finished_at": row.measured_at,
        "device": row.versions.device,
        "torch_version": row.versions.torch,
        "code_version": row.versions.code,
        "git_commit": row.versions.git_commit,
        "data_hash": facts.data_hash,
        "eval_hash": facts.eval_hash,
        "model_hash": facts.model_hash,
        "config_json": json.dumps(described, ensure_ascii=False),
    }


def _stored(metrics: Mapping[str, object], columns: Sequence[Column]) -> dict[str, object]:
    values = {column: metrics.get(column.name) for column in columns}
    return {
        column.name: round(value) if isinstance(value, float) and pa.types.is_integer(column.type) else value
        for column, value in values.items()
    }
