"""One trial whole, as the page's trial view wants it: configuration, metrics, curves, densities, elements."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dashboards.detail import frontier_of
from dashboards.mlflow_links import run_links_of
from dashboards.planned import state_of_one, why_ended
from dashboards.reading import (
    Fields,
    Unreadable,
    fields_in,
    json_of,
    lines_of,
    number,
    plain,
    plan_of,
    stamp,
    text,
    told,
)
from dashboards.runs import TRIAL_ID, digest, version_of
from dashboards.settings import alone_command, layer_of, settings_of, sweep_text

MOST_POINTS = 400
"""Of a curve; of a longer one the lowest and the highest of each stretch are kept."""
DENSITY_EDGES = [-7.0 + 0.5 * n for n in range(15)]
"""Of `density_histogram`, in log10 of the share of tokens; its first entry counts the dead."""
NO_TRIAL = "this sweep has no such trial"

Curves = dict[str, dict[str, list[Any]]]


def version(folder: Path, trial_id: str) -> str:
    """Another one whenever `trial` may say something else."""
    own = (f"results/{trial_id}.json", f"journal/{trial_id}.jsonl", f"elements/{trial_id}.json")
    files = [stamp(folder / name) for name in (*own, "runs.json", "mlflow/links.json")]
    return digest((folder.name, trial_id, version_of(folder), files))


class Sweep(NamedTuple):
    """What all trials of a sweep need, read once."""

    plan: Fields
    settings: Fields
    rows: Mapping[str, Fields]
    """Of the frontier's table, by trial."""
    pages: Mapping[str, str]
    """Of MLflow, by trial."""
    problems: tuple[str, ...]


def sweep_of(folder: Path) -> Sweep:
    """That of a run folder; what cannot be read is in `problems`."""
    problems: list[str] = []
    rows: list[Fields] = told(problems, lambda: frontier_of(folder)["rows"], [])
    return Sweep(
        plan=told(problems, lambda: plan_of(folder), None) or {},
        settings=told(problems, lambda: settings_of(sweep_text(folder)), {}),
        rows={text(row.get("trial_id")): row for row in rows},
        pages=told(problems, lambda: run_links_of(folder), {}),
        problems=tuple(problems),
    )


def trial(
    folder: Path,
    trial_id: str,
    *,
    sweep: Sweep | None = None,
    shown_as: Path | None = None,
    most_points: int = MOST_POINTS,
) -> Fields:
    """Raises `LookupError`, with a sentence, where the sweep has no such trial."""
    if not re.fullmatch(TRIAL_ID, trial_id):
        raise LookupError(NO_TRIAL)
    sweep = sweep or sweep_of(folder)
    problems = list(sweep.problems)
    result: Fields = told(problems, lambda: json_of(folder, f"results/{trial_id}.json"), None) or {}
    config = fields_in(fields_in(sweep.plan.get("trials")).get(trial_id)) or fields_in(result.get("config"))
    row = sweep.rows.get(trial_id)
    if not config and row is None:
        raise LookupError(NO_TRIAL)
    curves, was_thinned = told(problems, lambda: curves_of(folder, trial_id, most_points), ({}, False))
    status = text(result.get("status")) or ("done" if row is not None else "")
    status = status or told(problems, lambda: state_of_one(folder, sweep.plan, trial_id), "waiting")
    metrics = fields_in(result.get("metrics"))
    names = fields_in(sweep.plan.get("run_names"))
    return {
        "trial_id": trial_id,
        "run_name": text(result.get("run_name")) or text(names.get(trial_id)) or trial_id,
        "pack_id": text(result.get("pack_id")) or None,
        "row": row,
        "status": status,
        "error": why_ended(result),
        "config": plain(config),
        "metrics": plain({name: value for name, value in metrics.items() if number(value) is not None}),
        **{name: plain(fields_in(result.get(name))) for name in ("cost", "versions", "facts")},
        **{name: text(result.get(name)) or None for name in ("started_at", "finished_at")},
        "curves": curves,
        "thinned": was_thinned,
        "density": told(problems, lambda: density_of(metrics), None),
        "downstream": told(problems, lambda: downstream_of(metrics, config), None),
        "elements": told(problems, lambda: elements_of(folder, trial_id), None),
        "mlflow_url": sweep.pages.get(trial_id),
        "command": told(problems, lambda: alone_command(shown_as or folder, config, sweep.settings), ""),
        "problems": problems,
        "problem": "; ".join(problems) or None,
    }


def curves_of(folder: Path, trial_id: str, most_points: int) -> tuple[Curves, bool]:
    """Each metric over the steps, and whether points were left out."""
    found: dict[str, dict[int, tuple[int, float]]] = {}
    for line in lines_of(folder, f"journal/{trial_id}.jsonl"):
        step, tokens = number(line.get("step")), number(line.get("tokens"))
        if step is None or tokens is None:
            continue
        for name, value in fields_in(line.get("metrics")).items():
            if (known := number(value)) is not None:
                # Of points that came twice the first.
                found.setdefault(str(name), {}).setdefault(int(step), (int(tokens), known))
    curves: Curves = {}
    was_thinned = False
    for name, points in found.items():
        steps = sorted(points)
        values = [points[step][1] for step in steps]
        kept = thinned(values, most_points)
        was_thinned |= len(kept) < len(steps)
        curves[name] = {
            "steps": [steps[place] for place in kept],
            "tokens": [points[steps[place]][0] for place in kept],
            "values": [float(f"{values[place]:.6g}") for place in kept],
        }
    return curves, was_thinned


def thinned(values: Sequence[float], most: int) -> list[int]:
    """Places of at most `most` values: first and last, and the lowest and the highest of each stretch between."""
    if len(values) <= most:
        return list(range(len(values)))
    n_stretches = max(1, (most - 2) // 2)
    inner = range(1, len(values) - 1)
    kept = {0, len(values) - 1}
    for n in range(n_stretches):
        stretch = inner[n * len(inner) // n_stretches : (n + 1) * len(inner) // n_stretches]
        if stretch:
            kept |= {min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)}
    return sorted(kept)


def density_of(metrics: Mapping[str, Any]) -> Fields | None:
    """How many elements fire how often; None where that was not measured."""
    counts = metrics.get("density_histogram")
    if not isinstance(counts, list) or len(counts) != len(DENSITY_EDGES):
        return None
    numbers = [number(value) or 0 for value in counts]
    return {"edges_log10": DENSITY_EDGES, "counts": numbers[1:], "n_dead": numbers[0]}


def downstream_of(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> list[Fields] | None:
    """The error that reaches each later block, the next one first."""
    errors, layer = metrics.get("downstream_mse"), layer_of(config)
    if not isinstance(errors, list) or not errors or layer is None:
        return None
    return [
        {"hook": f"blocks.{layer + 1 + n}.hook_resid_pre", "mse": number(value), "explained_variance": None}
        for n, value in enumerate(errors)
    ]


def elements_of(folder: Path, trial_id: str) -> Fields | None:
    """Its dictionary elements with the text they fire on; None where the sweep keeps none."""
    name = f"elements/{trial_id}.json"
    found = json_of(folder, name)
    if found is not None and not isinstance(found.get("elements"), list):
        raise Unreadable(f"{name} is not as this program writes it: it has no elements")
    return plain(found)
