"""The batches of a pack, on its device. Which rows a step has is `Rows`' business."""

import torch
from jaxtyping import Int
from torch import Tensor

from trainer.data import Rows


class Feed:
    """Batches by step. To a GPU the next one is on its way while a step runs: pinned, not waited for."""

    def __init__(self, rows: Rows, *, batch_rows: int, n_steps: int, device: torch.device) -> None:
        self._rows = rows
        self._batch_rows = batch_rows
        self._n_steps = n_steps
        self._device = device
        self._next: tuple[int, Tensor] | None = None

    def batch(self, step: int) -> Int[Tensor, "batch pos"]:
        """Token ids of optimizer step `step` (the first is 0)."""
        if self._next is not None and self._next[0] == step:
            return self._next[1]
        return self._send(step)

    def prefetch(self, step: int) -> None:
        """Start sending the batch of `step`, if there is such a step and a device to send it to."""
        if self._device.type == "cuda" and step < self._n_steps:
            self._next = (step, self._send(step))

    def _send(self, step: int) -> Tensor:
        tokens = self._rows.train_batch(step, self._batch_rows)
        if self._device.type == "cuda":
            return tokens.pin_memory().to(self._device, non_blocking=True)
        return tokens.to(self._device)
