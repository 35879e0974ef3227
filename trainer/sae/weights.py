"""The tensors of one SAE that is trained, ours or somebody else's, in the form in which this program saves SAEs."""

import hashlib
from dataclasses import dataclass

from einops import einsum
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class SAEWeights:
    """One SAE: latents = ReLU(w_enc x + b_enc), x_hat = latents . dictionary + b_dec. Nothing is subtracted from x."""

    w_enc: Float[Tensor, "d_sae d_model"]
    b_enc: Float[Tensor, " d_sae"]
    dictionary: Float[Tensor, "d_sae d_model"]
    """Rows of unit norm; a row that was zero in somebody else's SAE stays zero."""
    b_dec: Float[Tensor, " d_model"]

    @property
    def d_sae(self) -> int:
        return self.w_enc.shape[0]

    @property
    def d_model(self) -> int:
        return self.w_enc.shape[1]

    @property
    def weights_id(self) -> str:
        """Sixteen hex digits of the SHA-256 of its numbers in float32: what trials that start from it know it by."""
        sha256 = hashlib.sha256(f"{self.d_sae} {self.d_model}".encode())
        for tensor in (self.w_enc, self.b_enc, self.dictionary, self.b_dec):
            sha256.update(tensor.detach().cpu().float().contiguous().numpy().data)
        return sha256.hexdigest()[:16]

    def encode(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_sae"]:
        """Latents of activations: the input of the block where it sits."""
        return (einsum(x, self.w_enc, "... d_model, d_sae d_model -> ... d_sae") + self.b_enc).relu()

    def decode(self, latents: Float[Tensor, "... d_sae"]) -> Float[Tensor, "... d_model"]:
        """What stands in for the activations."""
        return einsum(latents, self.dictionary, "... d_sae, d_sae d_model -> ... d_model") + self.b_dec
