"""All that changes while a pack trains, as one value."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trainer.optimizer import AdamMoments
from trainer.sae.bank import Bank
from trainer.sae.density import DensitySwitch
from trainer.sae.sparse import switch_for


@dataclass
class BankState:
    """One bank: its SAEs, their optimizer moments, and what is counted on the way."""

    bank: Bank
    moments: dict[str, AdamMoments]
    active: Bool[Tensor, " n_saes"]
    """False once an SAE has diverged: its slot stays, its gradients are zero."""
    last_fired: Int[Tensor, "n_saes d_sae"]
    """Tokens seen when an element last fired; -1 before it ever did."""
    grad_norm_sum: Float[Tensor, " n_saes"]
    """Sum of gradient norms over the steps that `grad_norm_steps` counts."""
    switch: DensitySwitch
    """Whether the bank computes densely or sparsely at the moment, and when that changed."""
    grad_norm_steps: int = 0

    @classmethod
    def initial(cls, bank: Bank) -> "BankState":
        device = bank.w_enc.device
        return cls(
            bank=bank,
            moments={name: AdamMoments.zeros_like(tensor) for name, tensor in bank.parameters.items()},
            active=torch.ones(bank.n_saes, dtype=torch.bool, device=device),
            last_fired=torch.full((bank.n_saes, bank.d_sae), -1, dtype=torch.int64, device=device),
            grad_norm_sum=torch.zeros(bank.n_saes, dtype=torch.float64, device=device),
            switch=switch_for(bank.w_enc),
        )


@dataclass
class TrainState:
    """A pack's state after `step` optimizer steps. Data order and learning rate follow from `step`."""

    step: int
    banks: list[BankState]
