"""The folder of one SAE as e2e_sae's `SAETransformer.from_local_path` reads it: `final_config.yaml`, `samples_N.pt`.

The state dict is that of its `ModuleDict` of SAEs, keyed by the hook's name with hyphens for points. Its SAE divides
the decoder's columns by their norms in each forward pass, which changes nothing for ours. Its config refuses keys that
it does not know, so what else is known of the SAE is in `sae_frontier.json`.
"""

import math

import yaml

from trainer.export.names import hooked_name
from trainer.export.pickles import state_dict_bytes
from trainer.export.trained import TrainedSAE, json_bytes
from trainer.models.hookpoints import hookpoint_name


def e2e_sae_files(sae: TrainedSAE) -> dict[str, bytes]:
    """`encoder.0.weight` (d_sae, d_in), `encoder.0.bias`, `decoder.weight` (d_in, d_sae), `decoder.bias`."""
    prefix = sae.config.hookpoint.replace(".", "-")
    tensors = {
        f"{prefix}.encoder.0.weight": sae.w_enc,
        f"{prefix}.encoder.0.bias": sae.b_enc,
        f"{prefix}.decoder.weight": sae.dictionary.T,
        f"{prefix}.decoder.bias": sae.b_dec,
    }
    n_samples = sae.config.n_steps * sae.config.train.batch_rows
    return {
        f"samples_{n_samples}.pt": state_dict_bytes(tensors),
        "sae_frontier.json": json_bytes(sae.described),
        "final_config.yaml": yaml.safe_dump(_config(sae), sort_keys=False, allow_unicode=True).encode(),
    }


def ratio_that_gives(d_sae: int, *, d_model: int) -> float:
    """The `dict_size_to_input_ratio` of which their `int(ratio * d_model)`, which cuts off, is `d_sae`."""
    ratio = d_sae / d_model
    while int(ratio * d_model) < d_sae:
        ratio = math.nextafter(ratio, math.inf)
    return ratio


def _config(sae: TrainedSAE) -> dict[str, object]:
    """Their `Config`, as far as ours has what it asks for."""
    config, train = sae.config, sae.config.train
    n_samples = config.n_steps * train.batch_rows
    is_cosine = train.schedule == "cosine"
    return {
        "wandb_project": None,
        "wandb_run_name": sae.about.get("run_name", config.run_name),
        "seed": config.seed,
        "tlens_model_name": hooked_name(config.model.name),
        "tlens_model_path": None,
        "save_dir": None,
        "n_samples": n_samples,
        "save_every_n_samples": None,
        "eval_every_n_samples": None,
        "eval_n_samples": config.data.eval_rows,
        "batch_size": train.batch_rows,
        "lr": train.lr,
        "lr_schedule": "cosine" if is_cosine else "linear",
        "min_lr_factor": train.final_lr_fraction,
        "warmup_samples": round(train.warmup_fraction * n_samples),
        "cooldown_samples": 0 if is_cosine else round(train.cooldown_fraction * n_samples),
        "max_grad_norm": None if train.clip_norm == "off" else train.clip_norm,
        "act_frequency_n_tokens": config.eval.alive_window_tokens,
        "loss": _loss(sae),
        "train_data": {
            "dataset_name": config.data.dataset,
            "is_tokenized": config.data.column in ("input_ids", "tokens"),
            "tokenizer_name": config.model.name,
            "split": config.data.split,
            "n_ctx": config.data.context,
            "seed": config.data.seed,
        },
        "saes": {
            "sae_positions": [config.hookpoint],
            "dict_size_to_input_ratio": ratio_that_gives(sae.d_sae, d_model=sae.d_model),
        },
    }


def _loss(sae: TrainedSAE) -> dict[str, object]:
    weights, in_to_orig = sae.config.loss.weights, None
    if weights.downstream and sae.model is not None:
        later = [hookpoint_name(layer) for layer in range(sae.layer + 1, sae.model.n_layers)]
        in_to_orig = {"hook_positions": later, "total_coeff": weights.downstream}
    return {
        "sparsity": {"p_norm": weights.sparsity_p, "coeff": weights.sparsity},
        "in_to_orig": in_to_orig,
        "out_to_orig": None,
        "out_to_in": {"coeff": weights.local},
        "logits_kl": {"coeff": weights.kl} if weights.kl else None,
    }
