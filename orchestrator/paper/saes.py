"""The SAEs that are looked at: the paper's Tables 1 to 3, with hand-picked runs replaced by matched comparisons."""

from collections.abc import Sequence

from orchestrator.folder.records import Row
from orchestrator.paper.against_local import AGAINST_LOCAL
from orchestrator.paper.analysis import (
    COUNT,
    FLAG,
    IDENTITY,
    MEASURED,
    NUMBER,
    TEXT,
    Analysis,
    Chosen,
    Column,
    Context,
    Cost,
    Line,
    Shape,
    Tables,
    TableSpec,
    Task,
    identity,
    measured,
    number,
)

GROUPS = TableSpec(
    "saes_chosen",
    "The SAEs that are looked at: of each loss the one nearest to the target",
    (
        Column("group", TEXT, "Which SAEs are compared with each other, such as L2-ce0.12.", nullable=False),
        Column("matched", TEXT, "The metric that is equal: ce_loss_increase or l0. Null where SAEs were named."),
        Column("target", NUMBER, "Its value."),
        Column("offset", NUMBER, "How far this SAE's is from the target, as a share of it."),
        *IDENTITY,
        *MEASURED,
        Column("grad_norm", NUMBER, "Mean norm of the gradient before clipping."),
        Column("explained_variance", NUMBER, "Of the activation at the SAE itself."),
        Column("d_sae", COUNT, "Dictionary elements.", "elements"),
    ),
    printed=("group", "run_name", "offset", "l0", "n_alive_elements", "ce_loss_increase", "grad_norm",
             "explained_variance"),
)  # fmt: skip
EVERY = TableSpec(
    "saes_all",
    "Every SAE of the run that is done",
    (*IDENTITY, *MEASURED, Column("is_chosen", FLAG, "Whether it is looked at.", nullable=False)),
    printed=(),
)


class SAEs(Analysis):
    """Which SAEs, and where they are among all of the run."""

    id = "saes"
    title = "The SAEs"
    paper = ("Table 1", "Table 2", "Table 3", "Figure 1")
    tables = (GROUPS, AGAINST_LOCAL, EVERY)

    def tasks(self, chosen: Chosen) -> list[Task]:
        groups = [
            [one.key, one.matched, one.target, {row.trial_id: one.offsets.get(row.trial_id) for row in one.rows}]
            for one in chosen.groups
        ]
        return [
            Task(
                self.id,
                "all",
                tuple(row.trial_id for row in chosen.done),
                {
                    "groups": groups,
                    "chosen": [row.trial_id for row in chosen.rows],
                    "against_local": list(chosen.against_local),
                },
            )
        ]

    def cost(self, task: Task, shape: Shape) -> Cost:
        del task, shape
        return Cost(seconds=0.1, memory_bytes=0.0)

    def run(self, task: Task, context: Context) -> Tables:
        rows = {id_: context.row(id_) for id_ in task.subjects}
        groups = [
            {"group": key, "matched": matched or None, "target": target, "offset": offset, **_line(rows[id_])}
            for key, matched, target, offsets in task.options["groups"]
            for id_, offset in offsets.items()
        ]
        grouped = {id_ for *_, offsets in task.options["groups"] for id_ in offsets}
        others = [rows[id_] for id_ in task.options["chosen"] if id_ not in grouped]
        return {
            GROUPS.name: [*groups, *_on_fronts(others)],
            AGAINST_LOCAL.name: list(task.options["against_local"]),
            EVERY.name: [
                {**identity(row), **measured(row), "is_chosen": row.trial_id in task.options["chosen"]}
                for row in rows.values()
            ],
        }


def _on_fronts(rows: Sequence[Row]) -> list[Line]:
    return [{"group": f"L{row.config.layer}-front", **_line(row)} for row in rows]


def _line(row: Row) -> Line:
    return {
        **identity(row),
        **measured(row),
        "grad_norm": number(row, "grad_norm"),
        "explained_variance": number(row, "explained_variance"),
        "d_sae": row.facts.d_sae if row.facts else None,
    }
