"""Names of the places where an SAE can sit. One kind: the residual stream that a block reads."""

import re

from trainer.errors import BadInput

_PATTERN = re.compile(r"blocks\.(0|[1-9]\d*)\.hook_resid_pre")


def hookpoint_name(layer: int) -> str:
    """`blocks.<layer>.hook_resid_pre`: the input of block `layer`, transformers' `hidden_states[layer]`."""
    return f"blocks.{layer}.hook_resid_pre"


def layer_of(hookpoint: str, *, n_layers: int, model: str) -> int:
    """Block whose input `hookpoint` is.

    Raises:
        BadInput: no such hookpoint in a model of `n_layers` blocks. `model` is its name in the message.
    """
    match = _PATTERN.fullmatch(hookpoint)
    if match is None or int(match[1]) >= n_layers:
        raise BadInput(
            f"unknown hookpoint {hookpoint!r}: {model} has {hookpoint_name(0)} to {hookpoint_name(n_layers - 1)}"
        )
    return int(match[1])
