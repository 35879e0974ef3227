"""What a loss asks for: a weight for each term. A loss kind is a name for a choice of weights."""

from typing import NamedTuple


class LossWeights(NamedTuple):
    """The weighted sum that is minimised.

    local * MSE(SAE input, SAE output) + kl * KL(clean || SAE) + downstream * mean over later hookpoints of
    MSE(clean, SAE) + sparsity * mean over tokens of |latents|_p / d_model.
    """

    sparsity: float
    sparsity_p: float
    local: float = 0.0
    kl: float = 0.0
    downstream: float = 0.0

    @property
    def needs_blocks_above(self) -> bool:
        """Whether the blocks above the SAE have to run with its output."""
        return self.kl > 0 or self.downstream > 0
