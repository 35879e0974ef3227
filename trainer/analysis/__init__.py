"""What the paper measured, as pure functions on SAEs, a frozen model and rows of tokens; one file per analysis.

Each gives numbers and tensors. Which SAEs are compared, tables and files are `orchestrator/paper`, figures
`dashboards/paper`. Memory grows neither with d_sae² nor with tokens x d_sae.
"""

from trainer.analysis.ablation import Ablated, resample_ablation
from trainer.analysis.along import Along, TokenKind, along_directions, by_position, correlation, histograms
from trainer.analysis.downstream import Fit, LayerFit, downstream_reconstruction
from trainer.analysis.generation import Continuation, Writer, continuations, load_writer, prompts_of
from trainer.analysis.norms import Norms, NormsOfInputAndOutput, input_output_norms
from trainer.analysis.pca import PrincipalDirections, principal_directions
from trainer.analysis.spliced import Divergence, Spliced, SplicedBatch, divergence, reconstruct, spliced_batches

__all__ = [
    "Ablated",
    "Along",
    "Continuation",
    "Divergence",
    "Fit",
    "LayerFit",
    "Norms",
    "NormsOfInputAndOutput",
    "PrincipalDirections",
    "Spliced",
    "SplicedBatch",
    "TokenKind",
    "Writer",
    "along_directions",
    "by_position",
    "continuations",
    "correlation",
    "divergence",
    "downstream_reconstruction",
    "histograms",
    "input_output_norms",
    "load_writer",
    "principal_directions",
    "prompts_of",
    "reconstruct",
    "resample_ablation",
    "spliced_batches",
]
