"""What may stand in a sweep file: its sections, their fields and types. Built on the classes of `trainer.config`.

`sweep_check.py` holds a file to it; `sweeps/README.md` documents it, and a test holds the two together.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AfterValidator, ConfigDict, NonNegativeInt, PositiveInt, TypeAdapter
from pydantic import Field as Constraint
from pydantic.fields import FieldInfo

from orchestrator.fronts.schema import DEFAULT_OBJECTIVES, MAX_GAP, MOST_OBJECTIVES, Objective, objective_columns
from orchestrator.sweep.yaml_lines import Tree
from trainer.config import DataConfig, EvalConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.losses import LossConfig
from trainer.values import Frozen, PositiveFinite

Finite = Annotated[float, Constraint(allow_inf_nan=False)]
LossKind = Literal["local", "e2e", "e2e_downstream", "local_then_e2e", "mixed"]


@dataclass(frozen=True)
class Words:
    """In an `Annotated` type: what a message calls it."""

    text: str


def _metric(name: str) -> str:
    if name not in objective_columns():
        raise ValueError("no such metric")
    return name


def _different_metrics(metrics: tuple[str, ...]) -> tuple[str, ...]:
    if len({*metrics}) < len(metrics):
        raise ValueError("a metric against itself")
    return metrics


def _lower_first(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] >= bounds[1]:
        raise ValueError("the first is not the lower")
    return bounds


def _whole_above_one(share: float) -> float:
    if share > 1 and not share.is_integer():
        raise ValueError("Ray shares out parts of one device, or whole devices")
    return share


_SHARES = "a number above 0 and up to 1, or a whole number"
Metric = Annotated[str, AfterValidator(_metric), Words("one of " + ", ".join(objective_columns()))]
Metrics = Annotated[
    tuple[Metric, ...],
    Constraint(strict=False, min_length=2, max_length=MOST_OBJECTIVES),
    AfterValidator(_different_metrics),
    Words("two to four different metrics out of " + ", ".join(objective_columns())),
]
Share = Annotated[float, AfterValidator(_whole_above_one)]
Margin = Annotated[float, Constraint(gt=0, lt=1, allow_inf_nan=False), Words("a number between 0 and 1")]
SWEEP_NAME = Annotated[
    str,
    Constraint(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80),
    Words("letters, digits, '.', '_' and '-', a letter or digit first, at most 80"),
]
TRACKING_URI = Annotated[str, Constraint(min_length=1), Words("default or an address such as http://localhost:5000")]


class Frontier(Frozen):
    """How trials are compared. Does not touch their numbers; `stop_dominated` ends some before they have any."""

    objectives: Annotated[tuple[Metrics, ...], Constraint(strict=False, min_length=1)] = tuple(
        tuple(objective) for objective in DEFAULT_OBJECTIVES
    )
    reference: dict[Metric, Finite] = Constraint(default={})
    """Worst value of interest by metric, of which hypervolume is measured."""
    match: dict[Metric, Annotated[tuple[Finite, ...], Constraint(strict=False, min_length=1)]] = Constraint(default={})
    """Values by metric at which losses are compared; where none is given, the middle of what all losses cover."""
    max_gap: Annotated[float, Constraint(gt=1, allow_inf_nan=False), Words("a number above 1")] = MAX_GAP
    """Neighbours on a frontier whose L0 differ by more than this factor are warned of."""
    stop_dominated: Margin | Literal["off"] = "off"
    """By which share another trial has to be better in every objective for this one to be stopped."""

    @property
    def planes(self) -> tuple[Objective, ...]:
        return tuple(Objective(*pair) for pair in self.objectives)


class Resources(Frozen):
    """What one pack gets. Does not touch the trials."""

    gpus_per_pack: Annotated[Share, Constraint(ge=0, allow_inf_nan=False), Words(f"0, {_SHARES}")] = 0.0
    cpus_per_pack: Annotated[Share, Constraint(gt=0, allow_inf_nan=False), Words(_SHARES)] = 1.0
    trials_per_pack: PositiveInt | Literal["auto"] = "auto"
    hung_after_minutes: PositiveFinite = 15.0


class Logging(Frozen):
    """How often a running pack is looked at, and how closely what it has trained. Does not touch the trials."""

    log_every_steps: PositiveInt = 20
    eval_every_tokens: PositiveInt | Literal["end"] = "end"
    elements: NonNegativeInt = 32
    element_snippets: PositiveInt = 5


class Tracking(Frozen):
    """Where runs are recorded. Does not touch the trials."""

    uri: TRACKING_URI = "default"


SEARCH_KINDS = ("grid", "fill", "match", "random", "tpe", "nsga2", "nsga3", "gp")
SAMPLERS = SEARCH_KINDS[3:]
Bounds = Annotated[
    tuple[PositiveFinite, PositiveFinite],
    Constraint(strict=False),
    AfterValidator(_lower_first),
    Words("a list of two numbers above 0, the lower first"),
]
Space = Annotated[dict[str, Any], Words("a mapping from fields to {low, high, log} or to lists of values")]


class Search(Frozen):
    """Which trials come after those of the grid. Does not touch the trials."""

    kind: Literal["grid", "fill", "match", "random", "tpe", "nsga2", "nsga3", "gp"] = "grid"
    budget: PositiveInt | Literal["auto"] = "auto"
    budget_tokens: PositiveInt | Literal["any"] = "any"
    at_once: PositiveInt | Literal["auto"] = "auto"
    l0: Bounds
    by: Literal["gap", "hypervolume"] = "gap"
    max_gap: PositiveFinite = 0.2
    min_gain: PositiveFinite = 0.01
    target: PositiveFinite
    metric: Literal["ce_loss_increase", "l0", "kl_div_with_sae", "mse", "n_alive_elements"] = "ce_loss_increase"
    tolerance: PositiveFinite = 0.05
    max_trials: PositiveInt = 4
    space: Space = Constraint(default={})
    objectives: Metrics | Literal["first"] = "first"
    at_most: dict[Metric, Finite] = Constraint(default={})
    at_least: dict[Metric, Finite] = Constraint(default={})
    seed: NonNegativeInt = 0


SEARCH_FIELDS: Mapping[str, tuple[str, ...]] = {
    "grid": (),
    "fill": ("l0", "by", "max_gap", "min_gain"),
    "match": ("target", "metric", "tolerance", "max_trials"),
    **dict.fromkeys(SAMPLERS, ("space", "objectives", "at_most", "at_least", "seed")),
}
"""The fields of `search` by kind, beside the kind itself and `SEARCH_COMMON`."""
SEARCH_COMMON = ("budget", "budget_tokens", "at_once")
SEARCH_DEPENDENT = ("l0", "target", "space")
"""Fields of `search` whose values may depend on the loss or the layer."""


LAYERS = Annotated[tuple[NonNegativeInt, ...], Constraint(strict=False), Words("a list of layers")]
KINDS = Annotated[tuple[LossKind, ...], Constraint(strict=False)]


class Exclude(Frozen):
    """Trials to leave out of a grid: those that match every field given here. An empty list matches any."""

    layer: NonNegativeInt | Literal["last"] | LAYERS = ()
    loss: LossKind | KINDS = ()
    seed: NonNegativeInt | Annotated[tuple[NonNegativeInt, ...], Constraint(strict=False)] = ()
    sparsity_coeff: PositiveFinite | Annotated[tuple[PositiveFinite, ...], Constraint(strict=False)] = ()


@dataclass(frozen=True)
class Field:
    """One field of the schema, by its annotation."""

    annotation: Any
    metadata: tuple[Any, ...] = ()
    required: bool = False
    default: Any = None

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        annotated: Any = Annotated[self.annotation, *self.metadata] if self.metadata else self.annotation
        return TypeAdapter(annotated, config=ConfigDict(strict=True))

    def check(self, value: Tree) -> Any:
        """The value as the schema has it, such as 1.0 for 1 where a number is wanted.

        Raises:
            pydantic.ValidationError: it is of another kind or out of range.
        """
        return self._adapter.validate_python(value)

    @property
    def words(self) -> str:
        """What a value has to be, such as `a whole number of at least 1`."""
        return words(self.annotation, self.metadata)


Fields = Mapping[str, Field]


@cache
def fields_of(config: type[Frozen]) -> Fields:
    """The fields of a config class by name."""
    return {
        name: Field(
            info.annotation, tuple(info.metadata), info.is_required(), None if info.is_required() else info.default
        )
        for name, info in config.model_fields.items()
    }


SECTIONS: Mapping[str, type[Frozen]] = {
    "model": ModelConfig, "data": DataConfig, "train": TrainConfig, "sae": SAEConfig, "eval": EvalConfig,
    "search": Search, "frontier": Frontier, "resources": Resources, "logging": Logging, "tracking": Tracking,
}  # fmt: skip
TRIAL_SECTIONS = ("model", "data", "train", "sae", "eval")
"""Sections that trials are made of; any field of theirs can be an axis of the grid."""
DEPENDENT_SECTIONS = ("train", "sae")
"""Sections whose values may depend on the loss or the layer, as those of `loss` and `grid` may."""
TOP_LEVEL = ("name", "model", "data", "train", "sae", "eval", "loss", "grid",
             "search", "frontier", "resources", "logging", "tracking")  # fmt: skip
REQUIRED = ("name", "model", "data", "train", "sae", "grid")
GRID_KEYS = ("layer", "loss", "sparsity_coeff", "seed", "exclude")
NO_AXIS = ("model.name", "model.revision")
"""A sweep is on one model: these are no axes."""

LOSSES: Mapping[str, type[Frozen]] = {
    kind.model_fields["kind"].default: kind for kind in get_args(get_args(LossConfig)[0])
}
NAME = Field(*get_args(SWEEP_NAME)[:1], metadata=get_args(SWEEP_NAME)[1:], required=True)
GRID_LAYER = Field(Literal["all"] | LAYERS | NonNegativeInt, required=True)
GRID_LOSS = Field(LossKind | KINDS, required=True)


def defaults(fields: Fields) -> dict[str, Any]:
    """What is taken where nothing is written."""
    return {name: field.default for name, field in fields.items() if not field.required}


def written_default(field: Field) -> str:
    """A default as the documentation has it; lists and mappings that are empty stand for nothing."""
    if field.required:
        return "required"
    match field.default:
        case bool():
            return "`true`" if field.default else "`false`"
        case float():
            return f"`{field.default:g}`"
        case tuple() | dict():
            return f"`{json.dumps(field.default)}`".replace('"', "") if field.default else ""
        case _:
            return f"`{field.default}`"


def loss_options(kind: str) -> Fields:
    """What `loss.<kind>` may hold: all but the kind itself and the coefficient, which the grid gives."""
    return {name: field for name, field in fields_of(LOSSES[kind]).items() if name not in ("kind", "sparsity_coeff")}


@cache
def axes() -> Fields:
    """Every axis a grid can have beside layer and loss."""
    found = {
        "sparsity_coeff": fields_of(LOSSES["local"])["sparsity_coeff"],
        "seed": fields_of(TrialConfig)["seed"],
    }
    for section in TRIAL_SECTIONS:
        found |= {f"{section}.{name}": field for name, field in fields_of(SECTIONS[section]).items()}
    for kind in LOSSES:
        found |= {f"loss.{kind}.{name}": field for name, field in loss_options(kind).items()}
    return {name: field for name, field in found.items() if name not in NO_AXIS}


def all_fields() -> Iterator[tuple[str, Field]]:
    """Every field a sweep file can have, by dotted path, in the order of the sections."""
    yield "name", NAME
    for section, config in SECTIONS.items():
        yield from ((f"{section}.{name}", field) for name, field in fields_of(config).items())
        if section == "eval":
            for kind in LOSSES:
                yield from ((f"loss.{kind}.{name}", field) for name, field in loss_options(kind).items())
            yield "grid.layer", GRID_LAYER
            yield "grid.loss", GRID_LOSS
            yield from ((f"grid.{name}", axes()[name]) for name in ("sparsity_coeff", "seed"))
            yield from ((f"grid.exclude.{name}", field) for name, field in fields_of(Exclude).items())


def words(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """A type in words, for messages and for the documentation."""
    flat = [part for entry in metadata for part in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
    if own := next((part.text for part in flat if isinstance(part, Words)), None):
        return own
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return words(arguments[0], (*arguments[1:], *metadata))
    if origin in (Union, UnionType):
        return " or ".join(words(argument) for argument in arguments)
    if origin is Literal:
        return arguments[0] if len(arguments) == 1 else "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        return "a list, each " + words(arguments[0])
    if origin is dict:
        return f"a mapping from {words(arguments[0])} to {words(arguments[1])}"
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "nothing"}
    return plain[annotation] + _bounds({type(part): part for part in flat}, annotation)


def _bounds(found: Mapping[type, Any], annotation: Any) -> str:
    if annotation is str:
        return " that is not empty" if MinLen in found else ""
    low, high, above = found.get(Ge), found.get(Le), found.get(Gt)
    if low and high:
        return f" from {low.ge} to {high.le}"
    if above:
        return f" of at least {above.gt + 1}" if annotation is int else f" above {above.gt}"
    return f" of at least {low.ge}" if low else ""
