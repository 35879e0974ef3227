"""What a call leaves for people: Parquet tables, figures, LaTeX, and `paper.html`. All of it follows from the cache.

A file that an earlier call wrote and this one does not, is deleted: tables of another choice of SAEs are not these.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.folder.files import disk_problems_explained, parquet_bytes, write_bytes, write_json, write_text
from orchestrator.paper.analysis import Chosen, Group, Part, Tables, TableSpec
from orchestrator.paper.findings.finding import Verdict
from orchestrator.paper.findings.report import VERDICTS, FindingsPart, outcomes, tables_of
from orchestrator.paper.planned import Planned
from orchestrator.paper.store import Store
from orchestrator.paper.tables import checked, table_of
from trainer.errors import EnvironmentProblem

if TYPE_CHECKING:
    from dashboards.paper.cells import Print

SUMMARY = "paper.json"
PAGE = "paper.html"


@dataclass(frozen=True)
class Found:
    """One part of the report as far as it came."""

    part: Part
    tables: Tables
    problems: tuple[str, ...]
    n_tasks: int
    n_done: int


def found(planned: Planned, chosen: Chosen, store: Store, failures: Mapping[str, str]) -> Found:
    """What the cache has of an analysis, and what follows from it. `failures`: messages by name of the task."""
    tables: Tables = {spec.name: [] for spec in planned.analysis.tables}
    n_done = 0
    for one in planned.tasks:
        if (kept := store.read(one.task, one.key)) is None:
            continue
        n_done += 1
        for name, lines in kept.tables.items():
            tables[name] += lines
    problems = [f"{name}: {text}" for name, text in failures.items() if name in {one.name for one in planned.tasks}]
    problems += [f"Left out: {planned.left_out}"] if planned.left_out else []
    try:
        tables |= checked(planned.analysis.summary(tables, chosen) if n_done else {}, planned.analysis.tables)
    except Exception as problem:  # a bug in one summary must not take the others' pages
        problems.append(f"its summary is a bug, not something you did: {type(problem).__name__}: {problem}")
    return Found(planned.analysis, tables, tuple(problems), len(planned.tasks), n_done)


def findings_found(every: Sequence[Found], groups: Sequence[Group]) -> Found:
    """What follows from all others together: whether the paper's findings hold here."""
    tables = {name: lines for one in every for name, lines in one.tables.items()}
    found = outcomes(tables, groups)
    part, n_run = FindingsPart(), sum(one.verdict is not Verdict.NOT_RUN for one in found)
    problems = tuple(one.problem for one in found if one.problem)
    return Found(part, checked(tables_of(found), part.tables), problems, len(found), n_run)


def write_tables(store: Store, every: Sequence[Found], *, facts: Mapping[str, Any]) -> list[str]:
    """A Parquet file and, where it is printed, a LaTeX file per table that has lines. Returns their names."""
    from dashboards.paper.latex import latex

    written: list[str] = []
    for one in every:
        for spec in one.part.tables:
            lines = one.tables[spec.name]
            if not lines:
                continue
            about = {**facts, "analysis": one.part.id, "version": one.part.version}
            write_bytes(store.path / f"{spec.name}.parquet", parquet_bytes(table_of(lines, spec, facts=about)))
            written.append(f"{spec.name}.parquet")
            if spec.printed != ():
                write_text(store.path / "latex" / f"{spec.name}.tex", latex(print_of(lines, spec)))
                written.append(f"latex/{spec.name}.tex")
    return written


def write_figures(
    store: Store, every: Sequence[Found]
) -> tuple[dict[str, dict[str, bytes]], list[str], dict[str, str]]:
    """Every figure in every format: PNGs by analysis and name, the names of the files, and problems by analysis."""
    from dashboards import canvas
    from dashboards.paper.registry import drawings

    pngs: dict[str, dict[str, bytes]] = {}
    written: list[str] = []
    problems: dict[str, str] = {}
    known = drawings()
    for one in every:
        id_ = one.part.id
        if id_ not in known or not one.n_done:
            continue
        try:
            for name, figure in known[id_].figures(one.tables).items():
                for format in canvas.FORMATS:
                    path = store.path / "figures" / f"{name}.{format}"
                    with disk_problems_explained(path):
                        canvas.save(figure, path)
                    written.append(f"figures/{name}.{format}")
                pngs.setdefault(id_, {})[name] = (store.path / "figures" / f"{name}.png").read_bytes()
        except EnvironmentProblem:
            raise
        except Exception as problem:  # a bug in one figure must not take the others
            problems[id_] = f"its figure is a bug, not something you did: {type(problem).__name__}: {problem}"
    return pngs, written, problems


def print_of(lines: Sequence[Mapping[str, Any]], spec: TableSpec) -> "Print":
    """A table as it is printed."""
    import pyarrow as pa

    from dashboards.paper.cells import Print, cell

    wanted = spec.printed or tuple(column.name for column in spec.columns if column.name != "trial_id")
    columns = [next(column for column in spec.columns if column.name == name) for name in wanted]
    return Print(
        title=spec.title,
        heads=tuple(column.name.replace("_", " ") + (f" ({column.unit})" if column.unit else "") for column in columns),
        is_number=tuple(pa.types.is_integer(one.type) or pa.types.is_floating(one.type) for one in columns),
        rows=tuple(tuple(cell(line.get(column.name)) for column in columns) for line in lines),
        label=spec.name,
    )


def write_page(
    store: Store, every: Sequence[Found], pngs: Mapping[str, Mapping[str, bytes]], *, title: str,
    facts: Sequence[tuple[str, str]],
) -> None:  # fmt: skip
    """`paper.html`."""
    from dashboards.paper.page import Page, Picture, Section, Statement, Table, page_text
    from dashboards.paper.registry import drawings

    known = drawings()

    def tables(one: Found) -> list[Table]:
        return [
            Table(print_of(one.tables[spec.name], spec), f"{spec.name}.parquet", len(one.tables[spec.name]))
            for spec in one.part.tables
            if one.tables[spec.name] and spec.printed != () and spec is not VERDICTS
        ]

    def statements(one: Found) -> list[Statement]:
        return [Statement(*(line[name] for name in Statement._fields)) for line in one.tables.get(VERDICTS.name, ())]

    def section(one: Found) -> Section:
        drawing = known.get(one.part.id)
        text = drawing.TEXT if drawing else None
        captions = text.captions if text else {}
        figures = pngs.get(one.part.id, {})
        return Section(
            id=one.part.id,
            title=one.part.title,
            paper=one.part.paper,
            how_to_read=text.how_to_read if text else "",
            paper_found=text.paper_found if text else "",
            pictures=[Picture(name, captions.get(name, one.part.title), png) for name, png in figures.items()],
            tables=tables(one),
            problems=one.problems,
            statements=statements(one),
        )

    page = Page(title, facts, [section(one) for one in every])
    write_text(store.path / PAGE, page_text(page))


def clean_up(store: Store, written: Sequence[str]) -> None:
    """Delete what an earlier call wrote and this one did not."""
    try:
        earlier = json.loads((store.path / SUMMARY).read_bytes()).get("files", [])
    except (OSError, ValueError, AttributeError):
        return
    for name in earlier:
        path = store.path / str(name)
        if name not in written and path.resolve().is_relative_to(store.path.resolve()):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def write_summary(store: Store, fields: Mapping[str, Any]) -> None:
    """`paper.json`: what was asked, what came of it, and which files there are."""
    write_json(store.path / SUMMARY, dict(fields))
