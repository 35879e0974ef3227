"""A trained SAE that training starts from: one of a run folder (`saes/<trial_id>`), or one as SAELens saves it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from trainer.config import ModelConfig, TrialConfig
from trainer.errors import BadInput
from trainer.external.fits import plain_name
from trainer.external.folders import CONFIG, WEIGHTS
from trainer.external.places import layer_of_hook
from trainer.external.saelens import read_saelens
from trainer.sae.weights import SAEWeights

OUR_WEIGHTS, OUR_CONFIG = "sae.safetensors", "config.json"
TENSORS = ("w_enc", "b_enc", "dictionary", "b_dec")


@dataclass(frozen=True)
class GivenSAE(SAEWeights):
    """Its tensors, and what its folder says of it. None: it does not say."""

    folder: Path
    hook: str | None
    model: str | None
    centred: bool


def read_given(folder: Path) -> GivenSAE:
    """The SAE in `folder`, on the CPU.

    Raises:
        BadInput: no such folder, a broken one, or an SAE that cannot be trained here, with the reason.
    """
    if (folder / OUR_WEIGHTS).is_file():
        sae = _ours(folder)
    elif (folder / CONFIG).is_file():
        theirs = read_saelens(folder)
        tensors = {name: getattr(theirs, name) for name in TENSORS}
        sae = GivenSAE(**tensors, folder=folder, hook=theirs.hook, model=theirs.model, centred=theirs.centred)
    else:
        is_there = "has no SAE in it" if folder.is_dir() else "is no folder"
        raise BadInput(
            f"{folder} {is_there}; expected scratch, or a folder with a trained SAE: {OUR_WEIGHTS} with {OUR_CONFIG}, "
            f"as runs have them in saes/<trial_id>, or {CONFIG} with {WEIGHTS}, as SAELens saves it"
        )
    if n_zero := int((sae.dictionary.norm(dim=1) == 0).sum()):
        raise BadInput(f"{folder} has {n_zero} dictionary elements of length 0, which have no direction to train from")
    return sae


def misfit(sae: GivenSAE, *, model: ModelConfig, n_layers: int, d_model: int, trial: TrialConfig) -> str:
    """Why `trial` cannot start from this SAE; empty if it can."""
    where, d_sae = str(sae.folder), trial.sae.d_sae(d_model)
    if sae.d_model != d_model:
        return f"{where} reads activations of width {sae.d_model}, expected {d_model}, those of {model.name}"
    if sae.d_sae != d_sae:
        return (
            f"{where} has {sae.d_sae} dictionary elements, and sae.ratio={trial.sae.ratio:g} asks for {d_sae}; "
            f"expected sae.ratio={sae.d_sae / d_model:g}"
        )
    if sae.model is not None and plain_name(sae.model) != plain_name(model.name):
        return f"{where} was made for {sae.model!r}, expected an SAE of {model.name!r}"
    if sae.model is not None and sae.centred != model.center_residual:
        is_, other = ("mean-centred", "plain") if sae.centred else ("plain", "mean-centred")
        return f"{where} reads the {is_} residual stream, and model.center_residual asks for the {other} one"
    if sae.hook is None:
        return ""
    try:
        layer = layer_of_hook(sae.hook, n_layers=n_layers, where=where)
    except BadInput as problem:
        return str(problem)
    return "" if layer == trial.layer else f"{where} sits at the input of block {layer}, expected block {trial.layer}"


def _ours(folder: Path) -> GivenSAE:
    try:
        config = TrialConfig.model_validate_json((folder / OUR_CONFIG).read_bytes())
        tensors = load_file(folder / OUR_WEIGHTS)
    except (OSError, ValidationError, SafetensorError) as problem:
        raise BadInput(
            f"{folder} holds no whole SAE of a run folder ({type(problem).__name__}): is it copied whole?"
        ) from None
    shape = tensors["w_enc"].shape if tensors.keys() == set(TENSORS) else ()
    wanted = {"w_enc": shape, "dictionary": shape, "b_enc": shape[:1], "b_dec": shape[1:]}
    if len(shape) != 2 or any(tensors[name].shape != torch.Size(size) for name, size in wanted.items()):
        raise BadInput(f"{folder / OUR_WEIGHTS} does not hold {', '.join(TENSORS)} of one SAE")
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise BadInput(f"{folder / OUR_WEIGHTS} has values in {', '.join(broken)} that are not finite")
    about = config.model
    return GivenSAE(**tensors, folder=folder, hook=config.hookpoint, model=about.name, centred=about.center_residual)
