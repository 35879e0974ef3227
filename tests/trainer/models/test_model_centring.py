"""Laws of a centred residual stream."""

import pytest
import torch

from tests.trainer.models.tiny_models import CENTRABLE, N_LAYERS
from trainer.config import ModelConfig
from trainer.errors import BadInput
from trainer.models import describe_model, load_model


@pytest.mark.parametrize("case", CENTRABLE)
def test_centring_takes_the_mean_out_of_the_stream_and_leaves_the_logits(saved, tokens, case):
    name = str(saved(case).folder)
    plain, centred = (
        load_model(ModelConfig(name=name, center_residual=center), dtype=torch.float64) for center in (False, True)
    )
    residual, centred_residual = plain.embed(tokens), centred.embed(tokens)
    for layer in range(N_LAYERS + 1):
        assert residual.mean(-1).abs().max() > 1e-3
        assert centred_residual.mean(-1).abs().max() < 1e-12
        without_mean = residual - residual.mean(-1, keepdim=True)
        torch.testing.assert_close(centred_residual, without_mean, rtol=1e-10, atol=1e-10)
        if layer < N_LAYERS:
            residual, centred_residual = plain.block(layer, residual), centred.block(layer, centred_residual)
    torch.testing.assert_close(centred.logits(centred_residual), plain.logits(residual), rtol=1e-10, atol=1e-10)


def test_centring_does_not_change_which_model_it_is(saved):
    name = str(saved("gpt2").folder)
    hashes = {load_model(ModelConfig(name=name, center_residual=center)).content_hash for center in (False, True)}
    assert len(hashes) == 1


def test_centring_a_model_with_rms_norm_is_refused_before_weights_are_read(saved):
    config = ModelConfig(name=str(saved("llama").folder), center_residual=True)
    for attempt in (describe_model, load_model):
        with pytest.raises(BadInput, match="RMSNorm"):
            attempt(config)
