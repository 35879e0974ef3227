"""Laws of a model cut at its blocks, for every family, against transformers' own run of the same weights."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.trainer.models.tiny_models import CASES, D_MODEL, D_VOCAB, N_CONTEXT, N_LAYERS
from trainer.config import ModelConfig
from trainer.errors import BadInput
from trainer.models import FrozenModel, load_model


def load(saved, case: str, dtype: torch.dtype = torch.float64) -> FrozenModel:
    return load_model(ModelConfig(name=str(saved(case).folder)), dtype=dtype)


def close(left: Tensor, right: Tensor, tolerance: float = 1e-10) -> bool:
    return torch.allclose(left, right, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_the_pieces_in_a_row_are_the_whole_forward_pass(saved, tokens, case):
    model = load(saved, case)
    logits, _ = saved(case).run(tokens)
    assert close(model.logits(model.blocks(model.embed(tokens), 0, model.n_layers)), logits)


@pytest.mark.parametrize("case", CASES)
def test_a_hookpoint_is_transformers_hidden_state(saved, tokens, case):
    model = load(saved, case)
    residual = model.embed(tokens)
    for layer, hidden_state in enumerate(saved(case).run(tokens)[1]):
        assert close(residual, hidden_state)
        residual = model.block(layer, residual)


@pytest.mark.parametrize("case", ["gpt2", "gpt_neo", "gpt_neox", "llama"])
@pytest.mark.parametrize("n_positions", [1, 5, 6, N_CONTEXT])
def test_rows_of_any_length_up_to_the_context_are_read_right(saved, case, n_positions):
    model = load(saved, case)
    rows = torch.arange(2 * n_positions).reshape(2, n_positions) % D_VOCAB
    assert close(model.logits(model.blocks(model.embed(rows), 0, N_LAYERS)), saved(case).run(rows)[0])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_the_gradient_at_a_block_is_autograds_through_the_whole_model(saved, tokens, case, layer):
    model = load(saved, case)
    generator = torch.Generator().manual_seed(2)
    start = torch.randn(3, 19, D_MODEL, generator=generator, dtype=torch.float64)
    weights = torch.randn(3, 19, D_VOCAB, generator=generator, dtype=torch.float64)

    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    (model.logits(model.blocks(ours, layer, N_LAYERS)) * weights).sum().backward()
    (saved(case).logits_from(tokens, layer, theirs) * weights).sum().backward()

    assert ours.grad is not None
    assert theirs.grad is not None
    assert theirs.grad.abs().max() > 1e-3
    assert close(ours.grad, theirs.grad)


def weights_of(value: object) -> list[Tensor]:
    """All tensors inside a model, however deep."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in weights_of(item)]
    if isinstance(value, dict):
        return weights_of(list(value.values()))
    return weights_of(vars(value)) if type(value).__module__.startswith("trainer.") else []


@pytest.mark.parametrize("case", CASES)
def test_no_gradient_reaches_a_weight(saved, tokens, case):
    model = load(saved, case)
    residual = model.embed(tokens).requires_grad_()
    model.logits(model.blocks(residual, 0, N_LAYERS)).sum().backward()
    weights = weights_of(model)
    assert sum(weight.numel() for weight in weights) >= model.facts.n_parameters
    assert all(not weight.requires_grad and weight.grad is None for weight in weights)


@pytest.mark.parametrize("case", CASES)
def test_rows_of_a_batch_do_not_see_each_other(saved, tokens, case):
    model = load(saved, case)
    clean = model.embed(tokens)
    per_sae = [clean, clean + 1, clean * 0.5]
    batched = model.logits(model.blocks(torch.cat(per_sae), 1, N_LAYERS))
    alone = torch.cat([model.logits(model.blocks(row[None], 1, N_LAYERS)) for part in per_sae for row in part])
    assert close(batched, alone)


@pytest.mark.parametrize("case", ["gpt2", "gpt_neo", "gpt_neox", "llama"])
def test_a_position_does_not_see_later_ones(saved, tokens, case):
    model = load(saved, case)
    changed = tokens.clone()
    changed[:, 10] = (changed[:, 10] + 1) % D_VOCAB
    before, after = (model.logits(model.blocks(model.embed(rows), 0, N_LAYERS)) for rows in (tokens, changed))
    assert close(before[:, :10], after[:, :10])
    assert not close(before[:, 10:], after[:, 10:])


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_keeps_a_float32_stream_and_predicts_nearly_the_same(saved, tokens, case):
    exact, model = load(saved, case), load(saved, case, torch.bfloat16)
    residual = model.blocks(model.embed(tokens), 0, N_LAYERS)
    logits = model.logits(residual)
    assert residual.dtype == model.residual_dtype == torch.float32
    assert logits.dtype == model.dtype == torch.bfloat16

    clean = exact.logits(exact.blocks(exact.embed(tokens), 0, N_LAYERS)).log_softmax(-1)
    kl = functional.kl_div(logits.double().log_softmax(-1), clean, log_target=True, reduction="none").sum(-1).mean()
    assert kl < 0.01
    assert torch.equal(model.block(0, residual.bfloat16()), model.block(0, residual.bfloat16().float()))


def test_bfloat16_logits_keep_their_steps_fine_when_all_share_a_large_part(saved, tokens, tmp_path):
    reference = saved("gpt2-untied-exact-gelu").reference
    shifted = type(reference)(reference.config).double()
    shifted.load_state_dict(reference.state_dict())
    with torch.no_grad():
        shifted.lm_head.weight += torch.randn(D_MODEL, generator=torch.Generator().manual_seed(3)).double() * 30
    shifted.save_pretrained(tmp_path)
    plain, model = load(saved, "gpt2-untied-exact-gelu", torch.bfloat16), load_model(
        ModelConfig(name=str(tmp_path)), dtype=torch.bfloat16
    )  # fmt: skip
    expected, logits = (each.logits(each.blocks(each.embed(tokens), 0, N_LAYERS)).float() for each in (plain, model))
    assert close(logits, expected, 0.1)


@pytest.mark.parametrize("case", ["gpt2", "gpt_neo-one-window", "gpt_neox", "llama"])
def test_no_mask_is_built_where_attention_is_plainly_causal(saved, tokens, case, monkeypatch):
    model, masks = load(saved, case), record_masks(monkeypatch)
    model.blocks(model.embed(tokens), 0, N_LAYERS)
    assert masks == [None] * N_LAYERS


def test_the_mask_of_local_blocks_is_built_once(saved, tokens, monkeypatch):
    model, masks = load(saved, "gpt_neo"), record_masks(monkeypatch)
    for _ in range(2):
        model.blocks(model.embed(tokens), 0, N_LAYERS)
    assert [mask is None for mask in masks] == [True, False] * N_LAYERS
    assert len({id(mask) for mask in masks[1::2]}) == 1


def record_masks(monkeypatch: pytest.MonkeyPatch) -> list[Tensor | None]:
    masks: list[Tensor | None] = []
    attend = functional.scaled_dot_product_attention

    def recording(*args: Tensor, **settings: object) -> Tensor:
        masks.append(settings["attn_mask"])  # pyright: ignore[reportArgumentType]
        return attend(*args, **settings)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", recording)
    return masks


@pytest.mark.parametrize("case", ["gpt_neo", "gpt_neox", "llama"])
def test_a_first_run_in_inference_mode_leaves_nothing_behind(saved, tokens, case):
    model = load(saved, case)
    with torch.inference_mode():
        model.blocks(model.embed(tokens), 0, N_LAYERS)
    residual = model.embed(tokens).requires_grad_()
    model.blocks(residual, 0, N_LAYERS).sum().backward()
    assert residual.grad is not None


def test_a_row_longer_than_the_context_is_refused(saved):
    model = load(saved, "gpt2")
    with pytest.raises(BadInput, match=f"{N_CONTEXT + 1} tokens.*at most {N_CONTEXT}"):
        model.embed(torch.zeros(1, N_CONTEXT + 1, dtype=torch.long))
