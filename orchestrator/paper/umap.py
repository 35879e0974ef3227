"""UMAP of two dictionaries together, and regions of it that one of them has alone: the paper's Figures 19 to 21."""

from importlib.util import find_spec
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
    Line,
    Option,
    Shape,
    Tables,
    TableSpec,
    Task,
    identity,
)
from orchestrator.paper.directions import (
    GROUP,
    N_ELEMENTS,
    PAIR,
    SAME_SEED,
    Pair,
    against_local,
    alive_of,
    cost_of_cosines,
    counting,
    directions_of,
    no_pair,
)
from orchestrator.paper.streamed import positive
from trainer.errors import BadInput

if TYPE_CHECKING:
    import torch

    from trainer.analysis import Region

SECONDS_PER_POINT, SECONDS_TO_START, BYTES_PER_POINT = 4e-3, 25.0, 4e3
"""Of UMAP on one thread: 167 s and 1.3 GB in all for 30,000 points of 768 numbers."""
_DIRECTION = "principal direction 0 of the clean residual stream"

SIDES = TableSpec(
    "umap",
    "What one dictionary has alone, seen in a UMAP of two",
    (
        PAIR,
        GROUP,
        *IDENTITY,
        Column("other_run_name", TEXT, "The other SAE.", nullable=False),
        SAME_SEED,
        N_ELEMENTS,
        Column("n_regions", COUNT, "Regions where its elements are dense and the other's absent.", nullable=False),
        Column("n_inside", COUNT, "Its elements in them.", "elements", nullable=False),
        Column("share_inside", NUMBER, "n_inside / n_elements.", "share"),
        Column(
            "cosine_inside",
            NUMBER,
            "Of its elements in them: mean largest cosine to the other SAE's, in the space itself.",
            "cosine",
        ),
        Column("cosine_outside", NUMBER, "The same of its other elements.", "cosine"),
    ),
    printed=("pair", "run_name", "same_seed", "n_elements", "n_regions", "n_inside", "share_inside", "cosine_inside",
             "cosine_outside"),
)  # fmt: skip
REGIONS = TableSpec(
    "umap_regions",
    "Regions where one dictionary is dense and the other absent",
    (
        PAIR,
        Column("region", TEXT, "A, B, ... from the largest on.", nullable=False),
        Column("loss", TEXT, "Kind of loss whose elements are dense.", nullable=False),
        Column("n_own", COUNT, "Elements of that SAE.", "elements", nullable=False),
        Column("n_other", COUNT, "Elements of the other one.", "elements", nullable=False),
        Column("density_ratio", NUMBER, "Share of that SAE's elements in it over share of the other's."),
        Column("p_value", NUMBER, "Share of label permutations with a component as large, for both kinds."),
        Column(
            "direction_cosine",
            NUMBER,
            f"Mean |cosine| of all its elements with {_DIRECTION}.",
            "cosine",
        ),
        Column("log10_frequency", NUMBER, "Mean log10 of the share of tokens on which its elements fire."),
        Column("x", NUMBER, "Median of its points.", "UMAP"),
        Column("y", NUMBER, "Median of its points.", "UMAP"),
        Column("elements", NUMBERS, "Numbers of that SAE's elements in its dictionary."),
        Column("other_elements", NUMBERS, "Numbers of the other's."),
    ),
    printed=("pair", "region", "loss", "n_own", "n_other", "density_ratio", "p_value", "direction_cosine",
             "log10_frequency"),
)  # fmt: skip
POINTS = TableSpec(
    "umap_points",
    "Every alive element of both SAEs in the plane; lists of one length",
    (
        PAIR,
        GROUP,
        *IDENTITY,
        SAME_SEED,
        Column("elements", NUMBERS, "Numbers of the alive elements in the dictionary."),
        Column("x", NUMBERS, "In the plane.", "UMAP"),
        Column("y", NUMBERS, "In the plane.", "UMAP"),
        Column("direction_cosine", NUMBERS, f"Cosine with {_DIRECTION}.", "cosine"),
        Column("frequency", NUMBERS, "Share of tokens on which it fires.", "share"),
        Column("is_inside", NUMBERS, "1 in a region where its SAE is dense, else 0."),
    ),
    printed=(),
)


class UMAPs(Analysis):
    """Where one kind of SAE has features that the other has not."""

    id = "umap"
    title = "Two dictionaries in one plane"
    paper = ("Figure 19", "Figure 20", "Figure 21", "Appendix G.1", "Appendix G.3")
    tables = (SIDES, REGIONS, POINTS)
    options = (
        Option("seed", 1, "Of UMAP, as in the paper, and of the permutations."),
        Option("n_neighbors", 15, "Of UMAP: its own default."),
        Option("min_dist", 0.1, "Of UMAP: its own default."),
        Option("region_neighbors", 20, "Nearest neighbours by which the density around a point is judged."),
        Option("density_ratio", 10.0, "How many times as dense one dictionary has to be as the other."),
        Option("alpha", 0.05, "Chance of any region in a UMAP where the two do not differ."),
        Option("n_permutations", 499, "Label permutations that regions are held against."),
        Option("n_pca_rows", 100, "Evaluation rows that the principal direction is of."),
    )

    def tasks(self, chosen: Chosen) -> list[Task]:
        options = positive(self, chosen, "n_neighbors", "region_neighbors", "n_permutations", "n_pca_rows")
        options["n_pca_rows"] = min(options["n_pca_rows"], chosen.n_eval_rows)
        if options["n_neighbors"] < 2:
            raise BadInput(f"--set umap.n_neighbors={options['n_neighbors']}: expected at least 2, which UMAP needs")
        if options["density_ratio"] <= 1 or not 0 < options["alpha"] <= 1 or options["min_dist"] < 0:
            raise BadInput(
                "--set umap: expected density_ratio above 1, alpha above 0 and at most 1, min_dist of at least 0; got "
                f"{options['density_ratio']}, {options['alpha']}, {options['min_dist']}"
            )
        return [
            Task(
                self.id,
                pair.key,
                (pair.row.trial_id, pair.local.trial_id),
                {**counting([pair.row, pair.local]), **options, "group": pair.group.key},
                needs_model=True,
            )
            for pair in _pairs(chosen)
        ]

    def cost(self, task: Task, shape: Shape) -> Cost:
        n_points, d_model = 2 * shape.d_sae_of(task), shape.facts.d_model
        found = cost_of_cosines(task, shape, n_products=2, kept_bytes=n_points * (8.0 * d_model + BYTES_PER_POINT))
        pca = task.options["n_pca_rows"] * shape.context * shape.model_flops_per_token / shape.flops_per_s
        return Cost(found.seconds + pca + SECONDS_TO_START + SECONDS_PER_POINT * n_points, found.memory_bytes)

    def run(self, task: Task, context: Context) -> Tables:
        from trainer.analysis import nearest_across, one_sided_regions, principal_directions, umap_of

        options = task.options
        own, local = task.subjects
        alive = {id_: alive_of(context, id_) for id_ in task.subjects}
        direction = principal_directions(
            context.model(),
            context.rows().evaluation,
            layer=options["layer"],
            n_directions=1,
            n_rows=options["n_pca_rows"],
        ).directions[0]
        planes = umap_of(
            [directions_of(context, id_) for id_ in task.subjects],
            seed=options["seed"],
            n_neighbors=options["n_neighbors"],
            min_dist=options["min_dist"],
        )
        context.heard(3, 4)
        sides = [_Side(context, id_, plane, direction) for id_, plane in zip(task.subjects, planes, strict=True)]
        regions = one_sided_regions(
            *_labelled(sides),
            n_neighbors=options["region_neighbors"],
            min_ratio=options["density_ratio"],
            alpha=options["alpha"],
            n_permutations=options["n_permutations"],
            seed=options["seed"],
        )
        nearest = [
            nearest_across(
                context.sae(of).dictionary, alive[of], other=context.sae(to).dictionary, other_alive=alive[to]
            ).cosine
            for of, to in ((own, local), (local, own))
        ]
        same_seed = len({side.row.config.seed for side in sides}) == 1
        which = {"pair": task.key, "group": options["group"], "same_seed": same_seed}
        inside = _inside(regions, sides)
        return {
            SIDES.name: [
                {
                    **which,
                    **identity(side.row),
                    "other_run_name": other.row.run_name,
                    "n_elements": side.n,
                    "n_regions": sum(region.kind == kind for region in regions),
                    "n_inside": int(inside[kind].sum()),
                    "share_inside": float(inside[kind].double().mean()) if side.n else None,
                    "cosine_inside": float(nearest[kind][inside[kind]].mean()),
                    "cosine_outside": float(nearest[kind][~inside[kind]].mean()),
                }
                for kind, (side, other) in enumerate([(sides[0], sides[1]), (sides[1], sides[0])])
            ],
            REGIONS.name: [_region_line(task.key, number, region, sides) for number, region in enumerate(regions)],
            POINTS.name: [
                {
                    **which,
                    **identity(side.row),
                    "elements": side.elements.double().tolist(),
                    "x": side.plane[:, 0].tolist(),
                    "y": side.plane[:, 1].tolist(),
                    "direction_cosine": side.cosine.tolist(),
                    "frequency": side.frequency.tolist(),
                    "is_inside": inside[kind].double().tolist(),
                }
                for kind, side in enumerate(sides)
            ],
        }

    def missing(self) -> str | None:
        # finds it without importing it, which takes seconds
        return (
            None
            if find_spec("umap")
            else "umap-learn is not installed: pip install -e '.[paper]', or pip install umap-learn"
        )


def _pairs(chosen: Chosen) -> list[Pair]:
    """With another seed, so that the two began apart; with the same one where there is no other."""
    apart = {pair.key: pair for pair in against_local(chosen, same_seed=False)}
    alike = {pair.key: pair for pair in against_local(chosen, same_seed=True)}
    if not apart and not alike:
        raise BadInput(no_pair(chosen))
    keys = dict.fromkeys(f"{group.key}-{loss}" for group in chosen.groups for loss in group.by_loss)
    return [(apart.get(key) or alike[key]) for key in keys if key in apart or key in alike]


class _Side:
    """One of the two dictionaries: its alive elements in the plane."""

    def __init__(self, context: Context, trial_id: str, plane: "torch.Tensor", direction: "torch.Tensor") -> None:
        firing, dictionary = context.firing(trial_id), directions_of(context, trial_id).double().cpu()
        self.row = context.row(trial_id)
        self.plane = plane.double()
        self.elements = (firing > 0).nonzero().flatten()
        self.frequency = firing[self.elements]
        self.cosine = (dictionary @ direction / dictionary.norm(dim=-1)).float()  # in the last digits processes differ
        self.n = len(self.elements)


def _labelled(sides: list[_Side]) -> Any:
    """All points, and which are of the first side."""
    import numpy as np

    points = np.concatenate([side.plane.numpy() for side in sides])
    return points, np.arange(len(points)) < sides[0].n


def _inside(regions: list["Region"], sides: list[_Side]) -> "list[torch.Tensor]":
    """Of each side, which elements lie in regions of its own."""
    import torch

    found = [torch.zeros(side.n, dtype=torch.bool) for side in sides]
    for region in regions:
        found[region.kind][_members(region, sides, region.kind)] = True
    return found


def _members(region: "Region", sides: list[_Side], kind: int) -> "torch.Tensor":
    """Places of its elements among the alive ones of a side."""
    import torch

    members, n = torch.from_numpy(region.members), sides[0].n
    return members[members < n] if kind == 0 else members[members >= n] - n


def _region_line(pair: str, number: int, region: "Region", sides: list[_Side]) -> Line:
    import torch

    from trainer.analysis.regions import letters

    parts = [(side, _members(region, sides, kind)) for kind, side in enumerate(sides)]
    own, own_members = parts[region.kind]
    other, other_members = parts[1 - region.kind]
    x, y = torch.cat([side.plane[members] for side, members in parts]).median(0).values.tolist()
    return {
        "pair": pair,
        "region": letters(number),
        "loss": own.row.config.loss.kind,
        "n_own": len(own_members),
        "n_other": len(other_members),
        "density_ratio": region.density_ratio,
        "p_value": region.p_value,
        "direction_cosine": float(torch.cat([side.cosine[members] for side, members in parts]).abs().mean()),
        "log10_frequency": float(torch.cat([side.frequency[members] for side, members in parts]).log10().mean()),
        "x": x,
        "y": y,
        "elements": own.elements[own_members].double().tolist(),
        "other_elements": other.elements[other_members].double().tolist(),
    }
