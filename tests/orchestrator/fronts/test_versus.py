"""Two sweeps against each other: what is compared, and what is refused."""

import pytest

from orchestrator.folder.records import Row
from orchestrator.fronts.certainty import Verdict
from orchestrator.fronts.external import External
from orchestrator.fronts.paper_tables import markdown
from orchestrator.fronts.schema import Objective
from orchestrator.fronts.summary import Fronts
from orchestrator.fronts.versus import Versus, versus
from orchestrator.fronts.versus_text import tables, words
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.fronts.made import REFERENCE, fronts_of
from tests.orchestrator.fronts.test_others import an_external
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
    table = tables(found, NAMES)[0]
    assert table.heads == ("SAEs", "A", "B", "B - A")
    assert "that takes 3 seeds, and here they share 2 seeds at most." in table.note


def test_that_seeds_are_too_few_is_said_once_and_not_of_every_line():
    found = compared(sweep(seeds=1, layers=2), sweep(seeds=1, layers=2))
    text = "\n".join([*(markdown(table) for table in tables(found, NAMES)), *words(found, NAMES, [])])
    assert text.count("ow sure differences are cannot be told") == 1
    assert "cannot tell" not in text


def test_a_difference_of_nothing_has_no_sign():
    gains = [row[3] for table in tables(compared(sweep(), sweep()), NAMES)[:2] for row in table.rows]
    assert set(gains) == {"0"}
    intervals = {row[4] for row in tables(compared(sweep(), sweep()), NAMES)[0].rows}
    assert intervals == {"0 to 0"}


def test_trials_that_both_have_are_counted():
    found = compared(sweep(seeds=1), sweep(seeds=1))
    assert found.n_shared == len(fake_rows(layers=1, seeds=1))
    assert f"{found.n_shared} trials are in both, with the same settings and seed" in list(words(found, NAMES, []))


def test_what_neither_reaches_is_no_row_but_a_note():
    found = compared(sweep(), better_sweep(), targets={"ce_loss_increase": [0.05, 9.0]})
    assert {one.target for one in found.readings if one.matched == "ce_loss_increase"} == {0.05}
    assert "no frontier of either sweep reaches CE increase 9: nothing is shown there" in found.notes
    assert ("-", "-") not in {row[3:5] for table in tables(found, NAMES)[2:] for row in table.rows}


def test_half_a_reference_point_is_said():
    found = compared(sweep(reference=None), sweep(reference=None), reference={"l0": 100.0})
    assert any(note.endswith("--reference ce_loss_increase=NUMBER") for note in found.notes)
    assert compared(sweep(), sweep()).notes == ()


def test_without_a_reference_point_small_differences_fill_the_box_and_are_readable():
    def rows(offset: float) -> list[Row]:
        return [
            row.model_copy(update={"metrics": row.metrics | {"n_alive_elements": 1000.0 + round(10 * l0) + offset}})
            for row in fake_rows(layers=1, seeds=1)
            if isinstance(l0 := row.metrics["l0"], float)
        ]

    found = compared(fronts_of(rows(0)), fronts_of(rows(5)))
    alive = [one for one in found.volumes if one.objective.x == "n_alive_elements"]
    assert all(0.1 < one.first.mean < 1 and not one.reference_is_theirs for one in alive)


def test_saes_of_others_stand_against_both_and_are_in_no_comparison():
    other = an_external(l0=15.0, ce=0.0001, layer=0)
    alone, beside = (
        compared(sweep(), better_sweep()),
        compared(
            fronts_of(fake_rows(layers=1, seeds=6), reference=REFERENCE, external=External((other,), ())),
            better_sweep(),
        ),
    )
    assert (beside.volumes, beside.readings) == (alone.volumes, alone.readings)
    guests = [table for table in tables(beside, NAMES) if table.title == "SAEs of others in L0 and CE increase"]
    (row,) = guests[0].rows
    assert row[:2] == ("theirs", "layer 0 (256)")
    assert all(cell.startswith("on the frontier, ahead of") for cell in row[2:])
    assert alone.guests == ()


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
    assert "from the best to the worst values of both sweeps" in tables(found, NAMES)[0].note
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
