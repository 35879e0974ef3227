"""SAEs that somebody else trained: read from SAELens' folders, and measured as our own are, on the same tokens.

The boundary: a folder in, our tensors and metrics out. Refuses what it cannot measure exactly, by name; nothing of
SAELens is imported.
"""

from trainer.external.fits import Placed, place
from trainer.external.measure import measure
from trainer.external.places import layer_of_hook
from trainer.external.saelens import ExternalSAE, read_saelens

__all__ = ["ExternalSAE", "Placed", "layer_of_hook", "measure", "place", "read_saelens"]
