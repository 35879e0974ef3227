"""One SAE from a folder as SAELens writes it: `cfg.json` of any version and `sae_weights.safetensors`.

Standard (ReLU) SAEs only, turned into our form exactly: what is subtracted from the input moves into the encoder's
bias, and norms of the decoder's rows move into the encoder, where ReLU lets them through.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trainer.errors import BadInput
from trainer.external.folders import CONFIG, WEIGHTS, check_folder
from trainer.sae.weights import SAEWeights

TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")

Config = dict[str, object]


@dataclass(frozen=True)
class ExternalSAE(SAEWeights):
    """An SAE of somebody else in our form, and what its folder says of it. None: it does not say."""

    folder: Path
    sae_id: str
    """Sixteen hex digits of the SHA-256 of its weights and config."""
    hook: str | None
    model: str | None
    model_hash: str | None
    """Hash of the model's weights, in SAEs that this program exported."""
    trial_id: str | None
    """The same, of the trial that it was."""
    centred: bool
    """Whether it reads a residual stream whose mean over `d_model` is removed."""
    context: int | None
    prepend_bos: bool | None
    config: Config
    """The whole `cfg.json`."""

    @property
    def name(self) -> str:
        """Its folder's."""
        return self.folder.resolve().name


def read_saelens(folder: Path) -> ExternalSAE:
    """The SAE in `folder`, float32 (float64 if its weights are) on the CPU.

    Raises:
        BadInput: no such folder, a broken one, or an SAE that cannot be measured exactly, with the reason.
    """
    check_folder(folder)
    text = (folder / CONFIG).read_bytes()
    config = _parsed(text, folder / CONFIG)
    facts = _facts(config)
    if problem := _unfit(config, facts):
        raise BadInput(f"{folder}: {problem}")
    tensors = _tensors(folder / WEIGHTS)
    _check_shapes(tensors, config, folder)
    ours = _in_our_form(tensors, subtracts=bool(facts.get("apply_b_dec_to_input", True)))
    kwargs, own = facts.get("model_from_pretrained_kwargs"), facts.get("sae_frontier")
    return ExternalSAE(
        folder=folder,
        sae_id=hashlib.sha256((folder / WEIGHTS).read_bytes() + text).hexdigest()[:16],
        **ours,
        hook=_text(facts.get("hook_name")),
        model=_text(facts.get("model_name")),
        model_hash=_text(own.get("model_hash")) if isinstance(own, dict) else None,
        trial_id=_text(own.get("trial_id")) if isinstance(own, dict) else None,
        centred=isinstance(kwargs, dict) and bool(kwargs.get("center_writing_weights", False)),
        context=value if isinstance(value := facts.get("context_size"), int) else None,
        prepend_bos=value if isinstance(value := facts.get("prepend_bos"), bool) else None,
        config=config,
    )


def _parsed(text: bytes, path: Path) -> Config:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{path} is not JSON ({error}): expected SAELens' config of an SAE") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path} holds no JSON object: expected SAELens' config of an SAE")
    return value


def _facts(config: Config) -> Config:
    """All that it says by its name of version 6; files of before have everything at the top, some under older names."""
    metadata = config.get("metadata")
    facts = {**(metadata if isinstance(metadata, dict) else {}), **config}
    for old, new in (("hook_point", "hook_name"), ("activation_fn_str", "activation_fn")):
        if new not in facts and old in facts:
            facts[new] = facts[old]
    return facts


def _unfit(config: Config, facts: Config) -> str:
    """Why it cannot be measured exactly; empty if it can."""
    architecture = config.get("architecture", "standard")
    if architecture != "standard":
        return (
            f"an SAE of the architecture {architecture!r}. This program measures 'standard' (ReLU) SAEs; its encoder "
            "has no thresholds, gates or top-k"
        )
    wanted = {
        "activation_fn": (("relu", None), "the activation function"),
        "normalize_activations": (("none", None, False), "activations normalised by"),
        "reshape_activations": (("none", None), "activations reshaped by"),
        "hook_head_index": ((None,), "the attention head"),
        "finetuning_scaling_factor": ((False, None), "a finetuning scaling factor:"),
    }
    for key, (known, what) in wanted.items():
        if facts.get(key) not in known:
            expected = " or ".join(repr(value) for value in known[:1])
            return f"an SAE with {what} {facts[key]!r} ({key}), which is not linear in the activations or not in its \
folder; expected {expected}. Where SAELens can fold it into the weights, fold it and save the SAE again"
    return ""


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} cannot be read as safetensors ({error}): is it whole?") from None
    scale = tensors.pop("scaling_factor", None)  # once saved by SAELens without being used
    if scale is not None and not torch.equal(scale, torch.ones_like(scale)):
        raise BadInput(f"{path} has a scaling_factor that is not 1: fold it into the weights and save the SAE again")
    if tensors.keys() != set(TENSORS):
        raise BadInput(f"{path} holds {', '.join(sorted(tensors)) or 'nothing'}; expected {', '.join(TENSORS)}")
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise BadInput(f"{path} has values in {', '.join(broken)} that are not finite")
    return tensors


def _check_shapes(tensors: Mapping[str, Tensor], config: Config, folder: Path) -> None:
    d_in, d_sae = config.get("d_in"), config.get("d_sae")
    expected = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    came = {name: tuple(tensors[name].shape) for name in TENSORS}
    if came != expected:
        raise BadInput(f"{folder}: {CONFIG} says d_in={d_in} and d_sae={d_sae}, and the weights have the shapes {came}")


def _in_our_form(tensors: Mapping[str, Tensor], *, subtracts: bool) -> dict[str, Tensor]:
    """The same function with an encoder that subtracts nothing and a dictionary of unit norm. Folded in float64."""
    dtype = torch.promote_types(tensors["W_enc"].dtype, torch.float32)
    w_enc, b_enc, w_dec, b_dec = (tensors[name].double() for name in TENSORS)
    if subtracts:
        b_enc = b_enc - b_dec @ w_enc
    norms = w_dec.norm(dim=-1)
    norms = torch.where(norms > 0, norms, 1.0)
    folded = {
        "w_enc": (w_enc * norms).T,
        "b_enc": b_enc * norms,
        "dictionary": w_dec / norms[:, None],
        "b_dec": b_dec,
    }
    return {name: tensor.to(dtype).contiguous() for name, tensor in folded.items()}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
