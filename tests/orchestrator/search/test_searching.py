"""Rounds of a search as trials of the sweep: what they are, what they cost, and which of them a changed sweep keeps."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.folder.records import Row, RowStatus
from orchestrator.planning.beyond_grid import Beyond, value_at
from orchestrator.planning.kept_packs import saved_plan
from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.planned import Pack, PlannedTrial
from orchestrator.search.searching import Round, Searching
from orchestrator.sweep.sweep_file import Sweep
from tests.orchestrator.rows import a_row
from tests.orchestrator.search.made import Made
from tests.orchestrator.sweeps import SHAPES, small_sweep

FACTS = SHAPES["builtin"]
FILL = "search={kind: fill, l0: [5, 500], budget: 40}"


def rows_of(trials: Sequence[PlannedTrial], status: RowStatus = RowStatus.DONE) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for trial in trials:
        made = Made()(trial.config.loss.sparsity_coeff)
        found[trial.trial_id] = a_row(trial.config, l0=made["l0"], ce=made["ce_loss_increase"], status=status)
    return found


def first_round(sweep: Sweep, *, n_slots: int = 1) -> tuple[Plan, Searching, Round]:
    grid = plan(sweep, FACTS)
    searching = Searching.of(sweep, FACTS, len(grid.trials))
    assert searching is not None
    return grid, searching, searching.next_round(grid.trials, rows_of(grid.trials), n_slots=n_slots)


def test_a_round_has_a_proposal_for_each_series_and_a_trial_for_each_seed(tmp_path: Path):
    grid, _, asked = first_round(small_sweep(tmp_path, FILL, "grid.seed=[0, 7]"))
    assert asked.number == 1
    assert len(asked.trials) == 6 * 2
    by_coefficient: dict[object, set[int]] = {}
    for trial in asked.trials:
        key = trial.config.layer, trial.config.loss.kind, trial.config.loss.sparsity_coeff
        by_coefficient.setdefault(key, set()).add(trial.config.seed)
    assert set(map(frozenset, by_coefficient.values())) == {frozenset({0, 7})}
    names = [trial.run_name for trial in (*grid.trials, *asked.trials)]
    assert len(set(names)) == len(names)
    assert all(trial.proposed is not None and trial.proposed.why.startswith("gap ") for trial in asked.trials)


def test_a_proposed_trial_is_the_one_that_the_grid_would_make(tmp_path: Path):
    *_, asked = first_round(small_sweep(tmp_path, FILL))
    for trial in asked.trials:
        loss = trial.config.loss.kind
        coefficient = trial.config.loss.sparsity_coeff
        wider = small_sweep(tmp_path, f"grid.sparsity_coeff={{{loss}: [{coefficient}]}}", f"grid.loss={loss}")
        same = {each.trial_id: each.run_name for each in plan(wider, FACTS).trials}
        assert same[trial.trial_id] == trial.run_name


def test_more_slots_or_at_once_make_larger_rounds(tmp_path: Path):
    wide = "grid.sparsity_coeff=[1, 20]"
    assert len(first_round(small_sweep(tmp_path, FILL, wide), n_slots=10)[2].trials) == 10
    assert len(first_round(small_sweep(tmp_path, FILL, wide, "search.at_once=2"), n_slots=10)[2].trials) == 2


def test_nothing_is_asked_for_while_a_trial_has_no_result(tmp_path: Path):
    grid, searching, _ = first_round(small_sweep(tmp_path, FILL))
    rows = rows_of(grid.trials)
    del rows[grid.trials[0].trial_id]
    assert not searching.next_round(grid.trials, rows, n_slots=1)
    stopped = rows | rows_of(grid.trials[:1], RowStatus.STOPPED)
    assert not searching.next_round(grid.trials, stopped, n_slots=1)
    failed = rows | rows_of(grid.trials[:1], RowStatus.FAILED)
    assert searching.next_round(grid.trials, failed, n_slots=1)


def all_rounds(searching: Searching, trials: Sequence[PlannedTrial]) -> list[Round]:
    found: list[Round] = []
    known = list(trials)
    while asked := searching.next_round(known, rows_of(known), n_slots=1):
        found.append(asked)
        known += asked.trials
    return found


@pytest.mark.parametrize("kind", ["fill, l0: [5, 500]", "random", "tpe"])
def test_a_search_stays_within_its_trials(tmp_path: Path, kind: str):
    sweep = small_sweep(tmp_path, f"search={{kind: {kind}, budget: 15}}", "grid.seed=[0, 1]")
    grid, searching, _ = first_round(sweep)
    rounds = all_rounds(searching, grid.trials)
    assert [each.number for each in rounds] == list(range(1, len(rounds) + 1))
    assert sum(len(each.trials) for each in rounds) == 14  # each proposal has two seeds


def test_a_search_stays_within_its_tokens(tmp_path: Path):
    grid, searching, _ = first_round(small_sweep(tmp_path, "search={kind: random, budget_tokens: 10_000}"))
    n_trials = sum(len(each.trials) for each in all_rounds(searching, grid.trials))
    assert n_trials == 10_000 // (1_000 // 32 * 32)


def test_asking_again_for_the_same_rows_gives_the_same_trials(tmp_path: Path):
    sweep = small_sweep(
        tmp_path, "search={kind: tpe, budget: 20, space: {train.lr: {low: 1e-4, high: 1e-2, log: true}}}"
    )
    grid, searching, _ = first_round(sweep)
    again = Searching.of(sweep, FACTS, len(grid.trials))
    assert again is not None
    for one, other in zip(all_rounds(searching, grid.trials), all_rounds(again, grid.trials), strict=True):
        assert [trial.trial_id for trial in one.trials] == [trial.trial_id for trial in other.trials]


def test_trials_of_a_searched_field_are_named_after_it(tmp_path: Path):
    sweep = small_sweep(tmp_path, "search={kind: random, space: {train.lr: [0.001, 0.002], sae.ratio: [2, 4]}}")
    *_, asked = first_round(sweep)
    for trial in asked.trials:
        config = trial.config
        assert trial.run_name == f"{config.run_name}-ratio{config.sae.ratio:g}-lr{config.train.lr:g}"


def test_values_of_axes_are_read_from_configs(tmp_path: Path):
    (trial, *_) = plan(small_sweep(tmp_path, "grid.loss=e2e_downstream", "grid.seed=3"), FACTS).trials
    values = {"sparsity_coeff": 0.5, "seed": 3, "train.tokens": 1000, "loss.e2e_downstream.downstream_coeff": 2.5}
    assert {name: value_at(trial.config, name) for name in values} == values


# A sweep that has changed


def kept(folder: Path, before: Sweep, *overrides: str) -> tuple[list[str], Round]:
    """Names of the first round's trials that the changed sweep keeps, and that round."""
    grid, _, asked = first_round(before)
    packs = (*grid.packs, Pack(asked.trials))
    saved = saved_plan(replace(grid, trials=(*grid.trials, *asked.trials), packs=packs), {})
    changed = small_sweep(folder, *overrides)
    return [trial.run_name for trial in Beyond(changed, FACTS).still_wanted(saved)], asked


def test_proposed_trials_stay_while_the_grid_has_their_place(tmp_path: Path):
    before = small_sweep(tmp_path, FILL)
    for change in ([FILL], [], ["grid.sparsity_coeff=[0.5]"], ["search={kind: match, target: 0.1}"]):
        names, asked = kept(tmp_path, before, *change)
        assert names == [trial.run_name for trial in asked.trials]
        assert names


def test_proposed_trials_go_with_their_layer_loss_or_seed(tmp_path: Path):
    before = small_sweep(tmp_path, FILL)
    names, asked = kept(tmp_path, before, "grid.layer=3", "grid.loss=[local, e2e]")
    wanted = {trial.run_name for trial in asked.trials if trial.config.layer == 3}
    assert set(names) == {name for name in wanted if "downstream" not in name}
    assert kept(tmp_path, before, "grid.seed=1")[0] == []
    assert kept(tmp_path, before, "grid.exclude=[{layer: [1, 3]}]", "grid.layer=all")[0] == []


def test_proposed_trials_go_where_what_they_are_trained_with_has_changed(tmp_path: Path):
    assert kept(tmp_path, small_sweep(tmp_path, FILL), "train.lr=0.3")[0] == []


def test_a_proposed_trial_that_the_grid_takes_over_is_one_of_the_grid(tmp_path: Path):
    grid, _, asked = first_round(small_sweep(tmp_path, FILL))
    taken = asked.trials[0]
    wider = small_sweep(tmp_path, FILL, f"grid.sparsity_coeff=[0.5, 1, {taken.config.loss.sparsity_coeff}]")
    found = plan(wider, FACTS, more=asked.trials)
    (same,) = [trial for trial in found.trials if trial.trial_id == taken.trial_id]
    assert same.proposed is None
    packed = [trial.trial_id for pack in found.packs for trial in pack.trials]
    assert sorted(packed) == sorted(trial.trial_id for trial in found.trials)
    assert len(grid.trials) < len(found.trials)


def test_a_saved_plan_remembers_why(tmp_path: Path):
    grid, _, asked = first_round(small_sweep(tmp_path, FILL))
    both = plan(small_sweep(tmp_path, FILL), FACTS, more=asked.trials)
    saved = saved_plan(both, {})
    assert saved.proposed == {trial.trial_id: trial.proposed for trial in asked.trials}
    assert type(saved).model_validate_json(saved.model_dump_json()) == saved
    assert saved.wanted == {trial.trial_id for trial in (*grid.trials, *asked.trials)}
