"""The columns of the files beside `frontier.parquet`: summary, matched comparisons and attainment surfaces.

One object per file, of the same `Column`s and under the same `SCHEMA_VERSION` as `orchestrator.fronts.schema`.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from collections.abc import Mapping, Sequence

import pyarrow as pa

from orchestrator.fronts.schema import SETTING_COLUMNS, Column

_text, _number, _whole = pa.string(), pa.float64(), pa.int32()
_caution = pa.struct(
    [("kind", _text), ("sentence", _text), ("fix", _text), ("trial_ids", pa.list_(pa.field("element", _text)))]
)

_KEYS = ("sweep_id", "model", "model_hash", "eval_hash", "hookpoint", "layer", "loss", "d_sae")
_also_hashes = (
    Column("model_hash", _text, "Hash of the frozen model's weights."),
    Column("eval_hash", _text, "Hash of the held-out rows."),
)
_known = {column.name: column for column in (*SETTING_COLUMNS, *_also_hashes)} | {
    "sweep_id": Column("sweep_id", _text, "Name of the run folder.")
}
KEY_COLUMNS = tuple(_known[name] for name in _KEYS)

SUMMARY_COLUMNS = (
    *KEY_COLUMNS,
    Column("front", _text, "Ends the names of this frontier's columns in frontier.parquet, such as l0 of on_front_l0."),
    Column("objectives", pa.list_(pa.field("element", _text)), "Its metrics."),
    Column("n_trials", _whole, "Trials in frontier.parquet."),
    Column("n_missing", _whole, "Trials that failed, stopped or lack an objective, and are not in frontier.parquet."),
    Column("n_seeds", _whole, "Different seeds among the trials; 0 of SAEs that others trained."),
    Column("n_front", _whole, "Trials that no other of the same loss dominates."),
    Column("n_joint_front", _whole, "Of those, trials that none of another loss or dictionary size dominates."),
    Column(
        "reference",
        pa.list_(pa.field("element", _number)),
        "Reference point, in the order of objectives.",
        nullable=True,
    ),
    Column(
        "hypervolume",
        _number,
        "Of all seeds together: share of the box from the best values to the reference point, counts by their log10.",
        nullable=True,
    ),
    Column("hypervolume_median", _number, "Of what half of the seeds attain.", nullable=True),
    Column("hypervolume_mean", _number, "Mean over seeds of each one's hypervolume.", nullable=True),
    Column("hypervolume_low", _number, "Its 95 % interval, from three seeds on.", nullable=True),
    Column("hypervolume_high", _number, "Its 95 % interval, from three seeds on.", nullable=True),
    Column(
        "widest_gap", _number, "Largest ratio of neighbouring L0 (or the first count) on the frontier.", nullable=True
    ),
    Column(
        "share_of_local",
        _number,
        "Second metric as a share of local's: mean over 20 evenly spaced values of the first, interpolated linearly "
        "along each seed's frontier, geometric mean over seeds.",
        nullable=True,
    ),
    Column("share_low", _number, "Its 95 % interval, from three seeds on.", nullable=True),
    Column("share_high", _number, "Its 95 % interval, from three seeds on.", nullable=True),
    Column("share_from", _number, "Lowest of the 20 values: what all losses' frontiers cover.", nullable=True),
    Column("share_to", _number, "Highest of them.", nullable=True),
    Column("warnings", pa.list_(pa.field("element", _caution)), "What to know before trusting it, and what to do."),
)

MATCHED_COLUMNS = (
    *KEY_COLUMNS,
    Column("matched", _text, "The metric that is equal for all losses."),
    Column("target", _number, "Its value."),
    Column(
        "asked", pa.bool_(), "Whether frontier.match names that value; else it is the middle of what all losses cover."
    ),
    Column("reads", _text, "The metric that is compared there."),
    Column(
        "nearest_trial_id", _text, "The trial nearest to the target, among those that none of their seed dominates."
    ),
    Column("nearest_run_name", _text, "Its name."),
    Column("nearest_sparsity_coeff", _number, "Its coefficient.", nullable=True),
    Column("nearest_seed", pa.int64(), "Its seed.", nullable=True),
    Column("nearest_at", _number, "Its value of the matched metric."),
    Column("nearest_offset", _number, "(nearest_at - target) / target."),
    Column("nearest_l0", _number, "Its L0.", "elements per token"),
    Column("nearest_ce_loss_increase", _number, "Its CE loss increase.", "nats per token"),
    Column("nearest_n_alive_elements", _whole, "Its alive elements.", "elements"),
    Column("nearest_ratio", _number, "Its value of reads over that of local's nearest trial.", nullable=True),
    Column(
        "value",
        _number,
        "reads at the target, interpolated along each seed's frontier, mean over seeds (geometric of counts). Null "
        "where no frontier reaches the target.",
        nullable=True,
    ),
    Column("value_low", _number, "Its 95 % interval, from three seeds on.", nullable=True),
    Column("value_high", _number, "Its 95 % interval, from three seeds on.", nullable=True),
    Column("n_seeds", _whole, "Seeds whose frontier covers the target."),
    Column("ratio_to_local", _number, "value over local's value.", nullable=True),
    Column(
        "cost_against_local",
        _number,
        "Mean difference from local over seeds: of counts the natural logarithm of the ratio; below 0 is better.",
        nullable=True,
    ),
    Column("cost_low", _number, "Its 95 % interval, from three seeds on.", nullable=True),
    Column("cost_high", _number, "Its 95 % interval, from three seeds on.", nullable=True),
    Column(
        "p_value", _number, "Exact permutation test over seeds, two-sided, not corrected for many tests.", nullable=True
    ),
    Column("verdict", _text, "better, likely_better, cannot_tell, likely_worse or worse than local.", nullable=True),
    Column("statement", _text, "The same as a sentence.", nullable=True),
)

SURFACE_COLUMNS = (
    *KEY_COLUMNS,
    Column("front", _text, "Ends the names of this frontier's columns in frontier.parquet."),
    Column("level", _number, "Share of the seeds that attain everything beyond the surface: 0.25, 0.5 or 0.75."),
    Column("x", _number, "First metric of a corner of the surface."),
    Column("y", _number, "Second metric."),
)

FILES: Mapping[str, tuple[Column, ...]] = {
    "frontier_summary.parquet": SUMMARY_COLUMNS,
    "frontier_matched.parquet": MATCHED_COLUMNS,
    "frontier_surfaces.parquet": SURFACE_COLUMNS,
}
"""By file of the run folder."""


def table_of(lines: Sequence[Mapping[str, object]], wanted: Sequence[Column]) -> pa.Table:
    """Lines by column name as a table of these columns."""
    schema = pa.schema([column.field for column in wanted])
    return pa.table([pa.array([line[column.name] for line in lines], column.type) for column in wanted], schema=schema)
