"""The folder of one SAE as SAELens 6 loads it (`SAE.load_from_disk`), and with it SAEBench and SAEDashboard.

`W_enc` (d_in, d_sae), `b_enc` (d_sae), `W_dec` (d_sae, d_in) and `b_dec` (d_in) in `sae_weights.safetensors`. Our
encoder does not subtract the decoder's bias, hence `apply_b_dec_to_input: false`; our dictionary has unit norm and no
activation is scaled, hence no normalisation of theirs. Without `metadata.sae_lens_version` their loader takes a file
for one of before version 6 and drops the names of hook and model.
"""

import torch
from safetensors.torch import save

from trainer.export.names import hooked_name, module_before
from trainer.export.trained import TrainedSAE, json_bytes

SAE_LENS_VERSION = "6.54.12"
"""The version that the format is tested against; from 6.0.0 on it is the same."""
FLOOR = 1e-10
"""Added to a frequency before its logarithm, as SAELens does: an element that never fires has -10."""


def saelens_files(sae: TrainedSAE) -> dict[str, bytes]:
    """`sae_weights.safetensors`, `cfg.json` and, where frequencies are known, `sparsity.safetensors`.

    `sparsity` is log10(share of tokens on which an element fires + 1e-10), " d_sae".
    """
    weights = {
        "W_enc": sae.w_enc.T.contiguous(),
        "b_enc": sae.b_enc.contiguous(),
        "W_dec": sae.dictionary.contiguous(),
        "b_dec": sae.b_dec.contiguous(),
    }
    files = {"sae_weights.safetensors": save(weights)}
    if sae.firing_frequency is not None:
        files["sparsity.safetensors"] = save({"sparsity": torch.log10(sae.firing_frequency.float() + FLOOR)})
    files["cfg.json"] = json_bytes(
        {
            "architecture": "standard",
            "d_in": sae.d_model,
            "d_sae": sae.d_sae,
            "dtype": sae.dtype,
            "device": "cpu",
            "apply_b_dec_to_input": False,
            "normalize_activations": "none",
            "reshape_activations": "none",
            "metadata": _metadata(sae),
        }
    )
    return files


def _metadata(sae: TrainedSAE) -> dict[str, object]:
    """What SAELens needs to find the activations, then what it passes on unread."""
    config, n_alive = sae.config, sae.number("n_alive_elements")
    centred = config.model.center_residual
    metadata: dict[str, object] = {
        "sae_lens_version": SAE_LENS_VERSION,
        "model_name": hooked_name(config.model.name),
        "model_class_name": "HookedTransformer",
        # SAELens loads models unprocessed; these make its residual stream the one that was trained on.
        "model_from_pretrained_kwargs": {"center_writing_weights": centred},
        "hook_name": config.hookpoint,
        "hook_head_index": None,
        "context_size": config.data.context,
        "prepend_bos": False,
        "seqpos_slice": [None],
        "exclude_special_tokens": False,
        "dataset_path": config.data.dataset,
        "training_architecture": "standard",
        "training_architecture_details": {
            "loss": config.loss.kind,
            "sparsity_coeff": config.loss.sparsity_coeff,
        },
    }
    module = None if sae.model is None else module_before(sae.layer, family=sae.model.family)
    if module is not None and not centred:  # transformers' own stream is not centred
        metadata["hf_hook_name"] = module
    for name in ("l0", "ce_loss_increase", "explained_variance"):
        metadata[name] = sae.number(name)
    if n_alive is not None:
        metadata["num_dead_features"] = sae.d_sae - round(n_alive)
    return {**metadata, "sae_frontier": sae.described}
