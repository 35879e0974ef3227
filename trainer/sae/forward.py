"""Which way a bank computes: densely, or through the positive latents only. The numbers are the same up to rounding."""

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.sae.bank import Bank, dense_forward
from trainer.sae.density import Path
from trainer.sae.nonzeros import Room
from trainer.sae.sparse import sparse_bank
from trainer.sae.types import BankOutput


def bank_forward(
    bank: Bank,
    x: Float[Tensor, "tokens d_model"],
    *,
    path: Path,
    compute_dtype: torch.dtype,
    p: float = 1.0,
    room: Room | None = None,
) -> BankOutput:
    """Every SAE of the bank on the same activations.

    The sparse path knows the 1-norm only; other norms go the dense way. `room`: as for `sparse_bank`.
    """
    if path == "sparse" and p == 1.0:
        return sparse_bank(x, **bank.parameters, compute_dtype=compute_dtype, room=room)
    return dense_forward(bank, x, compute_dtype=compute_dtype, p=p)
