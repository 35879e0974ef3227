"""Results as the tables of docs/reliability.md: `python -m benchmarks.chaos_report` fills them in anew.

As in `report.py`, a table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.chaos_faults import kind_of

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENT = ROOT / "docs" / "reliability.md"
Part = dict[str, Any]
PARTS = {"main": "Ray, MLflow's server", "local": "`--local`", "memory": "Ray, out of memory"}


def chaos_table(parts: list[Part]) -> str:
    """One column per part: how much happened, and what came of it."""
    lines = [f"| | {' | '.join(PARTS[part['part']] for part in parts)} |", f"|---|{'---|' * len(parts)}"]
    for name, cell in _ROWS.items():
        lines.append(f"| {name} | {' | '.join(cell(part) for part in parts)} |")
    return "\n".join(lines)


def _of(part: Part, name: str) -> str:
    """How many differ."""
    value = part["compared"].get(name)
    return "-" if value is None else f"{len(value) if isinstance(value, list) else value:,}"


def _n_faults(part: Part) -> int:
    return sum(kind_of(fault) is not None for fault in part["faults"])


def _exact(name: str) -> Callable[[Part], str]:
    return lambda part: "(split)" if part["part"] == "memory" else _of(part, name)


_ROWS: dict[str, Callable[[Part], str]] = {
    "faults that happened": lambda part: str(_n_faults(part)),
    "launches": lambda part: str(part["n_launches"]),
    "seconds, undisturbed twin": lambda part: f"{part['twin_s']:.0f}",
    "seconds, with all faults": lambda part: f"{part['took_s']:.0f}",
    "seconds lost per fault": lambda part: f"{max(0, part['took_s'] - part['twin_s']) / max(1, _n_faults(part)):.0f}",
    "rows that differ": _exact("rows_differ"),
    "SAEs whose weights differ": _exact("weights_differ"),
    "curves that differ": _exact("curves_differ"),
    "points of curves": lambda part: _of(part, "curve_points"),
    "points twice in a journal": lambda part: _of(part, "points_twice_in_journals"),
    "trials that ended otherwise": lambda part: _of(part, "rows_of_another_end"),
    "largest relative difference of a metric": lambda part: f"{part['compared']['largest_difference']:.1g}",
    "points in MLflow": lambda part: _of(part, "mlflow_points"),
    "missing there": lambda part: _of(part, "mlflow_points_missing"),
    "doubled there": lambda part: _of(part, "mlflow_points_twice_or_more"),
    "trials without one run there": lambda part: _of(part, "mlflow_runs_differ"),
}


def kinds_table(parts: list[Part]) -> str:
    """Seconds until every pack that was hit was further than before; of the parts that are compared to the bit."""
    lost: dict[str, list[float]] = {}
    n: dict[str, int] = {}
    for fault in (fault for part in parts for fault in part["faults"]):
        if (kind := kind_of(fault)) is None:
            continue
        n[kind] = n.get(kind, 0) + 1
        if fault.get("lost_s") is not None:
            lost.setdefault(kind, []).append(fault["lost_s"])
    lines = ["| fault | times | seconds lost, median | most |", "|---|---|---|---|"]
    for kind in sorted(n):
        seconds = lost.get(kind)
        cells = f"{statistics.median(seconds):.0f} | {max(seconds):.0f}" if seconds else "- | -"
        lines.append(f"| {kind} | {n[kind]} | {cells} |")
    return "\n".join(lines)


def load_table(rows: list[dict[str, Any]]) -> str:
    """MLflow's stores under load."""
    lines = [
        "| store | drain, points per s | live, points per s written | mirror's share of a core | wait at the end |",
        "|---|---|---|---|---|",
    ]
    for store in dict.fromkeys(row["store"] for row in rows):
        turns = {row["turn"]: row for row in rows if row["store"] == store}
        drain, live = turns["drain"], turns["live"]
        cells = f"{drain['points_per_s']:,} | {live['points_per_s']:,} | {live['share_of_a_core']:.2f}"
        lines.append(f"| {_named(store)} | {cells} | {live['waited_at_the_end_s']:.0f} s |")
    return "\n".join(lines)


def _named(store: str) -> str:
    names = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
    before, _, after = store.partition("server over ")
    return f"MLflow's server over {names.get(after, after)}" if not before else names.get(store, store)


def tables() -> dict[str, str]:
    """By name; those whose results are there."""
    found: dict[str, str] = {}
    if (path := RESULTS / "chaos.json").is_file():
        parts: list[Part] = sorted(
            json.loads(path.read_text())["parts"], key=lambda each: list(PARTS).index(each["part"])
        )
        found["chaos"] = chaos_table(parts)
        found["chaos-kinds"] = kinds_table([part for part in parts if part["part"] != "memory"])
    if (path := RESULTS / "mlflow_load.json").is_file():
        found["mlflow-load"] = load_table(json.loads(path.read_text())["rows"])
    return found


def filled(document: str, by_name: dict[str, str]) -> str:
    """The document with these tables; others stay as they are."""

    def table(match: re.Match[str]) -> str:
        new = by_name.get(match[1])
        return match[0] if new is None else f"<!-- table: {match[1]} -->\n\n{new}\n\n<!-- end -->"

    return re.sub(r"<!-- table: ([\w-]+) -->.*?<!-- end -->", table, document, flags=re.DOTALL)


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text("utf-8"), tables()), "utf-8")
