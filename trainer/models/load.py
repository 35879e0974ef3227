"""From a `ModelConfig` to a model: `describe_model` reads its shape alone, `load_model` its weights."""

from pathlib import Path
from typing import Any

import torch

from trainer.config import ModelConfig
from trainer.errors import BadInput
from trainer.models.decoder import Family
from trainer.models.facts import KNOWN_CONFIGS, ModelFacts, RawConfig
from trainer.models.frozen import FrozenModel
from trainer.models.gpt2 import GPT2_FAMILY
from trainer.models.gpt_neo import GPT_NEO_FAMILY
from trainer.models.gpt_neox import GPT_NEOX_FAMILY
from trainer.models.hub import CONFIG_FILE, cached_folder
from trainer.models.llama import LLAMA_FAMILY
from trainer.models.parts import HALF_DTYPES, Conversion
from trainer.models.quiet import quiet_transformers
from trainer.models.source import local_folder, model_folder, weight_files

FAMILIES = {family.model_type: family for family in (GPT2_FAMILY, GPT_NEO_FAMILY, GPT_NEOX_FAMILY, LLAMA_FAMILY)}
"""By transformers' `model_type`. A new family is one file and one name here."""


def describe_model(config: ModelConfig) -> ModelFacts:
    """Shape of a model, from its config.json; no weights are read and transformers is not imported.

    Models of the shipped sweeps are known without their file, so that a dry run needs no network.

    Raises:
        BadInput: no such folder or model, a family we do not know, or centring a model it is not valid for.
        EnvironmentProblem: the hub cannot be reached and the model is neither cached nor known.
    """
    family, raw = _family_of(config, _raw_config(config))
    return family.facts(raw)


def load_model(
    config: ModelConfig, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> FrozenModel:
    """The frozen model. `dtype` is the precision of its matrix products; the stream is at least float32.

    With `config.center_residual` the residual stream has zero mean over `d_model` at every hookpoint, and the logits
    are the same: it is the uncentred stream minus that mean. MSE, norms and principal directions are then those of the
    centred stream, as in Braun et al. 2024, whose host model is processed this way.

    Raises:
        BadInput: as `describe_model`, and for weights that are missing, broken, or not safetensors.
        EnvironmentProblem: the hub cannot be reached and its local cache does not have the model.
    """
    folder = model_folder(config, "weights")
    family, raw = _family_of(config, RawConfig.read(folder / CONFIG_FILE))
    facts, files = family.facts(raw), weight_files(folder, config.name)
    source = _read_weights(folder, family, dtype=torch.float32 if dtype in HALF_DTYPES else dtype)
    conversion = Conversion(device=torch.device(device), dtype=dtype, center=config.center_residual)
    with torch.no_grad():
        decoder = family.decoder(source, conversion)
    return FrozenModel(
        decoder, name=config.name, facts=facts, device=conversion.device, dtype=dtype, weight_files=files
    )


def _raw_config(config: ModelConfig) -> RawConfig:
    folder = local_folder(config) or cached_folder(config.name, config.revision, "config")
    if folder is None and config.name in KNOWN_CONFIGS:
        return RawConfig(KNOWN_CONFIGS[config.name], where=f"known facts of {config.name}")
    return RawConfig.read((folder or model_folder(config, "config")) / CONFIG_FILE)


def _family_of(config: ModelConfig, raw: RawConfig) -> tuple[Family, RawConfig]:
    family = FAMILIES.get(raw.model_type)
    if family is None:
        raise BadInput(
            f"model {config.name!r} is of the family {raw.model_type or 'nothing'!r} (model_type in {raw.where}); "
            f"known families: {', '.join(sorted(FAMILIES))}"
        )
    if raw.values.get("quantization_config"):
        raise BadInput(f"model {config.name!r} is quantised ({raw.where}); name one with ordinary weights")
    if config.center_residual and not family.can_center:
        raise BadInput(
            f"model.center_residual=true is not possible for {config.name!r}: {family.model_type} models normalise "
            "with RMSNorm, which keeps the mean, so centring would change its logits. Set model.center_residual=false"
        )
    return family, raw


def _read_weights(folder: Path, family: Family, *, dtype: torch.dtype) -> Any:
    """transformers' module, on the CPU."""
    with quiet_transformers():
        import transformers

        try:
            model, report = getattr(transformers, family.transformers_class).from_pretrained(
                folder, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False,
                output_loading_info=True,
            )  # fmt: skip
        except Exception as error:  # safetensors, json and transformers each have their own
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise BadInput(f"the model in {folder} cannot be read: {reason}") from error
    missing = sorted(str(key) for key in report["missing_keys"])
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise BadInput(f"the weights in {folder} are not whole: they lack {shown}")
    return model.eval().requires_grad_(False)
