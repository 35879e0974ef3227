"""SAEs that others trained beside a sweep's own: how each stands against them, and which is nearest to a target.

They are a series without coefficients and seeds, so there is no line to interpolate along and no interval: only what
was measured is said.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from orchestrator.fronts.costs import costs_of
from orchestrator.fronts.matched import Match, nearest_of, ratio_of
from orchestrator.fronts.pareto import NOBODY, dominators, pareto_mask
from orchestrator.fronts.schema import EXTERNAL, JOINT_FRONT_GROUP, OWN, Objective
from orchestrator.fronts.series import BASELINE, PLACE_KEYS, Series

_HOOKPOINT = tuple(name for name in PLACE_KEYS if name not in ("sweep_id", "d_sae"))


@dataclass(frozen=True)
class Standing:
    """One SAE of somebody else against the trials of a sweep at its hookpoint, in one set of objectives."""

    name: str
    trial_id: str
    layer: int
    d_sae: int
    objective: Objective
    behind: str | None
    """The name of a trial that dominates it; None for none."""
    n_beaten: int
    """Trials that it dominates."""
    n_trials: int
    """Trials there; 0 where the sweep has none on the same text."""

    @property
    def text(self) -> str:
        """In words."""
        if not self.n_trials:
            return "no trial there"
        if self.behind is not None:
            return f"behind {self.behind}"
        return f"on the frontier, ahead of {self.n_beaten} of {self.n_trials}"


@dataclass(frozen=True)
class Guest:
    """An SAE that others trained and that one of the sweeps has measured, against the trials of both."""

    first: Standing
    second: Standing


def of_source(table: pa.Table, source: str) -> pa.Table:
    """Its lines of this source."""
    mask = np.asarray(table["source"].to_numpy() == source, dtype=bool)
    return table if mask.all() else table.filter(pa.array(mask))


def standings(others: pa.Table, own: pa.Table, objective: Objective) -> list[Standing]:
    """Of each line of `others`, against the lines of `own` at the same hookpoint of the same model and text."""
    places = _by_place(own)
    return [_standing(others.slice(row, 1), own, places, objective) for row in range(len(others))]


def guests(tables: tuple[pa.Table, pa.Table], objectives: Sequence[Objective]) -> Iterator[Guest]:
    """Of the tables of two frontiers the SAEs of others, each once, in the order of the first."""
    others, own = ([of_source(table, source) for table in tables] for source in (EXTERNAL, OWN))
    known = set(others[0]["trial_id"].to_pylist())
    fresh = [row for row, trial_id in enumerate(others[1]["trial_id"].to_pylist()) if trial_id not in known]
    for table in (others[0], others[1].take(pa.array(fresh, pa.int64()))):
        for objective in objectives:
            pairs = zip(*(standings(table, trials, objective) for trials in own), strict=True)
            yield from (Guest(*pair) for pair in pairs)


def matches_of_others(own: Sequence[Match], others: Sequence[Series]) -> list[Match]:
    """The same matches and, at each target of a hookpoint, the nearest SAE of others: last of those at its place."""
    found = [*own, *(match for series in others for match in _nearest_there(own, series))]
    order = {key: place for place, key in enumerate(dict.fromkeys((*_place(match), match.matched) for match in found))}
    targets = {key: place for place, key in enumerate(dict.fromkeys(_target(match) for match in found))}
    return sorted(found, key=lambda match: (order[(*_place(match), match.matched)], targets[_target(match)]))


def _nearest_there(own: Sequence[Match], series: Series) -> Iterator[Match]:
    here = [match for match in own if all(match.place[name] == series.keys[name] for name in _HOOKPOINT)]
    place = {name: series.keys[name] for name in PLACE_KEYS}
    asked = dict.fromkeys((match.matched, match.target, match.asked, match.reads) for match in here)
    for matched, target, is_asked, reads in asked:
        plane = Objective(matched, reads)
        if not series.has(plane):
            continue
        model = next(match for match in here if (match.matched, match.target, match.reads) == (matched, target, reads))
        local = next(
            (match for match in here
             if (match.loss, match.matched, match.target, match.reads) == (BASELINE, matched, target, reads)
             and match.place["d_sae"] == place["d_sae"]), None,
        )  # fmt: skip
        near = nearest_of([series.front(plane)], plane, matched, target)
        yield replace(
            model, place=place, loss=EXTERNAL, asked=is_asked, nearest=near, value=None, low=None, high=None, n_seeds=0,
            nearest_ratio=ratio_of(near.value, local.nearest.value if local else None), ratio=None, against=None,
        )  # fmt: skip


def _place(match: Match) -> tuple[str | int, ...]:
    return tuple(match.place[name] for name in PLACE_KEYS)


def _target(match: Match) -> tuple[str, float]:
    return match.matched, match.target


def _by_place(own: pa.Table) -> Mapping[tuple[object, ...], np.ndarray]:
    found: dict[tuple[object, ...], list[int]] = {}
    for row, key in enumerate(zip(*(own[name].to_pylist() for name in JOINT_FRONT_GROUP), strict=True)):
        found.setdefault(key, []).append(row)
    return {key: np.array(rows) for key, rows in found.items()}


def _standing(
    other: pa.Table, own: pa.Table, places: Mapping[tuple[object, ...], np.ndarray], objective: Objective
) -> Standing:
    line = other.select(["run_name", "trial_id", "layer", "d_sae", *JOINT_FRONT_GROUP]).to_pylist()[0]
    here = places.get(tuple(line[name] for name in JOINT_FRONT_GROUP), np.zeros(0, dtype=np.int64))
    trials = own.take(pa.array(here, pa.int64()))
    theirs, ours = costs_of(other, objective), costs_of(trials, objective)
    costs = np.concatenate([theirs, ours])
    by = int(dominators(costs, pareto_mask(costs))[0])
    beaten = (theirs <= ours).all(axis=1) & (theirs < ours).any(axis=1)
    return Standing(
        line["run_name"], line["trial_id"], line["layer"], line["d_sae"], objective,
        None if by == NOBODY else trials["run_name"][by - 1].as_py(), int(beaten.sum()), len(trials),
    )  # fmt: skip
