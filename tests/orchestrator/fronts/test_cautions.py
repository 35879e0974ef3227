"""Each warning comes where it should, says what and what to do, and not elsewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

from orchestrator.folder.records import CurvePoint, Row, RowStatus
from orchestrator.fronts.cautions import DENSITY_LOWEST, DENSITY_STEP, Caution, Kind, rare_share
from orchestrator.fronts.certainty import Verdict
from orchestrator.fronts.export import fronts_of_lines
from orchestrator.fronts.front_text import gathered
from orchestrator.fronts.schema import DEFAULT_OBJECTIVES
from orchestrator.fronts.summary import Fronts
from orchestrator.fronts.trial_lines import late_loss_fall, lines_of
from tests.orchestrator.fronts.made import REFERENCE, fronts_of, series_rows
from tests.orchestrator.rows import a_config, a_row
from trainer.metrics.sparsity import DENSITY_EDGES

GOOD = [(10.0, 0.5), (20.0, 0.2), (40.0, 0.1)]


def kinds(fronts: Fronts) -> list[Kind]:
    return [caution.kind for caution in fronts.warnings]


def only(fronts: Fronts) -> Caution:
    (found,) = fronts.warnings
    return found


def test_a_good_series_has_no_warnings():
    assert kinds(fronts_of(series_rows(GOOD), reference=REFERENCE)) == []


def test_a_coefficient_with_which_everything_dies_is_named():
    rows = series_rows([*GOOD, (0.0, 3.0)])
    found = only(fronts_of(rows))
    assert found.kind is Kind.ALL_DEAD
    assert found.text == "layer 1, local (256): with coefficient 4 nothing is active. Use smaller coefficients than 4."
    assert found.trial_ids == (rows[3].trial_id,)


def test_a_coefficient_with_half_the_dictionary_active_is_named():
    found = only(fronts_of(series_rows([(129.0, 0.01), (60.0, 0.05)])))
    assert (found.kind, found.sentence[:18]) == (Kind.TOO_DENSE, "with coefficient 1")
    assert found.fix == "Use larger coefficients than 1."
    assert kinds(fronts_of(series_rows([(128.0, 0.01), (60.0, 0.05)]))) == []


def test_two_coefficients_that_give_the_same_point_are_named():
    found = only(fronts_of(series_rows([*GOOD, (40.2, 0.0995)])))
    assert found.kind is Kind.SAME_POINT
    assert "coefficients 3 and 4 give the same point" in found.sentence
    assert kinds(fronts_of(series_rows([*GOOD, (42.0, 0.0995)]))) == []


def test_a_gap_wider_than_asked_names_its_ends_and_a_coefficient_between():
    points = [(10.0, 0.5), (20.0, 0.3), (90.0, 0.1)]
    found = only(fronts_of(series_rows(points)))
    assert found.kind is Kind.GAP
    assert "between L0 20 and 90" in found.sentence
    assert "near 2.4 " in found.fix  # between the coefficients 2 and 3
    assert kinds(fronts_of(series_rows(points), max_gap=5)) == []
    # A dominated trial does not fill a gap.
    assert kinds(fronts_of(series_rows([*points, (40.0, 0.9)]))) == [Kind.GAP]


def test_trials_that_failed_are_missed_in_their_series():
    failed = [
        a_row(a_config(coeff=9.0), status=RowStatus.FAILED, error="not finite").model_copy(update={"facts": facts})
        for facts in (None,)
    ]
    found = only(fronts_of([*series_rows(GOOD), *failed]))
    assert (found.kind, found.trial_ids) == (Kind.TRIALS_MISSING, (failed[0].trial_id,))
    assert found.sentence.startswith("1 of 4 trials failed or stopped")


def test_a_frontier_beyond_the_reference_point_is_named():
    found = only(fronts_of(series_rows(GOOD), reference={"l0": 30.0, "ce_loss_increase": 1.0}))
    assert found.kind is Kind.OUTSIDE_REFERENCE
    assert found.sentence.startswith(
        "1 of 3 trials on the frontier are beyond the reference point (L0 30, CE increase 1)"
    )


@pytest.mark.parametrize(("stderr", "expected"), [(0.001, []), (0.02, [Kind.EVALUATION_TOO_SMALL])])
def test_a_difference_within_the_error_of_the_evaluation_is_named(stderr: float, expected: list[Kind]):
    rows = series_rows(GOOD, ce_loss_increase_stderr=stderr)
    rows += series_rows([(10.0, 0.49), (20.0, 0.19), (40.0, 0.09)], loss="e2e", ce_loss_increase_stderr=stderr)
    assert kinds(fronts_of(rows)) == expected


def with_histogram(rare: float, common: float, window: int) -> Row:
    """So many elements that fired in the lowest half decade that the window shows, and in the one of 1 % of tokens."""
    edges = np.array(DENSITY_EDGES)
    histogram = [0.0] * len(edges)
    histogram[int(np.searchsorted(edges, np.log10(2 / window)))] = rare
    histogram[int(np.searchsorted(edges, -1.9))] = common
    row = a_row(density_histogram=histogram)
    config = row.config.model_copy(update={"eval": row.config.eval.model_copy(update={"alive_window_tokens": window})})
    return row.model_copy(update={"config": config})


def test_a_window_in_which_many_elements_fired_but_a_few_times_is_too_short():
    found = only(fronts_of([with_histogram(20, 80, 100_000)]))
    assert found.kind is Kind.WINDOW_TOO_SHORT
    assert "up to 20 % of the living elements fired fewer than 10 times" in found.sentence
    assert "eval.alive_window_tokens=1_000_000" in found.fix
    assert kinds(fronts_of([with_histogram(5, 95, 100_000)])) == []


def test_the_bins_of_the_histogram_are_the_trainers():
    assert [DENSITY_LOWEST + DENSITY_STEP * place for place in range(len(DENSITY_EDGES))] == DENSITY_EDGES
    assert rare_share([None, None], np.array([10, 10])).tolist() == [0, 0]


def curve(losses: list[float]) -> list[CurvePoint]:
    return [
        CurvePoint(step=10 * (i + 1), tokens=10 * (i + 1), time_ms=0, metrics={"train/loss": loss})
        for i, loss in enumerate(losses)
    ]


def test_a_loss_that_still_falls_at_the_end_is_a_warning():
    falling = curve([1.0 - 0.002 * i for i in range(100)])
    assert late_loss_fall(falling) == pytest.approx(0.04 / (1 - 0.002 * 69.5))
    rows = series_rows(GOOD)
    lines = lines_of(rows, lambda trial_id: falling if trial_id == rows[1].trial_id else ())
    assert [value is None for value in lines["late_loss_fall"].to_pylist()] == [True, False, True]


@pytest.mark.parametrize(("fall", "expected"), [(0.05, [Kind.STILL_IMPROVING]), (0.02, [])])
def test_an_sae_that_still_improved_at_its_last_step_is_named(fall: float, expected: list[Kind]):
    rows = series_rows(GOOD)
    ends = curve([1.0] * 80 + [1.0 - fall] * 20)
    lines = lines_of(rows, lambda trial_id: ends if trial_id == rows[1].trial_id else curve([1.0] * 100))
    fronts = fronts_of_lines(lines, sweep_id="s", objectives=DEFAULT_OBJECTIVES)
    assert kinds(fronts) == expected
    for found in fronts.warnings:
        assert found.trial_ids == (rows[1].trial_id,)
        assert "with coefficient 2 the training loss still fell by up to 5 % from the fourth" in found.sentence
        assert "Train on more tokens (train.tokens)" in found.fix


def test_noise_a_rise_and_a_short_curve_are_no_fall():
    noise = np.random.default_rng(0).normal(1, 0.1, 100).tolist()
    assert late_loss_fall(curve(noise)) == 0
    assert late_loss_fall(curve([1.0 + 0.01 * i for i in range(100)])) == 0
    assert late_loss_fall(curve([2.0, 1.5, 1.2, 1.0])) is None
    assert late_loss_fall([]) is None


def test_a_loss_that_becomes_another_falls_late_only_where_the_last_one_does():
    """The second one's values are of another size: between the two there is a step, and it is no fall."""
    config = a_config(loss="local_then_e2e")
    switch = config.stages[-1].start
    steps = range(1, config.n_steps + 1)
    for slope, expected in ((0.0, 0.0), (0.002, 0.002 * 0.2 * (config.n_steps - switch))):
        points = [
            CurvePoint(step=step, tokens=step, time_ms=0,
                       metrics={"train/loss": 5.0 if step <= switch else 1.0 - slope * (step - switch)})
            for step in steps
        ]  # fmt: skip
        [value] = lines_of([a_row(config)], lambda _, points=points: points)["late_loss_fall"].to_pylist()
        assert value == pytest.approx(expected, rel=0.2)
        assert (late_loss_fall(points) or 0) > 0.3


def test_warnings_of_one_kind_are_said_once():
    rows = [*series_rows([*GOOD, (0.0, 3.0)]), *series_rows([*GOOD, (0.0, 3.0)], loss="e2e")]
    cautions = [one for one in fronts_of(rows).warnings if one.kind is Kind.ALL_DEAD]
    ((where, text),) = gathered(cautions)
    assert where == "layer 1, e2e (256)"
    assert text.endswith("The same holds, with other numbers, for layer 1, local (256).")


def test_every_kind_of_warning_and_every_verdict_is_explained_in_the_docs():
    text = (Path(__file__).parents[3] / "docs" / "frontier.md").read_text()
    table = text.partition("\n## Warnings\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [str(kind) for kind in Kind]
    assert {f"`{verdict}`" for verdict in Verdict} <= set(re.findall(r"`\w+`", text))
