"""What a bank of SAEs says about a batch, whichever path computed it."""

from typing import NamedTuple

from torch import Tensor


class BankOutput(NamedTuple):
    """One forward pass of the SAEs of a bank over the same tokens."""

    output: Tensor
    """Reconstructions, "n_saes tokens d_model"; carries gradients."""
    l1: Tensor
    """Mean over tokens of the sum of latents, " n_saes"; carries gradients."""
    l0: Tensor
    """Mean over tokens of the number of positive latents, " n_saes"; no gradient."""
    firing_counts: Tensor
    """Tokens on which each element fired, "n_saes d_sae" int64; no gradient."""
