"""`random` and Optuna's multi-objective samplers, over any fields.

One study per layer and loss, since each has a front of its own. It is made anew from what was tried whenever planners
are asked (`Study.add_trial` and `ask`, in memory), so nothing of Optuna's has to survive a crash.
"""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from orchestrator.search.space import Choices, Group, Range
from orchestrator.search.tried import Found, Point, Proposal, Tried

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

SamplerName = Literal["random", "tpe", "nsga2", "nsga3", "gp"]
MAX_DRAWS = 20
"""Draws for one proposal that is new; after that the group has nothing new to offer."""
POPULATION = 8
"""Of the genetic ones: sweeps have tens of trials a front, and Optuna's 50 would all be the first generation."""
N_FIRST = 4
"""Trials that TPE and GP want before they model anything."""


class Bound(NamedTuple):
    """A metric that trials are to keep to."""

    metric: str
    value: float
    kind: Literal["at_most", "at_least"]

    def beyond(self, metric: float) -> float:
        """How far beyond it a trial is; 0 or less is within, as Optuna has it."""
        return metric - self.value if self.kind == "at_most" else self.value - metric


@dataclass(frozen=True)
class Sampled:
    """Draws new points for as long as it is asked."""

    groups: tuple[Group, ...]
    label: SamplerName
    objectives: tuple[tuple[str, Literal["minimize", "maximize"]], ...]
    seed: int = 0
    bounds: tuple[Bound, ...] = ()
    """What trials have to keep to; the samplers prefer those that do."""

    def ask(self, tried: Sequence[Tried], n: int, left: int | None = None) -> list[Proposal]:
        """In turn for each group, those first for which fewest were drawn."""
        groups = sorted(self.groups, key=lambda group: (self._n_drawn(group, tried), group.layer, group.loss))
        each_group = [self._ask_group(group, tried, -(-n // len(groups))) for group in groups]
        turns = (proposal for turn in zip_longest(*each_group) for proposal in turn if proposal is not None)
        return list(islice(turns, n))

    def found(self, tried: Sequence[Tried]) -> list[Found]:
        """How many points were drawn; what they are worth, the frontier says."""
        return [
            Found(f"{group.name}: {n} points drawn by {self.label}", True, {"series": group.name, "n_points": n})
            for group in self.groups
            for n in [self._n_drawn(group, tried)]
        ]

    def study(self, group: Group, tried: Sequence[Tried], storage: "BaseStorage | None" = None) -> "Study":
        """A group's trials as an Optuna study, seeds averaged; in `storage` under its name for people to look at.

        Trials outside the space, as those of the grid may be, are not in it.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        mine = [each for each in tried if group.holds(each.series)]
        sampler = self._sampler(group, len(mine))
        study = optuna.create_study(
            study_name=group.name,
            directions=[direction for _, direction in self.objectives],
            sampler=sampler,
            storage=storage,
        )
        with _quietly():
            study.set_metric_names([name for name, _ in self.objectives])
        study.add_trials(self._trials(group, mine, sampler))
        return study

    def _ask_group(self, group: Group, tried: Sequence[Tried], n: int) -> Iterator[Proposal]:
        study = self.study(group, tried)
        taken = {each.point for each in tried if group.holds(each.series)}
        distributions = _distributions(group)
        for _ in range(n * MAX_DRAWS):
            if n == 0:
                return
            with _quietly():
                point = group.point(study.ask(distributions).params)
            if point not in taken:
                taken.add(point)
                n -= 1
                yield Proposal(*point, why=f"drawn by {self.label}")

    def _n_drawn(self, group: Group, tried: Sequence[Tried]) -> int:
        return len({each.point for each in tried if group.holds(each.series) and each.search == self.label})

    def _trials(self, group: Group, tried: Sequence[Tried], sampler: "BaseSampler") -> "list[FrozenTrial]":
        """In the order of their rounds; the genetic samplers know generations by it."""
        distributions = _distributions(group)
        by_point: dict[Point, list[Tried]] = {}
        for each in sorted(tried, key=lambda each: (each.round, each.series.order, each.sparsity_coeff, each.seed)):
            by_point.setdefault(each.point, []).append(each)
        found: list[FrozenTrial] = []
        n_done = 0
        for (series, coefficient), same in by_point.items():
            if (params := group.values_of(series, coefficient)) is not None:
                found.append(self._trial(params, distributions, same, _generation(sampler, n_done // POPULATION)))
                n_done += found[-1].state.name == "COMPLETE"
        return found

    def _trial(
        self,
        params: dict[str, Any],
        distributions: "dict[str, BaseDistribution]",
        same: Sequence[Tried],
        system: dict[str, Any],
    ) -> "FrozenTrial":
        from optuna.trial import TrialState, create_trial

        # One that was stopped counts as it was then: worse than another in every objective.
        known = [each.metrics if each.metrics is not None else each.dominated for each in same]
        done = [metrics for metrics in known if metrics is not None]
        notes = {"round": same[0].round, "search": same[0].search or "grid", "seeds": [each.seed for each in same]}
        if any(each.dominated is not None for each in same):
            notes["stopped_early"] = True
        names = [name for name, _ in self.objectives]
        needed = {*names, *(bound.metric for bound in self.bounds)}
        if not done or not all(needed <= metrics.keys() for metrics in done):
            # Failed, or not a number: nothing to learn but that it was tried.
            return create_trial(state=TrialState.FAIL, params=params, distributions=distributions, user_attrs=notes)
        mean = {name: sum(metrics[name] for metrics in done) / len(done) for name in needed}
        trial = create_trial(
            values=[mean[name] for name in names],
            params=params,
            distributions=distributions,
            user_attrs=notes,
            system_attrs=system,
        )
        with _quietly():
            for bound in self.bounds:
                trial.set_constraint(f"{bound.metric} {bound.kind}", bound.beyond(mean[bound.metric]))
        return trial

    def _sampler(self, group: Group, n_tried: int) -> "BaseSampler":
        """Seeded by the group and by how much is known, so that asking again gives the same."""
        from optuna import samplers

        text = f"{self.seed}/{group.layer}/{group.loss}/{n_tried}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        with _quietly():
            match self.label:
                case "random":
                    return samplers.RandomSampler(seed=seed)
                case "tpe":
                    return samplers.TPESampler(seed=seed, n_startup_trials=N_FIRST)
                case "nsga2":
                    return samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
                case "nsga3":
                    return samplers.NSGAIIISampler(seed=seed, population_size=POPULATION)
                case "gp":
                    return samplers.GPSampler(seed=seed, n_startup_trials=N_FIRST)


def _quietly() -> AbstractContextManager[object]:
    """Without Optuna's words on what of it is experimental, each time again."""
    return warnings.catch_warnings(action="ignore")


def _distributions(group: Group) -> "dict[str, BaseDistribution]":
    return {name: _distribution(choices) for name, choices in group.space.items()}


def _distribution(choices: Choices) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(choices, Range):
        return CategoricalDistribution(choices)
    if choices.whole:
        return IntDistribution(int(choices.low), int(choices.high), log=choices.log)
    return FloatDistribution(choices.low, choices.high, log=choices.log)


def _generation(sampler: "BaseSampler", number: int) -> dict[str, Any]:
    """The note by which a genetic sampler knows its generations; without it, each trial would be drawn at random."""
    name = type(sampler).__name__
    return {f"{name}:generation": number} if name.startswith("NSGA") else {}
