"""The kinds of loss: three named by the paper, any mixture of their terms, and one that becomes another on the way."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.losses.weights import LossWeights
from trainer.values import Fraction, Frozen, NonNegativeFinite, PositiveFinite


class _Sparse(Frozen):
    sparsity_coeff: PositiveFinite
    """Weight of the sparsity term (lambda in the paper)."""
    sparsity_p: PositiveFinite = 1.0
    """Which norm of the latents is penalised; 1 is the paper's."""

    @property
    def stages(self) -> "tuple[tuple[float, LossConfig], ...]":
        """One after another: up to which share of the steps, and the loss until then. Most stay what they are."""
        return ((1.0, self),)  # pyright: ignore[reportReturnType]


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


class LocalThenE2ELoss(_Sparse):
    """Local training, and e2e fine-tuning at its end (Karvonen 2025, arXiv 2503.17272).

    MSE(a, a_hat) + lambda * sparsity up to `switch_at`; then local_coeff * MSE(a, a_hat) + kl_coeff * KL(clean || SAE)
    + downstream_coeff * mean over later hookpoints of MSE + sparsity_factor * lambda * sparsity.
    """

    kind: Literal["local_then_e2e"] = "local_then_e2e"
    switch_at: Fraction = 0.9
    """Share of the steps that are local."""
    sparsity_factor: PositiveFinite = 1.0
    """Times `sparsity_coeff` is the weight of the sparsity term after the switch."""
    local_coeff: NonNegativeFinite = 0.0
    kl_coeff: PositiveFinite = 1.0
    kl_scale: Literal["fixed", "as_local"] = "fixed"
    """`as_local` scales the KL term in each step to the size of the local one, so that a coefficient for local training
    stays right. The paper's fine-tuning is this, with one half for `local_coeff` and for `kl_coeff`."""
    downstream_coeff: NonNegativeFinite = 0.0

    @property
    def stages(self) -> "tuple[tuple[float, LossConfig], ...]":
        local = LocalLoss(sparsity_coeff=self.sparsity_coeff, sparsity_p=self.sparsity_p)
        return (self.switch_at, local), (1.0, self.model_copy(update={"switch_at": 0.0}))

    @property
    def weights(self) -> LossWeights:
        """After the switch."""
        return LossWeights(
            sparsity=self.sparsity_factor * self.sparsity_coeff,
            sparsity_p=self.sparsity_p,
            local=self.local_coeff,
            kl=self.kl_coeff,
            downstream=self.downstream_coeff,
            kl_as_local=self.kl_scale == "as_local",
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


LossConfig = Annotated[
    LocalLoss | E2ELoss | E2EDownstreamLoss | LocalThenE2ELoss | MixedLoss, Field(discriminator="kind")
]
LOSS_KINDS: tuple[str, ...] = ("local", "e2e", "e2e_downstream", "local_then_e2e", "mixed")
