"""What the sparse path keeps of a batch: the positive latents of a bank, and the gradients they lead to."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Nonzeros(NamedTuple):
    """Positive latents by element, then by token. Elements of all SAEs are counted through: `sae * d_sae + element`."""

    tokens: Int[Tensor, " nonzeros"]
    values: Float[Tensor, " nonzeros"]
    offsets: Int[Tensor, " elements_and_one"]
    """Element e owns entries `offsets[e]` to `offsets[e + 1]`."""


class Gradients(NamedTuple):
    """Gradients of a bank's encoder and decoder; exactly zero for elements that did not fire."""

    w_enc: Float[Tensor, "elements d_model"]
    b_enc: Float[Tensor, " elements"]
    w_dec: Float[Tensor, "elements d_model"]
