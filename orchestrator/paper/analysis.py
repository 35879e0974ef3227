"""What an analysis is: the values that one file per analysis gives, and what it gets.

An analysis names its tasks; each is computed, kept and tried again as one. A task turns SAEs, the model and its rows
into lines of tables. Knows no files and no processes; an analysis imports PyTorch inside `run` only, so that `--list`
and `--dry-run` are quick.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pyarrow as pa

from orchestrator.folder.records import Row

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from trainer.analysis import Writer
    from trainer.data import Rows
    from trainer.export import TrainedSAE
    from trainer.models import FrozenModel, ModelFacts

TEXT, NUMBER, COUNT, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
NUMBERS = pa.list_(pa.field("element", pa.float64()))

Line = dict[str, Any]
Tables = dict[str, list[Line]]
"""Lines by name of the table."""


@dataclass(frozen=True)
class Column:
    """One column of a table, for machines and for people."""

    name: str
    type: pa.DataType
    description: str
    unit: str = ""
    nullable: bool = True
    """NaN and infinity are null."""


@dataclass(frozen=True)
class TableSpec:
    """One table: `paper/<name>.parquet`."""

    name: str
    """Begins with the analysis' id, so that it is unique."""
    title: str
    columns: tuple[Column, ...]
    printed: tuple[str, ...] | None = None
    """Columns of the LaTeX table and of the extract in paper.html; None: all but `trial_id`. Empty: it is not printed,
    such as one with a line per dictionary element."""


@dataclass(frozen=True)
class Option:
    """A number or text that a user may set: `--set geometry.n_resamples=100`."""

    name: str
    default: int | float | str | bool
    description: str


@dataclass(frozen=True)
class Group:
    """SAEs of one model and layer that are looked at side by side."""

    key: str
    """Short, unique and readable: `L2-ce0.12`."""
    title: str
    """`layer 2, CE loss increase 0.12`."""
    matched: str
    """The metric that is equal: `ce_loss_increase` or `l0`; empty where SAEs were named, or are on a front."""
    target: float | None
    rows: tuple[Row, ...]
    """In the order of the losses, local first. Of matched ones one per loss."""
    offsets: Mapping[str, float] = field(default_factory=dict[str, float])
    """(value - target) / target of the matched metric, by trial id."""

    @property
    def layer(self) -> int:
        return self.rows[0].config.layer

    @property
    def by_loss(self) -> dict[str, Row]:
        """The first of each loss."""
        found: dict[str, Row] = {}
        for row in self.rows:
            found.setdefault(row.config.loss.kind, row)
        return found


@dataclass(frozen=True)
class Chosen:
    """What tasks are made from."""

    rows: tuple[Row, ...]
    """The SAEs that were selected, by layer, loss, coefficient, seed; none twice."""
    groups: tuple[Group, ...]
    """Matched sets of the selection; by layer and at matched CE where it is `front`; one per layer of named trials."""
    done: tuple[Row, ...]
    """Every trial of the run that is done and whose SAE is there, in the same order."""
    facts: "ModelFacts"
    context: int
    """Tokens per row."""
    n_eval_rows: int
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Options that the user set, by analysis."""
    against_local: tuple[Line, ...] = ()
    """What the run's fronts say of each loss against local, as lines of `saes_against_local`."""
    notes: tuple[str, ...] = ()
    """What a reader should know of the choice: SAEs that are gone, matches that are rough."""

    def seeds_of(self, row: Row) -> tuple[Row, ...]:
        """The done trials with its settings and any seed, by seed; itself too."""
        like = row.config.model_copy(update={"seed": 0}).model_dump()
        found = [one for one in self.done if one.config.model_copy(update={"seed": 0}).model_dump() == like]
        return tuple(sorted(found, key=lambda one: one.config.seed))

    def options(self, analysis: "Analysis") -> dict[str, Any]:
        """Its options, defaults where the user set nothing."""
        return {one.name: one.default for one in analysis.options} | dict(self.settings.get(analysis.id, {}))


@dataclass(frozen=True)
class Task:
    """What is computed, kept and tried again as one."""

    analysis: str
    key: str
    """Short, readable, unique in its analysis: `L2-e2e-c0.5-s0`."""
    subjects: tuple[str, ...]
    """Trial ids, in the order in which `run` wants them."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """JSON values: all else that the result depends on (seed, n_tokens, ...). Part of the key of the cache."""
    needs_model: bool = False
    """Whether it asks the context for the model or the rows."""


@dataclass(frozen=True)
class Shape:
    """How large everything is, for `cost`."""

    facts: "ModelFacts"
    context: int
    n_eval_rows: int
    d_sae: Mapping[str, int]
    """By trial id."""
    flops_per_s: float
    """Of dense float32 products on the device that a task gets: rough."""

    def d_sae_of(self, task: Task) -> int:
        """Of its largest SAE."""
        return max((self.d_sae[id_] for id_ in task.subjects), default=0)

    @property
    def model_flops_per_token(self) -> float:
        """Of one forward pass, output included."""
        return 2.0 * self.facts.n_parameters

    @property
    def model_bytes(self) -> float:
        """Its weights in float32."""
        return 4.0 * self.facts.n_parameters

    def sae_bytes(self, task: Task) -> float:
        """Of all its SAEs' weights in float32."""
        return sum(8.0 * self.d_sae[id_] * self.facts.d_model for id_ in task.subjects)


@dataclass(frozen=True)
class Cost:
    """What a task is expected to take: rough, but never silent."""

    seconds: float
    memory_bytes: float
    """Of what it holds at its peak, beside about 1 GB for Python and PyTorch."""


class Context(Protocol):
    """What a running task may ask for. Each is loaded when it is asked for, and kept."""

    @property
    def device(self) -> "torch.device":
        """Where the model is."""
        ...

    def sae(self, trial_id: str) -> "TrainedSAE":
        """On `device`."""
        ...

    def firing(self, trial_id: str) -> "torch.Tensor":
        """Share of tokens on which each element fires, " d_sae", float64 on the CPU: those above 0 are alive.

        Counted as `n_alive_elements` is; those of all subjects at its layer together, once, and kept.
        """
        ...

    def row(self, trial_id: str) -> Row: ...

    def model(self) -> "FrozenModel":
        """That which the task's SAEs were trained on, its hash checked."""
        ...

    def rows(self) -> "Rows":
        """Their text, its hash checked."""
        ...

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """Raises BadInput where the model has none."""
        ...

    def writer(self) -> "Writer":
        """Their model as `transformers` has it, to write text with. Raises BadInput where it cannot be read so."""
        ...

    def answers(self) -> Path | None:
        """The folder of answers that cost money, which tasks share; None where nothing is kept."""
        ...

    def heard(self, done: int, total: int) -> None:
        """How far the task is; as often as one likes."""
        ...


class Part:
    """One part of the report: its words and its tables. A subclass sets the class variables."""

    id: ClassVar[str]
    """For `--only`: `geometry`."""
    title: ClassVar[str]
    paper: ClassVar[tuple[str, ...]]
    """Figures, tables and sections of the paper that it is: `("Figure 3a", "Section 3.3.1")`."""
    version: ClassVar[int] = 1
    """Raise it when the same SAEs would give other numbers: what was kept is then computed anew."""
    tables: ClassVar[tuple[TableSpec, ...]]
    options: ClassVar[tuple[Option, ...]] = ()


class Analysis(Part, ABC):
    """One analysis of the paper. One instance of each is in `registry.py`."""

    @abstractmethod
    def tasks(self, chosen: Chosen) -> list[Task]:
        """What has to be computed.

        Raises BadInput with one clear message where this sweep cannot give it, such as one seed only.
        """

    @abstractmethod
    def cost(self, task: Task, shape: Shape) -> Cost:
        """Pure arithmetic."""

    @abstractmethod
    def run(self, task: Task, context: Context) -> Tables:
        """The task's lines of each table. Deterministic; reports progress by `context.heard`.

        Raises BadInput where it cannot be done with these SAEs.
        """

    def summary(self, tables: Tables, chosen: Chosen) -> Tables:
        """Tables that follow from the lines of all tasks together, and the choice. Quick, since it is not kept."""
        del tables, chosen
        return {}

    def missing(self) -> str | None:
        """What has to be installed or set before it can run, with how; None where nothing is.

        An analysis that lacks something is left out of the default set with a note, and refused with --only.
        """
        return None

    def notes(self, tasks: Sequence[Task]) -> list[str]:
        """What a user should know before the tasks start, such as what they cost in money."""
        del tasks
        return []


IDENTITY: tuple[Column, ...] = (
    Column("trial_id", TEXT, "The SAE: saes/<trial_id>/ of the run folder.", nullable=False),
    Column("run_name", TEXT, "Its name for people, such as L3-e2e-c0.5-s0.", nullable=False),
    Column("layer", COUNT, "Block whose input it replaces.", nullable=False),
    Column("loss", TEXT, "Kind of loss: local, e2e, e2e_downstream, local_then_e2e or mixed.", nullable=False),
    Column("sparsity_coeff", NUMBER, "Weight of the sparsity term, as configured.", nullable=False),
    Column("seed", COUNT, "Seed of its initialisation.", nullable=False),
)
"""The columns that a table with lines about single SAEs begins with."""

MEASURED: tuple[Column, ...] = (
    Column("l0", NUMBER, "Mean non-zero latents per token.", "elements per token"),
    Column("ce_loss_increase", NUMBER, "Cross-entropy with the SAE minus without.", "nats per token"),
    Column("n_alive_elements", COUNT, "Elements that fired in the alive window, weights frozen.", "elements"),
)
"""What is known of every SAE from its row, for tables in which it is an axis."""


def identity(row: Row) -> Line:
    """The columns `IDENTITY` of a line about one SAE."""
    config = row.config
    return {
        "trial_id": row.trial_id,
        "run_name": row.run_name,
        "layer": config.layer,
        "loss": config.loss.kind,
        "sparsity_coeff": config.loss.sparsity_coeff,
        "seed": config.seed,
    }


def measured(row: Row) -> Line:
    """The columns `MEASURED`."""
    alive = number(row, "n_alive_elements")
    return {
        "l0": number(row, "l0"),
        "ce_loss_increase": number(row, "ce_loss_increase"),
        "n_alive_elements": None if alive is None else int(alive),
    }


def number(row: Row, metric: str) -> float | None:
    """A metric of its row, where it is one number."""
    value = row.metrics.get(metric)
    return float(value) if isinstance(value, int | float) else None
