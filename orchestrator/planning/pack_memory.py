"""What a pack holds in memory at its peak, in bytes; and how many rows at once are worth it. Pure.

On a GPU it is what PyTorch allocates there; on a CPU the whole process, Python and libraries included (`base_bytes`).
Banks are computed one after another: all SAEs' parameters are held, but the activations of one bank at a time.
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from orchestrator.planning.rates import Device
from orchestrator.planning.shape import FLOAT_BYTES, Bank, Shape, float_bytes, n_parameters
from orchestrator.planning.work import n_clean_blocks
from trainer.config import TrialConfig

LOGIT_CHUNK: dict[Device, int] = {"cpu": 2**22, "gpu": 2**26}
"""Logits held at a time, in numbers (`trainer.losses.terms.chunk_elements`)."""
LOGIT_ARRAYS = 4
ABLATED_ARRAYS = 2
"""Of a row's positions by the vocabulary, while the zeroed residual stream of a layer is measured."""
STATE_COPIES: dict[Device, float] = {"cpu": 6.5, "gpu": 3.0}
"""How often an SAE's numbers are held while it trains: parameters and two moments; on a CPU also what making them and
freed arrays leave with the process (measured)."""
LATENT_ARRAYS = 3
"""Arrays of tokens by d_sae that a dense step holds at once: latents, their gradient, that before the ReLU."""
OUTPUT_ARRAYS = 6
"""Of tokens by d_model: what an SAE puts out, its residual and gradients."""
TOKENS_THAT_PAY: dict[Device, int] = {"cpu": 4096, "gpu": 2**16}
"""More at once make nothing faster."""
FEWEST_TOKENS: dict[Device, int] = {"cpu": 1024, "gpu": 4096}
"""Fewer at once are slow: rather than that, a pack gets fewer trials."""


class Needs(NamedTuple):
    """Bytes of one SAE."""

    state: float
    """As long as its pack trains: parameters, two moments, when each element fired last."""
    result: float
    """Of the finished SAE, until it is written."""
    active: float
    """While its bank computes: gradients and activations of the tokens held at once."""


def sae_needs(trial: TrialConfig, shape: Shape, *, device: Device, rows: int) -> Needs:
    """What one SAE adds to its pack's memory, `rows` rows being computed at once."""
    size, d_sae, d = float_bytes(trial), trial.sae.d_sae(shape.d_model), shape.d_model
    n_above = shape.n_layers - trial.layer
    weights = n_parameters(trial, shape) * size
    n_gradients = 1 if rows >= trial.train.batch_rows else 2
    running = 5 * d + 2 * shape.d_mlp  # of the block that is computed now
    train = LATENT_ARRAYS * d_sae
    if trial.loss.weights.needs_blocks_above:
        kept = 7 * d + shape.d_mlp  # of each block, for the way back: its weights have no gradient
        kept += 2 * d if trial.loss.weights.downstream > 0 else 0
        train = max(train, d_sae + n_above * kept + running)
    train += OUTPUT_ARRAYS * d
    evaluate = 2 * d_sae + (OUTPUT_ARRAYS + n_above) * d + running
    tokens = min(rows, trial.train.batch_rows) * trial.data.context
    return Needs(
        state=STATE_COPIES[device] * weights + 8 * d_sae,
        result=weights if device == "cpu" else 0.0,
        active=max(n_gradients * weights + size * tokens * train, size * tokens * evaluate),
    )


def shared_bytes(banks: Sequence[Bank], shape: Shape, *, device: Device, rows: int) -> float:
    """What a pack needs once: the frozen model, the clean run of a batch, and a chunk of logits."""
    trial = banks[0].trial
    context = trial.data.context
    size = float_bytes(trial)
    layers: set[int] = set()
    for bank in banks:
        later = range(bank.trial.layer, n_clean_blocks(bank.trial, shape))
        layers |= {bank.trial.layer, *(later if bank.trial.loss.weights.downstream > 0 else ())}
    kept = trial.train.batch_rows * context * (len(layers) + 1) * shape.d_model
    now = rows * context * ((shape.n_layers + 5) * shape.d_model + 2 * shape.d_mlp)
    ablated = ABLATED_ARRAYS * context * shape.d_vocab
    all_logits = rows * context * max(bank.n_saes for bank in banks) * shape.d_vocab
    logits = LOGIT_ARRAYS * min(LOGIT_CHUNK[device], all_logits)
    return float(size * (shape.n_parameters + kept + now + logits) + FLOAT_BYTES * ablated)


def pack_bytes(banks: Sequence[Bank], shape: Shape, *, device: Device, rows: int, base_bytes: float) -> float:
    """The peak of one pack."""
    needs = [(bank.n_saes, sae_needs(bank.trial, shape, device=device, rows=rows)) for bank in banks]
    state = sum(n_saes * need.state for n_saes, need in needs)
    result = sum(n_saes * need.result for n_saes, need in needs)
    active = max(n_saes * need.active for n_saes, need in needs)
    return base_bytes + shared_bytes(banks, shape, device=device, rows=rows) + state + max(active, result)


def fewest_rows(trial: TrialConfig, device: Device) -> int:
    """Rows at once below which a pack would be slow. Packs are filled with as many trials as fit with these."""
    return max(1, min(trial.train.batch_rows, FEWEST_TOKENS[device] // trial.data.context))


def rows_at_once(banks: Sequence[Bank], shape: Shape, *, device: Device, memory_bytes: float, base_bytes: float) -> int:
    """The micro-batch of a pack: its whole batch, or the largest equal part that fits and still pays; at least 1."""
    trial = banks[0].trial
    batch = trial.train.batch_rows
    for n_parts in range(1, batch + 1):
        rows = ceil(batch / n_parts)
        if rows > 1 and rows * trial.data.context > TOKENS_THAT_PAY[device]:
            continue
        if pack_bytes(banks, shape, device=device, rows=rows, base_bytes=base_bytes) <= memory_bytes:
            return rows
    return 1
