"""What the paper measured, as pure functions on SAEs, a frozen model and rows of tokens; one file per analysis.

Each gives numbers and tensors. Which SAEs are compared, tables and files are `orchestrator/paper`, figures
`dashboards/paper`. Memory grows neither with d_sae² nor with tokens x d_sae.
"""

from trainer.analysis.ablation import Ablated, resample_ablation
from trainer.analysis.agreement import (
    Agreement,
    Differences,
    Faithfulness,
    agreement_of,
    elements_needed,
    faithfulness,
    faithfulness_interval,
)
from trainer.analysis.agreement_prompts import Prompt, Prompts, draw_prompts
from trainer.analysis.agreement_words import Words, words_for
from trainer.analysis.along import Along, TokenKind, along_directions, by_position, correlation, histograms
from trainer.analysis.downstream import Fit, LayerFit, downstream_reconstruction
from trainer.analysis.embedding import umap_of
from trainer.analysis.generation import Continuation, Writer, continuations, load_writer, prompts_of
from trainer.analysis.geometry import (
    CosineSummary,
    MeanDifference,
    Nearest,
    chance_cosine,
    difference_of_means,
    nearest_across,
    nearest_within,
    summary_of,
)
from trainer.analysis.norms import Norms, NormsOfInputAndOutput, input_output_norms
from trainer.analysis.passages import Passages, passages_of
from trainer.analysis.pca import PrincipalDirections, principal_directions
from trainer.analysis.regions import Region, one_sided_regions
from trainer.analysis.scores import detection_score, mean_interval, permutation_p, simulation_score
from trainer.analysis.spliced import Divergence, Spliced, SplicedBatch, divergence, reconstruct, spliced_batches

__all__ = [
    "Ablated",
    "Agreement",
    "Along",
    "Continuation",
    "CosineSummary",
    "Differences",
    "Divergence",
    "Faithfulness",
    "Fit",
    "LayerFit",
    "MeanDifference",
    "Nearest",
    "Norms",
    "NormsOfInputAndOutput",
    "Passages",
    "PrincipalDirections",
    "Prompt",
    "Prompts",
    "Region",
    "Spliced",
    "SplicedBatch",
    "TokenKind",
    "Words",
    "Writer",
    "agreement_of",
    "along_directions",
    "by_position",
    "chance_cosine",
    "continuations",
    "correlation",
    "detection_score",
    "difference_of_means",
    "divergence",
    "downstream_reconstruction",
    "draw_prompts",
    "elements_needed",
    "faithfulness",
    "faithfulness_interval",
    "histograms",
    "input_output_norms",
    "load_writer",
    "mean_interval",
    "nearest_across",
    "nearest_within",
    "one_sided_regions",
    "passages_of",
    "permutation_p",
    "principal_directions",
    "prompts_of",
    "reconstruct",
    "resample_ablation",
    "simulation_score",
    "spliced_batches",
    "summary_of",
    "umap_of",
    "words_for",
]
