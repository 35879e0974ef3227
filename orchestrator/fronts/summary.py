"""Everything that is said about a sweep's frontiers, from the table of its trials: values, and the tables of them."""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from orchestrator.fronts.attainment import MOST_OBJECTIVES_HERE, attainment, surfaces
from orchestrator.fronts.cautions import Caution, match_warnings, series_warnings, widest_gap
from orchestrator.fronts.certainty import Estimate, estimate
from orchestrator.fronts.columns import MATCHED_COLUMNS, SUMMARY_COLUMNS, SURFACE_COLUMNS, table_of
from orchestrator.fronts.costs import box, costs_of, reference_of, scaled
from orchestrator.fronts.matched import Match, matches
from orchestrator.fronts.others import matches_of_others, of_source
from orchestrator.fronts.pareto import hypervolume
from orchestrator.fronts.schema import EXTERNAL, FRONT_GROUP, MAX_GAP, OWN, Objective
from orchestrator.fronts.series import PLACE_KEYS, Place, Series, all_series, places, planes
from orchestrator.fronts.share import Share, shares

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Volume:
    """Hypervolumes as shares of the box from the best values to the reference point."""

    pooled: float
    """Of all seeds together."""
    median: float | None
    """Of what half of the seeds attain; None for four objectives."""
    over_seeds: Estimate | None
    """None where seeds are not known."""


@dataclass(frozen=True)
class Fronts:
    """A sweep's frontiers, with their certainty. `table` is that of `orchestrator.fronts.frontier`.

    Series, places, shares and warnings are of the sweep's own trials; SAEs of others are in `others`.
    """

    table: pa.Table
    objectives: tuple[Objective, ...]
    reference: Mapping[str, float]
    targets: Mapping[str, Sequence[float]]
    max_gap: float = MAX_GAP
    missing: Mapping[Key, Sequence[str]] = field(default_factory=dict)
    """Trials that are not in the table, by `FRONT_GROUP`."""
    problems: Sequence[str] = ()
    """SAEs of others that are not in the table, each as a sentence."""

    @cached_property
    def own(self) -> pa.Table:
        """The sweep's own trials of the table."""
        return of_source(self.table, OWN)

    @cached_property
    def others(self) -> list[Series]:
        """SAEs that others trained, by hookpoint and dictionary size."""
        return all_series(of_source(self.table, EXTERNAL))

    @cached_property
    def series(self) -> list[Series]:
        return all_series(self.own)

    @cached_property
    def places(self) -> list[Place]:
        return places(self.series)

    @cached_property
    def matches(self) -> list[Match]:
        """By place, matched metric, target, metric that is read, and loss; SAEs of others last of their place."""
        own = [match for place in self.places for match in matches(place, planes(self.objectives), self.targets)]
        return matches_of_others(own, self.others) if self.others else own

    @cached_property
    def shares(self) -> dict[tuple[Key, Objective], dict[str, Share]]:
        """By place and pair of metrics."""
        return {
            (key_of(place.keys), plane): shares(place, plane)
            for place in self.places
            for plane in planes(self.objectives)
        }

    @cached_property
    def warnings(self) -> list[Caution]:
        """Of all frontiers, in their order."""
        return [caution for cautions in self._warnings for caution in cautions]

    @cached_property
    def _warnings(self) -> list[list[Caution]]:
        """By series."""
        too_small = {
            (key_of(place.keys), loss): cautions
            for place in self.places
            for loss, cautions in match_warnings(
                [match for match in self.matches if match.place == place.keys], place.series
            ).items()
        }
        return [
            series_warnings(
                series,
                objectives=self.objectives,
                max_gap=self.max_gap,
                reference=self.reference,
                missing=self.missing.get(tuple(series.keys[name] for name in FRONT_GROUP), ()),
            )
            + too_small.get((key_of(series.keys), series.loss), [])
            for series in self.series
        ]

    def volume(self, series: Series, objective: Objective) -> Volume | None:
        """None without a reference point."""
        return volume(series, objective, self.reference)

    def summary_table(self) -> pa.Table:
        """A line per frontier, with `SUMMARY_COLUMNS`."""
        return table_of(list(self._summary_lines()), SUMMARY_COLUMNS)

    def matched_table(self) -> pa.Table:
        """A line per loss and target, with `MATCHED_COLUMNS`."""
        return table_of([_match_line(match) for match in self.matches], MATCHED_COLUMNS)

    def surfaces_table(self) -> pa.Table:
        """A line per corner of the surfaces of pairs of metrics, with `SURFACE_COLUMNS`."""
        lines = [
            {**series.keys, "front": objective.label, "level": level, "x": x, "y": y}
            for series in self.series
            for objective in self.objectives
            if objective.is_plane
            for level, points in surfaces(series, objective).items()
            for x, y in points.tolist()
        ]
        return table_of(lines, SURFACE_COLUMNS)

    def _summary_lines(self) -> Iterator[dict[str, object]]:
        flags = {f"on_{kind}_{one.label}": self.table[f"on_{kind}_{one.label}"] for one in self.objectives
                 for kind in ("front", "joint_front")}  # fmt: skip
        by_id = dict(zip(self.table["trial_id"].to_pylist(), range(len(self.table)), strict=True))
        on = {name: column.to_numpy() for name, column in flags.items()}
        every = [*zip(self.series, self._warnings, strict=True), *((series, []) for series in self.others)]
        for series, cautions in every:
            rows = np.array([by_id[trial_id] for trial_id in series["trial_id"]])
            n_missing = len(self.missing.get(tuple(series.keys[name] for name in FRONT_GROUP), ()))
            for objective in self.objectives:
                on_front = on[f"on_front_{objective.label}"][rows]
                gap = widest_gap(series, objective) if series.seeds else None
                yield {
                    **series.keys,
                    "front": objective.label,
                    "objectives": list(objective),
                    "n_trials": len(series),
                    "n_missing": n_missing,
                    "n_seeds": len(series.seeds),
                    "n_front": int(on_front.sum()),
                    "n_joint_front": int((on_front & on[f"on_joint_front_{objective.label}"][rows]).sum()),
                    "reference": _point(objective, self.reference),
                    **_volume_columns(self.volume(series, objective)),
                    "widest_gap": gap[0] if gap else None,
                    **_share_columns(self.shares.get((key_of(series.keys), objective), {}).get(series.loss)),
                    "warnings": [_caution_line(caution) for caution in cautions],
                }


def volume(series: Series, objective: Objective, reference: Mapping[str, float]) -> Volume | None:
    """Of one frontier; None without a reference point."""
    if not all(name in reference for name in objective):
        return None
    costs = costs_of({name: series[name] for name in objective}, objective)
    worst, whole = reference_of(objective, reference), box(objective, reference)

    def of(points: np.ndarray) -> float:
        return hypervolume(scaled(points, objective), reference=worst) / whole

    if not series.seeds:
        return Volume(of(costs), None, None)
    seeds = series["seed"]
    each = np.array([of(costs[seeds == seed]) for seed in series.seeds])
    median = None if len(objective) > MOST_OBJECTIVES_HERE else of(attainment(costs, seeds, (0.5,))[0.5])
    return Volume(of(costs), median, estimate(each))


def volumes_by_seed(series: Series, objective: Objective, reference: Mapping[str, float]) -> dict[int, float]:
    """Of each seed's trials alone."""
    found = {seed: volume(one, objective, reference) for seed, one in series.by_seed.items()}
    return {seed: one.pooled for seed, one in found.items() if one is not None}


def key_of(keys: Mapping[str, str | int]) -> Key:
    """What tells places apart."""
    return tuple(keys[name] for name in PLACE_KEYS)


def _point(objective: Objective, reference: Mapping[str, float]) -> list[float] | None:
    return [reference[name] for name in objective] if all(name in reference for name in objective) else None


def _volume_columns(found: Volume | None) -> dict[str, float | None]:
    over = found.over_seeds if found else None
    return {
        "hypervolume": found.pooled if found else None,
        "hypervolume_median": found.median if found else None,
        "hypervolume_mean": over.mean if over else None,
        "hypervolume_low": over.low if over else None,
        "hypervolume_high": over.high if over else None,
    }


def _share_columns(share: Share | None) -> dict[str, float | None]:
    names = {
        "share_of_local": "mean",
        "share_low": "low",
        "share_high": "high",
        "share_from": "x_from",
        "share_to": "x_to",
    }
    return {column: getattr(share, name) if share else None for column, name in names.items()}


def _caution_line(caution: Caution) -> dict[str, object]:
    return {"kind": str(caution.kind), **{name: getattr(caution, name) for name in ("sentence", "fix", "trial_ids")}}


def _match_line(match: Match) -> dict[str, object]:
    near, against = match.nearest, match.against
    return {
        **match.place,
        "loss": match.loss,
        "matched": match.matched,
        "target": match.target,
        "asked": match.asked,
        "reads": match.reads,
        "nearest_trial_id": near.trial_id,
        "nearest_run_name": near.run_name,
        "nearest_sparsity_coeff": near.sparsity_coeff,
        "nearest_seed": near.seed,
        "nearest_at": near.at,
        "nearest_offset": near.offset,
        "nearest_l0": near.l0,
        "nearest_ce_loss_increase": near.ce_loss_increase,
        "nearest_n_alive_elements": near.n_alive_elements,
        "nearest_ratio": match.nearest_ratio,
        "value": match.value,
        "value_low": match.low,
        "value_high": match.high,
        "n_seeds": match.n_seeds,
        "ratio_to_local": match.ratio,
        "cost_against_local": against.mean if against else None,
        "cost_low": against.low if against else None,
        "cost_high": against.high if against else None,
        "p_value": against.p_value if against else None,
        "verdict": str(match.verdict) if match.verdict else None,
        "statement": match.statement or None,
    }
