"""What `paper` says in a terminal: the list of analyses, what would be done, and what came of it."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from orchestrator.display.words import bytes_text, duration_text
from orchestrator.paper.analysis import Analysis
from orchestrator.paper.call import Call, Done, group_text
from orchestrator.paper.costs import cost_table, most_bytes, seconds_left
from orchestrator.paper.findings.finding import Verdict
from orchestrator.paper.findings.report import FindingsPart

WIDTH = 110


def list_text(analyses: Sequence[Analysis]) -> str:
    """Every analysis with what of the paper it is, and its options."""
    table = _table("analysis", "what it measures", "in the paper")
    for one in analyses:
        missing = one.missing()
        title = f"{one.title} (left out here: {missing})" if missing else one.title
        table.add_row(one.id, title, ", ".join(one.paper))
    options = _table("option of --set", "default", "")
    for one in analyses:
        for option in one.options:
            options.add_row(f"{one.id}.{option.name}", str(option.default), option.description)
    return "\n".join([_text(table), *(["", _text(options)] if options.row_count else [])])


def plan_text(call: Call) -> str:
    """For `--dry-run`."""
    groups = [f"  {group_text(group)}" for group in call.chosen.groups]
    n_tasks = len(call.todo)
    if n_tasks:
        end = (
            f"{n_tasks} tasks to do: about {duration_text(seconds_left(call.planned))} of work on this machine if one "
            f"follows the other, at most about {bytes_text(most_bytes(call.planned))} of memory each. Guesses; nothing "
            "was started."
        )
    else:
        end = "Everything is done already; without --dry-run the page is written again. Nothing was started."
    notes = [f"note: {note}" for note in call.notes]
    which = f"{len(call.chosen.rows)} SAEs of {len(call.chosen.done)}"
    return "\n".join([f"{which}, compared as", *groups, "", _text(cost_table(call.planned)), "", *notes, end])


def done_text(call: Call, done: Done) -> str:
    """What came of a call: a line per analysis, each problem once, and where the page is."""
    table = _table("analysis", "tasks", "done", "lines")
    for one in done.found:
        if one.part.id == FindingsPart.id:
            continue
        n_lines = sum(len(lines) for lines in one.tables.values())
        table.add_row(one.part.id, str(one.n_tasks or "-"), str(one.n_done or "-"), f"{n_lines:,}" if n_lines else "-")
    problems = [
        text if text.startswith(one.part.id) else f"{one.part.id}: {text}"
        for one in done.found
        for text in grouped(one.problems)
    ]
    return "\n".join(
        [
            f"{len(call.chosen.rows)} SAEs of {len(call.chosen.done)}",
            _text(table),
            "",
            *problems,
            *([""] if problems else []),
            *_verdicts(done.summary["findings"]),
            f"{done.page}",
        ]
    )


def _verdicts(findings: Mapping[str, str]) -> list[str]:
    """The paper's findings by what this run says of them; nothing where none was looked for."""
    by_verdict: dict[str, list[str]] = {str(verdict): [] for verdict in Verdict}
    for name, verdict in findings.items():
        by_verdict[verdict].append(name)
    if len(by_verdict[Verdict.NOT_RUN]) == len(findings):
        return []
    table = _table("findings of the paper", "")
    for verdict, names in by_verdict.items():
        if names:
            table.add_row(verdict, ", ".join(names))
    return [_text(table), ""]


def grouped(problems: Sequence[str]) -> list[str]:
    """Tasks that failed with the same words are told once."""
    by_text: dict[str, list[str]] = {}
    for problem in problems:
        name, colon, text = problem.partition(": ")
        by_text.setdefault(text if colon else name, []).append(name if colon else "")
    found: list[str] = []
    for text, names in by_text.items():
        if len(names) == 1:
            found.append(f"{names[0]}: {text}" if names[0] else text)
        else:
            found.append(f"{len(names)} tasks ({names[0]}, ...): {text}")
    return found


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right" if head in ("tasks", "done", "lines", "default") else "left")
    return table


def _text(table: Table) -> str:
    console = Console(width=WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
