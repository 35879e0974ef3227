"""The folder of one SAE as dictionary_learning's `load_dictionary` reads it: an `AutoEncoder`'s `ae.pt`, `config.json`.

Their encoder always subtracts the decoder's bias from its input. Ours does not, so the product W_enc b_dec is added to
the encoder's bias: the latents are the same. They name a place by the block whose output it is: the input of block L is
the output of block L - 1, and the input of block 0 has no name.
"""

from trainer.errors import BadInput
from trainer.export.pickles import state_dict_bytes
from trainer.export.trained import TrainedSAE, json_bytes


def dictionary_learning_files(sae: TrainedSAE) -> dict[str, bytes]:
    """`ae.pt`: `bias` (d_in), `encoder.weight` (d_sae, d_in), `encoder.bias` (d_sae), `decoder.weight` (d_in, d_sae).

    Raises:
        BadInput: the SAE sits at the input of block 0.
    """
    if sae.layer == 0:
        raise BadInput(
            f"{sae.config.run_name} sits at {sae.config.hookpoint}, and dictionary_learning can only name outputs of "
            "blocks: choose other trials, or another format"
        )
    bias_seen = sae.w_enc.double() @ sae.b_dec.double()
    tensors = {
        "bias": sae.b_dec,
        "encoder.weight": sae.w_enc,
        "encoder.bias": (sae.b_enc.double() + bias_seen).to(sae.b_enc.dtype),
        "decoder.weight": sae.dictionary.T,
    }
    config, n_warmup = sae.config, round(sae.config.train.warmup_fraction * sae.config.n_steps)
    block = sae.layer - 1
    trainer = {
        "dict_class": "AutoEncoder",
        "trainer_class": "StandardTrainer",
        "activation_dim": sae.d_model,
        "dict_size": sae.d_sae,
        "lr": config.train.lr,
        # Theirs sums squares and latents where ours divides both by d_in, so for the local loss it is the same weight.
        "l1_penalty": config.loss.sparsity_coeff,
        "warmup_steps": n_warmup,
        "steps": config.n_steps,
        "seed": config.seed,
        "device": "cpu",
        "layer": block,
        "lm_name": config.model.name,
        "wandb_name": sae.about.get("run_name", config.run_name),
        "submodule_name": submodule_name(sae.layer),
    }
    buffer = {
        "d_submodule": sae.d_model,
        "io": "out",
        "ctx_len": config.data.context,
        "out_batch_size": config.tokens_per_step,
        "device": "cpu",
    }
    return {
        "ae.pt": state_dict_bytes(tensors),
        "config.json": json_bytes({"trainer": trainer, "buffer": buffer, "sae_frontier": sae.described}),
    }


def submodule_name(layer: int) -> str:
    """Their name of the input of block `layer`, 1 or above: the folder that SAEs of this place share."""
    return f"resid_post_layer_{layer - 1}"
