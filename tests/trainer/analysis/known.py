"""SAEs of which it is known what they do to any activation."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.trainer.conftest import D_MODEL, make_trial
from trainer.export import TrainedSAE
from trainer.losses import LocalLoss


def identity_sae(layer: int = 1, *, scale: float = 1.0, d_model: int = D_MODEL, dtype=torch.float64) -> TrainedSAE:
    """x goes in, `scale` x comes out: relu(x) - relu(-x)."""
    eye = torch.eye(d_model, dtype=dtype)
    both = torch.cat([eye, -eye])
    return _sae(scale * both, torch.zeros(2 * d_model, dtype=dtype), both, torch.zeros(d_model, dtype=dtype), layer)


def constant_sae(value: Tensor, layer: int = 1) -> TrainedSAE:
    """`value` comes out, whatever goes in."""
    nothing = torch.zeros(2 * len(value), len(value), dtype=value.dtype)
    directions = normalize(torch.ones_like(nothing), dim=-1)
    return _sae(nothing, torch.zeros(2 * len(value), dtype=value.dtype), directions, value, layer)


def projecting_sae(direction: Tensor, layer: int = 1) -> TrainedSAE:
    """What lies along the unit vector `direction` comes out, and nothing else."""
    both = torch.stack([direction, -direction])
    zeros = torch.zeros(2, dtype=direction.dtype)
    return _sae(both, zeros, both, torch.zeros_like(direction), layer)


def random_sae(layer: int = 1, *, d_model: int = D_MODEL, d_sae: int = 20) -> TrainedSAE:
    dice = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=dice, dtype=torch.float64)

    return _sae(draw(d_sae, d_model), draw(d_sae), normalize(draw(d_sae, d_model), dim=-1), draw(d_model), layer)


def _sae(w_enc: Tensor, b_enc: Tensor, dictionary: Tensor, b_dec: Tensor, layer: int) -> TrainedSAE:
    return TrainedSAE(w_enc, b_enc, dictionary, b_dec, make_trial(LocalLoss(sparsity_coeff=1.0), layer=layer))
