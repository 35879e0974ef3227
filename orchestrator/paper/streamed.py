"""What the analyses that run the model over evaluation rows have in common: how many rows, and what that costs.

Arithmetic on shapes; the runs themselves are `trainer/analysis/spliced.py`.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.folder.records import Row
from orchestrator.paper.analysis import Analysis, Chosen, Cost, Option, Shape, Task
from trainer.errors import BadInput

CHUNK = 2**22
"""Numbers of latents, logits or widest activations at a time, as in `trainer/analysis`."""
BYTES = 4.0


def n_rows_option(default: int) -> Option:
    return Option("n_rows", default, "Evaluation rows that it is over, the first ones; fewer where there are fewer.")


def positive(analysis: Analysis, chosen: Chosen, *names: str) -> dict[str, Any]:
    """Its options; those named are whole numbers of at least 1, and `n_rows` is cut down to what there is.

    Raises BadInput for one below 1.
    """
    options = chosen.options(analysis)
    for name in names:
        if options[name] < 1:
            raise BadInput(f"--set {analysis.id}.{name}={options[name]}: expected a whole number of at least 1")
    if "n_rows" in options:
        options["n_rows"] = min(options["n_rows"], chosen.n_eval_rows)
    return options


def task_per_sae(analysis: Analysis, chosen: Chosen, options: Mapping[str, Any]) -> list[Task]:
    """A task for each chosen SAE, which runs the model; with the option `layer`, by which `cost_of` goes."""
    return [
        Task(analysis.id, row.run_name, (row.trial_id,), {**options, "layer": row.config.layer}, needs_model=True)
        for row in chosen.rows
    ]


def first_of_layers(chosen: Chosen) -> list[Row]:
    """Of each layer of the chosen SAEs the first SAE that is done, whether chosen or not: for what is of the layer
    alone, so that another choice of SAEs computes nothing anew."""
    layers = {row.config.layer for row in chosen.rows}
    firsts = {row.config.layer: row for row in reversed(chosen.done) if row.config.layer in layers}
    return [firsts[layer] for layer in sorted(firsts)]


def cost_of(
    task: Task, shape: Shape, *, clean: float = 0, through: float = 0, above: float = 0, logits: float = 0,
    kept_bytes: float = 0,
) -> Cost:  # fmt: skip
    """Of a task with the options `layer` and `n_rows`.

    How often every token goes through: `clean` the whole model, `through` the SAE, `above` the blocks above it with
    what comes out, `logits` the unembedding once more. `kept_bytes`: what it holds to the end.
    """
    facts = shape.facts
    n_tokens = task.options["n_rows"] * shape.context
    share_above = 1 - task.options["layer"] / facts.n_layers
    flops = (clean + share_above * above) * shape.model_flops_per_token
    flops += through * 4.0 * shape.d_sae_of(task) * facts.d_model + logits * 2.0 * facts.d_vocab * facts.d_model
    batch_tokens = max(shape.context, CHUNK // max(facts.d_mlp, facts.d_model))
    streams = batch_tokens * facts.d_model * (2 * (facts.n_layers + 1) * BYTES + 6 * 2 * BYTES)
    return Cost(
        seconds=0.5 + flops * n_tokens / shape.flops_per_s,
        memory_bytes=shape.model_bytes + shape.sae_bytes(task) + streams + 8 * CHUNK * BYTES + kept_bytes,
    )
