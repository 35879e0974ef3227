"""SAEs as files that the ecosystem's tools load. Pure functions from a `TrainedSAE` to the bytes of its files.

One file per format. The boundary: what a tool's own code reads, written down here and held by tests against that code;
nothing of those tools is imported, and where the files go is the caller's business (`save_sae` writes one folder).

Shapes: `w_enc` and `dictionary` are "d_sae d_model", `b_enc` " d_sae", `b_dec` " d_model". Activations and biases are
in the units of the residual stream, frequencies are shares of tokens between 0 and 1.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from trainer.errors import BadInput
from trainer.export.dictionary_learning import dictionary_learning_files
from trainer.export.e2e_sae import e2e_sae_files
from trainer.export.firing import firing_frequencies
from trainer.export.saelens import saelens_files
from trainer.export.trained import TrainedSAE
from trainer.files import write_whole

FORMATS: Mapping[str, Callable[[TrainedSAE], dict[str, bytes]]] = {
    "saelens": saelens_files,
    "dictionary_learning": dictionary_learning_files,
    "e2e_sae": e2e_sae_files,
}
"""By name: what makes the files of one SAE, by file name."""


def save_sae(sae: TrainedSAE, folder: Path, *, format: str = "saelens") -> list[Path]:
    """Write the files of one SAE into `folder`, which is made if need be; each appears whole. Their paths.

    Raises:
        BadInput: no such format, or the format has no way to say this SAE.
        OSError: the disk does not take it.
    """
    if format not in FORMATS:
        raise BadInput(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}")
    files = FORMATS[format](sae)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_whole(folder / name, content)
    return [folder / name for name in files]


__all__ = [
    "FORMATS",
    "TrainedSAE",
    "dictionary_learning_files",
    "e2e_sae_files",
    "firing_frequencies",
    "saelens_files",
    "save_sae",
]
