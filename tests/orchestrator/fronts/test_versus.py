"""Two sweeps against each other: what is compared, and what is refused."""

import pytest

from orchestrator.folder.records import Row
from orchestrator.fronts.certainty import Verdict
from orchestrator.fronts.schema import Objective
from orchestrator.fronts.summary import Fronts
from orchestrator.fronts.versus import Versus, versus
from orchestrator.fronts.versus_text import tables, words
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.fronts.made import REFERENCE, fronts_of
from trainer.errors import BadInput

NAMES = ("first", "second")


def better(rows: list[Row]) -> list[Row]:
    """The same with nine tenths of each CE loss increase."""
    return [
        row.model_copy(update={"metrics": row.metrics | {"ce_loss_increase": 0.9 * row.metrics["ce_loss_increase"]}})  # pyright: ignore[reportOperatorIssue]
        for row in rows
    ]


def sweep(*, seeds: int = 6, layers: int = 1, **options: object) -> Fronts:
    return fronts_of(fake_rows(layers=layers, seeds=seeds), **{"reference": REFERENCE, **options})  # pyright: ignore[reportArgumentType]


def better_sweep(*, seeds: int = 6) -> Fronts:
    return fronts_of(better(fake_rows(layers=1, seeds=seeds)), reference=REFERENCE)


def compared(first: Fronts, second: Fronts, **options: object) -> Versus:
    return versus(first, second, **{"names": NAMES, "targets": {}, "reference": {}, **options})  # pyright: ignore[reportArgumentType]


def refused(first: Fronts, second: Fronts) -> str:
    with pytest.raises(BadInput) as caught:
        compared(first, second)
    return str(caught.value)


def test_a_sweep_that_is_better_everywhere_is_better_in_every_frontier():
    found = compared(sweep(), better_sweep())
    assert {one.loss_of_volume.verdict for one in found.volumes if one.loss_of_volume} == {Verdict.BETTER}
    at_l0 = [one for one in found.readings if one.matched == "l0"]
    assert [one.ratio for one in at_l0] == pytest.approx([0.9] * 3)
    assert all(one.statement.startswith("B beats A at L0") for one in at_l0)
    assert [one.where for one in found.volumes[::2]] == [
        f"layer 0, {loss} (256)" for loss in ("e2e", "e2e_downstream", "local")
    ]


def test_turned_round_the_difference_changes_its_sign():
    found, turned = compared(sweep(), better_sweep()), compared(better_sweep(), sweep())
    for one, other in zip(found.volumes, turned.volumes, strict=True):
        assert one.loss_of_volume is not None
        assert other.loss_of_volume is not None
        assert one.loss_of_volume.mean == pytest.approx(-other.loss_of_volume.mean)
        assert other.loss_of_volume.verdict is Verdict.WORSE


def test_two_seeds_cannot_tell():
    found = compared(sweep(seeds=2), better_sweep(seeds=2))
    assert {one.loss_of_volume.verdict for one in found.volumes if one.loss_of_volume} == {Verdict.CANNOT_TELL}
    assert "cannot tell: 2 seeds" in {row[-1] for row in tables(found, NAMES)[0].rows}


def test_targets_that_are_asked_for_are_taken():
    found = compared(sweep(), better_sweep(), targets={"ce_loss_increase": [0.05, 0.1]})
    assert {one.target for one in found.readings if one.matched == "ce_loss_increase"} == {0.05, 0.1}


def test_other_held_out_rows_and_another_model_are_refused():
    for field, said in (("eval_hash", "on other held-out rows than first"), ("model_hash", "on another frozen model")):
        rows = [row.model_copy(update={"facts": row.facts.model_copy(update={field: "0" * 16})})
                for row in fake_rows(layers=1) if row.facts]  # fmt: skip
        text = refused(sweep(), fronts_of(rows, reference=REFERENCE))
        assert said in text
        assert f"{field} 00000000 against" in text


def test_different_reference_points_are_refused_with_the_option_that_helps():
    text = refused(sweep(), sweep(reference=REFERENCE | {"l0": 50.0}))
    assert "different reference points" in text
    assert "l0: 100.0 against 50.0" in text
    assert text.endswith("--reference l0=100")
    assert "none against" in refused(sweep(reference={}), sweep())
    found = compared(sweep(), sweep(reference=REFERENCE | {"l0": 50.0}), reference={"l0": 80.0})
    assert found.reference["l0"] == 80


def test_without_any_reference_point_the_worst_of_both_is_taken_and_said():
    found = compared(sweep(reference=None), sweep(reference=None))
    assert not found.reference_is_theirs
    assert "worst of both sweeps" in tables(found, NAMES)[0].note
    assert all(one.first.mean > 0 for one in found.volumes)


def test_sweeps_with_nothing_in_common_are_refused():
    assert "no frontier.objectives in common" in refused(
        sweep(), sweep(objectives=[Objective("l0", "n_alive_elements")])
    )
    other = fronts_of([row for row in fake_rows(layers=2) if row.config.layer == 1], reference=REFERENCE)
    assert "share no layer, loss and dictionary size" in refused(sweep(), other)


def test_what_only_one_has_and_what_differs_is_said():
    found = compared(sweep(), sweep(layers=2))
    lines = list(words(found, NAMES, ["train.lr: 0.001 -> 0.002"]))
    assert "differs  train.lr: 0.001 -> 0.002" in lines
    assert any(line.startswith("only in B: layer 1, e2e (256)") for line in lines)
    assert "their settings are the same" in list(words(found, NAMES, []))
