"""What tasks are expected to take, for `--dry-run` and for how many run at once. Rough, and said to be."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.display.words import bytes_text, duration_text
from orchestrator.paper.analysis import Chosen, Shape
from orchestrator.paper.planned import Planned
from orchestrator.planning.rates import guessed

if TYPE_CHECKING:
    from rich.table import Table

PROCESS_BYTES = 1.2e9
"""Python, PyTorch and transformers, before a model is loaded."""
USED = 0.5
"""Of the rates of training's large products, what analyses reach with their chunks."""


def shape_of(chosen: Chosen, *, gpu: bool, n_threads: int) -> Shape:
    """How large everything is. `n_threads`: of one task on the CPU."""
    rates = guessed("gpu" if gpu else "cpu", n_threads=n_threads)
    return Shape(
        facts=chosen.facts,
        context=chosen.context,
        n_eval_rows=chosen.n_eval_rows,
        d_sae={row.trial_id: row.facts.d_sae for row in chosen.done if row.facts is not None},
        flops_per_s=USED * rates.product_flops,
    )


def seconds_left(planned: Sequence[Planned]) -> float:
    """Of all tasks that are not done, one after another."""
    return sum(one.cost.seconds for analysis in planned if analysis.wanted for one in analysis.missing)


def most_bytes(planned: Sequence[Planned]) -> float:
    """Of the largest task, with its process."""
    costs = [one.cost.memory_bytes for analysis in planned if analysis.wanted for one in analysis.missing]
    return max(costs, default=0.0) + PROCESS_BYTES


def cost_table(planned: Sequence[Planned]) -> "Table":
    """Each analysis with its tasks, what of them is done, and what the others will take."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("analysis")
    for head in ("tasks", "done", "time left", "memory"):
        table.add_column(head, justify="right")
    table.add_column("")
    for one in planned:
        if not one.wanted and not one.left_out:
            continue
        costs = [task.cost for task in one.missing]
        table.add_row(
            one.analysis.id,
            str(len(one.tasks)) if one.tasks else "-",
            str(len(one.tasks) - len(one.missing)) if one.tasks else "-",
            duration_text(sum(cost.seconds for cost in costs)) if costs else "-",
            bytes_text(max(cost.memory_bytes for cost in costs) + PROCESS_BYTES) if costs else "-",
            f"left out: {one.left_out}" if one.left_out else "",
        )
    return table
