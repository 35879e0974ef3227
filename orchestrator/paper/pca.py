"""Principal directions: those of a layer, a task each, and what each SAE keeps of them. The paper's app. G.3."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.paper.analysis import (
    COUNT,
    IDENTITY,
    NUMBER,
    NUMBERS,
    TEXT,
    Analysis,
    Chosen,
    Column,
    Context,
    Cost,
    Option,
    Shape,
    Tables,
    TableSpec,
    Task,
    identity,
)
from orchestrator.paper.streamed import cost_of, first_of_layers, n_rows_option, positive
from trainer.errors import BadInput

if TYPE_CHECKING:
    from trainer.analysis import PrincipalDirections

POSITION_DIRECTIONS = 3
"""Directions whose mean by position is told."""
_LAYER = Column("layer", COUNT, "Input of that block.", nullable=False)
_DIRECTION = Column(
    "direction", COUNT, "Number of the principal direction, from 0, by falling variance.", nullable=False
)

DIRECTIONS = TableSpec(
    "pca_directions",
    "Principal directions of the clean residual stream",
    (
        _LAYER,
        _DIRECTION,
        Column("variance_share", NUMBER, "Of the variance of all directions.", "share"),
        Column(
            "cosine_to_position_0",
            NUMBER,
            "With the mean activation at position 0: near 1 for an outlier direction of position 0.",
            "cosine",
        ),
        Column("cosine_to_difference", NUMBER, "With (mean at position 0 - mean after it).", "cosine"),
        Column("mean_position_0", NUMBER, "Mean activation along it at position 0.", "activation"),
        Column("mean_rest", NUMBER, "The same at the positions after it.", "activation"),
        Column("n_tokens", COUNT, "Evaluation tokens that it is over.", "tokens", nullable=False),
    ),
)
CORRELATION = TableSpec(
    "pca_correlation",
    "Correlation of the SAE's input and output along each principal direction",
    (
        *IDENTITY,
        _DIRECTION,
        Column("r_position_0", NUMBER, "Pearson's r over position 0 of all rows."),
        Column("r_rest", NUMBER, "Pearson's r over the positions after it."),
    ),
    printed=("run_name", "direction", "r_position_0", "r_rest"),
)
HISTOGRAM = TableSpec(
    "pca_histogram",
    "Tokens by their activation along principal direction 0, before and after the SAE",
    (
        *IDENTITY,
        Column("kind", TEXT, "position_0, end_of_text (after position 0) or other.", nullable=False),
        Column("edges", NUMBERS, "Of the bins, one more than bins; nothing subtracted.", "activation"),
        Column("clean", NUMBERS, "Tokens by bin before the SAE.", "tokens"),
        Column("sae", NUMBERS, "Tokens by bin after it.", "tokens"),
    ),
    printed=(),
)
POSITIONS = TableSpec(
    "pca_positions",
    "Mean activation along the first principal directions by position in the row",
    (
        *IDENTITY,
        _DIRECTION,
        Column("clean", NUMBERS, "By position, from 0, before the SAE.", "activation"),
        Column("sae", NUMBERS, "By position after it.", "activation"),
    ),
    printed=(),
)


class PCA(Analysis):
    """Where position 0 is an outlier, and which directions an SAE keeps."""

    id = "pca"
    title = "Principal directions of the residual stream"
    paper = ("Figure 22", "Figure 23a", "Appendix G.3")
    tables = (DIRECTIONS, CORRELATION, HISTOGRAM, POSITIONS)
    options = (n_rows_option(100), Option("n_directions", 25, "Principal directions, at most d_model."))

    def tasks(self, chosen: Chosen) -> list[Task]:
        options = positive(self, chosen, "n_rows", "n_directions")

        def task(key: str, trial_id: str, layer: int, of: str) -> Task:
            return Task(self.id, key, (trial_id,), {**options, "layer": layer, "of": of}, needs_model=True)

        layers = [
            task(f"L{row.config.layer}", row.trial_id, row.config.layer, "layer") for row in first_of_layers(chosen)
        ]
        return layers + [task(row.run_name, row.trial_id, row.config.layer, "sae") for row in chosen.rows]

    def cost(self, task: Task, shape: Shape) -> Cost:
        kept = 8.0 * shape.facts.d_model**2
        if task.options["of"] == "layer":
            return cost_of(task, shape, clean=1, kept_bytes=kept)
        per_token = 4 * 4.0 * task.options["n_directions"]
        return cost_of(
            task, shape, clean=2, through=1, kept_bytes=kept + per_token * task.options["n_rows"] * shape.context
        )

    def run(self, task: Task, context: Context) -> Tables:
        from trainer.analysis import principal_directions

        is_layer = task.options["of"] == "layer"
        found = principal_directions(
            context.model(),
            context.rows().evaluation,
            layer=task.options["layer"],
            n_directions=task.options["n_directions"],
            n_rows=task.options["n_rows"],
            heard=context.heard if is_layer else lambda done, total: context.heard(done, 2 * total),
        )
        return {DIRECTIONS.name: _of_layer(found)} if is_layer else _of_sae(found, task, context)


def _of_layer(found: "PrincipalDirections") -> list[dict[str, Any]]:
    columns: Mapping[str, list[float]] = {
        "variance_share": found.variance_shares.tolist(),
        "cosine_to_position_0": found.cosine_to_first.tolist(),
        "cosine_to_difference": found.cosine_to_difference.tolist(),
        "mean_position_0": (found.directions @ found.first_mean).tolist(),
        "mean_rest": (found.directions @ found.rest_mean).tolist(),
    }
    return [
        {"layer": found.layer, "direction": i, "n_tokens": found.n_tokens}
        | {name: values[i] for name, values in columns.items()}
        for i in range(len(found.directions))
    ]


def _of_sae(found: "PrincipalDirections", task: Task, context: Context) -> Tables:
    from trainer.analysis import along_directions, by_position, correlation, histograms

    (trial_id,) = task.subjects
    who = identity(context.row(trial_id))
    along = along_directions(
        found.directions,
        [context.sae(trial_id)],
        context.model(),
        context.rows().evaluation,
        layer=found.layer,
        n_rows=task.options["n_rows"],
        heard=lambda done, total: context.heard(total + done, 2 * total),
    )
    (sae,) = along.saes
    r = correlation(clean=along.clean, sae=sae)
    at = by_position(clean=along.clean[..., :POSITION_DIRECTIONS], sae=sae[..., :POSITION_DIRECTIONS])
    return {
        CORRELATION.name: [
            {**who, "direction": i, "r_position_0": first, "r_rest": rest}
            for i, (first, rest) in enumerate(zip(r.first.tolist(), r.rest.tolist(), strict=True))
        ],
        HISTOGRAM.name: [
            {**who, "kind": str(kind)} | {name: values.double().tolist() for name, values in one._asdict().items()}
            for kind, one in histograms(along, which=0, direction=0, end_id=end_of_text(context)).items()
        ],
        POSITIONS.name: [
            {**who, "direction": i, "clean": at.clean[:, i].tolist(), "sae": at.sae[:, i].tolist()}
            for i in range(at.clean.shape[1])
        ],
    }


def end_of_text(context: Context) -> int | None:
    """Id of the end-of-text token; None where the model has no tokenizer, or that has none."""
    try:
        return context.tokenizer().eos_token_id  # pyright: ignore[reportReturnType]
    except BadInput:
        return None
