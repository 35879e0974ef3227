"""Subject-verb agreement: the identity keeps all of it, ablation nothing, and elements are ranked by what they do."""

import pytest
import torch

from tests.trainer.analysis.known import constant_sae, identity_sae, random_sae
from tests.trainer.analysis.spoken import WORDS, save_speaker, word_tokenizer
from trainer.analysis import (
    Differences,
    Prompts,
    agreement_of,
    draw_prompts,
    elements_needed,
    faithfulness,
    faithfulness_interval,
    words_for,
)
from trainer.analysis.agreement import kept_numbers
from trainer.analysis.agreement_prompts import TEMPLATES, Template
from trainer.analysis.agreement_words import NOUNS, TRANSITIVE, VERBS
from trainer.clean import Capture, clean_run
from trainer.config import ModelConfig
from trainer.errors import BadInput
from trainer.models import FrozenModel, load_model

WIDTH = 16


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> FrozenModel:
    """Of seeds, one whose model happens to agree in the simple template."""
    return load_model(
        ModelConfig(name=str(save_speaker(tmp_path_factory.mktemp("speaker"), seed=SEED))), dtype=torch.float64
    )


SEED = 1


@pytest.fixture(scope="module")
def simple() -> Prompts:
    return drawn("simple")


def drawn(template: Template, *, n_prompts: int = 40, seed: int = 0, paired: bool = True) -> Prompts:
    tokenizer = word_tokenizer()
    return draw_prompts(template, words_for(tokenizer), tokenizer, n_prompts=n_prompts, seed=seed, paired=paired)


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_verb_agrees_with_its_subject_and_with_no_other_noun(template: Template) -> None:
    nouns = {form: plural for pair in NOUNS for form, plural in ((pair.singular, False), (pair.plural, True))}
    forms = {
        form: plural for pair in (*VERBS, *TRANSITIVE) for form, plural in ((pair.singular, False), (pair.plural, True))
    }
    prompts = drawn(template)
    at = {"simple": 0, "across_pp": 0, "across_rc": 0, "within_rc": 1}[template]
    mixed = 0
    for text, correct, wrong in prompts.texts:
        numbers = [nouns[word] for word in text.split() if word in nouns]
        assert forms[correct] == numbers[at] != forms[wrong]
        assert len(numbers) == (1 if template == "simple" else 2)
        mixed += len(set(numbers)) == 2
    assert mixed == (0 if template == "simple" else pytest.approx(len(prompts.texts) / 2, abs=len(prompts.texts) / 4))
    assert sum(nouns[one.text.split()[1]] for one in drawn("simple").texts) == 20
    tokenizer = word_tokenizer()
    assert tokenizer.decode(prompts.tokens[0]) == "<end>" + prompts.texts[0].text
    assert tokenizer.decode(prompts.correct[:1]) == f" {prompts.texts[0].correct}"


def test_prompts_come_in_twins_differ_and_are_those_of_their_seed() -> None:
    one = drawn("across_pp")
    assert len(set(one.texts)) == len(one.texts) == 40
    for first, second in zip(one.texts[::2], one.texts[1::2], strict=True):
        assert (first.correct, first.wrong) == (second.wrong, second.correct)
        assert first.text.split()[2:] == second.text.split()[2:]
    assert drawn("across_pp").texts == one.texts != drawn("across_pp", seed=1).texts
    apart = drawn("across_pp", paired=False)
    assert any(first.text.split()[2:] != second.text.split()[2:]
               for first, second in zip(apart.texts[::2], apart.texts[1::2], strict=True))  # fmt: skip
    assert len(drawn("simple", n_prompts=10_000).texts) == 2 * 6 * 4  # nouns x verbs


def test_a_tokenizer_without_the_words_is_refused_with_what_was_looked_for() -> None:
    without = [word for word in WORDS if word not in (" are", " have", " do", " that")]
    with pytest.raises(
        BadInput, match=r"such as actor/actors.*is/are.*Found: 6 nouns \(at least 4\), 1 verbs"
    ) as refused:
        words_for(word_tokenizer(WORDS[:17]))
    assert "\n" not in str(refused.value)
    with pytest.raises(BadInput, match="; not that"):
        words_for(word_tokenizer(without))


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_identity_keeps_all_and_a_constant_nothing(speaker: FrozenModel, template: Template) -> None:
    prompts = drawn(template)
    kept = agreement_of(identity_sae(d_model=WIDTH), speaker, prompts)
    torch.testing.assert_close(kept.differences.sae, kept.differences.model)
    lost = agreement_of(constant_sae(torch.ones(WIDTH, dtype=torch.float64)), speaker, prompts)
    assert float(lost.differences.sae.mean()) == pytest.approx(0, abs=1e-9)
    assert kept.curve[0].difference == pytest.approx(0, abs=1e-9)
    assert lost.curve[0] == lost.curve[-1]
    if template == "simple":
        assert kept.faithfulness.paper is not None
    if kept.faithfulness.paper is not None:  # the model agrees at all, as in that template
        assert kept.faithfulness == pytest.approx((1, 1))
        assert lost.faithfulness == pytest.approx((0, 0), abs=1e-9)


def test_with_twins_both_formulas_are_one_and_without_they_differ_by_what_ablation_leaves(speaker: FrozenModel) -> None:
    sae = random_sae(d_model=WIDTH)
    twins = agreement_of(sae, speaker, drawn("simple"))
    assert twins.faithfulness.paper is not None
    assert twins.faithfulness.paper == pytest.approx(twins.faithfulness.code)
    apart = agreement_of(sae, speaker, drawn("simple", paired=False))
    model, sae_mean, ablated = (float(each.mean()) for each in apart.differences[:3])
    assert abs(ablated) > 1e-3
    assert apart.faithfulness.paper == pytest.approx((sae_mean - ablated) / (model - ablated))
    assert apart.faithfulness.code == pytest.approx(sae_mean / model)


def test_a_model_that_does_not_agree_has_no_faithfulness() -> None:
    assert faithfulness(model=-1.0, sae=0.5, ablated=0.0) == (None, None)
    assert faithfulness(model=0.5, sae=0.25, ablated=1.0) == (None, 0.5)


def test_the_difference_is_of_the_logits_at_the_last_position(speaker: FrozenModel, simple: Prompts) -> None:
    found = agreement_of(identity_sae(d_model=WIDTH), speaker, simple)
    normed = clean_run(speaker, simple.tokens, Capture(frozenset({1}), output=True)).normed
    assert normed is not None
    logits = speaker.unembed(normed)[:, -1]
    expected = logits.gather(1, simple.correct[:, None]) - logits.gather(1, simple.wrong[:, None])
    torch.testing.assert_close(found.differences.model, expected[:, 0])


def test_exact_effects_are_those_of_ablating_one_element_and_gradients_add_up_to_ablating_all(
    speaker: FrozenModel, simple: Prompts
) -> None:
    sae = random_sae(d_model=WIDTH)
    exact = agreement_of(sae, speaker, simple, effects="exact")
    element = int(exact.order[0])
    x = clean_run(speaker, simple.tokens, Capture(frozenset({1}), output=False)).residuals[1]
    latents = sae.encode(x)
    latents[..., element] = latents[..., element].mean(0)
    logits = speaker.logits(speaker.blocks(sae.decode(latents), 1, 2))[:, -1]
    without = (logits.gather(1, simple.correct[:, None]) - logits.gather(1, simple.wrong[:, None])).mean()
    assert float(exact.effects[element]) == pytest.approx(float(without - exact.differences.sae.mean()))

    gradients = agreement_of(sae, speaker, simple)
    all_of_them = float((gradients.differences.elements_ablated - gradients.differences.sae).mean())
    assert float(gradients.effects.sum()) == pytest.approx(all_of_them, rel=0.02)
    assert gradients.is_active.equal(exact.is_active)
    assert float(torch.corrcoef(torch.stack([gradients.effects, exact.effects]))[0, 1]) > 0.7


def test_the_curve_goes_from_nothing_to_the_whole_sae_and_is_what_the_kept_elements_give(
    speaker: FrozenModel, simple: Prompts
) -> None:
    sae = random_sae(d_model=WIDTH)
    found = agreement_of(sae, speaker, simple)
    assert [kept.n_elements for kept in found.curve] == kept_numbers(len(found.order))
    assert found.curve[0].difference == pytest.approx(float(found.differences.elements_ablated.mean()))
    assert found.curve[-1].difference == pytest.approx(float(found.differences.sae.mean()))
    sizes = found.effects[found.order].abs()
    assert (sizes[:-1] >= sizes[1:]).all()
    x = clean_run(speaker, simple.tokens, Capture(frozenset({1}), output=False)).residuals[1]
    latents = sae.encode(x)
    three = latents.mean(0, keepdim=True).expand_as(latents).clone()
    three[..., found.order[:3]] = latents[..., found.order[:3]]
    logits = speaker.logits(speaker.blocks(sae.decode(three), 1, 2))[:, -1]
    difference = logits.gather(1, simple.correct[:, None]) - logits.gather(1, simple.wrong[:, None])
    assert found.curve[3].difference == pytest.approx(float(difference.mean()))


def test_small_chunks_change_nothing(speaker: FrozenModel, simple: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    sae = random_sae(d_model=WIDTH)
    whole = [agreement_of(sae, speaker, simple, effects=how) for how in ("gradients", "exact")]
    monkeypatch.setattr("trainer.analysis.spliced.CHUNK", 70)
    monkeypatch.setattr("trainer.analysis.agreement.CHUNK", 300)
    monkeypatch.setattr("trainer.analysis.spliced.chunk_elements", lambda _: 700)
    for before, how in zip(whole, ("gradients", "exact"), strict=True):
        after = agreement_of(sae, speaker, simple, effects=how)
        torch.testing.assert_close(after.effects, before.effects)
        torch.testing.assert_close(after.differences.sae, before.differences.sae)
        assert [kept.difference for kept in after.curve] == pytest.approx([kept.difference for kept in before.curve])


def test_numbers_that_are_kept_grow_and_end_with_all() -> None:
    assert kept_numbers(0) == [0]
    assert kept_numbers(4) == [0, 1, 2, 3, 4]
    assert kept_numbers(25) == [0, 1, 2, 3, 5, 7, 10, 20, 25]


def test_intervals_hold_the_value_are_those_of_the_seed_and_vanish_where_all_prompts_agree() -> None:
    dice = torch.Generator().manual_seed(0)
    model = 1 + torch.rand(40, generator=dice, dtype=torch.float64)
    sae, nothing = model * torch.rand(40, generator=dice, dtype=torch.float64), torch.zeros(40, dtype=torch.float64)
    found = Differences(model=model, sae=sae, ablated=nothing, elements_ablated=nothing)
    low, high = faithfulness_interval(found, n_resamples=300, seed=0)
    assert low is not None
    assert high is not None
    assert low < float(sae.sum() / model.sum()) < high < low + 0.5
    assert (low, high) == faithfulness_interval(found, n_resamples=300, seed=0)
    assert faithfulness_interval(found._replace(sae=model), n_resamples=50, seed=0) == pytest.approx((1, 1))
    assert faithfulness_interval(found._replace(model=-model), n_resamples=5, seed=0) == (None, None)


def test_as_few_elements_are_needed_as_the_curve_says(speaker: FrozenModel, simple: Prompts) -> None:
    curve = agreement_of(identity_sae(d_model=WIDTH), speaker, simple).curve
    needed = elements_needed(curve, 0.8)
    assert needed is not None
    assert needed > 0
    before = [kept for kept in curve if kept.n_elements < needed]
    assert all(kept.difference < 0.8 * curve[-1].difference for kept in before)
    assert elements_needed([curve[0]._replace(difference=-1.0)], 0.8) is None


def test_what_does_not_fit_the_model_is_refused(speaker: FrozenModel, model: FrozenModel, simple: Prompts) -> None:
    with pytest.raises(BadInput, match="of width 8"):
        agreement_of(identity_sae(d_model=8), speaker, simple)
    with pytest.raises(BadInput, match=r"has 23 tokens"):
        agreement_of(identity_sae(), model, simple)
