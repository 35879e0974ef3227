"""One sweep whole, as the page's frontier view wants it: standing, settings, tables, warnings, trials, what happened.

Each part is read by itself: one that cannot be read is a sentence in `problems`, and the others are shown.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dashboards.downloads import downloads_of
from dashboards.mlflow_links import links_of
from dashboards.planned import pack_ids, search_of, shown_packs, trials_of
from dashboards.reading import (
    Fields,
    count,
    fields_in,
    lines_of,
    plain,
    plan_of,
    rows_of,
    stamp,
    table_of,
    text,
    told,
)
from dashboards.runs import digest, name_of, version_of, written_at
from dashboards.settings import commands_of, settings_of, sweep_text
from dashboards.standing import packs_of, standing
from dashboards.style import axis

WIDE = ("config_json", "density_histogram", "downstream_mse")
"""Columns that only a trial's own page shows: a large sweep's are large."""
MOST_EVENTS = 200
TABLES = {
    "summary": "frontier_summary.parquet",
    "matched": "frontier_matched.parquet",
    "surfaces": "frontier_surfaces.parquet",
}
_WATCHED = (
    "runs.json",
    "mlflow/links.json",
    "events.jsonl",
    "results",
    "elements",
    "search/found.json",
    "frontier.svg",
    "frontier.png",
    *TABLES.values(),
)


def version(folder: Path) -> str:
    """Another one whenever `detail` may say something else."""
    files = [stamp(folder / name) for name in _WATCHED]
    # A pack's status is replaced, not written to, so its folder's time tells.
    packs = sorted((path.name, stamp(path)) for path in (folder / "packs").glob("*"))
    return digest((folder.name, version_of(folder), files, packs))


def detail(folder: Path, *, shown_as: Path | None = None, ended_as: str = "") -> Fields:
    """`shown_as`: the folder as people would name it in commands. `ended_as` as in `standing`."""
    problems: list[str] = []

    def part(read: Callable[[], Any], otherwise: Any) -> Any:
        return told(problems, read, otherwise)

    plan: Fields = part(lambda: plan_of(folder), None) or {}
    yaml: str = part(lambda: sweep_text(folder), "")
    settings: Fields = part(lambda: settings_of(yaml), {})
    status = standing(folder, problems, ended_as=ended_as)
    packs = packs_of(folder, pack_ids(plan), problems)
    frontier: Fields = part(lambda: frontier_of(folder), {"rows": [], "n_rows": 0, "data_at": None})
    tables = {key: part(lambda name=name: _lines(folder, name), []) for key, name in TABLES.items()}
    return {
        "id": folder.name,
        "name": text(settings.get("name")) or name_of(folder, []),
        "status": status | {"packs": shown_packs(packs, plan, is_running=status["state"] == "running")},
        **{"schema_version": None, "sequence": 0, "content_sha256": None, "objectives": [], "reference": None},
        **{"metrics": {}, "columns": {}},
        **frontier,
        **tables,
        "warnings": part(lambda: warnings_of(tables["summary"]), []),
        "trials": part(
            lambda: trials_of(folder, plan, packs, frontier["rows"], is_running=status["state"] == "running"), []
        ),
        "events": part(lambda: events_of(folder), []),
        "search": part(lambda: search_of(folder, plan, settings), None),
        "settings": settings,
        "yaml": yaml,
        "commands": commands_of(shown_as or folder),
        "mlflow": part(lambda: links_of(folder), None),
        "downloads": part(lambda: downloads_of(folder), []),
        "problems": problems,
        "problem": "; ".join(problems) or None,
    }


def frontier_of(folder: Path) -> Fields:
    """The rows of the frontier, and what the file says about itself."""
    table = table_of(folder, "frontier.parquet")
    if table is None:
        return {"rows": [], "n_rows": 0, "data_at": None}
    facts, data = table.facts, table.data
    rows = plain(rows_of(data.drop_columns([name for name in WIDE if name in data.column_names])))
    described = {str(name): fields_in(about) for name, about in fields_in(facts.get("columns")).items()}
    return {
        "schema_version": text(facts.get("schema_version")),
        "sequence": count(facts.get("sequence")),
        "content_sha256": text(facts.get("content_sha256")) or None,
        "data_at": text(facts.get("created_at")) or written_at(folder, ("frontier.parquet",)),
        "n_rows": len(rows),
        "rows": rows,
        "objectives": plain([one for one in facts.get("objectives") or [] if isinstance(one, dict)]),
        "reference": plain(facts.get("hypervolume_reference")),
        "metrics": {name: _metric(name, about) for name, about in described.items() if about.get("better")},
        "columns": {
            name: {"unit": text(about.get("unit")), "description": text(about.get("description"))}
            for name, about in described.items()
        },
    }


def warnings_of(summary: Iterable[Mapping[str, Any]]) -> list[Fields]:
    """What to know before trusting the frontiers."""
    return [
        {
            "kind": text(one.get("kind")),
            "text": text(one.get("sentence")),
            "fix": text(one.get("fix")),
            **{name: line.get(name) for name in ("layer", "loss", "d_sae", "front")},
            "trial_ids": one.get("trial_ids") or [],
        }
        for line in summary
        for one in line.get("warnings") or []
    ]


def events_of(folder: Path) -> list[Fields]:
    """What happened last, newest at the end."""
    wanted = ("time", "level", "event", "message", "pack_id", "trial_id")
    return [
        {name: plain(line.get(name)) for name in wanted}
        for line in list(lines_of(folder, "events.jsonl"))[-MOST_EVENTS:]
    ]


def _lines(folder: Path, name: str) -> list[Fields]:
    table = table_of(folder, name)
    return [] if table is None else plain(rows_of(table.data))


def _metric(name: str, about: Mapping[str, Any]) -> Fields:
    unit, better = text(about.get("unit")), text(about.get("better"))
    look = axis(name, unit=unit, better=better)
    return {
        "label": look.name, "unit": unit, "scale": look.scale, "direction": better,
        "felt": text(about.get("scale")),
        "description": text(about.get("description")),
    }  # fmt: skip
