"""What training and measuring SAEs asks of a device, in FLOPs and bytes. Pure arithmetic on configs and shapes.

Forward multiply-adds count as 2 FLOPs. d = d_model, m = d_sae. A token of an SAE costs its encoder's dense product
(2 d m) and what its positive latents need; for losses that look past the SAE also the blocks above it, forward and back
to their input, and the output's logits. What every SAE of a pack shares is the clean run.
"""

from orchestrator.planning.rates import Work
from orchestrator.planning.shape import Bank, Shape, float_bytes, n_parameters
from trainer.config import TrialConfig

ENCODER = 2
"""Products of d_model by d_sae per token, in FLOPs, of a sparse step: the floor."""
DENSE_STEP = 12
DENSE_FORWARD = 4
TYPICAL_L0 = 64
"""Positive latents per token that a trained SAE is taken to have."""
LATENT_PASSES = 3
"""How often the d_model numbers of each positive latent are moved in a step."""
DENSE_PASSES = 12
"""The same of each latent, in a dense step."""
ADAM_PASSES = 12
"""How often each parameter is moved in a step: gradient, its norm, two moments, the parameter."""
LOGIT_PASSES = 6
"""How often each logit is moved: log-softmax, KL and its gradient."""
EVAL_PASSES = 16
"""How often each number of an SAE's output is moved by the metrics."""
SAE_CALLS, BLOCK_CALLS, LOGIT_CALLS = 60, 40, 12
INIT_PRODUCTS = 4
"""Of d_model by d_sae by d_model: orthogonal directions, made once, on the CPU."""


def clean_flops(trial: TrialConfig, shape: Shape) -> float:
    """Per token, of the clean run that a trial needs: up to its layer, or all of it. A pack shares the longest."""
    return n_clean_blocks(trial, shape) * shape.block(trial.data.context)


def n_clean_blocks(trial: TrialConfig, shape: Shape) -> int:
    """Blocks of the clean run that a trial needs."""
    weights = trial.loss.weights
    if weights.kl > 0:
        return shape.n_layers
    return shape.n_layers - 1 if weights.downstream > 0 else trial.layer


def flops_above(trial: TrialConfig, shape: Shape) -> float:
    """Per token, forward, of what a trial's loss needs above its SAE."""
    weights = trial.loss.weights
    above = _n_blocks_above(trial, shape) * shape.block(trial.data.context)
    return above + (shape.unembedding if weights.kl > 0 else 0.0)


def floor_flops(trial: TrialConfig, shape: Shape) -> float:
    """Per token, of what no way of computing avoids: the encoder's product, and the blocks above forward and back."""
    return 2 * flops_above(trial, shape) + ENCODER * _dm(trial, shape)


def clean_work(trial: TrialConfig, shape: Shape, *, tokens: float, n_parts: float) -> Work:
    """The clean run that a trial needs, over so many tokens in so many parts."""
    n_blocks = n_clean_blocks(trial, shape)
    flops = tokens * n_blocks * shape.block(trial.data.context)
    return Work(model_flops=flops, calls=n_parts * n_blocks * BLOCK_CALLS / 2)


def step_work(bank: Bank, shape: Shape, *, n_parts: int, dense: bool) -> Work:
    """One optimizer step of a bank, without the clean run, its batch cut into parts."""
    trial, n_saes = bank
    tokens = float(n_saes * trial.tokens_per_step)
    size, d_sae = float_bytes(trial), trial.sae.d_sae(shape.d_model)
    numbers = DENSE_PASSES * d_sae if dense else LATENT_PASSES * min(TYPICAL_L0, d_sae / 2) * shape.d_model
    uses_kl = trial.loss.weights.kl > 0
    model = 2 * flops_above(trial, shape)
    if uses_kl:
        numbers += LOGIT_PASSES * shape.d_vocab
        model += shape.unembedding / n_saes  # of the clean run, once for the bank
    adam_passes = ADAM_PASSES if n_parts == 1 else ADAM_PASSES + 3 * n_parts
    return Work(
        product_flops=tokens * (DENSE_STEP if dense else ENCODER) * _dm(trial, shape),
        model_flops=tokens * model,
        moved_bytes=size * (tokens * numbers + n_saes * adam_passes * n_parameters(trial, shape)),
        calls=n_parts * (SAE_CALLS + _n_blocks_above(trial, shape) * BLOCK_CALLS + uses_kl * LOGIT_CALLS),
    )


def evaluation_work(bank: Bank, shape: Shape, *, tokens: float, n_parts: float) -> Work:
    """Measuring a bank over held-out tokens, without the clean run. Every loss needs all of the model above."""
    trial, n_saes = bank
    size, n_above = float_bytes(trial), shape.n_layers - trial.layer
    above = n_above * shape.block(trial.data.context) + shape.unembedding
    latents = LATENT_PASSES / 3 * min(TYPICAL_L0, trial.sae.d_sae(shape.d_model) / 2) * shape.d_model
    numbers = latents + LOGIT_PASSES * shape.d_vocab + EVAL_PASSES * shape.d_model
    return Work(
        product_flops=n_saes * tokens * ENCODER * _dm(trial, shape),
        model_flops=n_saes * tokens * above,
        moved_bytes=n_saes * tokens * size * numbers,
        calls=n_parts * (SAE_CALLS + n_above * BLOCK_CALLS + n_saes * LOGIT_CALLS),
    )


def shared_evaluation_work(trial: TrialConfig, shape: Shape, *, tokens: float, n_parts: float) -> Work:
    """The clean run of an evaluation, with its logits: for everyone in the pack."""
    whole = tokens * shape.forward(trial.data.context)
    moved = tokens * float_bytes(trial) * LOGIT_PASSES * shape.d_vocab
    return Work(model_flops=whole, moved_bytes=moved, calls=n_parts * shape.n_layers * BLOCK_CALLS / 2)


def window_work(bank: Bank, shape: Shape, *, tokens: float, n_parts: float) -> Work:
    """Counting which elements of a trained bank fire, without the clean run."""
    trial, n_saes = bank
    product = n_saes * tokens * ENCODER * _dm(trial, shape)
    moved = n_saes * tokens * float_bytes(trial) * min(TYPICAL_L0, trial.sae.d_sae(shape.d_model) / 2)
    return Work(product_flops=product, moved_bytes=moved * shape.d_model, calls=n_parts * SAE_CALLS / 2)


def init_flops(trial: TrialConfig, shape: Shape) -> float:
    """Making one SAE's first weights, on the CPU."""
    products = INIT_PRODUCTS if trial.sae.decoder_init == "orthogonal" else 0
    return products * _dm(trial, shape) * shape.d_model


def _n_blocks_above(trial: TrialConfig, shape: Shape) -> int:
    weights = trial.loss.weights
    if weights.kl > 0:
        return shape.n_layers - trial.layer
    return shape.n_layers - 1 - trial.layer if weights.downstream > 0 else 0


def _dm(trial: TrialConfig, shape: Shape) -> float:
    return float(shape.d_model) * trial.sae.d_sae(shape.d_model)
