"""The compiled KL term says what the formula says, and loses nothing that is not a number."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from trainer.losses import kl_cpu
from trainer.losses.terms import kl_clean_to_sae, kl_from_normed
from trainer.models.parts import Linear

D_MODEL = 8


def case(*, vocab: int, dtype: torch.dtype, scale: float = 1.0, bias: bool = False) -> tuple[Tensor, Tensor, Linear]:
    generator = torch.Generator().manual_seed(vocab)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    weight = Linear(scale * normal(vocab, D_MODEL), normal(vocab) - 100 if bias else None)
    return normal(20, D_MODEL), normal(3, 20, D_MODEL), weight


def plain(clean: Tensor, sae: Tensor, unembedding: Linear) -> tuple[Tensor, Tensor]:
    """KL and its gradient in float64, by autograd."""
    weight, bias = (None if each is None else each.double() for each in unembedding)
    sae = sae.double().requires_grad_()
    kl = kl_clean_to_sae(
        clean_logits=torch.nn.functional.linear(clean.double(), weight, bias),
        sae_logits=torch.nn.functional.linear(sae, weight, bias),
    )
    return kl.detach(), torch.autograd.grad(kl.sum(), sae)[0]


def compiled(clean: Tensor, sae: Tensor, unembedding: Linear) -> tuple[Tensor, Tensor]:
    sae = sae.clone().requires_grad_()
    with patch.object(kl_cpu, "kl_and_gradient", wraps=kl_cpu.kl_and_gradient) as called:
        kl = kl_from_normed(clean=clean, sae=sae, unembedding=unembedding)
    assert called.call_count == 1
    return kl.detach(), torch.autograd.grad(kl.sum(), sae)[0]


@pytest.mark.parametrize("chunk", [1, 7 * 45, 10**9])
@pytest.mark.parametrize("vocab", [1, 45, 1000])
@pytest.mark.parametrize(("scale", "bias"), [(0.0, False), (1.0, True), (30.0, False)])
def test_it_equals_the_formula_in_float64(
    vocab: int, scale: float, bias: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kl_cpu, "CHUNK_NUMBERS", chunk)
    inputs = case(vocab=vocab, dtype=torch.float32, scale=scale, bias=bias)
    for ours, theirs in zip(compiled(*inputs), plain(*inputs), strict=True):
        tolerance = 3e-5 * max(1.0, float(theirs.abs().max()))
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=tolerance)


def test_in_bfloat16_it_equals_the_formula_to_its_rounding() -> None:
    inputs = case(vocab=300, dtype=torch.bfloat16, bias=True)
    inputs[2].bias.add_(100)  # type: ignore[union-attr] - around zero, where bfloat16 has fine steps
    kl, gradient = compiled(*inputs)
    assert kl.dtype == torch.float32
    for ours, theirs in zip((kl, gradient), plain(*inputs), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0.02, atol=0.02 * float(theirs.abs().max()))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_an_sae_output_that_is_not_finite_is_seen_and_the_others_are_not_touched(bad: float) -> None:
    clean, sae, unembedding = case(vocab=50, dtype=torch.float32)
    expected, expected_gradient = compiled(clean, sae, unembedding)
    sae[1, 3, 2] = bad
    kl, gradient = compiled(clean, sae, unembedding)
    assert not kl[1].isfinite()
    assert torch.equal(kl[[0, 2]], expected[[0, 2]])
    assert torch.equal(gradient[[0, 2]], expected_gradient[[0, 2]])


def test_without_a_gradient_the_number_is_the_same() -> None:
    clean, sae, unembedding = case(vocab=50, dtype=torch.float32)
    with torch.no_grad():
        alone = kl_from_normed(clean=clean, sae=sae, unembedding=unembedding)
    assert torch.equal(alone, compiled(clean, sae, unembedding)[0])


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    clean, sae, unembedding = case(vocab=50, dtype=torch.float32)
    exact = Linear((4 * unembedding.weight).round(), None)  # so that torch's products do not depend on them either
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            found.append(compiled(clean.round(), sae.round(), exact)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
