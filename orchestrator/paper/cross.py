"""From one SAE's directions to another's: the same setting with another seed (the paper's Figure 3b and appendix F),
and e2e SAEs against local ones (Figures 3c and 8).

Two analyses, since a sweep with one seed can give the second alone.
"""

from collections.abc import Sequence

import numpy as np

from orchestrator.folder.records import Row
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
)
from orchestrator.paper.directions import (
    ELEMENTS,
    GROUP,
    SAME_SEED,
    against_local,
    alive_of,
    cosine_columns,
    cosine_line,
    cost_of_cosines,
    counting,
    element_line,
    no_pair,
    setting_of,
)
from trainer.errors import BadInput

_N_OTHER = Column("n_other", COUNT, "Alive elements of the other SAE.", "elements", nullable=False)
_OTHER = (
    Column("other_trial_id", TEXT, "The other SAE.", nullable=False),
    Column("other_run_name", TEXT, "Its name.", nullable=False),
)
_PRINTED = ("run_name", "other_run_name", "n_elements", "n_other", "mean_cosine", "median_cosine", "share_above_50",
            "share_above_90", "chance_cosine")  # fmt: skip

SEEDS = TableSpec(
    "cross_seed",
    "Largest cosine of each alive element to one of the SAE with another seed",
    (*IDENTITY, *_OTHER, _N_OTHER, *cosine_columns("any alive element of the other SAE")),
    printed=_PRINTED,
)
SEED_ELEMENTS = TableSpec(
    "cross_seed_elements",
    "Every alive element and the nearest one of the SAE with another seed; three lists of one length",
    (*IDENTITY, *_OTHER, *ELEMENTS),
    printed=(),
)
_MEASURES = {
    "l0": ("l0", "elements per token"),
    "ce_loss_increase": ("CE loss increase", "nats per token"),
    "n_alive_elements": ("alive elements", "elements"),
}
SPREAD = TableSpec(
    "cross_seed_spread",
    "How far seeds of one setting lie apart",
    (
        Column("layer", COUNT, "Block whose input the SAEs replace.", nullable=False),
        Column("loss", TEXT, "Kind of loss.", nullable=False),
        Column("sparsity_coeff", NUMBER, "Weight of the sparsity term, as configured.", nullable=False),
        Column("run_name", TEXT, "The SAE with the first of the seeds.", nullable=False),
        Column("n_seeds", COUNT, "Seeds that are done.", "seeds", nullable=False),
        *(
            column
            for name, (text, unit) in _MEASURES.items()
            for column in (
                Column(name, NUMBER, f"Mean over seeds of {text}.", unit),
                Column(f"{name}_low", NUMBER, "The least of any seed.", unit),
                Column(f"{name}_high", NUMBER, "The most of any seed.", unit),
                Column(f"{name}_std", NUMBER, "Standard deviation over seeds, with n - 1.", unit),
            )
        ),
    ),
    printed=("run_name", "n_seeds", "l0", "l0_std", "ce_loss_increase", "ce_loss_increase_std", "n_alive_elements",
             "n_alive_elements_std"),
)  # fmt: skip
TYPES = TableSpec(
    "cross_type",
    "Largest cosine of each alive element to one of the SAE with another loss",
    (
        GROUP,
        *IDENTITY,
        *MEASURED,
        *_OTHER,
        Column("other_loss", TEXT, "Its kind of loss. One of both is local.", nullable=False),
        SAME_SEED,
        _N_OTHER,
        *cosine_columns("any alive element of the other SAE"),
    ),
    printed=("group", "same_seed", *_PRINTED),
)
TYPE_ELEMENTS = TableSpec(
    "cross_type_elements",
    "Every alive element and the nearest one of the SAE with another loss; three lists of one length",
    (GROUP, *IDENTITY, *_OTHER, *ELEMENTS),
    printed=(),
)


class CrossSeed(Analysis):
    """Whether training finds the same features again."""

    id = "cross_seed"
    title = "Similarity across seeds"
    paper = ("Figure 3b", "Figure 18", "Appendix F")
    tables = (SEEDS, SPREAD, SEED_ELEMENTS)

    def tasks(self, chosen: Chosen) -> list[Task]:
        seeds = [(row, chosen.seeds_of(row)) for row in chosen.rows]
        pairs = [
            Task(
                self.id,
                row.run_name,
                tuple(one.trial_id for one in (row, *(other for other in same if other.trial_id != row.trial_id))),
                {**counting(same), "of": "pairs"},
                needs_model=True,
            )
            for row, same in seeds
            if len(same) > 1
        ]
        if not pairs:
            found = sorted({row.config.seed for row in chosen.done})
            raise BadInput(
                f"similarity across seeds needs trials that differ in the seed alone, and none of the "
                f"{len(chosen.rows)} chosen SAEs has one that is done (seeds of this run: "
                f"{', '.join(map(str, found))}). Add seeds, such as grid.seed: [0, 1], and launch the sweep again"
            )
        several = tuple(row.trial_id for row in chosen.done if len(chosen.seeds_of(row)) > 1)
        return [*pairs, Task(self.id, "spread", several, {"of": "spread"})]

    def cost(self, task: Task, shape: Shape) -> Cost:
        if task.options["of"] == "spread":
            return Cost(seconds=0.1, memory_bytes=0.0)
        return cost_of_cosines(task, shape, n_products=len(task.subjects) - 1)

    def run(self, task: Task, context: Context) -> Tables:
        if task.options["of"] == "spread":
            return {SPREAD.name: spreads([context.row(id_) for id_ in task.subjects])}
        own, *others = task.subjects
        pairs = [_compared(context, own, other, n_done, len(others)) for n_done, other in enumerate(others)]
        return {SEEDS.name: [line for line, _ in pairs], SEED_ELEMENTS.name: [each for _, each in pairs]}


class CrossType(Analysis):
    """Whether e2e SAEs find the features that local ones find."""

    id = "cross_type"
    title = "Similarity across losses"
    paper = ("Figure 3c", "Figure 8")
    tables = (TYPES, TYPE_ELEMENTS)

    def tasks(self, chosen: Chosen) -> list[Task]:
        # with the same seed as the paper probably had it, and with another, where nothing but the text makes them alike
        pairs = [pair for same in (True, False) for pair in against_local(chosen, same_seed=same)]
        if not pairs:
            raise BadInput(no_pair(chosen))
        return [
            Task(
                self.id,
                f"{pair.key}-{'same' if pair.same_seed else 'other'}-seed",
                (pair.row.trial_id, pair.local.trial_id),
                {**counting([pair.row, pair.local]), "group": pair.group.key},
                needs_model=True,
            )
            for pair in pairs
        ]

    def cost(self, task: Task, shape: Shape) -> Cost:
        return cost_of_cosines(task, shape, n_products=2)

    def run(self, task: Task, context: Context) -> Tables:
        group = {"group": task.options["group"]}
        own, local = task.subjects
        lines: list[Line] = []
        elements: list[Line] = []
        for n_done, (of, to) in enumerate([(own, local), (local, own)]):
            line, each = _compared(context, of, to, n_done, 2)
            row, other = (context.row(id_).config for id_ in (of, to))
            lines.append(
                {
                    **group,
                    **line,
                    **measured(context.row(of)),
                    "other_loss": other.loss.kind,
                    "same_seed": row.seed == other.seed,
                }
            )
            elements.append({**group, **each})
        return {TYPES.name: lines, TYPE_ELEMENTS.name: elements}


def spreads(rows: Sequence[Row]) -> list[Line]:
    """Lines of `SPREAD`: a setting each, of rows that differ in the seed alone."""
    settings: dict[str, list[Row]] = {}
    for row in rows:
        settings.setdefault(setting_of(row), []).append(row)
    lines: list[Line] = []
    for same in settings.values():
        line = {name: value for name, value in identity(same[0]).items() if name not in ("trial_id", "seed")}
        line["n_seeds"] = len(same)
        for name in _MEASURES:
            values = np.array([value for row in same if (value := measured(row)[name]) is not None], dtype=np.float64)
            if len(values):
                line |= {name: values.mean(), f"{name}_low": values.min(), f"{name}_high": values.max()}
            if len(values) > 1:
                line[f"{name}_std"] = values.std(ddof=1)
        lines.append(line)
    return lines


def _compared(context: Context, own: str, other: str, n_done: int, n_pairs: int) -> tuple[Line, Line]:
    """A line about both, and one with each element of the first."""
    from trainer.analysis import chance_cosine, nearest_across, summary_of

    sae, other_sae = context.sae(own), context.sae(other)
    found = nearest_across(
        sae.dictionary,
        alive_of(context, own),
        other=other_sae.dictionary,
        other_alive=alive_of(context, other),
        heard=lambda done, total: context.heard(round(100 * (n_pairs + n_done + done / total)), 200 * n_pairs),
    )
    row = context.row(other)
    who = {**identity(context.row(own)), "other_trial_id": row.trial_id, "other_run_name": row.run_name}
    n_other = int(alive_of(context, other).sum())
    line = {
        **who,
        **cosine_line(summary_of(found.cosine), chance=chance_cosine(n_other, sae.d_model)),
        "n_elements": len(found.elements),
        "n_other": n_other,
    }
    return line, {**who, **element_line(found)}
