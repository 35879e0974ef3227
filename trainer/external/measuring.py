"""The metrics of SAEs of others, by the same code, on the same tokens and in the same precision as a trial's own."""

from collections.abc import Callable, Sequence
from itertools import count

import torch

from trainer.config import TrialConfig
from trainer.data import Rows
from trainer.evaluate import evaluate, prepare, window_counts, window_metrics
from trainer.external.saelens import ExternalSAE
from trainer.models import FrozenModel
from trainer.models.hookpoints import hookpoint_name
from trainer.pulse import heard_by
from trainer.sae.bank import Bank
from trainer.spec import BankSpec
from trainer.state import BankState

MOST_LATENTS = 2**24
"""Latents of one SAE in memory at a time."""


@torch.no_grad()
def measure(
    saes: Sequence[ExternalSAE],
    layers: Sequence[int],
    *,
    like: TrialConfig,
    model: FrozenModel,
    rows: Rows,
    heard: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[dict[str, float | list[float]]]:
    """Of each SAE, put at the input of the block in `layers`, the metrics that a trial `like` has, by column.

    `like` gives the precision and the alive window; `model` and `rows` are its own. All but `grad_norm`, which only
    training has. `heard` hears often how many batches are done, and of how many.
    """
    specs = [_spec(like, layer, model) for layer in layers]
    states = [_state(sae, spec, model) for sae, spec in zip(saes, specs, strict=True)]
    batch_rows = max(1, min(like.train.batch_rows, MOST_LATENTS // (rows.context * max(sae.d_sae for sae in saes))))
    n_tokens = like.eval.alive_window_tokens
    batches = (-(-n_rows // batch_rows) for n_rows in (len(rows.evaluation), -(-n_tokens // rows.context)))
    begun, total = count(), sum(batches)
    prepared = prepare(model, rows, layers=set(layers), batch_rows=batch_rows)
    with heard_by(lambda: heard(next(begun), total)):
        measured = evaluate(specs, states, model=model, rows=rows, prepared=prepared, batch_rows=batch_rows)
        counts = window_counts(specs, states, model=model, rows=rows, n_tokens=n_tokens, batch_rows=batch_rows)
    window = [window_metrics(count, rows=rows, n_tokens=n_tokens) for count in counts]
    return [{**values[0], **alive[0]} for values, alive in zip(measured, window, strict=True)]


def _spec(like: TrialConfig, layer: int, model: FrozenModel) -> BankSpec:
    """A bank of one, of which the evaluation asks only the place and the precision."""
    return BankSpec((like.model_copy(update={"hookpoint": hookpoint_name(layer)}),), model.n_layers)


def _state(sae: ExternalSAE, spec: BankSpec, model: FrozenModel) -> BankState:
    tensors = {"w_enc": sae.w_enc, "b_enc": sae.b_enc, "w_dec": sae.dictionary, "b_dec": sae.b_dec}
    state = BankState.initial(Bank(**{n: t[None].to(model.device, spec.master_dtype) for n, t in tensors.items()}))
    state.moments = {}  # nothing is trained
    return state
