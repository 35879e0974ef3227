"""How often each dictionary element fires: what `sparsity.safetensors` holds and dashboards filter by."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.clean import Capture, clean_run
from trainer.data import Rows
from trainer.export.trained import TrainedSAE
from trainer.models import FrozenModel
from trainer.sae.counting import count_positive

MOST_LATENTS = 2**22
"""Latents in memory at a time."""


@torch.no_grad()
def firing_frequencies(
    saes: Sequence[TrainedSAE],
    *,
    model: FrozenModel,
    rows: Rows,
    n_tokens: int,
    heard: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Float[Tensor, " d_sae"]]:
    """Of each SAE, the share of tokens (0 to 1, float64, on the CPU) on which each of its elements is positive.

    Over the first `n_tokens` training tokens, rounded up to whole rows and down to what there is, with one clean run
    for all: with `n_tokens` = `eval.alive_window_tokens` these are the tokens of `n_alive_elements`. `heard` hears
    after each batch how many tokens are done, and of how many.
    """
    n_rows = min(-(-n_tokens // rows.context), rows.n_train_rows)
    batch_rows = max(1, MOST_LATENTS // (rows.context * max(sae.d_sae for sae in saes)))
    capture = Capture(frozenset(sae.layer for sae in saes), output=False)
    counts = [torch.zeros(sae.d_sae, dtype=torch.int64, device=sae.w_enc.device) for sae in saes]
    for start in range(0, n_rows, batch_rows):
        tokens = rows.train_rows(start, min(start + batch_rows, n_rows)).to(model.device)
        residuals = clean_run(model, tokens, capture).residuals
        for sae, count in zip(saes, counts, strict=True):
            x = residuals[sae.layer].flatten(0, 1).to(sae.w_enc.device, sae.w_enc.dtype)
            count += count_positive(sae.encode(x)[None]).per_element[0]
        heard(min(start + batch_rows, n_rows) * rows.context, n_rows * rows.context)
    return [count.cpu().double() / (n_rows * rows.context) for count in counts]
