"""SAEs that somebody else trained: read from SAELens' folders, and measured as our own are, on the same tokens.

The boundary: a folder in, our tensors and metrics out. Refuses what it cannot measure exactly, by name; nothing of
SAELens is imported, and PyTorch only with the first name that needs it: `folders` does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.external.fits import Placed, place
    from trainer.external.measuring import measure
    from trainer.external.places import layer_of_hook
    from trainer.external.saelens import ExternalSAE, read_saelens

_HOMES = {
    "ExternalSAE": "saelens",
    "Placed": "fits",
    "layer_of_hook": "places",
    "measure": "measuring",
    "place": "fits",
    "read_saelens": "saelens",
}

__all__ = ["ExternalSAE", "Placed", "layer_of_hook", "measure", "place", "read_saelens"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
