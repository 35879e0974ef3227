"""`paper.html`: all analyses of a run in one file that opens from disk and asks nobody. Every text is escaped.

No script, no link to anywhere; pictures are inside it. The same values give the same bytes.
"""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dashboards.paper.cells import Print
from dashboards.report import policy_of

EXCERPT = 15
"""Rows of a table that the page shows."""
SCALE = 0.58
"""Points of the page to a pixel of a picture: the widest figures fill it."""
_PNG_WIDTH = slice(16, 20)
"""Where a PNG has its width."""
NOT_RUN = "not run"
"""The verdict of a finding whose analysis has no numbers."""
STYLE = Path(__file__).with_name("page.css")


class Picture(NamedTuple):
    """A figure."""

    name: str
    """Of its files."""
    caption: str
    png: bytes


class Table(NamedTuple):
    """A table, of which the page shows the beginning."""

    table: Print
    file: str
    n_lines: int
    """Of the whole file."""


class Statement(NamedTuple):
    """A finding of the paper and what this run says of it."""

    claim: str
    where: str
    """In the paper."""
    there: str
    """The paper's numbers."""
    rule: str
    verdict: str
    numbers: str


class Section(NamedTuple):
    """One analysis."""

    id: str
    title: str
    paper: Sequence[str]
    """Figures and tables of the paper that it is."""
    how_to_read: str
    paper_found: str
    pictures: Sequence[Picture]
    tables: Sequence[Table]
    problems: Sequence[str]
    """What could not be done, and why."""
    statements: Sequence[Statement] = ()


class Page(NamedTuple):
    """The whole."""

    title: str
    facts: Sequence[tuple[str, str]]
    """What was looked at: model, text, how SAEs were chosen."""
    sections: Sequence[Section]


def page_text(page: Page) -> str:
    """As one HTML document."""
    style = STYLE.read_text("utf-8")
    policy = policy_of([], [style])
    parts = "\n".join(_section(section) for section in page.sections)
    entries = "".join(f'<li><a href="#{_e(one.id)}">{_e(one.title)}</a></li>' for one in page.sections)
    facts = "".join(f"<dt>{_e(name)}</dt><dd>{_e(value)}</dd>" for name, value in page.facts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_e(page.title)}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{_e(page.title)}</h1>
<p>What Braun et al. 2024 (arXiv 2405.12241) measured on GPT2-small, measured on the SAEs of this run, in the order of
that paper.</p>
<dl>{facts}</dl></header>
<nav aria-label="Analyses"><ol>{entries}</ol></nav>
<main>
{parts}
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    paper = f'<p class="paper">In the paper: {_e(", ".join(section.paper))}</p>' if section.paper else ""
    read = f"<p><strong>How to read it.</strong> {_e(section.how_to_read)}</p>" if section.how_to_read else ""
    found = (
        f"<p><strong>The paper, on GPT2-small.</strong> {_e(section.paper_found)}</p>" if section.paper_found else ""
    )
    problems = "".join(f'<p class="problem">{_e(problem)}</p>' for problem in section.problems)
    statements = _statements(section.statements) if section.statements else ""
    pictures = "\n".join(_picture(picture) for picture in section.pictures)
    tables = "\n".join(_table(table, most=EXCERPT) for table in section.tables)
    return (
        f'<section id="{_e(section.id)}"><h2>{_e(section.title)}</h2>\n{paper}{read}{found}{problems}\n'
        f"{statements}{pictures}\n{tables}</section>"
    )


def _statements(statements: Sequence[Statement]) -> str:
    """A row each, those that were not looked for in one line below."""
    rows = "".join(
        f"<tr><td>{_e(one.claim)} <small>{_e(f'{one.where}. {one.there}')}</small></td>"
        f'<td class="verdict {_e(one.verdict.replace(" ", "-"))}">{_e(one.verdict)}</td>'
        f"<td>{_e(one.numbers)} <small>{_e(one.rule)}</small></td></tr>"
        for one in statements
        if one.verdict != NOT_RUN
    )
    left = [f"{one.claim} ({one.where})" for one in statements if one.verdict == NOT_RUN]
    not_run = f"<p>Not looked for: {_e(' '.join(left))}</p>" if left else ""
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("the paper, on GPT2-small", "here", "numbers"))
    return f'<table class="statements"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>\n{not_run}\n'


def _picture(picture: Picture) -> str:
    """As wide as it was drawn, so that letters are of one size throughout; less where the page is narrow."""
    data = base64.b64encode(picture.png).decode()
    n_pixels = int.from_bytes(picture.png[_PNG_WIDTH], "big")
    width = f' width="{round(n_pixels * SCALE)}"' if n_pixels else ""
    caption = _e(picture.caption)
    name = _e(f"figures/{picture.name}")
    return (
        f'<figure><img alt="{caption}"{width} src="data:image/png;base64,{data}">'
        f"<figcaption>{caption} <code>{name}</code></figcaption></figure>"
    )


def _table(table: Table, *, most: int) -> str:
    shown = table.table.rows[:most]
    kinds = [' class="number"' if number else "" for number in table.table.is_number]
    head = "".join(
        f'<th scope="col"{kind}>{_e(name)}</th>' for name, kind in zip(table.table.heads, kinds, strict=True)
    )
    rows = "".join(
        "<tr>" + "".join(f"<td{kind}>{_e(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in shown
    )
    of_all = f"{len(shown)} of {table.n_lines} lines of " if len(shown) < table.n_lines else ""
    caption = f"{_e(table.table.title)} <code>{_e(of_all + table.file)}</code>"
    # Wide tables scroll by themselves; who uses a keyboard must be able to get there.
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{_e(table.table.title)}"><table><caption>{caption}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _e(text: str) -> str:
    return html.escape(text, quote=True)
