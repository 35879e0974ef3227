"""The columns of `frontier.parquet`: one object from which the file, its metadata and its documentation follow.

Names are snake_case with the unit where a bare number misleads. Trials are told apart by plain strings, no dictionaries
or partitions, so that pandas, Polars and DuckDB see the same table. A new nullable column is a minor step of
`SCHEMA_VERSION`, as are new rows that a new column tells apart; a rename, a removal, another unit or meaning is a major
one, and readers refuse it.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

SCHEMA_VERSION = "1.2"
METADATA_KEY = b"sae_frontier"

_text = pa.string()
_number = pa.float64()
_numbers = pa.list_(pa.field("element", pa.float64()))
_time = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Column:
    """One column: what is in it, for machines and for people."""

    name: str
    type: pa.DataType
    description: str
    unit: str = ""
    nullable: bool = False
    better: Literal["lower", "higher", ""] = ""
    """Which way a metric is good; empty where it cannot be an objective."""
    scale: Literal["linear", "log"] = "linear"
    """How differences of this metric are felt; hypervolume measures log columns in log10."""

    @property
    def best(self) -> float:
        """Nothing is better, but for a CE loss increase below 0: a count of 1 (log), no cost, or all explained."""
        return 1.0 if self.better == "higher" or self.scale == "log" else 0.0

    @property
    def field(self) -> pa.Field:
        metadata = {"unit": self.unit, "description": self.description}
        return pa.field(self.name, self.type, nullable=self.nullable, metadata=metadata)

    @property
    def described(self) -> dict[str, str]:
        """As in the JSON of the file's metadata."""
        entry = {"unit": self.unit, "description": self.description}
        return entry | ({"better": self.better, "scale": self.scale} if self.better else {})


class Objective(tuple[str, ...]):
    """Two to four metrics in which trials are compared for one frontier: `Objective("l0", "ce_loss_increase")`."""

    __slots__ = ()

    def __new__(cls, *metrics: str) -> "Objective":
        return super().__new__(cls, metrics)

    @property
    def x(self) -> str:
        return self[0]

    @property
    def y(self) -> str:
        return self[-1]

    @property
    def is_plane(self) -> bool:
        """Of two metrics, so that it can be drawn, interpolated and matched."""
        return len(self) == 2

    @property
    def label(self) -> str:
        """Ends the names of this frontier's columns, such as `on_front_l0`; of more than two metrics it names all."""
        *others, last = self
        names = [{"n_alive_elements": "alive"}.get(name, name) for name in others]
        if last != "ce_loss_increase":
            names.append(last)
        elif not self.is_plane:
            names.append("ce")
        return "_".join(names)


MOST_OBJECTIVES = 4
MAX_GAP = 3.0
"""Ratio of neighbouring L0 on a frontier from which a gap is worth a warning."""
DEFAULT_OBJECTIVES = (Objective("l0", "ce_loss_increase"), Objective("n_alive_elements", "ce_loss_increase"))

FRONT_GROUP = ("model", "model_hash", "eval_hash", "hookpoint", "loss", "d_sae")
"""Trials that share these compete for a place on one frontier, seeds and coefficients pooled."""
JOINT_FRONT_GROUP = ("model", "model_hash", "eval_hash", "hookpoint")
"""The same over all losses and dictionary sizes."""
SORTED_BY = ("layer", "loss", "sparsity_coeff", "seed", "trial_id")

OWN, EXTERNAL = "own", "external"
"""In the column `source`; the second also in the column `loss`."""

SETTING_COLUMNS = (
    Column("sweep_id", _text, "Name of the run folder. With trial_id the key of the row."),
    Column(
        "source",
        _text,
        "own: a trial of the sweep. external: an SAE that others trained, measured on the same text; what is not known "
        "of its training is null. Missing in files before 1.2, where all are own.",
        nullable=True,
    ),
    Column(
        "trial_id",
        _text,
        "Hash of the trial's config. Its SAE is saes/<trial_id>/ of the run folder. Of an external SAE a hash of its "
        "weights; its file is external/<trial_id>.json.",
    ),
    Column("pack_id", _text, "Pack it was trained in. Has no influence on the numbers.", nullable=True),
    Column("run_name", _text, "Name for people and of the MLflow run, such as L3-e2e-c0.5-s0."),
    Column("mlflow_experiment_id", _text, "For the link to its MLflow run.", nullable=True),
    Column("mlflow_run_id", _text, "For the link to its MLflow run.", nullable=True),
    Column("model", _text, "The frozen language model: builtin, a hub id or a folder."),
    Column("dataset", _text, "The text: builtin, a hub id, a folder or a file."),
    Column("hookpoint", _text, "Where the SAE sits, such as blocks.6.hook_resid_pre."),
    Column("layer", pa.int16(), "Block whose input the SAE replaces."),
    Column(
        "loss",
        _text,
        "Kind of loss: local, e2e, e2e_downstream, local_then_e2e or mixed; external of an SAE that others trained.",
    ),
    Column("sparsity_coeff", _number, "Weight of the sparsity term, as configured.", nullable=True),
    Column("sparsity_p", _number, "Which norm of the latents is penalised.", nullable=True),
    Column(
        "kl_coeff",
        _number,
        "Weight of the KL term; 0 where the loss has none. Of local_then_e2e after its switch, as the next two.",
        nullable=True,
    ),
    Column("downstream_coeff", _number, "Weight of the downstream MSE; 0 where the loss has none.", nullable=True),
    Column("local_coeff", _number, "Weight of the MSE at the SAE itself; 0 where the loss has none.", nullable=True),
    Column("activation", _text, "Activation function of the SAE."),
    Column("d_model", pa.int32(), "Width of the residual stream."),
    Column("d_sae", pa.int32(), "Dictionary elements.", "elements"),
    Column("ratio", _number, "d_sae / d_model, as configured."),
    Column("seed", pa.int64(), "Seed of the SAE's initialisation.", nullable=True),
    Column("lr", _number, "Highest learning rate of the schedule.", nullable=True),
    Column("context", pa.int32(), "Length of a row.", "tokens"),
    Column("n_train_tokens", pa.int64(), "Trained on, in whole steps.", "tokens", nullable=True),
    Column("n_eval_tokens", pa.int64(), "Held-out tokens that the metrics are over.", "tokens"),
    Column("alive_window_tokens", pa.int64(), "Window of n_alive_elements.", "tokens"),
)

_nats = "nats per token"
METRIC_COLUMNS = (
    Column("l0", _number, "Mean non-zero latents per token.", "elements per token", better="lower", scale="log"),
    Column(
        "ce_loss_increase",
        _number,
        "Cross-entropy with the SAE minus without: ce_loss_with_sae - ce_loss_without_sae. May be below 0.",
        _nats,
        better="lower",
    ),
    Column("ce_loss_increase_stderr", _number, "Standard error of ce_loss_increase.", _nats, nullable=True),
    Column(
        "n_alive_elements",
        pa.int32(),
        "Dictionary elements that fired at least once in alive_window_tokens training tokens, with frozen weights.",
        "elements",
        better="lower",
        scale="log",
    ),
    Column("frac_alive", _number, "n_alive_elements / d_sae.", nullable=True),
    Column("ce_loss_with_sae", _number, "Cross-entropy with the SAE spliced in.", _nats, True, "lower"),
    Column("ce_loss_without_sae", _number, "Cross-entropy of the model alone.", _nats, True),
    Column("ce_loss_with_ablation", _number, "Cross-entropy with zeros in place of the SAE's output.", _nats, True),
    Column(
        "ce_loss_score",
        _number,
        "(ce_loss_with_ablation - ce_loss_with_sae) / (ce_loss_with_ablation - ce_loss_without_sae).",
        nullable=True,
        better="higher",
    ),
    Column("kl_div_with_sae", _number, "KL(model alone || model with the SAE).", _nats, True, "lower"),
    Column("mse", _number, "Mean squared error of the SAE's output.", "activation squared", True, "lower"),
    Column(
        "explained_variance",
        _number,
        "1 - sum |x - x_hat|^2 / sum |x - mean x|^2 over all tokens.",
        nullable=True,
        better="higher",
    ),
    Column(
        "explained_variance_per_token",
        _number,
        "Mean over tokens of the explained variance of each, as the paper plots it.",
        nullable=True,
        better="higher",
    ),
    Column("l2_ratio_pos0", _number, "Norm of the SAE's output over that of its input, at position 0.", nullable=True),
    Column("l2_ratio_rest", _number, "The same, at later positions.", nullable=True),
    Column("cosine", _number, "Mean cosine of the SAE's input and output.", nullable=True, better="higher"),
    Column(
        "downstream_mse",
        _numbers,
        "Mean squared error at the input of each later block, the next one first.",
        "activation squared",
        nullable=True,
    ),
    Column("density_histogram", _numbers, "Elements by how often they fire.", "elements", nullable=True),
    Column("grad_norm", _number, "Norm of the gradient before clipping.", nullable=True),
)

RUN_COLUMNS = (
    Column("started_at", _time, "When training started.", nullable=True),
    Column("finished_at", _time, "When its row was written."),
    Column("train_wall_s", _number, "Training of its whole pack.", "seconds", nullable=True),
    Column("device_s", _number, "Its share of the pack's device time.", "seconds", True, "lower", "log"),
    Column(
        "tokens_per_s", _number, "Tokens of the stream, each counted once for the whole pack.", "1/s", nullable=True
    ),
    Column("peak_memory_bytes", pa.int64(), "Most device memory its pack held.", "bytes", True, "lower", "log"),
    Column(
        "late_loss_fall",
        _number,
        "Share by which the training loss fell from the fourth to the last fifth of the steps, where that is more than "
        "its noise, else 0.",
        nullable=True,
    ),
    Column("device", _text, "What it ran on."),
    Column("torch_version", _text, "Version of PyTorch."),
    Column("code_version", _text, "Version of this program."),
    Column("git_commit", _text, "Commit of this program, where it ran from a checkout.", nullable=True),
    Column("data_hash", _text, "Hash of the training rows' tokens."),
    Column("eval_hash", _text, "Hash of the held-out rows. Compare metrics only where it is equal."),
    Column("model_hash", _text, "Hash of the frozen model's weights. Compare metrics only where it is equal."),
    Column("config_json", _text, "The whole config."),
)


def front_columns(objective: Objective) -> tuple[Column, ...]:
    """What a frontier adds to each trial."""
    plane = f"{', '.join(objective[:-1])} and {objective.y}"
    name = objective.label
    within = ", ".join(FRONT_GROUP)
    return (
        Column(f"on_front_{name}", pa.bool_(), f"Not dominated in {plane} within ({within})."),
        Column(
            f"on_joint_front_{name}",
            pa.bool_(),
            f"Not dominated in {plane} within ({', '.join(JOINT_FRONT_GROUP)}): an own trial by none of its sweep, an "
            "external SAE by none at all.",
        ),
        Column(f"dominated_by_{name}", _text, f"A trial of its group that dominates it in {plane}.", nullable=True),
        Column(
            f"hv_contribution_{name}",
            _number,
            f"Share of its group's hypervolume in {plane} that the frontier loses without it; 0 when dominated, null "
            "without a reference point.",
            nullable=True,
        ),
    )


def columns(objectives: Sequence[Objective] = DEFAULT_OBJECTIVES) -> tuple[Column, ...]:
    """All columns in order."""
    fronts = [column for objective in objectives for column in front_columns(objective)]
    return (*SETTING_COLUMNS, *METRIC_COLUMNS, *fronts, *RUN_COLUMNS)


def objective_columns() -> dict[str, Column]:
    """What may be an objective: metrics, and what a trial costs."""
    return {column.name: column for column in (*METRIC_COLUMNS, *RUN_COLUMNS) if column.better}
