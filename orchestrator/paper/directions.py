"""What the analyses of dictionary directions have in common: which elements are alive, what a table says of largest
cosines, what counting and comparing costs, and which SAEs differ in the seed alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.folder.records import Row
from orchestrator.fronts.series import BASELINE as LOCAL
from orchestrator.paper.analysis import (
    COUNT,
    FLAG,
    NUMBER,
    NUMBERS,
    TEXT,
    Chosen,
    Column,
    Context,
    Cost,
    Group,
    Line,
    Shape,
    Task,
)

if TYPE_CHECKING:
    import torch

    from trainer.analysis import CosineSummary, Nearest

THRESHOLDS = (0.5, 0.7, 0.9)
"""As in `trainer/analysis/geometry.py`."""
CHUNK_BYTES = 4 * 2.0**22
N_ELEMENTS = Column("n_elements", COUNT, "Alive elements of the SAE.", "elements", nullable=False)
SAME_SEED = Column(
    "same_seed",
    FLAG,
    "Whether both SAEs have one seed, and so began with the same weights, which makes them alike for that alone.",
    nullable=False,
)
PAIR = Column("pair", TEXT, "What is compared: the group, and the loss that is held against local.", nullable=False)
GROUP = Column("group", TEXT, "Which SAEs are compared with each other, such as L2-ce0.12.", nullable=False)
ELEMENTS = (
    Column("elements", NUMBERS, "Numbers of the alive elements in the dictionary."),
    Column("cosine", NUMBERS, "Of each the largest cosine.", "cosine"),
    Column("nearest", NUMBERS, "Of each the number of the element with that cosine."),
)


def cosine_columns(to: str) -> tuple[Column, ...]:
    """Of a table with a line per SAE or pair. `to`: what an element is compared with."""
    return (
        N_ELEMENTS,
        Column("mean_cosine", NUMBER, f"Mean over alive elements of the largest cosine to {to}.", "cosine"),
        Column("std_cosine", NUMBER, "Standard deviation of it over elements.", "cosine"),
        Column("median_cosine", NUMBER, "Median of it.", "cosine"),
        *(
            Column(
                f"share_above_{round(100 * threshold)}",
                NUMBER,
                f"Share of alive elements with one above {threshold:g}.",
                "share",
            )
            for threshold in THRESHOLDS
        ),
        Column(
            "chance_cosine",
            NUMBER,
            "The mean that as many directions drawn evenly from the sphere would have.",
            "cosine",
        ),
        Column("counts", NUMBERS, "Elements by it, in 200 equal bins from -1 to 1.", "elements"),
    )


def cosine_line(found: "CosineSummary", *, chance: float) -> Line:
    """The columns of `cosine_columns`."""
    return {
        "n_elements": found.n_elements,
        "mean_cosine": found.mean,
        "std_cosine": found.std,
        "median_cosine": found.median,
        **{
            f"share_above_{round(100 * threshold)}": share
            for threshold, share in zip(THRESHOLDS, found.shares_above, strict=True)
        },
        "chance_cosine": chance,
        "counts": found.counts.double().tolist(),
    }


def element_line(found: "Nearest") -> Line:
    """The columns `ELEMENTS`."""
    return {
        "elements": found.elements.double().tolist(),
        "cosine": found.cosine.tolist(),
        "nearest": found.nearest.double().tolist(),
    }


def alive_of(context: Context, trial_id: str) -> "torch.Tensor":
    """Bool, " d_sae"."""
    return context.firing(trial_id) > 0


def directions_of(context: Context, trial_id: str) -> "torch.Tensor":
    """Its alive elements, "n_elements d_model"."""
    dictionary = context.sae(trial_id).dictionary
    return dictionary[alive_of(context, trial_id).to(dictionary.device)]


def setting_of(row: Row) -> str:
    """Equal for trials that differ in the seed alone."""
    return row.config.model_copy(update={"seed": 0}).trial_id


def counting(rows: Iterable[Row]) -> dict[str, Any]:
    """Options of a task that asks which elements of these rows' SAEs are alive."""
    rows = list(rows)
    return {
        "layer": max(row.config.layer for row in rows),
        "alive_window_tokens": max(row.config.eval.alive_window_tokens for row in rows),
    }


@dataclass(frozen=True)
class Pair:
    """An SAE of a group and the local one that it is held against."""

    group: Group
    row: Row
    local: Row

    @property
    def key(self) -> str:
        """`L2-ce0.12-e2e`."""
        return f"{self.group.key}-{self.row.config.loss.kind}"

    @property
    def same_seed(self) -> bool:
        """Whether both began with the same weights."""
        return self.row.config.seed == self.local.config.seed


def against_local(chosen: Chosen, *, same_seed: bool) -> list[Pair]:
    """Of each group the first SAE of each other loss, with the group's local SAE or the one of that setting with the
    same seed, or with another. Left out where no such trial is done."""
    found: list[Pair] = []
    for group in chosen.groups:
        if (nearest := group.by_loss.get(LOCAL)) is None:
            continue
        locals_ = [nearest, *chosen.seeds_of(nearest)]
        for loss, row in group.by_loss.items():
            pairs = [Pair(group, row, local) for local in locals_ if loss != LOCAL]
            found += [pair for pair in pairs if pair.same_seed == same_seed][:1]
    return found


def no_pair(chosen: Chosen) -> str:
    """Why nothing can be held against local."""
    kinds = sorted({row.config.loss.kind for row in chosen.rows})
    return (
        "SAEs of other losses are held against local ones of their layer and group, and no chosen group has both "
        f"(losses: {', '.join(kinds)}). Choose a local SAE and another of the same layer, or add the loss to grid.loss"
    )


def cost_of_cosines(task: Task, shape: Shape, *, n_products: float, kept_bytes: float = 0.0) -> Cost:
    """Of counting what is alive, and `n_products` comparisons of all elements of one SAE with those of another.

    As if all elements were alive and nothing were counted yet.
    """
    facts, n_saes = shape.facts, len(task.subjects)
    d_sae, layer = shape.d_sae_of(task), task.options["layer"]
    through = layer / facts.n_layers * shape.model_flops_per_token + n_saes * 2.0 * d_sae * facts.d_model
    flops = task.options["alive_window_tokens"] * through
    flops += n_products * 2.0 * d_sae**2 * facts.d_model
    return Cost(
        seconds=0.5 + flops / shape.flops_per_s,
        memory_bytes=shape.model_bytes + 2 * shape.sae_bytes(task) + 4 * CHUNK_BYTES + kept_bytes,
    )
