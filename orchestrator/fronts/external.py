"""SAEs of others as measured beside a run's own: `external/<sae_id>.json` of the run folder, and as lines of the table.

In `frontier.parquet` they have the source and the loss `external`, and null where an SAE of somebody else has no
answer. They are a series of their own: nothing that is said of the sweep's trials changes with them.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import AwareDatetime, Field, ValidationError

from orchestrator.folder.files import write_json
from orchestrator.folder.records import TRIAL_ID, Facts, Number, RowStatus, TrialId, Versions
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.schema import EXTERNAL, METRIC_COLUMNS, Column
from orchestrator.fronts.trial_lines import as_lines
from trainer.config import TrialConfig
from trainer.values import Frozen

LOSS = EXTERNAL
"""In the column `loss`."""
FOLDER = "external"


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


class External(NamedTuple):
    """Those of a run folder."""

    rows: tuple[ExternalRow, ...]
    problems: tuple[str, ...]
    """Files that cannot be read, each as a sentence."""


def write_external(folder: RunFolder, rows: Iterable[ExternalRow]) -> None:
    """Add to those of the run folder, in place of earlier measurements of the same SAEs."""
    for row in rows:
        write_json(folder.path / FOLDER / f"{row.sae_id}.json", row.model_dump(mode="json"))


def read_external(folder: RunFolder) -> External:
    """All that were added to a run, by id. A broken file of somebody's SAE does not keep a sweep from its frontier."""
    rows: list[ExternalRow] = []
    problems: list[str] = []
    for path in sorted((folder.path / FOLDER).glob("*.json")):
        if not re.fullmatch(TRIAL_ID, path.stem):
            continue
        try:
            rows.append(ExternalRow.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            problems.append(f"{path} is no measured SAE ({problem}): delete it, and evaluate it again")
        except OSError as error:
            problems.append(f"{path} cannot be read ({error.strerror})")
    return External(tuple(rows), tuple(problems))


def external_lines(rows: Sequence[ExternalRow]) -> pa.Table:
    """The rows as lines beside `trial_lines.lines_of`; columns that they have no answer to are null."""
    return as_lines([_line(row) for row in rows])


def _line(row: ExternalRow) -> dict[str, Any]:
    like, facts = row.like, row.facts
    described = {"source": row.source, "notes": row.notes, "saelens": row.saelens}
    return {
        "status": str(RowStatus.DONE),
        "trial_id": row.sae_id,
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
