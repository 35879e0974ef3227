"""The part of docs/paper.md that follows from the analyses themselves: what each is, its options, its tables.

    python -m orchestrator.paper.described

puts it there anew, after a table or an analysis has changed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.paper.analysis import IDENTITY, MEASURED, Column, Part, TableSpec
from orchestrator.paper.findings.report import FINDINGS, FindingsPart
from orchestrator.paper.registry import analyses

HEAD = ("| column | type | unit | meaning |", "|---|---|---|---|")
SHARED = {"The SAE": IDENTITY, "Its metrics": MEASURED}
BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"
DOCUMENT = Path(__file__).parents[2] / "docs" / "paper.md"


def described(every: Sequence[Part]) -> str:
    """Markdown: a heading per analysis, a table of columns per table."""
    shared = [
        "Columns that many tables have:",
        "",
        *HEAD,
        *(_column(one) for all_ in SHARED.values() for one in all_),
        "",
    ]
    parts = (FindingsPart(), *every)
    return "\n".join([*shared, *(line for part in parts for line in _part(part))])


def with_tables(document: str, every: Sequence[Part]) -> str:
    """The document with that part made anew."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{described(every)}\n{END}{after}"


def _part(part: Part) -> Iterator[str]:
    yield f"### `{part.id}`"
    yield ""
    yield f"{part.title}. In the paper: {', '.join(part.paper)}."
    yield ""
    if part.id == FindingsPart.id:
        yield "| finding | in the paper | it holds where |"
        yield "|---|---|---|"
        for finding in FINDINGS:
            yield f"| `{finding.id}`: {_cell(finding.claim)} | {_cell(finding.where)} | {_cell(finding.rule)} |"
        yield ""
    if part.options:
        yield "| option of `--set` | default | meaning |"
        yield "|---|---|---|"
        for option in part.options:
            yield f"| `{part.id}.{option.name}` | `{option.default}` | {_cell(option.description)} |"
        yield ""
    for spec in part.tables:
        yield f"`{spec.name}.parquet`: {spec.title}."
        yield ""
        yield from HEAD
        yield from _columns(spec)
        yield ""


def _columns(spec: TableSpec) -> Iterator[str]:
    """Columns that many tables have, on one line each kind."""
    names = {column.name for column in spec.columns}
    shared = {
        title: columns for title, columns in SHARED.items() if {column.name for column in columns} <= names
    }  # fmt: skip
    said: set[str] = set()
    for column in spec.columns:
        title = next((title for title, columns in shared.items() if column in columns), None)
        if title is None:
            yield _column(column)
        elif title not in said:
            said.add(title)
            yield f"| {', '.join(f'`{one.name}`' for one in shared[title])} | | | {title}, see above |"


def _column(column: Column) -> str:
    type_ = str(column.type).replace("<element: double>", " of double") + (" or null" if column.nullable else "")
    return f"| `{column.name}` | {type_} | {_cell(column.unit)} | {_cell(column.description)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "\\<")


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text("utf-8"), analyses()), "utf-8")
