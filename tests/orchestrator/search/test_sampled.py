"""Optuna's samplers and random search: the same again after a rebuild, nothing twice, all within the space."""

from math import log10
from pathlib import Path
from typing import Literal

import optuna
import pytest

from orchestrator.search.journal import write_studies
from orchestrator.search.sampled import POPULATION, Bound, Sampled, SamplerName
from orchestrator.search.space import COEFFICIENT, Group, Range
from orchestrator.search.tried import Series, Tried
from tests.orchestrator.search.made import Made, Metrics

SPACE = {
    COEFFICIENT: Range(0.01, 100.0, log=True),
    "train.lr": Range(1e-4, 1e-1, log=True),
    "train.tokens": Range(100, 200, whole=True),
    "train.schedule": ("cosine", "trapezoid"),
}
GROUPS = (Group(1, "local", SPACE), Group(3, "e2e", SPACE))
QUICK: tuple[SamplerName, ...] = ("random", "tpe", "nsga2", "nsga3")
OBJECTIVES: tuple[tuple[str, Literal["minimize", "maximize"]], ...] = (
    ("l0", "minimize"),
    ("ce_loss_increase", "minimize"),
)


def planner(kind: SamplerName, seed: int = 0) -> Sampled:
    return Sampled(GROUPS, kind, OBJECTIVES, seed)


def metrics(series: Series, coefficient: float) -> Metrics:
    """Best at a learning rate of 10^-2.5."""
    found = Made()(coefficient)
    found["ce_loss_increase"] *= 1 + (log10(dict(series.rest)["train.lr"]) + 2.5) ** 2
    return found


def start() -> list[Tried]:
    rest = (("train.lr", 1e-2), ("train.schedule", "cosine"), ("train.tokens", 150))
    series = [Series(group.layer, group.loss, rest) for group in GROUPS]
    return [Tried(each, c, seed, metrics(each, c)) for each in series for c in (0.3, 3.0) for seed in (0, 1)]


def after(kind: SamplerName, n_rounds: int, *, n: int = 6) -> list[Tried]:
    tried = start()
    for number in range(1, n_rounds + 1):
        proposals = planner(kind).ask(tried, n)
        assert len(proposals) == n
        assert planner(kind).ask(tried[::-1], n) == proposals  # a planner made anew, told in another order
        assert not {(each.series, each.sparsity_coeff) for each in proposals} & {each.point for each in tried}
        tried += [
            Tried(p.series, p.sparsity_coeff, seed, metrics(p.series, p.sparsity_coeff), search=kind, round=number)
            for p in proposals
            for seed in (0, 1)
        ]
    return tried


@pytest.mark.parametrize("kind", QUICK)
def test_a_planner_made_anew_proposes_the_same_new_points_of_the_space(kind: SamplerName):
    tried = after(kind, 4)
    for each in tried:
        (group,) = [group for group in GROUPS if group.holds(each.series)]
        assert group.values_of(each.series, each.sparsity_coeff) is not None
    n_drawn = [found.numbers["n_points"] for found in planner(kind).found(tried)]
    assert n_drawn == [12, 12]


@pytest.mark.slow
def test_gaussian_processes_propose_the_same_when_made_anew():
    after("gp", 2, n=4)


def test_another_seed_draws_other_points():
    assert planner("random", 0).ask(start(), 4) != planner("random", 1).ask(start(), 4)


def test_the_genetic_samplers_know_their_generations():
    """Without, they would draw at random for ever: by now they draw around the best learning rate."""
    tried = after("nsga2", 10)
    study = planner("nsga2").study(GROUPS[0], tried)
    assert {trial.system_attrs["NSGAIISampler:generation"] for trial in study.trials} == set(range(32 // POPULATION))
    drawn = [abs(log10(dict(each.series.rest)["train.lr"]) + 2.5) for each in tried if each.round > 5]
    at_random = [abs(log10(dict(each.series.rest)["train.lr"]) + 2.5) for each in after("random", 10) if each.round > 5]
    assert sum(drawn) < 0.8 * sum(at_random)


def test_failed_trials_teach_nothing_and_are_not_drawn_again():
    tried = after("tpe", 2)
    failed = [Tried(each.series, each.sparsity_coeff, each.seed, failed=True, search="tpe", round=1) for each in tried]
    states = {trial.state.name for trial in planner("tpe").study(GROUPS[0], failed).trials}
    assert states == {"FAIL"}
    assert not {(p.series, p.sparsity_coeff) for p in planner("tpe").ask(failed, 6)} & {e.point for e in failed}


def test_a_small_space_is_exhausted():
    group = Group(0, "local", {COEFFICIENT: (1.0, 2.0, 3.0)})
    small = Sampled((group,), "random", OBJECTIVES)
    proposals = small.ask([Tried(Series(0, "local"), 2.0, 0, Made()(2.0))], 9)
    assert sorted(each.sparsity_coeff for each in proposals) == [1.0, 3.0]
    done = [Tried(Series(0, "local"), each, 0, Made()(each)) for each in (1.0, 2.0, 3.0)]
    assert small.ask(done, 9) == []


def test_trials_of_the_grid_outside_the_space_are_left_out_of_the_study():
    tried = [*start(), Tried(start()[0].series, 1000.0, 0, Made()(1000.0))]
    assert len(planner("tpe").study(GROUPS[0], tried).trials) == 2


def test_the_file_for_optuna_dashboard_has_a_study_for_each_layer_and_loss(tmp_path: Path):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path, tried = tmp_path / "search" / "optuna.journal", after("tpe", 1)
    write_studies(path, planner("tpe"), tried)
    write_studies(path, planner("tpe"), tried)
    storage = JournalStorage(JournalFileBackend(str(path)))
    assert {study.study_name for study in optuna.get_all_study_summaries(storage)} == {"L1 local", "L3 e2e"}
    study = optuna.load_study(study_name="L3 e2e", storage=storage)
    assert len(study.trials) == 5
    assert study.metric_names == ["l0", "ce_loss_increase"]
    assert study.trials[0].user_attrs == {"round": 0, "search": "grid", "seeds": [0, 1]}
    both = [metrics(tried[-1].series, tried[-1].sparsity_coeff)[name] for name in study.metric_names]
    assert both in [trial.values for trial in study.trials]


@pytest.mark.parametrize("kind", ["tpe", "nsga2", "nsga3"])
def test_samplers_keep_to_bounds_and_the_study_says_who_does(kind: SamplerName):
    space = {COEFFICIENT: Range(0.001, 1000.0, log=True), "train.lr": Range(1e-4, 1e-1, log=True)}
    group = Group(3, "e2e", space)
    bounds = (Bound("l0", 300.0, "at_least"), Bound("ce_loss_increase", 0.5, "at_most"))

    def drawn(bounds: tuple[Bound, ...], seed: int) -> list[Tried]:
        tried: list[Tried] = []
        for number in range(1, 13):
            proposals = Sampled((group,), kind, OBJECTIVES, seed, bounds).ask(tried, 4)
            tried += [
                Tried(p.series, p.sparsity_coeff, 0, metrics(p.series, p.sparsity_coeff), search=kind, round=number)
                for p in proposals
            ]
        return tried

    def n_within(bounds_: tuple[Bound, ...]) -> int:
        late = [each.metrics for seed in range(3) for each in drawn(bounds_, seed) if each.round > 4]
        return sum(each is not None and each["l0"] >= 300 and each["ce_loss_increase"] <= 0.5 for each in late)

    assert n_within(bounds) > n_within(())
    tried = drawn(bounds, 0)
    study = Sampled((group,), kind, OBJECTIVES, 0, bounds).study(group, tried)
    known = [each.metrics for each in tried if each.metrics is not None]
    assert sorted(trial.constraints["l0 at_least"] for trial in study.trials) == sorted(300.0 - m["l0"] for m in known)
    assert sorted(trial.constraints["ce_loss_increase at_most"] for trial in study.trials) == sorted(
        m["ce_loss_increase"] - 0.5 for m in known
    )
    assert all(trial.values[0] >= 300 for trial in study.best_trials)
