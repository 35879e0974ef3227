"""Losses: what each kind weighs (`kinds.py`) and the terms themselves (`terms.py`). Pure: tensors in, tensors out."""

from trainer.losses.kinds import (
    LOSS_KINDS,
    E2EDownstreamLoss,
    E2ELoss,
    LocalLoss,
    LocalThenE2ELoss,
    LossConfig,
    MixedLoss,
)
from trainer.losses.weights import LossWeights

__all__ = [
    "LOSS_KINDS",
    "E2EDownstreamLoss",
    "E2ELoss",
    "LocalLoss",
    "LocalThenE2ELoss",
    "LossConfig",
    "LossWeights",
    "MixedLoss",
]
