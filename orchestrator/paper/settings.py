"""What other settings do to the front: learning rate, dictionary size, training length, weights of the losses' terms.

Read from rows alone. A setting is looked at where trials of one layer and loss differ in it; `sweeps/` has sweep files
that vary one each.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from orchestrator.folder.records import Row
from orchestrator.fronts.pareto import pareto_mask
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
from trainer.errors import BadInput

NOT_SETTINGS = ("hookpoint", "seed", "loss.kind", "loss.sparsity_coeff")
"""What every sweep varies, and what other analyses are about."""

EACH = TableSpec(
    "settings_saes",
    "Every SAE with the value of each setting that varies",
    (
        *IDENTITY,
        *MEASURED,
        Column("setting", TEXT, "The field of its config, such as train.lr.", nullable=False),
        Column("value", TEXT, "Its value.", nullable=False),
        Column("number", NUMBER, "The same where it is a number."),
    ),
    printed=(),
)
EFFECT = TableSpec(
    "settings_effect",
    "CE loss increase at equal L0, by value of a setting",
    (
        Column("setting", TEXT, "The field of the config, such as train.lr.", nullable=False),
        Column("layer", COUNT, "Block whose input the SAEs replace.", nullable=False),
        Column("loss", TEXT, "Kind of loss.", nullable=False),
        Column("value", TEXT, "Of the setting.", nullable=False),
        Column("n_saes", COUNT, "With that value.", nullable=False),
        Column("at_l0", NUMBER, "In the middle of what the fronts of all values cover; null where they share nothing."),
        Column(
            "ce_loss_increase",
            NUMBER,
            "There, interpolated along the front of that value in log L0, all seeds together.",
            "nats per token",
        ),
        Column("ratio_to_first", NUMBER, "Of that to the same of the first value."),
        Column("n_alive_elements", NUMBER, "Mean over its SAEs.", "elements"),
    ),
)


class Settings(Analysis):
    """Figures 13 to 17."""

    id = "settings"
    title = "Learning rate, dictionary size, training length, weights"
    paper = ("Figures 13 to 17", "Appendix C", "Appendix E")
    tables = (EFFECT, EACH)

    def tasks(self, chosen: Chosen) -> list[Task]:
        varied = varied_settings(chosen.done)
        if not varied:
            raise BadInput(
                "all SAEs of one layer and loss differ in coefficient and seed alone: there is no other setting to "
                "compare. A sweep that varies one has it as an axis, as sweeps/builtin_learning_rates.yaml has train.lr"
            )
        return [Task(self.id, "all", tuple(row.trial_id for row in chosen.done), {"settings": varied})]

    def cost(self, task: Task, shape: Shape) -> Cost:
        del task, shape
        return Cost(seconds=0.2, memory_bytes=0.0)

    def run(self, task: Task, context: Context) -> Tables:
        rows = [context.row(id_) for id_ in task.subjects]
        each = [line for setting in task.options["settings"] for line in lines_of(rows, setting)]
        return {EACH.name: each, EFFECT.name: list(effects(each))}


def varied_settings(rows: Sequence[Row]) -> list[str]:
    """Fields of the config in which SAEs of one layer and loss differ, by name."""
    groups: dict[tuple[int, str], dict[str, set[str]]] = {}
    for row in rows:
        seen = groups.setdefault((row.config.layer, row.config.loss.kind), {})
        for name, value in _fields(row):
            seen.setdefault(name, set()).add(json.dumps(value))
    varied = {name for seen in groups.values() for name, values in seen.items() if len(values) > 1}
    return sorted(varied - set(NOT_SETTINGS))


def lines_of(rows: Sequence[Row], setting: str) -> list[Line]:
    """Lines of `EACH` for the SAEs of those layers and losses in which the setting varies."""
    found: list[Line] = []
    for layer, loss in dict.fromkeys((row.config.layer, row.config.loss.kind) for row in rows):
        here = [row for row in rows if (row.config.layer, row.config.loss.kind) == (layer, loss)]
        values = {row.trial_id: dict(_fields(row)).get(setting) for row in here}
        if len({json.dumps(value) for value in values.values()}) < 2:
            continue
        for row in here:
            value = values[row.trial_id]
            plain = value if isinstance(value, int | float) and not isinstance(value, bool) else None
            found.append(
                {
                    **identity(row),
                    **measured(row),
                    "setting": setting,
                    "value": f"{plain:,}".replace(",", " ") if isinstance(plain, int) else str(value),
                    "number": None if plain is None else float(plain),
                }
            )
    return found


def effects(lines: Sequence[Line]) -> Iterator[Line]:
    """Lines of `EFFECT` from those of `EACH`: numbers in their order, texts by name."""
    for key in dict.fromkeys((line["setting"], line["layer"], line["loss"]) for line in lines):
        here = [line for line in lines if (line["setting"], line["layer"], line["loss"]) == key]
        by_value: dict[str, list[Line]] = {}
        for line in sorted(here, key=lambda one: (one["number"] is None, one["number"] or 0.0, one["value"])):
            by_value.setdefault(line["value"], []).append(line)
        fronts = {value: front(group) for value, group in by_value.items()}
        target = _middle([found for found in fronts.values() if len(found)])
        first: float | None = None
        for value, group in by_value.items():
            there = at(fronts[value], target)
            first = there if first is None else first
            alive = [line["n_alive_elements"] for line in group if line["n_alive_elements"] is not None]
            yield {
                **dict(zip(("setting", "layer", "loss"), key, strict=True)),
                "value": value,
                "n_saes": len(group),
                "at_l0": target,
                "ce_loss_increase": there,
                "ratio_to_first": there / first if there is not None and first else None,
                "n_alive_elements": sum(alive) / len(alive) if alive else None,
            }


def front(lines: Sequence[Line]) -> np.ndarray:
    """ "points 2": L0 and CE loss increase of what no other dominates, by L0."""
    points = [
        (line["l0"], line["ce_loss_increase"]) for line in lines if line["l0"] and line["ce_loss_increase"] is not None
    ]
    if not points:
        return np.zeros((0, 2))
    costs = np.array(sorted(set(points)), dtype=np.float64)
    return costs[pareto_mask(costs)]


def at(points: np.ndarray, l0: float | None) -> float | None:
    """The front's CE loss increase at an L0, straight in log L0 between its points; None outside of them."""
    if l0 is None or not len(points) or not points[0, 0] <= l0 <= points[-1, 0]:
        return None
    return float(np.interp(np.log(l0), np.log(points[:, 0]), points[:, 1]))


def _middle(fronts: Sequence[np.ndarray]) -> float | None:
    """The geometric middle of the L0 that all fronts cover."""
    if not fronts:
        return None
    low, high = max(points[0, 0] for points in fronts), min(points[-1, 0] for points in fronts)
    return float(np.sqrt(low * high)) if low <= high else None


def _fields(row: Row) -> Iterator[tuple[str, Any]]:
    """Every field of its config by its dotted name, as in a sweep file."""

    def walk(value: Any, name: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(inner, f"{name}.{key}" if name else str(key))
        else:
            yield name, value

    return walk(row.config.model_dump(mode="json"), "")
