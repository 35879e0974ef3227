"""Resample ablation of principal directions, a task per layer: the paper's Figure 23b. No SAE has a part in it."""

from orchestrator.paper.analysis import (
    COUNT,
    NUMBER,
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
)
from orchestrator.paper.streamed import cost_of, first_of_layers, n_rows_option, positive

ABLATION = TableSpec(
    "ablation",
    "What the model loses when a principal direction says what it says on another token",
    (
        Column("layer", COUNT, "Input of that block.", nullable=False),
        Column("direction", COUNT, "Number of the principal direction, from 0, by falling variance.", nullable=False),
        Column("variance_share", NUMBER, "Of the variance of all directions.", "share"),
        Column("kl", NUMBER, "KL(original || ablated) of the next token, mean after position 0.", "nats per token"),
        Column("kl_stderr", NUMBER, "Standard error of that mean over rows.", "nats per token"),
        Column("kl_reversed", NUMBER, "KL(ablated || original), as the paper's script has it.", "nats per token"),
        Column("n_rows", COUNT, "Evaluation rows that it is over.", "rows", nullable=False),
    ),
)


class Ablation(Analysis):
    """Which directions matter for what the model says."""

    id = "ablation"
    title = "Resample ablation of principal directions"
    paper = ("Figure 23b", "Appendix G.3")
    tables = (ABLATION,)
    options = (
        n_rows_option(30),
        Option("n_directions", 25, "Principal directions, at most d_model."),
        Option("n_pca_rows", 100, "Evaluation rows that the directions are of."),
        Option("seed", 0, "Of which token takes which one's place."),
    )

    def tasks(self, chosen: Chosen) -> list[Task]:
        options = positive(self, chosen, "n_rows", "n_directions", "n_pca_rows")
        options["n_pca_rows"] = min(options["n_pca_rows"], chosen.n_eval_rows)
        return [
            Task(
                self.id,
                f"L{row.config.layer}",
                (row.trial_id,),
                {**options, "layer": row.config.layer},
                needs_model=True,
            )
            for row in first_of_layers(chosen)
        ]

    def cost(self, task: Task, shape: Shape) -> Cost:
        options = task.options
        n = min(options["n_directions"], shape.facts.d_model)
        pca = options["n_pca_rows"] / options["n_rows"]
        kept = 3 * 8.0 * n * options["n_rows"] * shape.context
        return cost_of(task, shape, clean=2 + pca, above=n, logits=2 * n, kept_bytes=kept)

    def run(self, task: Task, context: Context) -> Tables:
        from trainer.analysis import principal_directions, resample_ablation

        options, model, rows = task.options, context.model(), context.rows().evaluation
        layer = options["layer"]
        found = principal_directions(
            model, rows, layer=layer, n_directions=options["n_directions"], n_rows=options["n_pca_rows"]
        )
        ablated = resample_ablation(
            found.directions, model, rows, layer=layer, n_rows=options["n_rows"], seed=options["seed"],
            heard=context.heard,
        )  # fmt: skip
        columns = {**ablated._asdict(), "variance_share": found.variance_shares}
        return {
            ABLATION.name: [
                {"layer": layer, "direction": i, "n_rows": options["n_rows"]}
                | {name: float(values[i]) for name, values in columns.items()}
                for i in range(len(found.directions))
            ]
        }
