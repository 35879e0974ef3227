"""The file of a trial's dictionary elements: what is in it, when there is none, and that it survives what rows do."""

from pathlib import Path

import pytest

from orchestrator.folder.elements import ShownElements
from orchestrator.packs.held import forget
from tests.orchestrator.packs import SmallPack, folder_of, outcome_of, run, stopped_after
from tests.tiny import ALPHABET, Bench, save_tokens


@pytest.fixture(autouse=True)
def nothing_held() -> None:
    forget()


def elements_of(pack: SmallPack) -> list[ShownElements]:
    job = pack.fresh()
    run(job)
    folder = folder_of(job)
    files = [folder.elements(trial_id) for trial_id in job.trial_ids]
    assert all(file is not None for file in files)
    return [file for file in files if file is not None]


def test_a_pack_leaves_the_strongest_passages_of_elements_of_every_trial(bench: Bench):
    files = elements_of(SmallPack(bench, "logging.elements=6", "logging.element_snippets=2"))
    assert len(files) == 4
    for file in files:
        assert (file.n_eval_tokens, len(file.elements), file.text_credit) == (32, 6, None)
        assert [element.chosen for element in file.elements] == ["most_active"] * 3 + ["sampled"] * 3
        for element in file.elements:
            assert len(element.snippets) <= 2
            for snippet in element.snippets:
                assert len(snippet.tokens) == len(snippet.activations) == 8
                assert {token.strip() for token in snippet.tokens} <= {*ALPHABET.strip(), "", "<end>"}
                assert snippet.activations[snippet.position - snippet.start] == snippet.activation
                assert snippet.activation == max(a for a in snippet.activations if a is not None)
    assert any(element.snippets for element in files[0].elements)


def test_tokens_of_a_model_without_a_tokenizer_are_shown_by_number(bench: Bench, tmp_path: Path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bench.model / name).rename(tmp_path / name)
    try:
        bench.data = save_tokens(tmp_path / "tokens")
        (first, *_) = elements_of(SmallPack(bench))
    finally:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / name).rename(bench.model / name)
    shown = {token for element in first.elements for snippet in element.snippets for token in snippet.tokens}
    assert shown <= {f"#{number}" for number in range(len(ALPHABET) + 1)}
    assert len(shown) > 1


def test_elements_can_be_left_out_and_do_not_touch_what_a_trial_is(bench: Bench):
    without, with_them = SmallPack(bench, "logging.elements=0"), SmallPack(bench, "logging.elements=4")
    assert without.planned.plan.trials == with_them.planned.plan.trials
    assert without.planned.folder.path == with_them.planned.folder.path
    job = with_them.fresh()
    jobs = with_them.fresh().model_copy(update={"n_elements": 0}), job
    for job in jobs:
        run(job)
    assert not (folder_of(jobs[0]).path / "elements").exists()
    assert outcome_of(jobs[0])["rows"] == outcome_of(jobs[1])["rows"]


def test_a_pack_that_was_stopped_has_the_same_elements_in_the_end_to_the_byte(bench: Bench):
    pack = SmallPack(bench)
    whole, cut = pack.fresh(), pack.fresh()
    run(whole)
    stopped_after(cut, 5)
    assert not (folder_of(cut).path / "elements").exists()
    run(cut)
    assert outcome_of(cut) == outcome_of(whole)
    assert len(list((folder_of(cut).path / "elements").iterdir())) == 4
