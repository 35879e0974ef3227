"""One Adam step for every SAE of a bank, each clipped by its own gradient norm."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim.adam import adam

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
"""The paper's: Adam's defaults, no weight decay (appendix D)."""
CLIP_EPS = 1e-6
"""As in `torch.nn.utils.clip_grad_norm_`."""
DROP_EVERY_STEPS = 64
DROP_BELOW = 1e8
"""Times the smallest normal number. In `DROP_EVERY_STEPS` steps without a gradient a mean shrinks by less than this."""


@dataclass(frozen=True)
class AdamMoments:
    """Running means of one parameter's gradient and of its square; changed in place."""

    mean: Float[Tensor, "n_saes ..."]
    square: Float[Tensor, "n_saes ..."]

    @classmethod
    def zeros_like(cls, parameter: Tensor) -> "AdamMoments":
        return cls(mean=torch.zeros_like(parameter.detach()), square=torch.zeros_like(parameter.detach()))


def gradient_norms(gradients: Sequence[Float[Tensor, "n_saes ..."]]) -> Float[Tensor, " n_saes"]:
    """Norm of each SAE's gradient over all its parameters, before clipping."""
    norms = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients]
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)


def clip_(
    gradients: Sequence[Float[Tensor, "n_saes ..."]],
    *,
    norms: Float[Tensor, " n_saes"],
    clip_norm: float | Literal["off"],
    keep: Bool[Tensor, " n_saes"],
    may_wait: bool = True,
) -> None:
    """Scale each SAE's gradient to at most `clip_norm`; set it to zero, whatever it holds, where `keep` is False.

    With `may_wait` the host asks which SAEs that concerns and leaves the others alone; without, all are gone through.
    """
    scale = torch.ones_like(norms) if clip_norm == "off" else (clip_norm / (norms + CLIP_EPS)).clamp(max=1.0)
    if may_wait:
        for index, (factor, kept) in enumerate(zip(scale.tolist(), keep.tolist(), strict=True)):
            for gradient in gradients:
                if not kept:
                    gradient[index].zero_()
                elif factor != 1.0:
                    gradient[index].mul_(scale[index])
        return
    for gradient in gradients:
        shape = (-1,) + (1,) * (gradient.ndim - 1)
        gradient.mul_(scale.view(shape)).masked_fill_(~keep.view(shape), 0.0)


@torch.no_grad()
def adam_step_(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor], moments: Sequence[AdamMoments], *, step: int, lr: float
) -> None:
    """One step of Adam, in place. `step` counts from 1.

    torch's functional form on our own tensors: a `torch.optim.Adam` would keep the moments in a state of its own.
    Every `DROP_EVERY_STEPS` moments that no parameter can feel any more become zero. Those of an element that fires no
    more would shrink until they are no normal numbers, and then a step on a CPU takes ten times as long.
    """
    adam(
        [parameter.detach() for parameter in parameters],
        list(gradients),
        [moment.mean for moment in moments],
        [moment.square for moment in moments],
        max_exp_avg_sqs=[],
        state_steps=[torch.full((), float(step - 1), device=parameter.device) for parameter in parameters],
        fused=True,
        amsgrad=False,
        beta1=BETA1,
        beta2=BETA2,
        lr=lr,
        weight_decay=0.0,
        eps=EPS,
        maximize=False,
    )
    if step % DROP_EVERY_STEPS == 0:
        for moment in (each for pair in moments for each in (pair.mean, pair.square)):
            torch.hardshrink(moment, DROP_BELOW * torch.finfo(moment.dtype).tiny, out=moment)
