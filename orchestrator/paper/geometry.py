"""How close the directions of one dictionary are to each other: the paper's Figures 3a and 7 and section 3.3.1.

Tasks of two kinds: the SAEs of a layer, loss and seed, every one that is done; and a group whose losses are compared.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from orchestrator.folder.records import Row
from orchestrator.fronts.certainty import difference
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
    Option,
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
    alive_of,
    cosine_columns,
    cosine_line,
    cost_of_cosines,
    counting,
    element_line,
    setting_of,
)
from orchestrator.paper.streamed import positive

MOST_SAES = 6
"""Of one task, which share a clean run."""

SIMILARITY = TableSpec(
    "geometry",
    "Largest cosine of each alive element to another of the same SAE",
    (
        *IDENTITY,
        *MEASURED,
        *cosine_columns("any other alive element of the same SAE"),
        Column("setting", TEXT, "Equal for SAEs that differ in the seed alone.", nullable=False),
    ),
    printed=("run_name", "l0", "ce_loss_increase", "n_elements", "mean_cosine", "share_above_50", "share_above_90",
             "chance_cosine"),
)  # fmt: skip
DIFFERENCES = TableSpec(
    "geometry_differences",
    "Differences in mean largest cosine between losses",
    (
        GROUP,
        Column("layer", COUNT, "Block whose input the SAEs replace.", nullable=False),
        Column("loss", TEXT, "Kind of loss.", nullable=False),
        Column("against", TEXT, "Kind of loss that it is compared with.", nullable=False),
        Column("run_name", TEXT, "The SAE of the group.", nullable=False),
        Column("against_run_name", TEXT, "The other SAE.", nullable=False),
        Column("difference", NUMBER, "mean_cosine of loss less that of against.", "cosine"),
        Column("low", NUMBER, "Lower end of its 95 % bootstrap interval over elements of these two.", "cosine"),
        Column("high", NUMBER, "Upper end.", "cosine"),
        Column("above_chance", NUMBER, "The same difference of (mean_cosine - chance_cosine).", "cosine"),
        Column("n_seeds", COUNT, "Seeds of these two settings, by which the next columns are.", "seeds"),
        Column("seeds_difference", NUMBER, "Mean of the difference over seeds.", "cosine"),
        Column("seeds_low", NUMBER, "Lower end of its 95 % interval over seeds; null with fewer than 3.", "cosine"),
        Column("seeds_high", NUMBER, "Upper end.", "cosine"),
        Column("n_resamples", COUNT, "Resamples of the interval over elements.", nullable=False),
        Column("setting", TEXT, "Of the SAE, as in `geometry`.", nullable=False),
        Column("against_setting", TEXT, "Of the other.", nullable=False),
    ),
    printed=("group", "loss", "against", "difference", "low", "high", "above_chance", "n_seeds", "seeds_difference",
             "seeds_low", "seeds_high"),
)  # fmt: skip
EACH = TableSpec(
    "geometry_elements",
    "Every alive element of the SAEs that are compared; three lists of one length",
    (GROUP, *IDENTITY, *ELEMENTS),
    printed=(),
)


class Geometry(Analysis):
    """Whether an SAE's features are near each other: a dictionary that splits features has many near neighbours."""

    id = "geometry"
    title = "Similarity within a dictionary"
    paper = ("Figure 3a", "Figure 7", "Section 3.3.1", "Appendix A.5")
    tables = (DIFFERENCES, SIMILARITY, EACH)
    options = (
        Option("n_resamples", 1000, "Resamples of the bootstrap interval over elements."),
        Option("seed", 0, "Of the resamples."),
    )

    def tasks(self, chosen: Chosen) -> list[Task]:
        options = positive(self, chosen, "n_resamples")
        saes = [(key, rows, {"of": "saes"}) for key, rows in _alike(chosen.done)]
        groups = [(group.key, group.rows, {**options, "of": "group", "group": group.key}) for group in chosen.groups]
        return [
            Task(self.id, key, _ids(rows), {**counting(rows), **more}, needs_model=True)
            for key, rows, more in [*saes, *groups]
        ]

    def cost(self, task: Task, shape: Shape) -> Cost:
        return cost_of_cosines(task, shape, n_products=len(task.subjects))

    def run(self, task: Task, context: Context) -> Tables:
        return _of_group(task, context) if task.options["of"] == "group" else _of_saes(task, context)

    def summary(self, tables: Tables, chosen: Chosen) -> Tables:
        """The differences once more, with what seeds say."""
        by_setting: dict[str, dict[int, float]] = {}
        for line in tables[SIMILARITY.name]:
            if line["mean_cosine"] is not None:
                by_setting.setdefault(line["setting"], {})[line["seed"]] = line["mean_cosine"]
        return {DIFFERENCES.name: [_with_seeds(line, by_setting) for line in tables[DIFFERENCES.name]]}


def _of_saes(task: Task, context: Context) -> Tables:
    from trainer.analysis import chance_cosine, nearest_within, summary_of

    lines: list[Line] = []
    for number, trial_id in enumerate(task.subjects):
        sae, alive = context.sae(trial_id), alive_of(context, trial_id)
        found = nearest_within(
            sae.dictionary, alive, heard=lambda done, total, before=number: _hear(context, task, before, done / total)
        )
        row = context.row(trial_id)
        chance = chance_cosine(len(found.elements) - 1, sae.d_model)
        lines.append(
            {
                **identity(row),
                **measured(row),
                **cosine_line(summary_of(found.cosine), chance=chance),
                "n_elements": len(found.elements),
                "setting": setting_of(row),
            }
        )
    return {SIMILARITY.name: lines}


def _of_group(task: Task, context: Context) -> Tables:
    from trainer.analysis import chance_cosine, difference_of_means, nearest_within

    each: list[Line] = []
    cosines: dict[str, Any] = {}
    firsts: dict[str, Row] = {}
    for number, trial_id in enumerate(task.subjects):
        sae, row = context.sae(trial_id), context.row(trial_id)
        found = nearest_within(sae.dictionary, alive_of(context, trial_id))
        _hear(context, task, number, 1.0)
        each.append({"group": task.options["group"], **identity(row), **element_line(found)})
        if firsts.setdefault(row.config.loss.kind, row) is row:
            cosines[row.trial_id] = found.cosine, chance_cosine(len(found.elements) - 1, sae.d_model)
    lines: list[Line] = []
    for against, row in combinations(firsts.values(), 2):
        (ours, our_chance), (theirs, their_chance) = cosines[row.trial_id], cosines[against.trial_id]
        options = {name: task.options[name] for name in ("n_resamples", "seed")}
        found = difference_of_means(ours, theirs, **options)
        lines.append(
            {
                "group": task.options["group"],
                "layer": row.config.layer,
                "loss": row.config.loss.kind,
                "against": against.config.loss.kind,
                "run_name": row.run_name,
                "against_run_name": against.run_name,
                "difference": found.mean,
                "low": found.low,
                "high": found.high,
                "above_chance": found.mean - (our_chance - their_chance),
                "n_resamples": options["n_resamples"],
                "setting": setting_of(row),
                "against_setting": setting_of(against),
            }
        )
    return {EACH.name: each, DIFFERENCES.name: lines}


def _with_seeds(line: Line, by_setting: Mapping[str, Mapping[int, float]]) -> Line:
    found = difference(by_setting.get(line["setting"], {}), by_setting.get(line["against_setting"], {}))
    if found is None:
        return dict(line)
    return {
        **line,
        "n_seeds": found.n_seeds,
        "seeds_difference": found.mean,
        "seeds_low": found.low,
        "seeds_high": found.high,
    }


def _alike(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """SAEs of one layer, loss and seed, `MOST_SAES` at a time, so that one more seed computes no other anew."""
    sets: dict[str, list[Row]] = {}
    for row in rows:
        sets.setdefault(f"L{row.config.layer}-{row.config.loss.kind}-s{row.config.seed}", []).append(row)
    return [
        (f"{key}-{start // MOST_SAES + 1}" if len(some) > MOST_SAES else key, some[start : start + MOST_SAES])
        for key, some in sets.items()
        for start in range(0, len(some), MOST_SAES)
    ]


def _ids(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(row.trial_id for row in rows)


def _hear(context: Context, task: Task, n_before: int, share: float) -> None:
    """Comparing is the second half, after counting."""
    n = len(task.subjects)
    context.heard(round(100 * (n + n_before + share)), 200 * n)
