"""The clean run: what the frozen model does with a batch, once for every SAE of a pack."""

from collections.abc import Collection
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainer.models import FrozenModel


class Capture(NamedTuple):
    """What has to be kept of a clean run."""

    layers: frozenset[int]
    """Blocks whose input (`blocks.L.hook_resid_pre`) is wanted."""
    output: bool
    """Whether the normalised final residual stream, from which logits follow, is wanted."""

    def __or__(self, other: "Capture") -> "Capture":  # type: ignore[override]
        return Capture(self.layers | other.layers, self.output or other.output)


class CleanRun(NamedTuple):
    """Residual streams "batch pos d_model" of the frozen model alone; no gradients."""

    residuals: dict[int, Tensor]
    """By layer: the input of that block."""
    normed: Tensor | None
    """After the last block and the final norm; None where `Capture.output` is False."""


@torch.no_grad()
def clean_run(model: FrozenModel, tokens: Int[Tensor, "batch pos"], capture: Capture) -> CleanRun:
    """Run the frozen model up to the highest block that anyone needs, and no further."""
    stop = model.n_layers if capture.output else max(capture.layers)
    residual = model.embed(tokens)
    kept = {0: residual} if 0 in capture.layers else {}
    for layer in range(stop):
        residual = model.block(layer, residual)
        if layer + 1 in capture.layers:
            kept[layer + 1] = residual
    return CleanRun(kept, model.final_norm(residual) if capture.output else None)


def run_above(
    model: FrozenModel, residual: Float[Tensor, "batch pos d_model"], *, layer: int, keep: Collection[int], output: bool
) -> CleanRun:
    """Run the blocks from `layer` on with `residual` as input; gradients flow. Keeps inputs of the blocks in `keep`."""
    stop = model.n_layers if output else max(keep, default=layer)
    kept: dict[int, Tensor] = {}
    for index in range(layer, stop):
        residual = model.block(index, residual)
        if index + 1 in keep:
            kept[index + 1] = residual
    return CleanRun(kept, model.final_norm(residual) if output else None)
