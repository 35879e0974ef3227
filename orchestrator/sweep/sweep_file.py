"""A sweep file, read and checked: `load_sweep`. What needs the model's shape is checked by `plan`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestrator.sweep.objectives import check_objectives, check_stopping
from orchestrator.sweep.overrides import overridden
from orchestrator.sweep.problems import Source
from orchestrator.sweep.starts import with_starts
from orchestrator.sweep.sweep_check import check
from orchestrator.sweep.sweep_schema import (
    Exclude,
    Frontier,
    Logging,
    Resources,
    Tracking,
    defaults,
    fields_of,
    loss_options,
)
from orchestrator.sweep.yaml_lines import Tree, parse, read_text
from orchestrator.tracking.address import masked
from trainer.config import SCRATCH, DataConfig, EvalConfig, ModelConfig, SAEConfig, TrainConfig

if TYPE_CHECKING:
    from trainer.external.given import GivenSAE

Dependent = Any
"""A value, or a mapping that chooses one by loss or by layer (`resolve.py`)."""


@dataclass(frozen=True)
class Grid:
    """What varies. Trials are all combinations, less those excluded."""

    layer: tuple[int, ...] | str
    """Layers, or `all`."""
    loss: tuple[str, ...]
    axes: dict[str, Dependent]
    """Lists of values, by `sparsity_coeff`, `seed` or a dotted field such as `train.lr`."""
    exclude: tuple[Exclude, ...]


@dataclass(frozen=True)
class Sweep:
    """A sweep file, checked. `train`, `sae` and `loss` hold values that may depend on the loss or the layer."""

    name: str
    model: ModelConfig
    data: DataConfig
    eval: EvalConfig
    train: dict[str, Dependent]
    sae: dict[str, Dependent]
    loss: dict[str, dict[str, Dependent]]
    """Options by kind of loss."""
    grid: Grid
    search: dict[str, Dependent]
    """What comes after the grid: `kind` and what belongs to it. Some values may depend on the loss or the layer."""
    frontier: Frontier
    resources: Resources
    logging: Logging
    tracking: Tracking
    tree: Tree = field(repr=False, compare=False)
    """The file as it was written, overrides applied."""
    source: Source = field(repr=False, compare=False)

    starts: "Mapping[str, GivenSAE]" = field(default_factory=dict, repr=False, compare=False)
    """Trained SAEs that trials start from, by their `weights_id`; without those that only a run folder has."""
    known_as: str = field(default="", repr=False, compare=False)
    """Id of the run that it goes on with, where that is another than the one it would get."""

    @property
    def sweep_id(self) -> str:
        """Name of the run folder: the sweep's name and eight hex digits of what its trials mean.

        That is model, data, training, SAE, evaluation and the options of its losses, in any order of keys. The grid's
        values are not in it, so that a grown or shrunk grid finds its folder; nor are search, frontier, resources,
        logging and tracking, which do not touch trials.
        """
        if self.known_as:
            return self.known_as
        meaning = {
            "model": self.model.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
            "eval": self.eval.model_dump(mode="json"),
            "train": self.train,
            "sae": {name: value for name, value in self.sae.items() if (name, value) != ("start_from", SCRATCH)},
            "loss": {kind: self.loss[kind] for kind in self.grid.loss},
        }
        canonical = json.dumps(_string_keys(meaning), sort_keys=True, separators=(",", ":"))
        return f"{self.name}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"

    def to_yaml(self) -> str:
        """The sweep as a file that `load_sweep` reads as this very sweep: overrides in it, comments and the password of
        the tracking address gone."""
        tree = self.tree
        if isinstance(tree, dict) and isinstance(tracking := tree.get("tracking"), dict) and "uri" in tracking:
            tree = tree | {"tracking": tracking | {"uri": masked(str(tracking["uri"]))}}
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def load_sweep(path: Path | str, overrides: Sequence[str] = ()) -> Sweep:
    """Read a sweep file. `overrides` are `a.b=c`, as given to `--set`; values are YAML.

    Raises:
        BadInput: the file cannot be read or is not YAML, or there are problems in it; all of them, each with its line.
    """
    path = Path(path)
    document = parse(read_text(path), name=str(path))
    tree, problems = overridden(document, overrides, name=str(path))
    tree, starts = with_starts(tree, problems)
    checked = check(tree, problems)
    problems.raise_if_any()
    grid, frontier, logging = checked["grid"], Frontier(**checked["frontier"]), Logging(**checked["logging"])
    check_objectives(frontier.planes, frontier.reference)
    check_stopping(frontier, logging, checked["search"], problems)
    problems.raise_if_any()
    return Sweep(
        name=checked["name"],
        model=ModelConfig(**checked["model"]),
        data=DataConfig(**checked["data"]),
        eval=EvalConfig(**checked["eval"]),
        train=defaults(fields_of(TrainConfig)) | checked["train"],
        sae=defaults(fields_of(SAEConfig)) | checked["sae"],
        loss={kind: defaults(loss_options(kind)) | options for kind, options in checked["loss"].items()},
        grid=Grid(grid["layer"], grid["loss"], {"seed": [0]} | grid["axes"], tuple(grid["exclude"])),
        search=checked["search"],
        frontier=frontier,
        resources=Resources(**checked["resources"]),
        logging=logging,
        tracking=Tracking(**checked["tracking"]),
        tree=tree,
        source=problems.source,
        starts=starts,
    )


def _string_keys(value: Any) -> Any:
    """Mappings with keys of one type, so that they can be sorted."""
    if isinstance(value, dict):
        return {str(key): _string_keys(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return value
