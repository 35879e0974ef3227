"""How an SAE starts, from its seed alone."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainer.config import SAEConfig


def initial_parameters(config: SAEConfig, *, d_model: int, seed: int) -> dict[str, Float[Tensor, "..."]]:
    """`w_enc` and `w_dec` "d_sae d_model" (rows of `w_dec` not yet of unit norm), `b_enc` " d_sae", `b_dec` " d_model".

    Encoder and biases as `nn.Linear` starts them. The decoder is orthogonal (w_decᵀ w_dec = I), as in the paper's code
    and unlike its text (discrepancy X5); its rows start with norm sqrt(d_model / d_sae), which matters to the effective
    step size since the dictionary is normalised in the forward pass. `kaiming` is what the text says.
    """
    d_sae = config.d_sae(d_model)
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, fan_in: int) -> Tensor:
        bound = 1 / math.sqrt(fan_in)
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    parameters = {
        "w_enc": uniform(d_sae, d_model, fan_in=d_model),
        "b_enc": uniform(d_sae, fan_in=d_model),
        "b_dec": uniform(d_model, fan_in=d_sae),
    }
    match config.decoder_init:
        case "orthogonal":
            parameters["w_dec"] = nn.init.orthogonal_(torch.empty(d_sae, d_model), generator=generator)
        case "kaiming":
            parameters["w_dec"] = uniform(d_sae, d_model, fan_in=d_sae)
    return parameters
