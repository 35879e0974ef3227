"""What the benchmarks of searches say follows from trials; none is trained here."""

import random
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks import search, stopping
from benchmarks.trained import points_of
from orchestrator.fronts.schema import Objective
from orchestrator.planning.trials import expand
from orchestrator.sweep.sweep_file import load_sweep
from tests.orchestrator.rows import a_config, a_row
from tests.orchestrator.sweeps import SHAPES, SWEEPS

PLANE = Objective("l0", "ce_loss_increase")


def test_the_dense_grid_that_is_shipped_is_what_searches_are_measured_by(tmp_path: Path):
    facts = SHAPES["builtin"]
    shipped = expand(load_sweep(SWEEPS / "dense.yaml"), facts)
    path = tmp_path / "ours.yaml"
    path.write_text(yaml.safe_dump(search.sweep(search.coefficients("wide"), search.SEEDS)))
    ours = expand(load_sweep(path), facts)
    assert {trial.trial_id for trial in shipped} == {trial.trial_id for trial in ours}
    assert load_sweep(SWEEPS / "dense.yaml").frontier == load_sweep(path).frontier


def test_the_best_part_of_a_grid_is_the_best_of_all_parts():
    dice = random.Random(0)
    costs = np.array([[dice.uniform(0, 2.3), dice.uniform(0, 3.5)] for _ in range(7)])
    best = max(search.volume(costs[[a, b, c]]) for a in range(7) for b in range(7) for c in range(7))
    assert search.best_part(costs, 3) == pytest.approx(best)


def test_what_a_front_has_lost_is_how_much_worse_the_best_is_that_is_left():
    rows = [a_row(a_config(coeff=c), l0=l0, ce=ce) for c, l0, ce in ((1, 50.0, 0.1), (2, 20.0, 0.3), (3, 22.0, 0.33))]
    ids = [row.trial_id for row in rows]
    assert stopping.lost(rows, {ids[2]: 0}, PLANE) == (0.0, 1.0)  # it was on no front
    epsilon, share = stopping.lost(rows, {ids[1]: 0}, PLANE)
    assert epsilon == pytest.approx(0.1)
    assert share < 1


def test_another_order_has_the_same_trials_in_rounds_of_points():
    rounds = [[a_config(coeff=c, seed=seed) for c in (n, n + 0.5) for seed in (0, 1)] for n in range(1, 5)]
    other = stopping.in_another_order(rounds, random.Random(3))
    assert sorted(c.trial_id for trials in other for c in trials) == sorted(c.trial_id for r in rounds for c in r)
    for trials in other:
        seeds = [config.seed for config in trials]
        assert seeds.count(0) == seeds.count(1)


def test_points_are_by_coefficient():
    rows = [a_row(a_config(coeff=c), l0=10.0 / c, ce=c) for c in (2.0, 1.0)]
    assert list(points_of(rows, "l0", "ce_loss_increase")) == [1.0, 2.0]
