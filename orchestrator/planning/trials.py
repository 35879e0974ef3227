"""From a sweep and the model's shape to trials: every combination of the grid, each checked. Pure."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Any, NamedTuple, Protocol

from pydantic import ValidationError

from orchestrator.planning.planned import PlannedTrial
from orchestrator.sweep.problems import Problems
from orchestrator.sweep.resolve import NoValue, choose
from orchestrator.sweep.sweep_file import Sweep
from orchestrator.sweep.sweep_schema import TRIAL_SECTIONS, Exclude
from orchestrator.sweep.yaml_lines import TreePath
from trainer.config import SCRATCH, TrialConfig
from trainer.losses import LOSS_KINDS

MAX_TRIALS = 100_000
MAX_D_SAE = 2**24
MIN_CONTEXT = 2


class ModelShape(Protocol):
    """What a plan has to know of a model; `trainer.models.ModelFacts` is one."""

    @property
    def n_layers(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def d_vocab(self) -> int: ...
    @property
    def n_context(self) -> int: ...


class Cell(NamedTuple):
    """What the grid holds for one layer and loss: plain values for every field, plain lists for every axis."""

    layer: int
    loss: str
    sections: dict[str, dict[str, Any]]
    axes: dict[str, list[Any]]
    paths: dict[str, TreePath]
    """Where a field's value was written, by its dotted name; an axis stands for the field it replaces."""

    @property
    def n_trials(self) -> int:
        return prod(len(values) for values in self.axes.values())


def expand(sweep: Sweep, facts: ModelShape) -> tuple[PlannedTrial, ...]:
    """Trials in the order of layer, loss, coefficient, seed, further axes.

    Raises:
        BadInput: the sweep does not fit the model, or a trial is impossible; all problems at once.
    """
    problems = Problems(sweep.source)
    cells = list(cells_of(sweep, facts, problems))
    n_trials = sum(cell.n_trials for cell in cells)
    if n_trials > MAX_TRIALS:
        problems.add(("grid",), f"{n_trials:,} trials, expected at most {MAX_TRIALS:,}; shorten an axis")
    problems.raise_if_any()
    configs: list[tuple[TrialConfig, Mapping[str, Any]]] = []
    for cell in cells:
        points = (dict(zip(cell.axes, values, strict=True)) for values in product(*cell.axes.values()))
        configs += [
            (config, point)
            for point in points
            if not is_excluded(cell, point, sweep, facts)
            and (config := config_at(cell, point, sweep, facts, problems)) is not None
        ]
    _check_together(configs, problems)
    problems.raise_if_any()
    names = _run_names(configs)
    return tuple(PlannedTrial(name, config) for name, (config, _) in zip(names, configs, strict=True))


def cells_of(sweep: Sweep, facts: ModelShape, problems: Problems) -> Iterator[Cell]:
    """The grid by layer and loss; what is wrong is noted."""
    for layer in _layers(sweep, facts, problems):
        for loss in sorted(sweep.grid.loss, key=LOSS_KINDS.index):
            if any(_excludes_all(entry, layer, loss, facts.n_layers) for entry in sweep.grid.exclude):
                continue
            cell = Cell(layer, loss, {name: {} for name in (*TRIAL_SECTIONS, "loss")}, {}, {})
            try:
                _fill(cell, sweep)
            except NoValue as missing:
                problems.add(*missing.args)
            else:
                yield cell


def _layers(sweep: Sweep, facts: ModelShape, problems: Problems) -> list[int]:
    if isinstance(sweep.grid.layer, str):
        return list(range(facts.n_layers))
    for layer in sweep.grid.layer:
        if layer >= facts.n_layers:
            last = facts.n_layers - 1
            text = f"came {layer}, expected 0 to {last}: {sweep.model.name} has {facts.n_layers} blocks"
            problems.add(("grid", "layer"), text)
    return sorted(layer for layer in sweep.grid.layer if layer < facts.n_layers)


def _fill(cell: Cell, sweep: Sweep) -> None:
    """
    Raises:
        NoValue: a choice has nothing for the cell.
    """
    fixed = {
        "model": sweep.model.model_dump(), "data": sweep.data.model_dump(), "eval": sweep.eval.model_dump(),
        "train": sweep.train, "sae": sweep.sae,
    }  # fmt: skip
    for section, values in (*fixed.items(), ("loss", sweep.loss[cell.loss])):
        place = ("loss", cell.loss) if section == "loss" else (section,)
        for name, value in values.items():
            chosen = choose(value, (*place, name), loss=cell.loss, layer=cell.layer)
            cell.sections[section][name] = chosen.value
            cell.paths[".".join((*place, name))] = chosen.path
    first = [name for name in ("sparsity_coeff", "seed") if name in sweep.grid.axes]
    for axis in [*first, *sorted(set(sweep.grid.axes) - set(first))]:
        if axis.startswith("loss.") and axis.split(".")[1] != cell.loss:
            continue
        chosen = choose(sweep.grid.axes[axis], ("grid", axis), loss=cell.loss, layer=cell.layer)
        cell.axes[axis] = chosen.value  # pyright: ignore[reportArgumentType]
        cell.paths[axis] = chosen.path


def _excludes_all(entry: Exclude, layer: int, loss: str, n_layers: int) -> bool:
    return not (entry.seed != () or entry.sparsity_coeff != ()) and _matches_cell(entry, layer, loss, n_layers)


def _matches_cell(entry: Exclude, layer: int, loss: str, n_layers: int) -> bool:
    layers = (n_layers - 1,) if entry.layer == "last" else _listed(entry.layer)
    losses = _listed(entry.loss)
    return (not layers or layer in layers) and (not losses or loss in losses)


def is_excluded(cell: Cell, point: Mapping[str, Any], sweep: Sweep, facts: ModelShape) -> bool:
    """Whether `grid.exclude` takes this point of the cell away."""
    return any(_matches(entry, cell, point, facts.n_layers) for entry in sweep.grid.exclude)


def _matches(entry: Exclude, cell: Cell, point: Mapping[str, Any], n_layers: int) -> bool:
    seeds, coefficients = _listed(entry.seed), _listed(entry.sparsity_coeff)
    return (
        _matches_cell(entry, cell.layer, cell.loss, n_layers)
        and (not seeds or point["seed"] in seeds)
        and (not coefficients or point["sparsity_coeff"] in coefficients)
    )


def _listed(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)  # pyright: ignore[reportUnknownVariableType]


def config_at(
    cell: Cell, point: Mapping[str, Any], sweep: Sweep, facts: ModelShape, problems: Problems
) -> TrialConfig | None:
    """The trial with these values for the axes of the cell, and for other fields where they are given. What is wrong
    with it is noted."""
    config = _config(cell, point, problems)
    if config is not None:
        _check(config, cell, facts, sweep, problems)
    return config


def _config(cell: Cell, point: Mapping[str, Any], problems: Problems) -> TrialConfig | None:
    values = {section: dict(fields) for section, fields in cell.sections.items()}
    values["loss"] |= {"kind": cell.loss, "sparsity_coeff": point["sparsity_coeff"]}
    for axis, value in point.items():
        section, _, name = axis.rpartition(".")
        if section:
            values[section.split(".")[0]][name] = value
    try:
        return TrialConfig.model_validate(
            {**values, "hookpoint": f"blocks.{cell.layer}.hook_resid_pre", "seed": point["seed"]}
        )
    except ValidationError as error:
        for details in error.errors():
            place = ("loss", cell.loss) if details["loc"][0] == "loss" else (str(details["loc"][0]),)
            problems.add(place, str(details["msg"]).removeprefix("Value error, "))
        return None


def _check(config: TrialConfig, cell: Cell, facts: ModelShape, sweep: Sweep, problems: Problems) -> None:
    """What a config alone cannot know: whether the trial fits the model and its own batches."""

    def wrong(field: str, text: str) -> None:
        problems.add(cell.paths[field], text)

    train, per_step = config.train, config.tokens_per_step
    if not MIN_CONTEXT <= config.data.context <= facts.n_context:
        model = f"{config.model.name} reads at most {facts.n_context} tokens"
        wrong("data.context", f"came {config.data.context}, expected {MIN_CONTEXT} to {facts.n_context}: {model}")
    if config.n_steps < 1:
        step = f"one step takes {per_step:,} ({train.batch_rows} rows of {config.data.context})"
        wrong("train.tokens", f"came {train.tokens:,}, expected at least one step's tokens: {step}")
    if train.schedule == "trapezoid" and train.warmup_fraction + train.cooldown_fraction > 1:
        both = f"warm-up {train.warmup_fraction:g} and cool-down {train.cooldown_fraction:g}"
        wrong("train.cooldown_fraction", f"{both} take more than the whole training; expected at most 1 together")
    if config.sae.ratio * facts.d_model > MAX_D_SAE:
        wrong("sae.ratio", f"came {config.sae.ratio:g}, expected at most {MAX_D_SAE // facts.d_model} "
              f"({MAX_D_SAE:,} dictionary elements)")  # fmt: skip
    if config.loss.weights.downstream > 0 and config.layer == facts.n_layers - 1:
        text = f"layer {config.layer} is the last of {config.model.name}: no later hookpoint for '{config.loss.kind}'"
        problems.add(("grid", "loss"), f"{text}; add exclude: [{{layer: last, loss: {config.loss.kind}}}] to the grid")
    if (given := sweep.starts.get(config.sae.start_from)) is not None:
        from trainer.external.given import misfit  # loads PyTorch

        text = misfit(given, model=config.model, n_layers=facts.n_layers, d_model=facts.d_model, trial=config)
        if text:
            wrong("sae.start_from", text)
    every = sweep.logging.eval_every_tokens
    if every != "end" and every < per_step:
        problems.add(
            ("logging", "eval_every_tokens"), f"came {every:,}, expected at least one step's {per_step:,}, or end"
        )


def _check_together(configs: list[tuple[TrialConfig, Mapping[str, Any]]], problems: Problems) -> None:
    if not configs and not problems:
        problems.add(("grid",), "no trial is left: exclude takes them all; expected at least one")
    started = [config for config, _ in configs if config.sae.start_from != SCRATCH]
    if len({config.model_dump_json(exclude={"seed"}) for config in started}) < len({c.trial_id for c in started}):
        text = "a trial that starts from a trained SAE is the same with every seed; keep one seed, or vary data.seed"
        problems.add(("grid", "seed"), text)
    counts = Counter(config.trial_id for config, _ in configs)
    for config, _ in configs:
        if counts[config.trial_id] > 1:
            problems.add(("grid",), f"{config.run_name} comes {counts[config.trial_id]} times; make each trial once")


def _run_names(configs: list[tuple[TrialConfig, Mapping[str, Any]]]) -> list[str]:
    """Names of the configs; with the further axes that vary, if the usual names do not tell all trials apart."""
    names = [config.run_name for config, _ in configs]
    if len(set(names)) == len(names):
        return names
    varying = _varying_axes([point for _, point in configs])
    last = Counter(axis.rpartition(".")[2] for axis in varying)
    short = {axis: name if last[name := axis.rpartition(".")[2]] == 1 else axis for axis in varying}
    names = [
        "-".join([name, *(f"{short[axis]}{written(point[axis])}" for axis in varying if axis in point)])
        for name, (_, point) in zip(names, configs, strict=True)
    ]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name}-{config.trial_id}"
        for name, (config, _) in zip(names, configs, strict=True)
    ]


def _varying_axes(points: list[Mapping[str, Any]]) -> list[str]:
    seen: dict[str, set[Any]] = {}
    for point in points:
        for axis, value in point.items():
            seen.setdefault(axis, set()).add(value)
    return sorted(axis for axis, values in seen.items() if len(values) > 1 and "." in axis)


def written(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text)[-40:]
