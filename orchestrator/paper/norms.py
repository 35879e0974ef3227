"""Norms and cosines of the SAE's input and output, a task per SAE: the paper's Figures 10 and 11 and Table 5."""

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
    Shape,
    Tables,
    TableSpec,
    Task,
    identity,
)
from orchestrator.paper.streamed import cost_of, n_rows_option, positive, task_per_sae

if TYPE_CHECKING:
    from trainer.analysis.norms import Norms

FIRST, REST = "0", "after 0"
_MEASURES = {
    "l2_ratio": ("|SAE output| / |SAE input|", "ratio"),
    "cosine": ("the cosine of SAE output and SAE input", "cosine"),
    "norm_in": ("|SAE input|", "activation"),
    "norm_out": ("|SAE output|", "activation"),
    "kl": ("KL(clean || SAE) of the next token", "nats per token"),
}
_POSITIONS = Column("positions", TEXT, f"Which tokens: `{FIRST}`, the first of each row, or `{REST}`.", nullable=False)

NORMS = TableSpec(
    "norms",
    "Length and direction of the SAE's output against its input",
    (
        *IDENTITY,
        _POSITIONS,
        Column("n_tokens", COUNT, "Evaluation tokens that it is over.", "tokens", nullable=False),
        *(
            column
            for name, (text, unit) in _MEASURES.items()
            for column in (
                Column(name, NUMBER, f"Mean over tokens of {text}.", unit),
                Column(f"{name}_std", NUMBER, f"Standard deviation over tokens of {text}.", unit),
                Column(f"{name}_stderr", NUMBER, "Standard error of the mean, from the means of rows.", unit),
            )
        ),
    ),
    printed=("run_name", "positions", "l2_ratio", "l2_ratio_std", "cosine", "norm_in", "norm_out", "kl"),
)
COSINES = TableSpec(
    "norms_cosines",
    "Tokens by the cosine of the SAE's output and input",
    (*IDENTITY, _POSITIONS, Column("counts", NUMBERS, "Tokens in 200 equal bins from -1 to 1.", "tokens")),
    printed=(),
)
POINTS = TableSpec(
    "norms_points",
    "Norms of single tokens, every position 0 and others evenly; three lists of one length",
    (
        *IDENTITY,
        Column("position", NUMBERS, "Position of the token in its row."),
        Column("norm_in", NUMBERS, "|SAE input|.", "activation"),
        Column("norm_out", NUMBERS, "|SAE output|.", "activation"),
    ),
    printed=(),
)


class InputOutputNorms(Analysis):
    """How long the SAE's output is, and which way it points."""

    id = "norms"
    title = "Norms and cosines of input and output"
    paper = ("Figure 10", "Figure 11", "Table 5")
    tables = (NORMS, COSINES, POINTS)
    options = (n_rows_option(100),)

    def tasks(self, chosen: Chosen) -> list[Task]:
        options = positive(self, chosen, "n_rows")
        return task_per_sae(self, chosen, options)

    def cost(self, task: Task, shape: Shape) -> Cost:
        n_tokens = task.options["n_rows"] * shape.context
        return cost_of(task, shape, clean=1, through=1, above=1, logits=1, kept_bytes=64.0 * n_tokens)

    def run(self, task: Task, context: Context) -> Tables:
        from trainer.analysis import input_output_norms

        (trial_id,) = task.subjects
        found = input_output_norms(
            context.sae(trial_id),
            context.model(),
            context.rows().evaluation,
            n_rows=task.options["n_rows"],
            heard=context.heard,
        )
        who = identity(context.row(trial_id))
        parts = {FIRST: found.first, REST: found.rest}
        points = {name: values.tolist() for name, values in found.points._asdict().items()}
        return {
            NORMS.name: [{**who, "positions": at, **_measured(part)} for at, part in parts.items() if part.n_tokens],
            COSINES.name: [
                {**who, "positions": at, "counts": part.cosine_counts.double().tolist()}
                for at, part in parts.items()
                if part.n_tokens
            ],
            POINTS.name: [{**who, **points, "position": [float(each) for each in points["position"]]}],
        }


def _measured(part: "Norms") -> dict[str, Any]:
    found: dict[str, Any] = {"n_tokens": part.n_tokens}
    for name in _MEASURES:
        moments = getattr(part, name)
        found |= {name: moments.mean, f"{name}_std": moments.std, f"{name}_stderr": moments.stderr}
    return found
