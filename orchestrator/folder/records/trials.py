"""How a trial goes and ends: its row, which everything that a frontier shows comes from, and points of its curves."""

import json
import zlib
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field, NonNegativeInt, model_validator

from orchestrator.folder.records.names import Number, PackId, TrialId
from trainer.config import TrialConfig
from trainer.values import Frozen


class RowStatus(StrEnum):
    """How a trial ended. Only grows."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    """Cut off; the next launch goes on with it."""
    DOMINATED = "dominated"
    """Stopped early on purpose, and for good: another trial was better in every objective (`frontier.stop_dominated`).
    It has no SAE, and is on no frontier."""


class Facts(Frozen):
    """What the trial's data and model turned out to be; not in its config."""

    d_model: int
    d_sae: int
    n_train_tokens: int
    """Tokens trained on: whole steps only."""
    n_eval_tokens: int
    """Tokens of the held-out rows that the metrics are over."""
    data_hash: str
    eval_hash: str
    """Hash of the held-out rows."""
    model_hash: str
    """Hash of the frozen model's weights."""


class Versions(Frozen):
    """What the trial ran on."""

    code: str
    """Version of this package."""
    git_commit: str | None = None
    python: str
    torch: str
    device: str
    """Such as `cpu` or `NVIDIA H100 80GB HBM3`."""


class Dominated(Frozen):
    """Why a trial was stopped early: what it had come to, and who was better when it had come as far."""

    step: NonNegativeInt
    tokens: NonNegativeInt
    metrics: dict[str, Number]
    """By objective, at that step; not final ones."""
    by: TrialId
    by_name: str
    by_tokens: NonNegativeInt
    """At which the other had these metrics; no more than `tokens`."""
    by_metrics: dict[str, Number]
    margin: float
    """By which share it was better in each, at least."""

    @property
    def text(self) -> str:
        """For people."""
        pairs = [
            f"{name} {_short(value)} against {_short(self.by_metrics.get(name))}"
            for name, value in self.metrics.items()
        ]
        return f"dominated by {self.by_name} after {self.tokens:,} tokens: {', '.join(pairs)}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


class Row(Frozen):
    """`results/<trial_id>.json`: how one trial ended. Everything that a frontier shows comes from here."""

    schema_version: Literal[1] = 1
    trial_id: TrialId
    run_name: str
    """For people; unique in its sweep."""
    pack_id: PackId
    status: RowStatus
    error: str | None = None
    """Why it failed or stopped."""
    config: TrialConfig
    """As trained. `trial_id` was its hash then; a later version with more fields may hash it differently."""
    facts: Facts | None = None
    """None only where a trial failed before it had them."""
    metrics: dict[str, Number | list[Number]] = Field(default={})
    """Final metrics by column."""
    cost: dict[str, Number] = Field(default={})
    """Seconds, bytes and tokens per second by column."""
    versions: Versions
    started_at: AwareDatetime
    """Of its pack's first attempt."""
    finished_at: AwareDatetime
    sae_sha256: str | None = None
    """Of `sae.safetensors`."""
    journal_sha256: str | None = None
    """Of the trial's journal."""
    dominated: Dominated | None = None
    """Where it was stopped for that; it then has no final metrics."""

    @model_validator(mode="after")
    def _says_what_it_has_to(self) -> "Row":
        if self.status is RowStatus.DONE and self.facts is None:
            raise ValueError("a done row needs facts")
        if (self.status is RowStatus.DOMINATED) != (self.dominated is not None):
            raise ValueError("a dominated row says by whom, and no other row does")
        return self


class CurvePoint(Frozen):
    """A line of `journal/<trial_id>.jsonl`: a trial's metrics at one step."""

    step: NonNegativeInt
    tokens: NonNegativeInt
    time_ms: NonNegativeInt
    """Unix time in milliseconds, recorded once: a copy sent again to MLflow is then the same point."""
    metrics: dict[str, Number]

    @model_validator(mode="before")
    @classmethod
    def _undamaged(cls, fields: object) -> object:
        """A line has a checksum, by which a flipped bit is seen; lines of earlier versions have none."""
        if isinstance(fields, dict) and "check" in fields:
            rest = {name: value for name, value in fields.items() if name != "check"}
            if fields["check"] != _checksum(rest):
                raise ValueError("the line is not what was written")
            return rest
        return fields

    @property
    def line(self) -> str:
        """As the journal has it."""
        fields = self.model_dump(mode="json")
        return json.dumps(fields | {"check": _checksum(fields)}, separators=(",", ":"))

    @property
    def key(self) -> tuple[int, frozenset[str]]:
        """What no two points of a curve have in common."""
        return self.step, frozenset(self.metrics)


def _checksum(fields: dict[str, object]) -> str:
    return f"{zlib.crc32(json.dumps(fields, sort_keys=True).encode()):08x}"
