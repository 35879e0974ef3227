"""Trials of a sweep that are not in its grid: at any coefficient, with any value of fields that may be chosen. Pure.

They are checked and named as those of the grid are, and trained with every seed of the grid.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

from orchestrator.folder.records import Proposed, SavedPlan
from orchestrator.planning.planned import PlannedTrial
from orchestrator.planning.trials import Cell, ModelShape, cells_of, config_at, is_excluded, written
from orchestrator.search.space import COEFFICIENT
from orchestrator.search.tried import Proposal, Series
from orchestrator.sweep.problems import Problems
from orchestrator.sweep.sweep_file import Sweep
from trainer.config import TrialConfig
from trainer.errors import BadInput

Place = tuple[int, str]
"""A layer and a loss."""


class Beyond:
    """The grid of a sweep, open at the sides."""

    def __init__(
        self, sweep: Sweep, facts: ModelShape, *, chosen: Mapping[Place, Collection[str]] | None = None
    ) -> None:
        """`chosen`: fields that may take any value, by layer and loss; the coefficient always may.

        Raises:
            BadInput: the grid does not fit the model.
        """
        problems = Problems(sweep.source)
        self.cells: dict[Place, Cell] = {(cell.layer, cell.loss): cell for cell in cells_of(sweep, facts, problems)}
        problems.raise_if_any()
        self._sweep, self._facts = sweep, facts
        self._chosen = {place: frozenset((chosen or {}).get(place, ())) | {COEFFICIENT} for place in self.cells}

    def all_series(self) -> list[Series]:
        """Those of the grid: a layer, a loss and one value of each further axis."""
        return [
            Series(*place, tuple(zip(names, values, strict=True)))
            for place, cell in self.cells.items()
            for names in [sorted(axis for axis in cell.axes if "." in axis)]
            for values in product(*(cell.axes[name] for name in names))
        ]

    def series_of(self, config: TrialConfig) -> Series | None:
        """Where a trial belongs; None if the sweep has no longer what it was trained for."""
        place = config.layer, config.loss.kind
        if place not in self.cells:
            return None
        return Series(*place, tuple((name, value_at(config, name)) for name in self._further(place)))

    def trials(self, proposal: Proposal, *, search: str, number: int) -> list[PlannedTrial]:
        """One for each seed, as proposed in that round.

        Raises:
            BadInput: such a trial is impossible.
        """
        series = proposal.series
        cell = self.cells[series.layer, series.loss]
        values = dict(series.rest) | {COEFFICIENT: proposal.sparsity_coeff}
        chosen = sorted(self._chosen[series.layer, series.loss])
        why = Proposed(search=search, round=number, why=proposal.why, chosen=chosen)
        made = (self._trial(cell, values | {"seed": seed}, why) for seed in cell.axes["seed"])
        return [trial for trial in made if trial is not None]

    def still_wanted(self, before: SavedPlan | None) -> list[PlannedTrial]:
        """Trials of a plan that a search has proposed, and that are still in reach of the sweep: what was not chosen by
        the search is as the sweep has it now."""
        if before is None:
            return []
        by_round = sorted(before.proposed.items(), key=lambda entry: entry[1].round)  # else as they were written
        found = (self._again(before.trials[trial_id], why) for trial_id, why in by_round if trial_id in before.trials)
        return [trial for trial in found if trial is not None]

    def _again(self, config: TrialConfig, why: Proposed) -> PlannedTrial | None:
        cell = self.cells.get((config.layer, config.loss.kind))
        if cell is None:
            return None
        point = {name: value_at(config, name) for name in {*cell.axes, *why.chosen}}
        if any(point[name] not in values for name, values in cell.axes.items() if name not in why.chosen):
            return None
        try:
            trial = self._trial(cell, point, why)
        except BadInput:
            return None
        return trial if trial is not None and trial.trial_id == config.trial_id else None

    def _trial(self, cell: Cell, point: Mapping[str, Any], why: Proposed) -> PlannedTrial | None:
        """None where the grid excludes it."""
        if is_excluded(cell, point, self._sweep, self._facts):
            return None
        problems = Problems(self._sweep.source)
        config = config_at(cell, point, self._sweep, self._facts, problems)
        problems.raise_if_any()
        assert config is not None
        further = sorted({*self._varying, *(name for name in why.chosen if "." in name)} & point.keys())
        name = "-".join([config.run_name, *(f"{axis.rpartition('.')[2]}{written(point[axis])}" for axis in further)])
        return PlannedTrial(name, config, why)

    def _further(self, place: Place) -> list[str]:
        return sorted({name for name in (*self.cells[place].axes, *self._chosen[place]) if "." in name})

    @cached_property
    def _varying(self) -> list[str]:
        """Further axes of the grid with more than one value."""
        return [axis for axis, values in _values_by_axis(self.cells.values()) if len(values) > 1 and "." in axis]


def value_at(config: TrialConfig, axis: str) -> Any:
    """What a trial has for an axis of a grid, such as `train.lr`, `loss.e2e.sparsity_p` or `seed`."""
    section, _, name = axis.rpartition(".")
    if axis == "seed":
        return config.seed
    return getattr(
        config.loss if axis == COEFFICIENT or section.startswith("loss.") else getattr(config, section), name
    )


def unlike(trials: Sequence[PlannedTrial], names: Collection[str]) -> list[PlannedTrial]:
    """The trials with names that nobody has: those that are taken end in the trial's id."""
    taken, found = set(names), list[PlannedTrial]()
    for trial in trials:
        name = trial.run_name if trial.run_name not in taken else f"{trial.run_name}-{trial.trial_id}"
        taken.add(name)
        found.append(PlannedTrial(name, trial.config, trial.proposed))
    return found


def _values_by_axis(cells: Collection[Cell]) -> Iterator[tuple[str, list[Any]]]:
    found: dict[str, list[Any]] = {}
    for cell in cells:
        for axis, values in cell.axes.items():
            known = found.setdefault(axis, [])
            known += [value for value in values if value not in known]
    yield from sorted(found.items())
