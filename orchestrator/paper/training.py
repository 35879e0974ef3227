"""What training took: time per loss and layer, and gradient norms against alive elements and CE increase.

Read from rows alone, over every SAE of the run that is done. A pack shares its clean run, so the time of an SAE is its
bank's share and an equal share of the clean run: what one more SAE costs in this program, not what it costs alone.
"""

from collections.abc import Sequence

import numpy as np

from orchestrator.folder.records import Row
from orchestrator.fronts.series import BASELINE
from orchestrator.paper.analysis import (
    COUNT,
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
from orchestrator.paper.directions import setting_of
from trainer.errors import BadInput

MILLION = 1e6
FEWEST = 4
"""SAEs of a loss and layer from which on a correlation is told."""

TIME = TableSpec(
    "training_time",
    "Training time by layer, dictionary size and loss",
    (
        Column("layer", COUNT, "Block whose input the SAEs replace.", nullable=False),
        Column("d_sae", COUNT, "Dictionary elements.", "elements"),
        Column("loss", TEXT, "Kind of loss.", nullable=False),
        Column("n_saes", COUNT, "SAEs that the numbers are over.", nullable=False),
        Column("train_s", NUMBER, "Mean device time of an SAE's training: its share of its pack's.", "s"),
        Column("s_per_million_tokens", NUMBER, "The same per million tokens of training.", "s"),
        Column("s_per_million_tokens_low", NUMBER, "The least of any SAE.", "s"),
        Column("s_per_million_tokens_high", NUMBER, "The most of any SAE.", "s"),
        Column("ratio_to_local", NUMBER, "s_per_million_tokens over that of local with the same layer and d_sae."),
        Column("device", TEXT, "What they were trained on; several are separated by commas."),
    ),
)
NORMS = TableSpec(
    "training_grad_norm",
    "Gradient norms",
    (
        *IDENTITY,
        *MEASURED,
        Column(
            "grad_norm",
            NUMBER,
            "Norm of the gradient of all weights before clipping, mean over the steps after the first 2.5 %.",
        ),
        Column("lr", NUMBER, "Highest learning rate of the schedule.", nullable=False),
        Column("setting", TEXT, "Equal for SAEs that differ in the seed alone.", nullable=False),
    ),
    printed=("run_name", "grad_norm", "n_alive_elements", "ce_loss_increase", "lr"),
)
RELATION = TableSpec(
    "training_relation",
    "Rank correlation of gradient norm with alive elements and with CE increase",
    (
        Column("layer", COUNT, "Block whose input the SAEs replace.", nullable=False),
        Column("loss", TEXT, "Kind of loss.", nullable=False),
        Column("n_saes", COUNT, "SAEs that it is over: coefficients, seeds and learning rates.", nullable=False),
        Column("grad_norm_mean", NUMBER, "Mean gradient norm."),
        Column("with_alive", NUMBER, "Spearman's correlation of grad_norm and n_alive_elements."),
        Column("with_ce_loss_increase", NUMBER, "The same of grad_norm and ce_loss_increase."),
    ),
)


class Training(Analysis):
    """Table 6, and the gradient norms of Tables 2 and 3 and appendix C."""

    id = "training"
    title = "Training time and gradient norms"
    paper = ("Table 6", "Appendix C", "Appendix H")
    tables = (TIME, RELATION, NORMS)

    def tasks(self, chosen: Chosen) -> list[Task]:
        timed = {row.trial_id: row.cost["train_s"] for row in chosen.done if row.cost.get("train_s")}
        if not timed and not any(number(row, "grad_norm") for row in chosen.done):
            raise BadInput(
                "no row of this run tells how long its training took or its gradient norm: they are of an earlier "
                "version. Train the trials again to have them"
            )
        devices = {row.trial_id: row.versions.device for row in chosen.done}
        subjects = tuple(row.trial_id for row in chosen.done)
        return [Task(self.id, "all", subjects, {"train_s": timed, "devices": devices})]

    def cost(self, task: Task, shape: Shape) -> Cost:
        del task, shape
        return Cost(seconds=0.2, memory_bytes=0.0)

    def run(self, task: Task, context: Context) -> Tables:
        rows = [context.row(id_) for id_ in task.subjects]
        norms = [
            {
                **identity(row),
                **measured(row),
                "grad_norm": number(row, "grad_norm"),
                "lr": row.config.train.lr,
                "setting": setting_of(row),
            }
            for row in rows
        ]
        return {TIME.name: times(rows), NORMS.name: norms, RELATION.name: relations(norms)}


def times(rows: Sequence[Row]) -> list[Line]:
    """Lines of `TIME`, by layer, dictionary size and loss, local first."""
    found: list[Line] = []
    for layer, d_sae in sorted({_place(row) for row in rows}):
        here = [row for row in rows if _place(row) == (layer, d_sae)]
        lines = [
            {
                "layer": layer,
                "d_sae": d_sae or None,
                **_time(loss, [row for row in here if row.config.loss.kind == loss]),
            }
            for loss in _losses(here)
        ]
        local = next((line["s_per_million_tokens"] for line in lines if line["loss"] == BASELINE), None)
        for line in lines:
            own = line["s_per_million_tokens"]
            found.append(line | {"ratio_to_local": own / local if own and local else None})
    return found


def relations(norms: Sequence[Line]) -> list[Line]:
    """Lines of `RELATION` from those of `NORMS`."""
    groups: dict[tuple[int, str], list[Line]] = {}
    for line in norms:
        groups.setdefault((line["layer"], line["loss"]), []).append(line)
    found: list[Line] = []
    for (layer, loss), lines in groups.items():
        values = [line["grad_norm"] for line in lines if line["grad_norm"] is not None]
        found.append(
            {
                "layer": layer,
                "loss": loss,
                "n_saes": len(lines),
                "grad_norm_mean": sum(values) / len(values) if values else None,
                "with_alive": spearman(lines, "grad_norm", "n_alive_elements"),
                "with_ce_loss_increase": spearman(lines, "grad_norm", "ce_loss_increase"),
            }
        )
    return found


def spearman(lines: Sequence[Line], x: str, y: str) -> float | None:
    """Rank correlation of two columns, ties by their mean rank; None for few lines, or one that does not vary."""
    from scipy.stats import rankdata

    pairs = [(line[x], line[y]) for line in lines if line[x] is not None and line[y] is not None]
    if len(pairs) < FEWEST:
        return None
    ranks = rankdata(np.array(pairs, dtype=np.float64), axis=0)
    if (ranks.max(0) == ranks.min(0)).any():
        return None
    return float(np.corrcoef(ranks.T)[0, 1])


def _place(row: Row) -> tuple[int, int]:
    return row.config.layer, row.facts.d_sae if row.facts else 0


def _time(loss: str, rows: Sequence[Row]) -> Line:
    timed = [row for row in rows if row.cost.get("train_s") and row.facts and row.facts.n_train_tokens]
    seconds = [row.cost["train_s"] or 0.0 for row in timed]
    each = [
        MILLION * s / row.facts.n_train_tokens for s, row in zip(seconds, timed, strict=True) if row.facts is not None
    ]
    return {
        "loss": loss,
        "n_saes": len(timed),
        "train_s": sum(seconds) / len(seconds) if seconds else None,
        "s_per_million_tokens": sum(each) / len(each) if each else None,
        "s_per_million_tokens_low": min(each, default=None),
        "s_per_million_tokens_high": max(each, default=None),
        "device": ", ".join(sorted({row.versions.device for row in timed})) or None,
    }


def _losses(rows: Sequence[Row]) -> list[str]:
    return sorted({row.config.loss.kind for row in rows}, key=lambda loss: (loss != BASELINE, loss))
