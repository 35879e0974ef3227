"""The stream of batches that analyses read: the same numbers however it is cut, and those of the evaluation."""

import pytest
import torch

from tests.trainer.analysis.known import identity_sae, random_sae
from tests.trainer.conftest import D_MODEL, N_LAYERS
from trainer.analysis import divergence, reconstruct, spliced, spliced_batches
from trainer.analysis.spliced import log_probs
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.losses.terms import kl_clean_to_sae
from trainer.models import FrozenModel

EVERY = range(N_LAYERS + 1)


def whole(model: FrozenModel, rows: Rows, **more: object) -> list[torch.Tensor]:
    """Everything that the batches hold, as if they were one."""
    sae = random_sae()
    parts = []
    for batch in spliced_batches([sae], model, rows.evaluation, keep=EVERY, output=True, **more):
        (one,) = batch.saes
        assert batch.clean.normed is not None
        assert one.normed is not None
        kept = [batch.clean.residuals[layer] for layer in EVERY] + [one.above[layer] for layer in (2, 3)]
        parts.append([batch.tokens, batch.clean.normed, one.output, one.normed, *kept])
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def test_batches_and_chunks_do_not_change_a_number(
    model: FrozenModel, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = whole(model, rows)
    monkeypatch.setattr(spliced, "CHUNK", 61)  # three tokens' latents at a time
    monkeypatch.setattr(spliced, "chunk_elements", lambda _: 400)  # two rows
    heard: list[tuple[int, int]] = []
    pieces = whole(model, rows, heard=lambda done, total: heard.append((done, total)))
    for one, other in zip(at_once, pieces, strict=True):
        torch.testing.assert_close(one, other)
    assert heard == [(2, 5), (4, 5), (5, 5)]


def test_the_identity_leaves_the_whole_run_as_it_was(model: FrozenModel, rows: Rows) -> None:
    (batch,) = spliced_batches([identity_sae()], model, rows.evaluation, keep=EVERY, output=True)
    torch.testing.assert_close(batch.saes[0].above[3], batch.clean.residuals[3])
    torch.testing.assert_close(batch.saes[0].normed, batch.clean.normed)


def test_a_few_rows_are_the_first_ones(model: FrozenModel, rows: Rows) -> None:
    (batch,) = spliced_batches([], model, rows.evaluation, layer=2, n_rows=3)
    assert batch.tokens.equal(rows.evaluation.take(slice(0, 3)))
    assert set(batch.clean.residuals) == {2}


def test_chunks_of_latents_bound_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sae, x = random_sae(), torch.randn(4, 7, D_MODEL, dtype=torch.float64)
    whole_output = sae.decode(sae.encode(x))
    monkeypatch.setattr(spliced, "CHUNK", 100)
    assert all(latents.numel() <= 100 for _, latents in spliced.latent_chunks(sae, x.flatten(0, 1)))
    torch.testing.assert_close(reconstruct(sae, x), whole_output)


def test_divergence_is_the_kl_of_training_one_way_and_its_mirror_the_other(
    model: FrozenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spliced, "chunk_elements", lambda _: 50)
    p, q = (torch.randn(2, 3, D_MODEL, dtype=torch.float64) for _ in range(2))
    found = divergence(original=p, changed=q, unembedding=model.unembedding)
    mirrored = divergence(original=q, changed=p, unembedding=model.unembedding)
    torch.testing.assert_close(found.original_to_changed, mirrored.changed_to_original)
    logits = [log_probs(x.flatten(0, 1), model.unembedding) for x in (p, q)]
    expected = kl_clean_to_sae(clean_logits=logits[0], sae_logits=logits[1][None])
    torch.testing.assert_close(found.original_to_changed.mean(), expected[0])
    assert (found.original_to_changed - found.changed_to_original).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("saes", "said"),
    [
        ([identity_sae(1), identity_sae(2)], "layers 1, 2"),
        ([identity_sae(7)], "has the layers 0 to 2"),
        ([identity_sae(1, d_model=5)], "width 5"),
        ([], "layers none"),
    ],
)
def test_saes_that_do_not_fit_the_model_are_named(model: FrozenModel, rows: Rows, saes: list, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        next(spliced_batches(saes, model, rows.evaluation))
