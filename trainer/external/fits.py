"""Whether an SAE of somebody else belongs to a model, and where in it. Refuses with a reason; says what is unlike."""

from typing import NamedTuple

from trainer.config import TrialConfig
from trainer.errors import BadInput
from trainer.external.places import layer_of_hook
from trainer.external.saelens import ExternalSAE
from trainer.models import FrozenModel

_OTHER_NAMES = {"gpt2-small": "gpt2", "tiny-stories-1m": "tinystories-1m"}
"""By TransformerLens' alias: the hub's name. Its other names are hub names, with or without the owner."""


class Placed(NamedTuple):
    """Where an SAE is measured, and what to know about it."""

    layer: int
    notes: tuple[str, ...]
    """What differs between its training and this evaluation, for people."""


def place(
    sae: ExternalSAE, *, model: FrozenModel, like: TrialConfig, layer: int | None = None, same_model: bool = False
) -> Placed:
    """The block whose input `sae` replaces in `model`, which trials `like` this one were trained on.

    `layer`: for SAEs that do not say where they sit. `same_model`: the caller knows that it was made on this model,
    whatever the names say.

    Raises:
        BadInput: it is another model's, another width's or another place's, or it does not say where it sits.
    """
    where = str(sae.folder)
    if sae.d_model != model.d_model:
        raise BadInput(
            f"{where} reads activations of width {sae.d_model}, and the residual stream of {model.name} has "
            f"{model.d_model}: it is another model's"
        )
    notes = [] if same_model else _check_model(sae, model, like, where)
    if sae.hook is None:
        if layer is None:
            raise BadInput(f"{where} does not say where it sits (no hook_name in its cfg.json): give --layer")
        if not 0 <= layer < model.n_layers:
            raise BadInput(f"--layer {layer}: {model.name} has the layers 0 to {model.n_layers - 1}")
        found = layer
    else:
        found = layer_of_hook(sae.hook, n_layers=model.n_layers, where=where)
        if layer not in (None, found):
            raise BadInput(f"{where} sits at {sae.hook}, the input of block {found}: leave --layer {layer} out")
    if sae.context not in (None, like.data.context):
        notes.append(f"trained on rows of {sae.context} tokens, measured on rows of {like.data.context}")
    if sae.prepend_bos:
        notes.append("trained on rows that begin with a BOS token, measured on rows without")
    return Placed(found, tuple(notes))


def _check_model(sae: ExternalSAE, model: FrozenModel, like: TrialConfig, where: str) -> list[str]:
    ways_on = "If it is the same model all the same, say so with --same-model"
    if sae.model_hash is not None:
        if sae.model_hash != model.content_hash:
            raise BadInput(
                f"{where} was trained on other weights of {sae.model} than the run's {model.name} has "
                f"(SHA-256 {sae.model_hash[:12]} and {model.content_hash[:12]}). {ways_on}"
            )
    elif sae.model is None:
        return ["does not say which model it was made for"]
    elif plain_name(sae.model) != plain_name(model.name):
        raise BadInput(f"{where} was made for {sae.model!r}, and the run's model is {model.name!r}. {ways_on}")
    if sae.centred != like.model.center_residual:
        is_, other = ("mean-centred", "plain") if sae.centred else ("plain", "mean-centred")
        raise BadInput(
            f"{where} reads the {is_} residual stream, and the run has the {other} one "
            f"(model.center_residual={str(like.model.center_residual).lower()}). {ways_on}"
        )
    return []


def plain_name(name: str) -> str:
    """A model's name as hubs have it, less the owner or the path before it."""
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    return _OTHER_NAMES.get(last, last)
