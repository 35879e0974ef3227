"""The trials that compete for one frontier, and the places where frontiers of several losses are compared."""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from orchestrator.fronts.costs import costs_of
from orchestrator.fronts.grouped import grouped
from orchestrator.fronts.pareto import pareto_mask
from orchestrator.fronts.schema import FRONT_GROUP, Objective, objective_columns

BASELINE = "local"
PLACE_KEYS = ("sweep_id", "model", "model_hash", "eval_hash", "hookpoint", "layer", "d_sae")
"""Where losses can be compared: the same model, text, hookpoint and size of dictionary."""
KEYS = (*PLACE_KEYS, "loss")
_ALSO = ("trial_id", "run_name", "sparsity_coeff", "seed", "ce_loss_increase_stderr", "frac_alive", "density_histogram",
         "alive_window_tokens", "n_train_tokens", "n_eval_tokens", "late_loss_fall")  # fmt: skip


@dataclass(frozen=True)
class Series:
    """Trials of one model, text, hookpoint, loss and dictionary size; coefficients and seeds vary. Never empty.

    SAEs that others trained are one as well, without coefficients and seeds.
    """

    table: pa.Table
    _arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    _fronts: "dict[Objective, Series]" = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, column: str) -> np.ndarray:
        """A column, null as NaN (numbers) or None."""
        if column not in self._arrays:
            self._arrays[column] = self.table[column].to_numpy()
        return self._arrays[column]

    @cached_property
    def keys(self) -> dict[str, str | int]:
        return {name: self.table[name][0].as_py() for name in KEYS}

    @property
    def loss(self) -> str:
        return self.table["loss"][0].as_py()

    @property
    def layer(self) -> int:
        return self.table["layer"][0].as_py()

    @cached_property
    def seeds(self) -> list[int]:
        """None at all of SAEs that others trained."""
        return sorted(self.table["seed"].drop_null().unique().to_pylist())

    @cached_property
    def by_seed(self) -> "dict[int, Series]":
        """The trials of each seed: one run of the whole search for a frontier."""
        return {seed: self.where(self["seed"] == seed) for seed in self.seeds}

    def front(self, objective: Objective) -> "Series":
        """Its trials that none of them dominates."""
        if objective not in self._fronts:
            costs = costs_of({name: self[name] for name in objective}, objective)
            self._fronts[objective] = self.where(pareto_mask(costs))
        return self._fronts[objective]

    def where(self, mask: np.ndarray) -> "Series":
        return Series(self.table.filter(pa.array(mask)))

    def has(self, metrics: Sequence[str]) -> bool:
        return all(np.isfinite(self[name].astype(np.float64)).all() for name in metrics)


@dataclass(frozen=True)
class Place:
    """The series that can be compared with each other, by loss."""

    keys: Mapping[str, str | int]
    series: Mapping[str, Series]

    @property
    def baseline(self) -> Series | None:
        return self.series.get(BASELINE)


def all_series(table: pa.Table) -> list[Series]:
    """Of the table of a frontier, in its order."""
    used = [name for name in dict.fromkeys([*KEYS, *_ALSO, *objective_columns()]) if name in table.column_names]
    groups = grouped(table, FRONT_GROUP)
    if not groups:
        return []
    ordered = table.select(used).take(pa.array(np.concatenate(groups))).combine_chunks()
    starts = np.cumsum([0, *(len(group) for group in groups)])
    return [Series(ordered.slice(start, len(group))) for start, group in zip(starts, groups, strict=False)]


def places(series: Sequence[Series]) -> list[Place]:
    """In the order of their first series; in each the baseline first."""
    found: dict[tuple[str | int, ...], dict[str, Series]] = {}
    for one in series:
        keys = one.keys
        found.setdefault(tuple(keys[name] for name in PLACE_KEYS), {})[one.loss] = one
    return [
        Place(
            dict(zip(PLACE_KEYS, keys, strict=True)),
            dict(sorted(by_loss.items(), key=lambda item: item[0] != BASELINE)),
        )
        for keys, by_loss in found.items()
    ]


def planes(objectives: Sequence[Objective]) -> list[Objective]:
    """The pairs of metrics that can be drawn and matched: objectives of two, and of larger ones each with its last."""
    pairs = [objective for objective in objectives if objective.is_plane]
    for objective in objectives:
        pairs += [Objective(name, objective.y) for name in objective[:-1] if not objective.is_plane]
    return list(dict.fromkeys(pairs))
