"""Which SAEs are looked at: matched, on a front, named."""

from pathlib import Path

import pytest

from orchestrator.folder.records import Row, SavedPlan
from orchestrator.folder.run_folder import RunFolder
from orchestrator.paper.selection import choose
from tests.orchestrator.rows import a_config, a_row
from trainer.errors import BadInput

COEFFS = {1.0: (40.0, 0.1), 2.0: (20.0, 0.2), 4.0: (10.0, 0.4)}
"""L0 and CE loss increase of local SAEs by coefficient; e2e ones have a third of the increase."""


def a_run(path: Path, *, seeds: tuple[int, ...] = (0, 1)) -> RunFolder:
    folder = RunFolder(path / "demo-01234567")
    rows: list[Row] = []
    for layer in (1, 2):
        for loss in ("local", "e2e"):
            for coeff, (l0, ce) in COEFFS.items():
                for seed in seeds:
                    config = a_config(loss=loss, coeff=coeff, layer=layer, seed=seed, model="gpt2")
                    ce_here = ce / (3 if loss == "e2e" else 1) * (1 + 0.01 * seed)
                    rows.append(a_row(config, l0=l0, ce=ce_here, alive=10 * l0))
    for row in rows:
        folder.write_row(row)
        folder.sae(row.trial_id).mkdir(parents=True)
        (folder.sae(row.trial_id) / "config.json").write_text("{}")
        (folder.sae(row.trial_id) / "sae.safetensors").write_bytes(row.trial_id.encode())
    trials = {row.trial_id: row.config for row in rows}
    names = {row.trial_id: row.run_name for row in rows}
    folder.write_plan(SavedPlan(sweep_id="demo-01234567", trials=trials, run_names=names, packs={"p": list(trials)}))
    return folder


def names(rows: tuple[Row, ...]) -> list[str]:
    return [row.run_name for row in rows]


def test_at_matched_ce_there_is_the_nearest_trial_of_each_loss_and_layer(tmp_path: Path) -> None:
    found = choose(a_run(tmp_path))
    assert [group.layer for group in found.groups] == [1, 2]
    first = found.groups[0]
    assert (first.matched, list(first.by_loss)) == ("ce_loss_increase", ["local", "e2e"])
    local, e2e = first.by_loss["local"], first.by_loss["e2e"]
    assert first.target is not None
    for row in (local, e2e):
        distances = [
            abs(float(str(one.metrics["ce_loss_increase"])) - first.target)
            for one in found.done
            if (one.config.layer, one.config.loss.kind) == (1, row.config.loss.kind)
        ]
        assert abs(float(str(row.metrics["ce_loss_increase"])) - first.target) == min(distances)
    assert len(found.rows) == 4
    assert len(found.done) == 24


def test_at_matched_l0_every_loss_has_the_same_l0(tmp_path: Path) -> None:
    found = choose(a_run(tmp_path), ["matched-l0"])
    assert [{row.metrics["l0"] for row in group.rows} for group in found.groups] == [{20.0}, {20.0}]


def test_choices_add_up_and_nothing_is_twice(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    both = choose(run, ["matched-ce", "matched-l0", "matched-ce"])
    assert len(both.groups) == 4
    assert len(names(both.rows)) == len(set(names(both.rows)))
    assert {*names(choose(run).rows), *names(choose(run, ["matched-l0"]).rows)} == set(names(both.rows))


def test_a_front_brings_its_trials_and_the_matched_sets(tmp_path: Path) -> None:
    found = choose(a_run(tmp_path), ["front"])
    on_front = {name for name in names(found.done) if name.endswith("s0")}  # seed 0 dominates seed 1
    assert set(names(found.rows)) == on_front | {row.run_name for group in found.groups for row in group.rows}
    assert [group.matched for group in found.groups] == ["ce_loss_increase"] * 2


def test_named_trials_are_compared_within_their_layer(tmp_path: Path) -> None:
    asked = ["L2-local-c1-s0", "L1-e2e-c4-s1", "L1-local-c2-s0"]
    found = choose(a_run(tmp_path), asked)
    assert names(found.rows) == ["L1-local-c2-s0", "L1-e2e-c4-s1", "L2-local-c1-s0"]
    assert [names(group.rows) for group in found.groups] == [["L1-local-c2-s0", "L1-e2e-c4-s1"], ["L2-local-c1-s0"]]


def test_trials_that_differ_in_the_seed_alone_are_found(tmp_path: Path) -> None:
    found = choose(a_run(tmp_path, seeds=(0, 1, 2)), ["L1-local-c2-s1"])
    assert names(found.seeds_of(found.rows[0])) == ["L1-local-c2-s0", "L1-local-c2-s1", "L1-local-c2-s2"]


def test_saes_of_two_texts_cannot_be_looked_at_together(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    row = next(row for row in run.rows() if row.run_name == "L1-local-c2-s0")
    assert row.facts is not None
    run.write_row(row.model_copy(update={"facts": row.facts.model_copy(update={"eval_hash": "0" * 16})}))
    with pytest.raises(BadInput, match="2 models or texts"):
        choose(run, ["L1-local-c2-s0", "L1-local-c2-s1"])
    assert len(choose(run, ["L1-local-c2-s0"]).done) == 1


def test_a_rough_match_and_an_sae_that_is_gone_are_told(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    found = choose(run)
    assert any(note.startswith("layer 1, CE loss increase") and "off it" in note for note in found.notes)
    [group] = [group for group in found.groups if group.layer == 1]
    for loss, row in group.by_loss.items():
        assert group.target is not None
        offset = float(str(row.metrics["ce_loss_increase"])) / group.target - 1
        assert group.offsets[row.trial_id] == pytest.approx(offset), loss
    (run.sae(group.by_loss["local"].trial_id) / "config.json").unlink()
    again = choose(run)
    assert list(again.groups[0].by_loss) == ["e2e"]
    assert f"the weights of {group.by_loss['local'].run_name} are gone" in again.notes[0]
    level = choose(run, ["matched-l0"])
    assert not [note for note in level.notes if "layer 2" in note and "off it" in note]
