"""Downstream reconstruction, a task per SAE: the paper's Figures 2, 6 and 12."""

from dataclasses import asdict

from orchestrator.paper.analysis import (
    COUNT,
    IDENTITY,
    NUMBER,
    Analysis,
    Chosen,
    Column,
    Context,
    Cost,
    Shape,
    Tables,
    TableSpec,
    Task,
    identity,
)
from orchestrator.paper.streamed import cost_of, n_rows_option, positive, task_per_sae

_FIT = {
    "mse": ("Mean over tokens and d_model of (SAE - clean)².", "activation² per dimension"),
    "mse_stderr": ("Standard error of mse over rows.", "activation² per dimension"),
    "explained_variance": ("1 - sum |SAE - clean|² / sum |clean - mean clean|²: 1 is perfect, 0 is the mean.", "share"),
    "explained_variance_stderr": ("Standard error of explained_variance over rows.", "share"),
    "explained_variance_per_token": ("Mean over tokens of that ratio, as the paper plots it.", "share"),
    "explained_variance_per_token_std": ("Its standard deviation over tokens.", "share"),
}
_NORMED = "layer_normed_"

DOWNSTREAM = TableSpec(
    "downstream",
    "Reconstruction at the SAE and at every later block",
    (
        *IDENTITY,
        Column(
            "at_layer",
            COUNT,
            "Input of that block: at the SAE's own layer its output against its input, above it the stream with the "
            "SAE against the clean one. The number of blocks stands for the stream after the last.",
            nullable=False,
        ),
        Column("n_tokens", COUNT, "Evaluation tokens that it is over.", "tokens", nullable=False),
        *(Column(name, NUMBER, text, unit) for name, (text, unit) in _FIT.items()),
        *(
            Column(_NORMED + name, NUMBER, text + " Of both streams after LayerNorm without weights.", unit)
            for name, (text, unit) in _FIT.items()
        ),
        Column(
            "swapped_per_token",
            NUMBER,
            "At the SAE's own layer, mean over tokens of 1 - |SAE - clean|² / |SAE - mean SAE|²: no explained "
            "variance, but what the paper's code computes there.",
        ),
    ),
    printed=(
        "run_name",
        "at_layer",
        "mse",
        "explained_variance",
        "explained_variance_per_token",
        "layer_normed_explained_variance",
        "swapped_per_token",
    ),
)


class Downstream(Analysis):
    """How much of the residual stream is left at each later block."""

    id = "downstream"
    title = "Reconstruction at later layers"
    paper = ("Figure 2", "Figure 6", "Figure 12")
    tables = (DOWNSTREAM,)
    options = (n_rows_option(500),)

    def tasks(self, chosen: Chosen) -> list[Task]:
        options = positive(self, chosen, "n_rows")
        return task_per_sae(self, chosen, options)

    def cost(self, task: Task, shape: Shape) -> Cost:
        return cost_of(task, shape, clean=2, through=2, above=1)

    def run(self, task: Task, context: Context) -> Tables:
        from trainer.analysis import downstream_reconstruction

        (trial_id,) = task.subjects
        fits = downstream_reconstruction(
            context.sae(trial_id),
            context.model(),
            context.rows().evaluation,
            n_rows=task.options["n_rows"],
            heard=context.heard,
        )
        return {
            DOWNSTREAM.name: [
                {
                    **identity(context.row(trial_id)),
                    "at_layer": fit.layer,
                    "n_tokens": fit.n_tokens,
                    **asdict(fit.raw),
                    **{_NORMED + name: value for name, value in asdict(fit.layer_normed).items()},
                    "swapped_per_token": fit.swapped_per_token,
                }
                for fit in fits
            ]
        }
