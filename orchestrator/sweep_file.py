"""A sweep file, read and checked: `load_sweep`. What needs the model's shape is checked by `plan`."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchestrator.overrides import overridden
from orchestrator.problems import Source
from orchestrator.sweep_check import check
from orchestrator.sweep_schema import Exclude, Frontier, Logging, Resources, Tracking, defaults, fields_of, loss_options
from orchestrator.yaml_lines import Tree, parse, read_text
from trainer.config import DataConfig, EvalConfig, ModelConfig, SAEConfig, TrainConfig

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
    frontier: Frontier
    resources: Resources
    logging: Logging
    tracking: Tracking
    tree: Tree = field(repr=False, compare=False)
    """The file as it was written, overrides applied."""
    source: Source = field(repr=False, compare=False)

    @property
    def sweep_id(self) -> str:
        """Name and eight hex digits of all that trials are made of: equal for any order of keys, and whatever the
        frontier, the resources, the logging and the tracking are."""
        science = {
            "model": self.model.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
            "eval": self.eval.model_dump(mode="json"),
            "train": self.train,
            "sae": self.sae,
            "loss": {kind: self.loss[kind] for kind in self.grid.loss},
            "grid": {
                "layer": self.grid.layer,
                "loss": self.grid.loss,
                "axes": self.grid.axes,
                "exclude": [entry.model_dump(mode="json") for entry in self.grid.exclude],
            },
        }
        canonical = json.dumps(_string_keys(science), sort_keys=True, separators=(",", ":"))
        return f"{self.name}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"

    def to_yaml(self) -> str:
        """The sweep as a file that `load_sweep` reads as this very sweep: overrides in it, comments gone."""
        return yaml.safe_dump(self.tree, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def load_sweep(path: Path | str, overrides: Sequence[str] = ()) -> Sweep:
    """Read a sweep file. `overrides` are `a.b=c`, as given to `--set`; values are YAML.

    Raises:
        BadInput: the file cannot be read or is not YAML, or there are problems in it; all of them, each with its line.
    """
    path = Path(path)
    document = parse(read_text(path), name=str(path))
    tree, problems = overridden(document, overrides, name=str(path))
    checked = check(tree, problems)
    problems.raise_if_any()
    grid = checked["grid"]
    return Sweep(
        name=checked["name"],
        model=ModelConfig(**checked["model"]),
        data=DataConfig(**checked["data"]),
        eval=EvalConfig(**checked["eval"]),
        train=defaults(fields_of(TrainConfig)) | checked["train"],
        sae=defaults(fields_of(SAEConfig)) | checked["sae"],
        loss={kind: defaults(loss_options(kind)) | options for kind, options in checked["loss"].items()},
        grid=Grid(grid["layer"], grid["loss"], {"seed": [0]} | grid["axes"], tuple(grid["exclude"])),
        frontier=Frontier(**checked["frontier"]),
        resources=Resources(**checked["resources"]),
        logging=Logging(**checked["logging"]),
        tracking=Tracking(**checked["tracking"]),
        tree=tree,
        source=problems.source,
    )


def _string_keys(value: Any) -> Any:
    """Mappings with keys of one type, so that they can be sorted."""
    if isinstance(value, dict):
        return {str(key): _string_keys(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return value
