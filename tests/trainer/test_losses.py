"""Losses and gradients equal formulas written here from the paper, in float64, on transformers' own model."""

from typing import NamedTuple

import pytest
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional
from transformers import GPT2LMHeadModel

from tests.trainer.conftest import CONTEXT, D_MODEL, N_LAYERS, VOCAB, make_trial
from trainer.clean import clean_run
from trainer.config import SAEConfig
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss, LossConfig, MixedLoss
from trainer.losses import terms as terms_module
from trainer.losses.terms import kl_clean_to_sae, kl_from_normed
from trainer.models import FrozenModel
from trainer.models.parts import Linear
from trainer.sae.bank import Bank, p_norm
from trainer.sae.init import initial_parameters
from trainer.spec import bank_specs
from trainer.step import loss_terms

LOSSES = [
    LocalLoss(sparsity_coeff=0.7),
    E2ELoss(sparsity_coeff=0.3),
    E2EDownstreamLoss(sparsity_coeff=0.2, downstream_coeff=2.5),
    MixedLoss(sparsity_coeff=0.2, local_coeff=0.4, kl_coeff=0.8, downstream_coeff=1.5),
    MixedLoss(sparsity_coeff=0.2, sparsity_p=0.5, local_coeff=0.4, kl_coeff=1.0),
]


class Weights(NamedTuple):
    """What the paper and its appendix D put before each term; not read from our code."""

    local: float
    kl: float
    downstream: float


def paper_weights(loss: LossConfig) -> Weights:
    match loss:
        case LocalLoss():
            return Weights(local=1.0, kl=0.0, downstream=0.0)
        case E2ELoss():
            return Weights(local=0.0, kl=1.0, downstream=0.0)
        case E2EDownstreamLoss():
            return Weights(local=0.0, kl=0.5, downstream=loss.downstream_coeff)
        case MixedLoss():
            return Weights(local=loss.local_coeff, kl=loss.kl_coeff, downstream=loss.downstream_coeff)


def tokens_of(seed: int = 3) -> Tensor:
    return torch.randint(0, VOCAB, (4, CONTEXT), generator=torch.Generator().manual_seed(seed))


def reference_loss(
    hf: GPT2LMHeadModel, tokens: Tensor, parameters: dict[str, Tensor], loss: LossConfig, layer: int
) -> Tensor:
    """Equations 2 to 5 of Braun et al. with X1 to X4 as their code has them; the SAE is spliced in by a hook."""
    clean = hf(tokens, output_hidden_states=True)
    a = clean.hidden_states[layer]
    c = torch.relu(a @ parameters["w_enc"].T + parameters["b_enc"])
    directions = parameters["w_dec"] / parameters["w_dec"].norm(dim=1, keepdim=True)
    a_hat = c @ directions + parameters["b_dec"]

    handle = hf.transformer.h[layer].register_forward_pre_hook(lambda _, args: (a_hat, *args[1:]))
    spliced = hf(tokens, output_hidden_states=True)
    handle.remove()

    w = paper_weights(loss)
    p = loss.sparsity_p
    norm = c.sum(-1) if p == 1 else torch.linalg.vector_norm(c + 1e-300, ord=p, dim=-1)
    total = loss.sparsity_coeff * norm.mean() / D_MODEL
    total = total + w.local * functional.mse_loss(a_hat, a)
    log_p, log_q = clean.logits.log_softmax(-1), spliced.logits.log_softmax(-1)
    total = total + w.kl * functional.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1).mean()
    later = range(layer + 1, N_LAYERS)
    for k in later:
        difference = spliced.hidden_states[k] - clean.hidden_states[k]
        total = total + w.downstream / len(later) * difference.square().mean()
    return total


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.kind}-p{loss.sparsity_p}")
@pytest.mark.parametrize("layer", [0, 1])
def test_losses_and_gradients_equal_the_reference_for_every_sae_of_a_bank(
    loss: LossConfig, layer: int, model: FrozenModel, hf_model: GPT2LMHeadModel
) -> None:
    tokens = tokens_of()
    trials = tuple(make_trial(loss, layer=layer, seed=seed) for seed in range(3))
    (spec,) = bank_specs(trials, n_layers=N_LAYERS)
    bank = spec.initial_state(d_model=D_MODEL, device=torch.device("cpu")).bank
    terms = loss_terms(spec, bank, clean_run(model, tokens, spec.capture), model)
    gradients = torch.autograd.grad(terms.loss.sum(), list(bank.parameters.values()))
    for index in range(3):
        own = {name: p[index].detach().clone().requires_grad_() for name, p in bank.parameters.items()}
        expected = reference_loss(hf_model, tokens, own, loss, layer)
        torch.testing.assert_close(terms.loss[index], expected, rtol=0, atol=1e-12)
        for ours, theirs in zip(gradients, torch.autograd.grad(expected, list(own.values())), strict=True):
            torch.testing.assert_close(ours[index], theirs, rtol=0, atol=1e-11)


def identity_bank() -> Bank:
    """x = relu(x) - relu(-x)."""
    both = torch.cat([torch.eye(D_MODEL), -torch.eye(D_MODEL)])[None].double()
    zeros = torch.zeros(1, 2 * D_MODEL, dtype=torch.float64)
    return Bank(
        w_enc=both.clone().requires_grad_(),
        b_enc=zeros.clone().requires_grad_(),
        w_dec=both.clone().requires_grad_(),
        b_dec=zeros[:, :D_MODEL].clone().requires_grad_(),
    )


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.kind}-p{loss.sparsity_p}")
def test_an_identity_sae_pays_for_sparsity_only(loss: LossConfig, model: FrozenModel) -> None:
    (spec,) = bank_specs((make_trial(loss),), n_layers=N_LAYERS)
    terms = loss_terms(spec, identity_bank(), clean_run(model, tokens_of(), spec.capture), model)
    torch.testing.assert_close(terms.loss, loss.sparsity_coeff * terms.sparsity, rtol=0, atol=1e-12)
    assert terms.sparsity.item() > 0.1


def test_gradients_never_reach_the_frozen_model(model: FrozenModel) -> None:
    (spec,) = bank_specs((make_trial(LOSSES[2]),), n_layers=N_LAYERS)
    bank = spec.initial_state(d_model=D_MODEL, device=torch.device("cpu")).bank
    terms = loss_terms(spec, bank, clean_run(model, tokens_of(), spec.capture), model)
    terms.loss.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in bank.parameters.values())
    assert not model.unembedding.weight.requires_grad


def test_a_local_loss_needs_nothing_above_its_hookpoint() -> None:
    (spec,) = bank_specs((make_trial(LOSSES[0]),), n_layers=N_LAYERS)
    assert spec.capture.layers == {1}
    assert not spec.capture.output


def test_the_downstream_weight_is_shared_by_the_hookpoints_after_the_saes_own() -> None:
    (spec,) = bank_specs((make_trial(LOSSES[2], layer=0),), n_layers=N_LAYERS)
    assert spec.later_layers == (1, 2)
    assert spec.capture.layers == {0, 1, 2}


@pytest.mark.parametrize("chunk", [1, 7 * VOCAB * 3, 10**9])
def test_the_chunked_kl_equals_the_plain_one_with_its_gradient(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(terms_module.CHUNK_ELEMENTS, "cpu", chunk)
    torch.manual_seed(0)
    clean, unembedding = torch.randn(20, D_MODEL).double(), torch.randn(VOCAB, D_MODEL).double()
    sae = torch.randn(3, 20, D_MODEL).double().requires_grad_()
    weights = torch.tensor([1.0, 0.5, 2.0]).double()
    fast = kl_from_normed(clean=clean, sae=sae, unembedding=Linear(unembedding, None))
    plain = kl_clean_to_sae(clean_logits=clean @ unembedding.T, sae_logits=sae @ unembedding.T)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-13)
    ours, theirs = (torch.autograd.grad((weights * kl).sum(), sae)[0] for kl in (fast, plain))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_kl_is_the_divergence_from_the_clean_model_to_the_sae() -> None:
    """Known answer: p = (1/2, 1/2), q = (1/4, 3/4). KL(p||q) = ln 2 - ln(3)/2 = 0.1438..., KL(q||p) = 0.1308..."""
    p, q = torch.tensor([[0.5, 0.5]]).double(), torch.tensor([[[0.25, 0.75]]]).double()
    kl = kl_clean_to_sae(clean_logits=p.log(), sae_logits=q.log())
    assert kl.item() == pytest.approx(0.143841036, abs=1e-8)


def test_the_p_norm_of_a_dead_token_is_zero_with_a_finite_gradient() -> None:
    latents = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]]).requires_grad_()
    norm = p_norm(latents, p=2.0)
    norm.sum().backward()
    assert norm.tolist() == [[0.0, 5.0]]
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad, torch.tensor([[[0.0, 0.0], [0.6, 0.8]]]))


def test_an_orthogonal_decoder_starts_as_the_papers_code_has_it() -> None:
    start = initial_parameters(SAEConfig(ratio=6), d_model=D_MODEL, seed=0)
    torch.testing.assert_close(start["w_dec"].T @ start["w_dec"], torch.eye(D_MODEL), rtol=0, atol=1e-5)
    bound = D_MODEL**-0.5
    for name in ("w_enc", "b_enc"):
        assert start[name].abs().max() <= bound
        assert start[name].abs().max() > 0.8 * bound
    again = initial_parameters(SAEConfig(ratio=6), d_model=D_MODEL, seed=0)
    other = initial_parameters(SAEConfig(ratio=6), d_model=D_MODEL, seed=1)
    assert all(torch.equal(start[name], again[name]) for name in start)
    assert not any(torch.equal(start[name], other[name]) for name in start)


def test_rows_of_the_dictionary_have_unit_norm() -> None:
    bank = Bank.initial(
        SAEConfig(ratio=4), d_model=D_MODEL, seeds=[0, 1], dtype=torch.float64, device=torch.device("cpu")
    )
    norms = rearrange(bank.dictionary, "n_saes d_sae d_model -> (n_saes d_sae) d_model").norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
