"""What the sparse path keeps of a batch: the positive latents of a bank, and the gradients they lead to."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class ByToken(NamedTuple):
    """The same latents by token, then by element. Tokens of all SAEs are counted through: `sae * n_tokens + token`."""

    elements: Int[Tensor, " nonzeros"]
    """Within their SAE."""
    values: Float[Tensor, " nonzeros"]
    offsets: Int[Tensor, " tokens_and_one"]


class Nonzeros(NamedTuple):
    """Positive latents by element, then by token. Elements of all SAEs are counted through: `sae * d_sae + element`."""

    tokens: Int[Tensor, " nonzeros"]
    values: Float[Tensor, " nonzeros"]
    offsets: Int[Tensor, " elements_and_one"]
    """Element e owns entries `offsets[e]` to `offsets[e + 1]`."""
    by_token: ByToken | None = None
    """Where an engine wants both orders."""

    @property
    def by_element(self) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, values and offsets."""
        return self.tokens, self.values, self.offsets


class Gradients(NamedTuple):
    """Gradients of a bank's encoder and decoder; exactly zero for elements that did not fire."""

    w_enc: Float[Tensor, "elements d_model"]
    b_enc: Float[Tensor, " elements"]
    w_dec: Float[Tensor, "elements d_model"]


class Room:
    """How many positive latents the buffers for a bank hold, where an engine has to say that before it counts them.

    What such an engine found may be less than all there is. Whoever gave it the room asks afterwards, when the answer
    has long arrived and no device waits for the question, and computes again if it was not enough.
    """

    def __init__(self) -> None:
        self.n_entries = 0
        self._counts: list[tuple[Tensor, torch.cuda.Event | None]] = []

    def note(self, count: Int[Tensor, ""]) -> None:
        """Have the device send how many there were."""
        if count.device.type != "cuda":
            self._counts.append((count, None))
            return
        there = torch.empty(count.shape, dtype=count.dtype, pin_memory=True)
        there.copy_(count, non_blocking=True)
        sent = torch.cuda.Event()
        sent.record()
        self._counts.append((there, sent))

    def was_enough(self) -> bool:
        """Whether all that was counted since the last question had room. If not, there is more now."""
        most = 0
        for count, sent in self._counts:
            if sent is not None:
                sent.synchronize()
            most = max(most, int(count))
        self._counts.clear()
        if most <= self.n_entries:
            return True
        self.n_entries = most + most // 4
        return False
