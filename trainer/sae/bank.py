"""A bank: SAEs of one shape, stacked, that see the same activations. This file is the plain, dense path."""

import math
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from trainer.config import SAEConfig
from trainer.sae.counting import count_positive
from trainer.sae.init import initial_parameters
from trainer.sae.types import BankOutput
from trainer.sae.weights import SAEWeights

PARAMETER_NAMES = ("w_enc", "b_enc", "w_dec", "b_dec")


@dataclass(frozen=True)
class Bank:
    """Parameters of `n_saes` SAEs. The tensors are leaves that the optimizer changes in place."""

    w_enc: Float[Tensor, "n_saes d_sae d_model"]
    b_enc: Float[Tensor, "n_saes d_sae"]
    w_dec: Float[Tensor, "n_saes d_sae d_model"]
    """Decoder directions of any norm; `dictionary` is what the SAE uses."""
    b_dec: Float[Tensor, "n_saes d_model"]

    @classmethod
    def initial(
        cls, config: SAEConfig, *, d_model: int, seeds: list[int], dtype: torch.dtype, device: torch.device
    ) -> "Bank":
        """SAEs initialised from their seeds; what one starts as does not depend on the others."""
        each = [initial_parameters(config, d_model=d_model, seed=seed) for seed in seeds]
        return cls(
            **{
                name: torch.stack([sae[name] for sae in each]).to(device, dtype).requires_grad_()
                for name in PARAMETER_NAMES
            }
        )

    @classmethod
    def starting_as(cls, sae: SAEWeights, *, n_saes: int, dtype: torch.dtype, device: torch.device) -> "Bank":
        """So many times a trained SAE. Decoder rows get the norm that those of new SAEs have on average, since the norm
        matters to the effective step size and a trained SAE is saved with a dictionary of unit norm."""
        w_dec = math.sqrt(sae.d_model / sae.d_sae) * sae.dictionary
        tensors = {"w_enc": sae.w_enc, "b_enc": sae.b_enc, "w_dec": w_dec, "b_dec": sae.b_dec}
        return cls(
            **{
                name: repeat(tensor, "... -> n_saes ...", n_saes=n_saes).to(device, dtype).clone().requires_grad_()
                for name, tensor in tensors.items()
            }
        )

    @property
    def n_saes(self) -> int:
        return self.w_enc.shape[0]

    @property
    def d_sae(self) -> int:
        return self.w_enc.shape[1]

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in PARAMETER_NAMES}

    @property
    def dictionary(self) -> Float[Tensor, "n_saes d_sae d_model"]:
        """Unit-norm decoder directions; gradients flow through the division (paper, section 2.1)."""
        return functional.normalize(self.w_dec, dim=-1)

    def export(self, index: int) -> dict[str, Float[Tensor, "..."]]:
        """One SAE as it is saved: `w_enc`, `b_enc`, unit-norm `dictionary`, `b_dec`, on the CPU."""
        tensors = {"w_enc": self.w_enc, "b_enc": self.b_enc, "dictionary": self.dictionary, "b_dec": self.b_dec}
        return {name: tensor[index].detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def encode(
    bank: Bank, x: Float[Tensor, "tokens d_model"], *, compute_dtype: torch.dtype
) -> Float[Tensor, "n_saes tokens d_sae"]:
    """ReLU(W_enc x + b_enc), one product for the whole bank."""
    weights = rearrange(bank.w_enc, "n_saes d_sae d_model -> (n_saes d_sae) d_model")
    products = functional.linear(x.to(compute_dtype), weights.to(compute_dtype)).to(bank.w_enc.dtype)
    per_sae = rearrange(products, "tokens (n_saes d_sae) -> n_saes tokens d_sae", n_saes=bank.n_saes)
    return functional.relu(per_sae + bank.b_enc[:, None], inplace=True)


def decode(
    bank: Bank, latents: Float[Tensor, "n_saes tokens d_sae"], *, compute_dtype: torch.dtype
) -> Float[Tensor, "n_saes tokens d_model"]:
    """Sum of dictionary elements weighted by the latents, plus the decoder bias."""
    products = torch.bmm(latents.to(compute_dtype), bank.dictionary.to(compute_dtype))
    return products.to(bank.w_dec.dtype) + bank.b_dec[:, None]


def dense_forward(
    bank: Bank, x: Float[Tensor, "tokens d_model"], *, compute_dtype: torch.dtype, p: float = 1.0
) -> BankOutput:
    """Every SAE of the bank on the same activations. With `p` other than 1, `l1` is the mean p-norm instead."""
    latents = encode(bank, x, compute_dtype=compute_dtype)
    positive = count_positive(latents)
    norms = latents.sum(-1) if p == 1.0 else p_norm(latents, p=p)
    return BankOutput(
        output=decode(bank, latents, compute_dtype=compute_dtype),
        l1=norms.mean(-1),
        l0=positive.per_token.to(x.dtype).mean(-1),
        firing_counts=positive.per_element,
    )


def p_norm(latents: Float[Tensor, "n_saes tokens d_sae"], *, p: float) -> Float[Tensor, "n_saes tokens"]:
    """The p-norm of non-negative latents, with gradient 0 (not infinite) where a latent or a whole token is 0."""
    positive = latents > 0
    total = (torch.where(positive, latents, 1.0).pow(p) * positive).sum(-1)
    some = total > 0
    return torch.where(some, torch.where(some, total, 1.0).pow(1 / p), 0.0)
