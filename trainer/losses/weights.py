"""What a loss asks for: a weight for each term. A loss kind is a name for a choice of weights."""

from typing import NamedTuple


class LossWeights(NamedTuple):
    """The weighted sum that is minimised.

    local * MSE(SAE input, SAE output) + kl * KL(clean || SAE) + downstream * mean over later hookpoints of
    MSE(clean, SAE) + sparsity * mean over tokens of |latents|_p / d_model.

    With `kl_as_local`, `kl` stands before KL * (MSE(SAE input, SAE output) / KL), its bracket a number of each step
    without a gradient: the KL term counts as much as the local one would with that weight.
    """

    sparsity: float
    sparsity_p: float
    local: float = 0.0
    kl: float = 0.0
    downstream: float = 0.0
    kl_as_local: bool = False

    @property
    def needs(self) -> tuple[bool, ...]:
        """What has to be computed beyond the SAE; SAEs of one bank need the same."""
        return self.kl > 0, self.downstream > 0, self.kl_as_local

    @property
    def needs_blocks_above(self) -> bool:
        """Whether the blocks above the SAE have to run with its output."""
        return self.kl > 0 or self.downstream > 0
