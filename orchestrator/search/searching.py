"""A sweep's search as a whole: rounds of trials within the budget, until the planner has what it wants. Pure.

All of it is a function of the trials so far and of how they ended, so a launch that was cut off asks for the same ones
again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.folder.records import Row, RowStatus
from orchestrator.planning.beyond_grid import Beyond, unlike
from orchestrator.planning.planned import PlannedTrial
from orchestrator.planning.trials import ModelShape
from orchestrator.search.planners import planner_of
from orchestrator.search.tried import Found, Planner, Tried
from orchestrator.sweep.sweep_file import Sweep
from trainer.errors import BadInput


@dataclass(frozen=True)
class Round:
    """Trials to run next, and what was proposed but cannot be trained."""

    number: int
    trials: tuple[PlannedTrial, ...]
    refused: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.trials)


@dataclass(frozen=True)
class Searching:
    """What a sweep does after its grid."""

    planner: Planner
    beyond: Beyond
    budget: int | None
    """Trials beyond the grid's, seeds counted; None where only tokens or the planner end it."""
    budget_tokens: int | None
    """The same in tokens times SAEs."""
    at_once: int | None
    """Proposals of a round; None: one for each series, and enough for all slots."""
    n_most: int | None
    """Trials that it may add; None where nothing but tokens says."""

    @classmethod
    def of(cls, sweep: Sweep, facts: ModelShape, n_grid: int) -> "Searching | None":
        """None where the grid is all that is asked for. `n_grid`: its trials.

        Raises:
            BadInput: the search does not fit the grid or the model.
        """
        if (found := planner_of(sweep, facts)) is None:
            return None
        (planner, beyond), asked = found, sweep.search
        tokens = None if asked["budget_tokens"] == "any" else asked["budget_tokens"]
        budget = None if asked["budget"] == "auto" else asked["budget"]
        most = budget
        if asked["kind"] == "match":
            n_seeds = [len(beyond.cells[series.layer, series.loss].axes["seed"]) for series in beyond.all_series()]
            most = min(sum(n_seeds) * asked["max_trials"], budget or 10**9)
        elif budget is None and tokens is None:
            most = budget = n_grid
        return cls(planner, beyond, budget, tokens, None if asked["at_once"] == "auto" else asked["at_once"], most)

    def next_round(self, trials: Sequence[PlannedTrial], rows: Mapping[str, Row], *, n_slots: int) -> Round:
        """Empty where the search is over, and while a trial has no result yet."""
        tried = self.told(trials, rows)
        number = 1 + max((each.round for each in tried), default=0)
        if not all(each.has_ended for each in tried):
            return Round(number, ())
        at_once = self.at_once or max(n_slots, len(self.beyond.all_series()))
        ids, names = {trial.trial_id for trial in trials}, [trial.run_name for trial in trials]
        new: list[PlannedTrial] = []
        refused: list[str] = []
        for proposal in self.planner.ask(tried, at_once, self._left(trials)):
            try:
                made = self.beyond.trials(proposal, search=self.planner.label, number=number)
            except BadInput as problem:
                refused.append(str(problem))
                continue
            made = [trial for trial in made if trial.trial_id not in ids]
            if not self._affords([*trials, *new, *made]):
                break
            new += made
        return Round(number, tuple(unlike(new, names)), tuple(refused))

    def told(self, trials: Sequence[PlannedTrial], rows: Mapping[str, Row]) -> list[Tried]:
        """The trials as planners see them."""
        return [told for trial in trials if (told := self._told(trial, rows.get(trial.trial_id))) is not None]

    def found(self, trials: Sequence[PlannedTrial], rows: Mapping[str, Row]) -> list[Found]:
        """What has come of it so far."""
        return self.planner.found(self.told(trials, rows))

    @property
    def most_text(self) -> str:
        """What it may add at most, for people."""
        parts = [f"{self.n_most:,} trials more"] if self.n_most is not None else []
        parts += [f"{self.budget_tokens:,} SAE-tokens more"] if self.budget_tokens is not None else []
        return f"at most {' and '.join(parts)}"

    def _told(self, trial: PlannedTrial, row: Row | None) -> Tried | None:
        series = self.beyond.series_of(trial.config)
        if series is None:
            return None
        why = trial.proposed
        return Tried(
            series,
            trial.config.loss.sparsity_coeff,
            trial.config.seed,
            metrics=_metrics(row) if row is not None and row.status is RowStatus.DONE else None,
            failed=row is not None and row.status is RowStatus.FAILED,
            dominated=_numbers(row.dominated.metrics) if row is not None and row.dominated is not None else None,
            search=why.search if why is not None else "",
            round=why.round if why is not None else 0,
        )

    def _left(self, trials: Sequence[PlannedTrial]) -> int | None:
        """Proposals that the budget has left, each with every seed; None where it does not say."""
        added = [trial.config for trial in trials if trial.proposed is not None]
        n_seeds = max(len(cell.axes["seed"]) for cell in self.beyond.cells.values())
        left = [self.budget - len(added)] if self.budget is not None else []
        if self.budget_tokens is not None and trials:
            used = sum(config.n_steps * config.tokens_per_step for config in added)
            dearest = max(trial.config.n_steps * trial.config.tokens_per_step for trial in trials)
            left.append((self.budget_tokens - used) // dearest)
        return max(0, min(left) // n_seeds) if left else None

    def _affords(self, trials: Sequence[PlannedTrial]) -> bool:
        configs = [trial.config for trial in trials if trial.proposed is not None]
        n_tokens = sum(config.n_steps * config.tokens_per_step for config in configs)
        return (self.budget is None or len(configs) <= self.budget) and (
            self.budget_tokens is None or n_tokens <= self.budget_tokens
        )


def _metrics(row: Row) -> dict[str, float]:
    """Plain numbers, what the trial took among them: that can be an objective too."""
    return _numbers({**row.cost, **row.metrics})


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
