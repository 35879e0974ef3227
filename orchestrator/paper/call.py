"""One call of `paper`, from the choice of SAEs to the page: what is asked, what is missing, what came of it."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.display.words import duration_text
from orchestrator.folder.run_folder import RunFolder
from orchestrator.paper.analysis import Chosen, Group
from orchestrator.paper.costs import seconds_left, shape_of
from orchestrator.paper.findings.report import VERDICTS
from orchestrator.paper.planned import Planned, PlannedTask, chosen_analyses, plan, settings_of
from orchestrator.paper.registry import analyses
from orchestrator.paper.running import Ended, Heard, run_tasks_here
from orchestrator.paper.selection import DEFAULT, choose
from orchestrator.paper.store import FOLDER, Store, clear_running
from orchestrator.paper.writing import (
    PAGE,
    Found,
    clean_up,
    findings_found,
    found,
    write_figures,
    write_page,
    write_summary,
    write_tables,
)
from trainer.errors import BadInput

SOME_FAILED = 3
"""Exit code: the page is there, and something of it is not."""


@dataclass(frozen=True)
class Asked:
    """What a call asks for."""

    folder: RunFolder
    only: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    output: Path | None = None
    local: bool = False

    @property
    def path(self) -> Path:
        return self.output or self.folder.path / FOLDER


@dataclass(frozen=True)
class Call:
    """A call that is planned."""

    asked: Asked
    chosen: Chosen
    planned: tuple[Planned, ...]
    store: Store

    @property
    def todo(self) -> list[PlannedTask]:
        """Tasks that are wanted and not done."""
        return [task for one in self.planned if one.wanted for task in one.missing]

    @property
    def notes(self) -> list[str]:
        """What is to be said before they start."""
        return [*self.chosen.notes, *(note for one in self.planned for note in one.notes)]


@dataclass(frozen=True)
class Done:
    """What came of it."""

    found: tuple[Found, ...]
    page: Path
    summary: Mapping[str, Any]
    exit_code: int


def planned_call(asked: Asked) -> Call:
    """Raises BadInput where nothing of what is asked can be done."""
    every = analyses()
    only = chosen_analyses(every, asked.only)
    settings = settings_of(every, asked.settings)
    chosen = choose(asked.folder, asked.select, settings=settings)
    store = Store(asked.path)
    shape = shape_of(chosen, gpu=_has_gpu(), n_threads=_threads(asked))
    planned = plan(every, chosen, shape, asked.folder, store, only=only)
    wanted = [one for one in planned if one.wanted]
    if wanted and all(one.left_out for one in wanted):
        raise BadInput("\n".join(f"{one.analysis.id}: {one.left_out}" for one in wanted))
    return Call(asked, chosen, tuple(planned), store)


def run_call(call: Call, *, heard: Heard, ended: Callable[[Ended], None], phase: Callable[[str], None]) -> Done:
    """Compute what is missing, and write tables, figures, LaTeX and the page."""
    todo = call.todo
    if todo:
        phase(f"{len(todo)} task{'s' * (len(todo) > 1)}, about {duration_text(seconds_left(call.planned))} of work")
        clear_running(call.store)
    outcomes = _run(call, todo, heard=heard, ended=ended) if todo else []
    phase("writing tables, figures and the page")
    return write_up(call, outcomes)


def write_up(call: Call, outcomes: Sequence[Ended]) -> Done:
    """Everything that follows from the cache."""
    failures = {one.name: one.error for one in outcomes if one.error}
    store, shown = call.store, [one for one in call.planned if one.is_shown or one.left_out]
    analysed = [found(one, call.chosen, store, failures) for one in shown]
    findings = findings_found(analysed, call.chosen.groups)
    report = [findings, *analysed] if findings.n_done or findings.problems else analysed
    select = list(call.asked.select or DEFAULT)
    sweep = call.asked.folder.path.absolute().name
    written = write_tables(store, report, facts={"sweep_id": sweep, "select": select})
    pngs, figures, problems = write_figures(store, report)
    report = [_with_problem(one, problems.get(one.part.id)) for one in report]
    write_page(store, report, pngs, title=f"{sweep}: the paper's analyses", facts=_facts(call))
    written = [*written, *figures, PAGE]
    clean_up(store, written)
    broken = bool(failures or problems or findings.problems)
    broken |= any(one.wanted and one.left_out and call.asked.only for one in shown)
    summary = {
        "schema_version": 1,
        "sweep_id": sweep,
        "select": select,
        "saes": [row.trial_id for row in call.chosen.rows],
        "groups": {group.key: [row.trial_id for row in group.rows] for group in call.chosen.groups},
        "analyses": {
            one.part.id: {"tasks": one.n_tasks, "done": one.n_done, "problems": list(one.problems)}
            for one in report
            if one.part is not findings.part
        },
        "findings": {line["finding"]: line["verdict"] for line in findings.tables[VERDICTS.name]},
        "files": written,
    }
    write_summary(store, summary)
    return Done(tuple(report), store.path / PAGE, summary, SOME_FAILED if broken else 0)


def _run(call: Call, todo: Sequence[PlannedTask], *, heard: Heard, ended: Callable[[Ended], None]) -> list[Ended]:
    if call.asked.local:
        return run_tasks_here(todo, call.asked.folder, call.store, heard=heard, ended=ended)
    from orchestrator.display.streams import console_goes_to
    from orchestrator.paper.on_ray import run_tasks_on_ray
    from orchestrator.running.stopping import StopRequest

    console: AbstractContextManager[None] = console_goes_to(call.store.path / "ray" / "console.txt")
    with console:
        stop = StopRequest(call.store.path)
        return run_tasks_on_ray(todo, call.asked.folder, call.store, stop=stop, heard=heard, ended=ended)


def _facts(call: Call) -> list[tuple[str, str]]:
    chosen, first = call.chosen, call.chosen.rows[0]
    groups = ", ".join(group.title for group in chosen.groups[:12])
    return [
        ("run", call.asked.folder.path.absolute().name),
        ("model", first.config.model.name),
        ("text", f"{first.config.data.dataset}, {chosen.n_eval_rows} rows of {chosen.context} tokens held out"),
        ("SAEs", f"{len(chosen.rows)} of {len(chosen.done)}, chosen by {', '.join(call.asked.select or DEFAULT)}"),
        ("compared", groups + (f" and {len(chosen.groups) - 12} more" if len(chosen.groups) > 12 else "")),
        *(("note", note) for note in chosen.notes),
    ]


def _with_problem(one: Found, problem: str | None) -> Found:
    return replace(one, problems=(*one.problems, problem)) if problem else one


def group_text(group: Group) -> str:
    """`layer 2, L0 35: L2-local-c1-s0, L2-e2e-c0.5-s0`."""
    return f"{group.title}: {', '.join(row.run_name for row in group.rows)}"


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _threads(asked: Asked) -> int:
    """Of one task: all CPUs here, one with Ray, which runs tasks side by side."""
    from orchestrator.running.machine import n_cpus

    return n_cpus() if asked.local and not os.environ.get("OMP_NUM_THREADS") else 1
