"""Which block's input a hook of another tool is. Our hookpoints are inputs of blocks; an output is the next one's."""

import re

from trainer.errors import BadInput
from trainer.export.names import BLOCK_MODULES, EMBEDDING_MODULES

_TRANSFORMER_LENS = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")
_MODULE = re.compile(rf"({'|'.join(re.escape(name) for name in sorted(set(BLOCK_MODULES.values())))})\.(\d+)")


def layer_of_hook(hook: str, *, n_layers: int, where: str) -> int:
    """Block whose input `hook` is: `blocks.L.hook_resid_pre`, `blocks.L.hook_resid_post`, or a block's module.

    Raises:
        BadInput: it is another place, or one that a model of `n_layers` blocks lacks. `where` opens the message.
    """
    if match := _TRANSFORMER_LENS.fullmatch(hook):
        layer = int(match[1]) + (match[2] == "post")
    elif match := _MODULE.fullmatch(hook):
        layer = int(match[2]) + 1
    elif hook in EMBEDDING_MODULES.values():
        layer = 0
    else:
        raise BadInput(
            f"{where} sits at {hook!r}: expected the residual stream between blocks, blocks.L.hook_resid_pre or "
            "blocks.L.hook_resid_post. SAEs of attention, MLPs and normed activations cannot be measured here"
        )
    if layer == n_layers:
        raise BadInput(
            f"{where} sits at {hook!r}, after the last of {n_layers} blocks: the places that can be measured are "
            f"inputs of blocks, blocks.0.hook_resid_pre to blocks.{n_layers - 1}.hook_resid_pre"
        )
    if layer > n_layers:
        raise BadInput(f"{where} sits at {hook!r}, but the model has {n_layers} blocks: it is another model's")
    return layer
