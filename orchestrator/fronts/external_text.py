"""Measured SAEs of others beside a run's own: as Markdown for people, as JSON for programs. Pure."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.display.plain import plain_json
from orchestrator.folder.files import without_non_finite
from orchestrator.folder.records import Row
from orchestrator.fronts.external import ExternalRow
from orchestrator.fronts.pareto import NOBODY, dominators, pareto_mask

PLANE = ("l0", "ce_loss_increase")
"""In which fronts are told here; both are better when lower."""
NOTHING: Mapping[str, str] = {}
HEADINGS = ("SAE", "hookpoint", "d_sae", "l0", "ce_loss_increase", "n_alive_elements", "explained_variance", "front")


def standing(
    rows: Sequence[ExternalRow], own: Sequence[Row], twins: Mapping[str, str] = NOTHING
) -> dict[str, str | None]:
    """By SAE id, of all at one hookpoint, the run's and the others', who dominates it; None for nobody.

    `twins`: by id of an SAE in `rows` that the run itself trained, the id of that trial, whose standing it has.
    """
    result: dict[str, str | None] = {}
    for names, ids, costs in _groups(rows, own, twins):
        for sae_id, by in zip(ids, dominators(costs, pareto_mask(costs)).tolist(), strict=True):
            result[sae_id] = None if by == NOBODY else names[by]
    return result | {sae_id: result[trial_id] for sae_id, trial_id in twins.items() if trial_id in result}


def as_markdown(rows: Sequence[ExternalRow], own: Sequence[Row], twins: Mapping[str, str] = NOTHING) -> str:
    """A table of the SAEs in `rows`, in bold, and of the run's own on the joint frontier of their hookpoints, by l0."""
    stands = standing(rows, own, twins)
    places = {row.hookpoint for row in rows}
    lines = [
        _line(f"**{row.name}**", row.hookpoint, row.facts.d_sae, row.metrics, stands.get(row.sae_id),
              is_own=row.sae_id in twins)
        for row in rows
    ]  # fmt: skip
    lines += [
        _line(row.run_name, row.config.hookpoint, row.facts.d_sae if row.facts else 0, row.metrics, None)
        for row in own
        if row.config.hookpoint in places and row.trial_id in stands and stands[row.trial_id] is None
    ]
    lines.sort(key=lambda line: (line[1], float(line[3])))
    table = [HEADINGS, *lines]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEADINGS))]
    shown = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in table
    ]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])


def as_json_text(rows: Sequence[ExternalRow], own: Sequence[Row], twins: Mapping[str, str] = NOTHING) -> str:
    """The rows in full, each with who dominates it, and with its trial if the run itself trained it."""
    stands = standing(rows, own, twins)
    values = [
        row.model_dump(mode="json") | {"dominated_by": stands.get(row.sae_id), "own_trial_id": twins.get(row.sae_id)}
        for row in rows
    ]
    return plain_json(json.dumps(without_non_finite(values), indent=1, ensure_ascii=False))


def _groups(
    rows: Sequence[ExternalRow], own: Sequence[Row], twins: Mapping[str, str]
) -> list[tuple[list[str], list[str], np.ndarray]]:
    """Per hookpoint: names, ids and costs of all SAEs that have both numbers, and were measured on the same tokens."""
    groups: list[tuple[list[str], list[str], np.ndarray]] = []
    for hookpoint in dict.fromkeys(row.hookpoint for row in rows):
        others = [row for row in rows if row.hookpoint == hookpoint]
        eval_hash = others[0].facts.eval_hash
        ours = [
            row for row in own
            if row.config.hookpoint == hookpoint and row.facts is not None and row.facts.eval_hash == eval_hash
        ]  # fmt: skip
        members = [
            *((row.name, row.sae_id, row.metrics) for row in others if row.sae_id not in twins),
            *((row.run_name, row.trial_id, row.metrics) for row in ours),
        ]
        members = [m for m in members if all(isinstance(m[2].get(name), float) for name in PLANE)]
        costs = np.array([[m[2][name] for name in PLANE] for m in members], dtype=np.float64).reshape(-1, len(PLANE))
        groups.append(([m[0] for m in members], [m[1] for m in members], costs))
    return groups


def _line(
    name: str, hookpoint: str, d_sae: int, metrics: Mapping[str, object], by: str | None, *, is_own: bool = False
) -> tuple[str, ...]:
    def number(column: str, digits: int) -> str:
        value = metrics.get(column)
        return f"{value:.{digits}f}" if isinstance(value, float) else "nan"

    increase = number("ce_loss_increase", 4)
    if isinstance(error := metrics.get("ce_loss_increase_stderr"), float):
        increase += f" ± {error:.4f}"
    return (
        name, hookpoint, str(d_sae), number("l0", 1), increase, number("n_alive_elements", 0),
        number("explained_variance", 3),
        ("this run's own: " if is_own else "") + ("on it" if by is None else f"behind {by}"),
    )  # fmt: skip
