"""What a launch says at the end: the frontier as tables, what failed, and where everything is. Or the same as JSON."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.display.go_on import dashboard_command, resume_command, retry_command
from orchestrator.folder.records import SweepState
from orchestrator.fronts.front_text import print_cautions
from orchestrator.planning.estimates import as_json as estimates_as_json
from orchestrator.planning.estimates import in_all
from orchestrator.running.result import Result

T = TypeVar("T")
MOST_ROWS = 60
"""Of all tables together, unless that leaves a layer and loss fewer than `FEWEST_ROWS`."""
FEWEST_ROWS = 3
MOST_FAILURES = 20
MOST_FOUND = 24
"""Series of a search, those first that were not reached."""
MOST_WARNINGS = 6
"""Kinds of them, each with the frontiers that it is about."""
_COLUMNS = (
    ("loss", "loss", "{}"),
    ("sparsity_coeff", "coefficient", "{:g}"),
    ("seed", "seed", "{}"),
    ("l0", "L0", "{:.1f}"),
    ("ce_loss_increase", "CE increase", "{:.4f}"),
    ("n_alive_elements", "alive", "{:,}"),
    ("explained_variance", "expl. var.", "{:.3f}"),
)


def print_result(result: Result, console: Console) -> None:
    """Everything a person wants to know, and the command that does what is left."""
    console.print()
    _print_front(result, console)
    _print_search(result, console)
    print_cautions(result.warnings, console, most=MOST_WARNINGS)
    _print_failures(result, console)
    if result.n_done_before:
        console.print(f"{result.n_done_before} of {result.n_trials} trials were done already")
    _print_places(result, console)
    if (total := in_all(result.compared.values())) is not None:
        console.print(f"{'took':<13}{total.text()}", highlight=False, soft_wrap=True)
    console.print()
    console.print(_last_line(result), style="bold", highlight=False)
    if command := _go_on(result):
        what = "the rest" if result.state is not SweepState.COMPLETE else "the failed trials again"
        console.print(f"to run {what}:  {command}", highlight=False, soft_wrap=True, markup=False)


def as_json(result: Result, *, exit_code: int) -> dict[str, Any]:
    """The same for machines."""
    return {
        "sweep_id": result.sweep_id,
        "state": str(result.state),
        "exit_code": exit_code,
        "n_trials": result.n_trials,
        "n_done": result.n_done,
        "n_done_before": result.n_done_before,
        "failed": [{"trial": name, "why": why} for name, why in result.failures],
        "dominated": [{"trial": name, "why": why} for name, why in result.dominated],
        "frontier": [
            {**line, **{name: str(line[name]) for name in ("started_at", "finished_at")}} for line in result.front
        ],
        "warnings": [caution.text for caution in result.warnings],
        "search": {
            "for": result.search,
            "found": [{**found.numbers, "reached": found.reached, "text": found.text} for found in result.found],
        }
        if result.search
        else None,
        "files": {path.name: str(path) for path in _places(result).values()},
        "mlflow": result.mlflow or None,
        "estimates": estimates_as_json(result.compared),
        "go_on": _go_on(result) or None,
    }


def _go_on(result: Result) -> str:
    if result.state is not SweepState.COMPLETE:
        return resume_command(result.folder)
    return retry_command(result.folder) if result.failures else ""


def _print_front(result: Result, console: Console) -> None:
    if not result.front:
        return
    x, y = result.objectives
    front = sorted(result.front, key=lambda line: (line["layer"], line["loss"], line[x]))
    series = [list(group) for _, group in groupby(front, lambda line: (line["layer"], line["loss"]))]
    most = max(FEWEST_ROWS, MOST_ROWS // len(series))
    shown = [row for rows in series for row in spread(rows, most)]
    for layer, group in groupby(shown, _layer):
        console.print(_table(f"Frontier at layer {layer}: {y} against {x}", list(group)))
        console.print()
    if len(shown) < len(front):
        console.print(f"shown: {len(shown)} of {len(front)} SAEs on the frontiers; all are in frontier.parquet\n")


def spread(rows: Sequence[T], most: int) -> list[T]:
    """At most `most` of them, evenly spread, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def _layer(line: dict[str, Any]) -> int:
    return line["layer"]


def _table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 3, 0, 0), header_style="dim"
    )
    for name, heading, _ in _COLUMNS:
        table.add_column(heading, justify="left" if name == "loss" else "right", no_wrap=True)
    before = None
    for row in rows:
        cells = [form.format(row[name]) if row[name] is not None else "-" for name, _, form in _COLUMNS]
        if row["loss"] == before:
            cells[0] = ""
        elif before is not None:
            table.add_section()
        before = row["loss"]
        table.add_row(*cells)
    return table


def _print_search(result: Result, console: Console) -> None:
    if not result.found:
        return
    n_reached = sum(found.reached for found in result.found)
    console.print(Text.assemble((f"Search: {result.search}", "bold"), f", {n_reached} of {len(result.found)} reached"))
    shown = sorted(result.found, key=lambda found: found.reached)[:MOST_FOUND]
    for found in (found for found in result.found if found in shown):
        style = "" if found.reached else "yellow"
        console.print(Text(f"  {found.text}", style), soft_wrap=True, highlight=False)
    if len(shown) < len(result.found):
        console.print(f"  ... and {len(result.found) - len(shown)} more, see --json")
    console.print()


def _print_failures(result: Result, console: Console) -> None:
    for name, why in result.failures[:MOST_FAILURES]:
        console.print(Text.assemble(("failed  ", "red"), f"{name}: {why}"), soft_wrap=True)
    if len(result.failures) > MOST_FAILURES:
        console.print(f"... and {len(result.failures) - MOST_FAILURES} more failed, see {result.folder / 'results'}")
    for name, why in list(result.left_out.items())[:MOST_FAILURES]:
        console.print(Text.assemble(("not in the table  ", "yellow"), f"{name}: {why}"), soft_wrap=True)
    if result.failures or result.left_out:
        console.print()


def _places(result: Result) -> dict[str, Path]:
    places = {"frontier": result.frontier}
    places |= {f"picture {path.suffix[1:]}": path for path in result.figures}
    if result.report is not None:
        places["report"] = result.report
    if result.n_done:
        places["SAEs"] = result.folder / "saes"
    return places


def _print_places(result: Result, console: Console) -> None:
    # Not as a table: paths and commands are for copying, whatever the width.
    lines = [(label, str(path)) for label, path in _places(result).items()]
    lines.append(("live page", dashboard_command(result.folder)))
    lines += [("" if index else "MLflow", line) for index, line in enumerate(result.mlflow.splitlines())]
    for label, line in lines:
        console.print(f"{label:<13}{line}", highlight=False, soft_wrap=True, markup=False)


def _last_line(result: Result) -> str:
    failed = f", {len(result.failures)} failed" if result.failures else ""
    n_dominated = len(result.dominated)
    dominated = f", {n_dominated} stopped early, dominated" if n_dominated else ""
    n_left = result.n_trials - result.n_done - len(result.failures) - n_dominated
    left = f", {n_left} left" if n_left else ""
    stopped = "stopped: " if result.state is not SweepState.COMPLETE else ""
    return f"{stopped}{result.n_done} of {result.n_trials} trials are done{dominated}{failed}{left}"
