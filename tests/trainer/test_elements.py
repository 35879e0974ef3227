"""What is found out about single dictionary elements: known answers, and nothing that depends on batches or paths."""

import pytest
import torch
from torch import Tensor

from tests.trainer.conftest import CONTEXT, make_trial
from trainer.data import Rows
from trainer.elements import Choice, Collector, Element, Look, choose
from trainer.elements.collect import N_STRONGEST
from trainer.losses import E2ELoss, LocalLoss
from trainer.models import FrozenModel
from trainer.pack import Finished, Pack, TrialResult
from trainer.sae.bank import Bank
from trainer.sae.density import PathChoice

N_TOKENS = 6
"""Different ones: the activations of token i are 1 in place i and 0 elsewhere."""


def planted_bank(*saes: list[list[float]]) -> Bank:
    """SAEs whose element e is w[e][i] on token i."""
    w_enc = torch.tensor(saes)
    n_saes, d_sae, d_model = w_enc.shape
    return Bank(
        w_enc=w_enc, b_enc=torch.zeros(n_saes, d_sae), w_dec=torch.ones_like(w_enc), b_dec=torch.zeros(n_saes, d_model)
    )


def collected(
    bank: Bank, tokens: Tensor, *, batch_rows: int, choices: list[Choice] | None = None, n_snippets: int = 2
) -> list[tuple[Element, ...]]:
    everything = Choice(list(range(bank.d_sae)), ["most_active"] * bank.d_sae)
    rows = Rows.from_tokens(tokens[:1], tokens, seed=0)
    collector = Collector(
        bank,
        choices or [everything] * bank.n_saes,
        n_snippets=n_snippets,
        context=tokens.shape[1],
        compute_dtype=torch.float32,
    )
    for number, batch in enumerate(rows.eval_batches(batch_rows)):
        x = torch.nn.functional.one_hot(batch, N_TOKENS).float()
        collector.add(x, first_row=number * batch_rows)
    return collector.finish(rows.evaluation)


def test_an_element_that_fires_on_one_token_is_found_with_that_token_and_no_other():
    tokens = torch.tensor([[0, 1, 4, 0], [4, 0, 0, 4], [0, 1, 0, 1]])
    only_4 = [0.0, -1.0, 0.0, 0.0, 2.5, -1.0]
    ((element, silent),) = collected(planted_bank([only_4, [-1.0] * N_TOKENS]), tokens, batch_rows=2)
    assert element.top_tokens == ((4, 3),)
    assert element.density == 3 / 12
    assert element.mean_activation == element.max_activation == 2.5
    assert [(s.row, s.position, s.activation) for s in element.snippets] == [(0, 2, 2.5), (1, 0, 2.5)]
    assert element.snippets[1].tokens == (4, 0, 0, 4)
    assert element.snippets[1].activations == (2.5, 0, 0, 2.5)
    assert silent == Element(
        index=1, chosen="most_active", density=0.0, mean_activation=0.0, max_activation=0.0, top_tokens=(), snippets=()
    )


def test_the_strongest_places_come_first_and_each_row_only_once():
    tokens = torch.tensor([[1, 2, 1, 3], [3, 3, 0, 0], [2, 0, 2, 0], [0, 0, 0, 0]])
    ((element,),) = collected(planted_bank([[0.0, 1.0, 2.0, 3.0, 0.0, 0.0]]), tokens, batch_rows=3, n_snippets=9)
    assert [(s.row, s.position, s.activation) for s in element.snippets] == [(0, 3, 3), (1, 0, 3), (2, 0, 2)]
    assert element.top_tokens == ((2, 3), (3, 3), (1, 2))
    assert element.mean_activation == (2 + 2 + 2 + 3 + 3 + 3 + 1 + 1) / 8


def test_snippets_are_cut_around_their_place_and_stay_inside_the_row():
    tokens = torch.zeros(3, 60, dtype=torch.int64)
    for row, position in ((0, 2), (1, 30), (2, 59)):
        tokens[row, position] = 5
    ((element,),) = collected(planted_bank([[0.0] * 5 + [1.0]]), tokens, batch_rows=1, n_snippets=3)
    assert [(s.position, s.start, len(s.tokens)) for s in element.snippets] == [(2, 0, 24), (30, 14, 24), (59, 36, 24)]
    for snippet in element.snippets:
        assert snippet.tokens[snippet.position - snippet.start] == 5
        assert snippet.activations[snippet.position - snippet.start] == 1


@pytest.mark.parametrize("batch_rows", [1, 3, 7])
def test_what_is_found_does_not_depend_on_the_batches(batch_rows: int):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(N_TOKENS, (40, 9), generator=generator)  # many places that are equally strong
    saes = [torch.randint(-2, 4, (3, N_TOKENS), generator=generator).float().tolist() for _ in range(2)]
    choices = [Choice([2, 0, 1], ["most_active"] * 3), Choice([1], ["sampled"])]
    found = collected(planted_bank(*saes), tokens, batch_rows=batch_rows, choices=choices, n_snippets=4)
    assert found == collected(planted_bank(*saes), tokens, batch_rows=40, choices=choices, n_snippets=4)
    assert found == [naive(torch.tensor(sae), tokens, choice) for sae, choice in zip(saes, choices, strict=True)]


def naive(w_enc: Tensor, tokens: Tensor, choice: Choice) -> tuple[Element, ...]:
    """The same, all at once and in plain words."""
    found: list[Element] = []
    for index, how in zip(*choice, strict=True):
        latents = w_enc[index][tokens].clamp(min=0)
        places = [(-float(a), row, p) for row, line in enumerate(latents) for p, a in enumerate(line) if a > 0]
        strongest = [int(tokens[row, p]) for _, row, p in sorted(places)[:N_STRONGEST]]
        counts = sorted(((token, strongest.count(token)) for token in {*strongest}), key=lambda e: (-e[1], e[0]))
        best = sorted(min(place for place in places if place[1] == row) for row in {row for _, row, _ in places})
        (element,) = collected(planted_bank([w_enc[index].tolist()]), tokens, batch_rows=40, n_snippets=4)[0]
        assert [(-s.activation, s.row, s.position) for s in element.snippets] == best[:4]
        found.append(
            Element(
                index=index,
                chosen=how,
                density=len(places) / tokens.numel(),
                mean_activation=-sum(a for a, _, _ in places) / max(1, len(places)),
                max_activation=max((-a for a, _, _ in places), default=0.0),
                top_tokens=tuple(counts),
                snippets=element.snippets,
            )
        )
    return tuple(found)


def test_half_of_what_is_looked_at_is_most_active_and_the_rest_is_drawn_by_the_seed_from_what_is_alive():
    counts = torch.tensor([0, 9, 4, 0, 4, 1, 7, 2, 0, 3])
    elements, how = choose(counts, n_elements=5, seed=0)
    assert elements[:3] == [1, 6, 2]  # of the two that fired four times the first
    assert how == ["most_active"] * 3 + ["sampled"] * 2
    assert {*elements[3:]} < {4, 5, 7, 9}
    assert choose(counts, n_elements=5, seed=0).elements == elements
    assert {tuple(choose(counts, n_elements=5, seed=seed).elements[3:]) for seed in range(20)} > {tuple(elements[3:])}
    assert choose(counts, n_elements=99, seed=0).elements == [1, 6, 2, 4, 9, 7, 5]
    assert choose(torch.zeros(4, dtype=torch.int64), n_elements=5, seed=0).elements == []


def results_of(model: FrozenModel, rows: Rows, *, path: PathChoice, look: Look | None) -> dict[str, TrialResult]:
    trials = [make_trial(loss, seed=seed) for loss in (LocalLoss(sparsity_coeff=0.7), E2ELoss(sparsity_coeff=0.3))
              for seed in (0, 1)]  # fmt: skip
    last = list(Pack(trials, model=model, rows=rows, path=path).train(look=look))[-1]
    assert isinstance(last, Finished)
    return last.results


@pytest.mark.parametrize("path", ["dense", "sparse"])
def test_looking_changes_no_metric_and_either_path_finds_the_same(path: PathChoice, model: FrozenModel, rows: Rows):
    look = Look(n_elements=6, n_snippets=2)
    seen, unseen = (results_of(model, rows, path=path, look=each) for each in (look, None))
    other = results_of(model, rows, path="dense", look=look)
    for trial_id, result in seen.items():
        assert result.metrics == unseen[trial_id].metrics
        assert unseen[trial_id].elements == ()
        assert len(result.elements) == 6
        for element, same in zip(result.elements, other[trial_id].elements, strict=True):
            assert (element.index, element.density) == (same.index, same.density)
            assert element.mean_activation == pytest.approx(same.mean_activation)
            for snippet in element.snippets:
                assert snippet.tokens == tuple(rows.evaluation.take(slice(None))[snippet.row].tolist())
                assert len(snippet.tokens) == CONTEXT


def test_an_elements_numbers_are_those_of_the_trained_encoder(model: FrozenModel, rows: Rows):
    """Against the exported weights: its density over the evaluation rows, and its strongest activation."""
    from trainer.clean import Capture, clean_run

    tokens = rows.evaluation.take(slice(None))
    x = clean_run(model, tokens, Capture(frozenset({1}), output=False)).residuals[1]
    for result in results_of(model, rows, path="auto", look=Look(n_elements=4, n_snippets=1)).values():
        latents = torch.relu(x @ result.sae["w_enc"].T + result.sae["b_enc"])
        for element in result.elements:
            mine = latents[..., element.index]
            assert element.density == pytest.approx(float((mine > 0).double().mean()))
            assert element.max_activation == pytest.approx(float(mine.max()))
            assert element.mean_activation == pytest.approx(float(mine.sum() / (mine > 0).sum().clamp(min=1)))
