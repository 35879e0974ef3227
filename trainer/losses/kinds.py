"""The kinds of loss: three named by the paper, and any mixture of their terms."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.losses.weights import LossWeights
from trainer.values import Frozen, NonNegativeFinite, PositiveFinite


class _Sparse(Frozen):
    sparsity_coeff: PositiveFinite
    """Weight of the sparsity term (lambda in the paper)."""
    sparsity_p: PositiveFinite = 1.0
    """Which norm of the latents is penalised; 1 is the paper's."""


class LocalLoss(_Sparse):
    """Reconstruct the activation (equation 3): MSE(a, a_hat) + lambda * sparsity."""

    kind: Literal["local"] = "local"

    @property
    def weights(self) -> LossWeights:
        return LossWeights(sparsity=self.sparsity_coeff, sparsity_p=self.sparsity_p, local=1.0)


class E2ELoss(_Sparse):
    """Predict the next token as the clean model does (equation 4): KL(clean || SAE) + lambda * sparsity."""

    kind: Literal["e2e"] = "e2e"

    @property
    def weights(self) -> LossWeights:
        return LossWeights(sparsity=self.sparsity_coeff, sparsity_p=self.sparsity_p, kl=1.0)


class E2EDownstreamLoss(_Sparse):
    """e2e, and keep the later residual streams (equation 5).

    kl_coeff * KL(clean || SAE) + beta * mean over later hookpoints of MSE + lambda * sparsity.
    """

    kind: Literal["e2e_downstream"] = "e2e_downstream"
    downstream_coeff: PositiveFinite
    """Weight of the downstream MSE (beta), shared evenly by the hookpoints `blocks.{l+1}` to `blocks.{last}`."""
    kl_coeff: PositiveFinite = 0.5
    """The paper's runs use one half (appendix D)."""

    @property
    def weights(self) -> LossWeights:
        return LossWeights(
            sparsity=self.sparsity_coeff, sparsity_p=self.sparsity_p, kl=self.kl_coeff, downstream=self.downstream_coeff
        )


class MixedLoss(_Sparse):
    """Any combination of the terms, for example e2e + local."""

    kind: Literal["mixed"] = "mixed"
    local_coeff: NonNegativeFinite = 0.0
    kl_coeff: NonNegativeFinite = 0.0
    downstream_coeff: NonNegativeFinite = 0.0

    @model_validator(mode="after")
    def _some_term(self) -> "MixedLoss":
        if self.local_coeff == self.kl_coeff == self.downstream_coeff == 0:
            raise ValueError("a mixed loss needs at least one of local_coeff, kl_coeff, downstream_coeff above 0")
        return self

    @property
    def weights(self) -> LossWeights:
        return LossWeights(
            sparsity=self.sparsity_coeff,
            sparsity_p=self.sparsity_p,
            local=self.local_coeff,
            kl=self.kl_coeff,
            downstream=self.downstream_coeff,
        )


LossConfig = Annotated[LocalLoss | E2ELoss | E2EDownstreamLoss | MixedLoss, Field(discriminator="kind")]
LOSS_KINDS: tuple[str, ...] = ("local", "e2e", "e2e_downstream", "mixed")
