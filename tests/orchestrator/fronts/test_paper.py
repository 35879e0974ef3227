"""Fed with the numbers of the paper's Tables 2 and 3, the matched comparison gives the paper's tables and ratios."""

import numpy as np
import pytest

from orchestrator.fronts.matched import Match
from orchestrator.fronts.paper_tables import latex, markdown, matched_tables, share_tables
from orchestrator.fronts.schema import Objective
from orchestrator.fronts.share import shares
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.fronts.made import fronts_of, paper_rows, series_rows

L0 = Objective("l0", "ce_loss_increase")


def nearest(layer: int, matched: str, target: float, reads: str) -> dict[str, Match]:
    fronts = fronts_of(paper_rows(layer), targets={matched: [target]})
    return {match.loss: match for match in fronts.matches if (match.matched, match.reads) == (matched, reads)}


# Targets are local's own values. Shares of local's: e2e, e2e + downstream.
@pytest.mark.parametrize(
    ("layer", "ce", "coeffs", "l0_shares", "alive_shares"),
    [
        (2, 0.016, (0.8, 0.5, 10.0), (0.45, 0.49), (0.54, 0.44)),
        (6, 0.144, (4.0, 3.0, 50.0), (0.40, 0.53), (0.85, 0.58)),
        (10, 0.122, (6.0, 1.5, 1.75), (0.38, 0.43), (0.76, 0.76)),
    ],
)
def test_at_matched_ce_the_runs_and_ratios_of_table_2_are_found(
    layer: int,
    ce: float,
    coeffs: tuple[float, ...],
    l0_shares: tuple[float, float],
    alive_shares: tuple[float, float],
):
    for reads, expected in (("l0", l0_shares), ("n_alive_elements", alive_shares)):
        found = nearest(layer, "ce_loss_increase", ce, reads)
        assert [found[loss].nearest.sparsity_coeff for loss in ("local", "e2e", "e2e_downstream")] == list(coeffs)
        assert found["local"].nearest.offset == 0
        ratios = [found[loss].nearest_ratio for loss in ("e2e", "e2e_downstream")]
        assert ratios == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(
    ("layer", "l0", "coeffs", "shares"),
    [
        (2, 18.4, (4.0, 1.5, 35.0), (0.43, 0.39)),
        (6, 42.8, (6.0, 1.5, 50.0), (0.43, 0.54)),
        (10, 74.9, (10.0, 1.5, 1.75), (0.65, 0.71)),
    ],
)
def test_at_matched_l0_the_runs_and_ratios_of_table_3_are_found(
    layer: int, l0: float, coeffs: tuple[float, ...], shares: tuple[float, float]
):
    found = nearest(layer, "l0", l0, "ce_loss_increase")
    assert [found[loss].nearest.sparsity_coeff for loss in ("local", "e2e", "e2e_downstream")] == list(coeffs)
    assert [found[loss].nearest_ratio for loss in ("e2e", "e2e_downstream")] == pytest.approx(shares, abs=0.006)


def test_the_tables_have_the_numbers_of_the_paper_in_them():
    fronts = fronts_of(paper_rows(6), targets={"ce_loss_increase": [0.144], "l0": [42.8]})
    at_ce, at_l0, _ = matched_tables(fronts.matches)
    assert "| layer 6 (256) | 0.144 | local | 4 | 69.4 | 26,000 | 0.144 |" in markdown(at_ce)
    assert "e2e & 3 & 27.5 & 22,000 & 0.145 &" in latex(at_ce)
    assert r"e2e\_downstream & 50 & 36.8 & 15,000 & 0.124 &" in latex(at_l0)
    assert latex(at_ce).count(r"\\") == 1 + 3


def test_the_summary_is_the_mean_of_20_evenly_spaced_ratios():
    """As the paper's code has it: CE_x(L0) / CE_local(L0) over L0 from 50 to 300, interpolated linearly in L0."""
    local = series_rows([(40.0, 0.30), (100.0, 0.12), (320.0, 0.02)])
    e2e = series_rows([(30.0, 0.14), (90.0, 0.05), (400.0, 0.01)], loss="e2e")
    fronts = fronts_of([*local, *e2e], objectives=[L0])
    points = np.linspace(50, 300, 20)
    one = np.interp(points, [30, 90, 400], [0.14, 0.05, 0.01])
    other = np.interp(points, [40, 100, 320], [0.30, 0.12, 0.02])
    found = shares(fronts.places[0], L0, x_range=(50, 300))
    assert found["e2e"].mean == pytest.approx(np.mean(one / other), rel=1e-12)
    assert found["local"].mean == 1
    free = shares(fronts.places[0], L0)["e2e"]
    assert (free.x_from, free.x_to) == (40, 320)


def test_the_summary_over_layers_is_the_mean_of_its_rows():
    fronts = fronts_of(fake_rows(layers=3, seeds=1), objectives=[L0])
    (table,) = share_tables([(place, L0, shares(place, L0)) for place in fronts.places])
    assert table.heads[1] == "e2e"
    *places, mean = table.rows
    ours = [float(row[1]) for row in places]
    assert (mean[0], len(ours)) == ("mean", 3)
    assert float(mean[1]) == pytest.approx(np.mean(ours), abs=0.011)


def test_no_interval_of_a_share_reaches_below_nothing_and_its_mean_is_geometric():
    rows = []
    for seed, factor in enumerate((0.1, 1.0, 3.0)):
        rows += series_rows([(10.0, 0.5), (40.0, 0.1)], seed=seed)
        rows += series_rows([(10.0, 0.5 * factor), (40.0, 0.1 * factor)], loss="e2e", seed=seed)
    found = shares(fronts_of(rows, objectives=[L0]).places[0], L0)["e2e"]
    assert found.mean == pytest.approx((0.1 * 1.0 * 3.0) ** (1 / 3))
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.mean < found.high


def test_where_a_ce_increase_is_below_0_a_share_is_no_ratio_to_take_the_logarithm_of():
    rows = []
    for seed in range(3):
        rows += series_rows([(10.0, 0.5), (40.0, 0.1)], seed=seed)
        rows += series_rows([(10.0, -0.1), (40.0, -0.2 - 0.01 * seed)], loss="e2e", seed=seed)
    found = shares(fronts_of(rows, objectives=[L0]).places[0], L0)["e2e"]
    assert found.mean < 0
    assert found.low is not None
    assert found.low < found.mean


def test_losses_whose_frontiers_share_no_l0_have_no_ratio():
    """As of the paper's layer 6 with the runs of its tables alone: e2e ends at 39.7, local begins at 42.8."""
    fronts = fronts_of(paper_rows(6), objectives=[L0])
    assert list(shares(fronts.places[0], L0)) == ["local"]
    assert share_tables([(fronts.places[0], L0, shares(fronts.places[0], L0))]) == []
