"""Matched comparisons: interpolation, targets, sentences, and what is outside of a frontier."""

import math

import pytest

from orchestrator.folder.records import Row
from orchestrator.fronts.along import Curve
from orchestrator.fronts.certainty import Verdict
from orchestrator.fronts.matched import Match, middle
from orchestrator.fronts.schema import DEFAULT_OBJECTIVES, Objective
from orchestrator.fronts.series import all_series
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.fronts.made import fronts_of, series_rows

L0 = DEFAULT_OBJECTIVES[0]


def curve(points: list[tuple[float, float]], **options: bool) -> Curve:
    (series,) = fronts_of(series_rows(points)).series
    return Curve(series, L0, **options)


def test_between_two_trials_ce_is_linear_in_log_l0_and_beyond_the_ends_there_is_nothing():
    line = curve([(10.0, 0.5), (40.0, 0.1), (20.0, 0.9)])
    assert line.at("l0", 20) == pytest.approx(0.3)
    assert line.at("ce_loss_increase", 0.3) == pytest.approx(20)
    assert line.at("l0", 10) == pytest.approx(0.5)
    assert line.at("l0", 9.99) is None
    assert line.at("ce_loss_increase", 0.05) is None
    assert line.range("l0") == (10, 40)


def test_without_logs_it_is_linear_in_l0():
    assert curve([(10.0, 0.5), (40.0, 0.1)], logs=False).at("l0", 20) == pytest.approx(0.5 - 0.4 / 3)


def test_a_trial_without_any_active_element_is_on_the_frontier_and_not_on_the_line():
    line = curve([(0.0, 3.0), (10.0, 0.5)])
    assert line.range("l0") == (10, 10)
    assert line.at("l0", 5) is None
    assert curve([(0.0, 3.0)]).range("l0") is None
    assert curve([(0.0, 3.0)]).at("l0", 5) is None


def test_a_metric_that_should_be_high_is_read_the_same_way():
    plane = Objective("l0", "explained_variance")
    rows = [
        row.model_copy(update={"metrics": row.metrics | {"explained_variance": ev}})
        for row, ev in zip(series_rows([(10.0, 0.5), (40.0, 0.1)]), (0.6, 0.8), strict=True)
    ]
    (series,) = all_series(fronts_of(rows, objectives=[plane]).table)
    assert Curve(series, plane).at("l0", 20) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("ranges", "log", "expected"),
    [
        ([(10, 90), (20, 200)], True, 42),  # sqrt(20 * 90) in two digits
        ([(0.1, 0.9), (0.3, 2)], False, 0.52),
        ([(1, 2), (8, 16)], True, 4),  # between them where they share nothing
        ([(-0.1, 0.3)], False, 0.1),
        ([(1021, 1021)], True, 1021),  # rounding does not leave the range
        ([], True, None),
    ],
)
def test_without_a_target_the_middle_of_what_all_cover_is_taken(
    ranges: list[tuple[float, float]], log: bool, expected: float | None
):
    assert middle(ranges, log=log) == (None if expected is None else pytest.approx(expected))


def seeds(n: int, *, factor: float) -> list[Row]:
    """Local, and e2e with `factor` of its CE loss increase; seeds differ by a few percent."""
    rows: list[Row] = []
    for seed in range(n):
        noise = 1 + 0.01 * seed
        rows += series_rows([(10.0, 0.5 * noise), (40.0, 0.1 * noise)], seed=seed)
        rows += series_rows([(10.0, 0.5 * factor * noise**2), (40.0, 0.1 * factor)], loss="e2e", seed=seed)
    return rows


def at_l0(rows: list[Row], target: float = 20.0) -> dict[str, Match]:
    return {match.loss: match for match in fronts_of(rows, targets={"l0": [target]}).matches
            if (match.matched, match.reads) == ("l0", "ce_loss_increase")}  # fmt: skip


def test_six_seeds_say_that_e2e_beats_local_and_by_how_much():
    match = at_l0(seeds(6, factor=0.5))["e2e"]
    assert match.verdict is Verdict.BETTER
    assert match.value == pytest.approx(0.15, rel=0.05)
    assert match.ratio == pytest.approx(0.5, abs=0.02)
    assert match.low is not None
    assert match.low < (match.value or 0)
    assert match.statement.startswith("e2e beats local at L0 20 by 0.15")
    assert "95 % interval" in match.statement
    assert "6 paired seeds, p = 0.031)" in match.statement


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_seeds_say_that_they_cannot_tell(n: int):
    match = at_l0(seeds(n, factor=0.5))["e2e"]
    assert match.verdict is Verdict.CANNOT_TELL
    assert match.statement.startswith("cannot tell e2e from local at L0 20: they differ by 0.15")
    assert f"3 seeds are needed to see how much that varies (here {n} paired seed" in match.statement
    assert match.low is None


def test_three_seeds_are_ahead_and_say_that_an_exact_test_needs_more():
    match = at_l0(seeds(3, factor=0.5))["e2e"]
    assert match.verdict is Verdict.LIKELY_BETTER
    assert match.statement.startswith("e2e is ahead of local at L0 20")
    assert match.statement.endswith("3 paired seeds, too few for an exact test)")


def test_at_a_ce_that_a_loss_does_not_reach_there_is_a_nearest_trial_and_no_value():
    rows = [*series_rows([(10.0, 0.5), (40.0, 0.1)]), *series_rows([(8.0, 0.09), (30.0, 0.02)], loss="e2e")]
    found = {m.loss: m for m in fronts_of(rows, targets={"ce_loss_increase": [0.3]}).matches
             if (m.matched, m.reads) == ("ce_loss_increase", "l0")}  # fmt: skip
    assert found["local"].value == pytest.approx(20)
    assert found["e2e"].value is None
    assert found["e2e"].statement == ""
    assert (found["e2e"].nearest.l0, found["e2e"].nearest.offset) == (8, pytest.approx(-0.7))


def test_counts_are_compared_by_their_ratio():
    rows = [row for seed in range(6) for loss, l0 in (("local", 40.0), ("e2e", 20.0 + seed / 100))
            for row in series_rows([(l0, 0.2), (2 * l0, 0.1)], loss=loss, seed=seed)]  # fmt: skip
    found = {m.loss: m for m in fronts_of(rows, targets={"ce_loss_increase": [0.15]}).matches if m.reads == "l0"}
    match = found["e2e"]
    assert match.value == pytest.approx(20 * math.sqrt(2), rel=0.01)
    assert match.ratio == pytest.approx(0.5, abs=0.01)
    assert "beats local at CE increase 0.15 by a factor of 2 in L0" in match.statement


def test_without_local_nothing_is_said_about_it():
    fronts = fronts_of(fake_rows(layers=1, losses=("e2e", "e2e_downstream"), seeds=3))
    assert {match.ratio for match in fronts.matches} == {None}
    assert {match.statement for match in fronts.matches} == {""}
    assert all(share == {} for share in fronts.shares.values())
    assert fronts.matched_table().num_rows == len(fronts.matches) > 0


def test_every_place_loss_and_metric_is_matched_once():
    fronts = fronts_of(fake_rows(layers=2, seeds=2, ratios=(4.0, 8.0)))
    table = fronts.matched_table().to_pylist()
    keys = [tuple(line[name] for name in ("layer", "d_sae", "loss", "matched", "reads", "target")) for line in table]
    assert len(keys) == len(set(keys)) == 2 * 2 * 3 * 4
    assert {(line["matched"], line["reads"]) for line in table} == {
        ("ce_loss_increase", "l0"),
        ("ce_loss_increase", "n_alive_elements"),
        ("l0", "ce_loss_increase"),
        ("n_alive_elements", "ce_loss_increase"),
    }
