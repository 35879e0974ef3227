"""All that changes while a pack trains, as one value."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trainer.optimizer import AdamMoments
from trainer.sae.bank import Bank
from trainer.sae.density import DensitySwitch, PathChoice
from trainer.sae.nonzeros import Room
from trainer.sae.sparse import switch_for

DIVERGED_TERMS = ("loss", "sparsity", "local_mse", "kl", "downstream_mse", "grad_norm")
"""What is kept of the step at which an SAE diverged."""


@dataclass
class BankState:
    """One bank: its SAEs, their optimizer moments, and what is counted on the way."""

    bank: Bank
    moments: dict[str, AdamMoments]
    active: Bool[Tensor, " n_saes"]
    """False once an SAE has diverged: its slot stays, its gradients are zero."""
    diverged_at: Int[Tensor, " n_saes"]
    """The step at which an SAE diverged; -1 while it has not."""
    diverged_terms: Float[Tensor, "n_saes terms"]
    """The `DIVERGED_TERMS` of that step; not a number where a loss has no such term."""
    last_fired: Int[Tensor, "n_saes d_sae"]
    """Tokens seen when an element last fired; -1 before it ever did."""
    grad_norm_sum: Float[Tensor, " n_saes"]
    """Sum of gradient norms over the steps that `grad_norm_steps` counts."""
    switch: DensitySwitch
    """Whether the bank computes densely or sparsely at the moment, and when that changed."""
    grad_norm_steps: int = 0
    room: Room = field(default_factory=Room)
    """For the sparse path. Scratch: no number depends on it, and it is not saved."""

    @classmethod
    def initial(cls, bank: Bank, path: PathChoice = "auto") -> "BankState":
        device = bank.w_enc.device
        return cls(
            bank=bank,
            moments={name: AdamMoments.zeros_like(tensor) for name, tensor in bank.parameters.items()},
            active=torch.ones(bank.n_saes, dtype=torch.bool, device=device),
            diverged_at=torch.full((bank.n_saes,), -1, dtype=torch.int64, device=device),
            diverged_terms=torch.zeros(bank.n_saes, len(DIVERGED_TERMS), dtype=torch.float64, device=device),
            last_fired=torch.full((bank.n_saes, bank.d_sae), -1, dtype=torch.int64, device=device),
            grad_norm_sum=torch.zeros(bank.n_saes, dtype=torch.float64, device=device),
            switch=switch_for(bank.w_enc).choosing(path),
        )

    def of(self, indices: list[int]) -> "BankState":
        """Some of its SAEs, as they are."""
        bank = {name: tensor.detach()[indices].requires_grad_() for name, tensor in self.bank.parameters.items()}
        named = ("active", "diverged_at", "diverged_terms", "last_fired", "grad_norm_sum")
        return replace(
            self,
            bank=Bank(**bank),
            moments={
                name: AdamMoments(moments.mean[indices], moments.square[indices])
                for name, moments in self.moments.items()
            },
            **{name: getattr(self, name)[indices] for name in named},
            room=Room(),
        )

    def begin_anew(self) -> None:
        """Another loss from now on: what is known of the gradients of the old one goes."""
        for moments in self.moments.values():
            moments.mean.zero_()
            moments.square.zero_()
        self.grad_norm_sum.zero_()
        self.grad_norm_steps = 0

    @torch.no_grad()
    def silence(self, index: int) -> None:
        """Have an SAE that diverged fire no more: what is not a number would cost as much as what is positive."""
        for parameter in self.bank.parameters.values():
            parameter[index].zero_()
        self.bank.b_enc[index].fill_(-1.0)


@dataclass
class TrainState:
    """A pack's state after `step` optimizer steps. Data order and learning rate follow from `step`."""

    step: int
    banks: list[BankState]
