"""What a call of `paper` has to do: the tasks of each analysis, and which of them are done already.

Pure but for looking into the cache. What an analysis cannot do on this run is a sentence here, and ends no other one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.folder.run_folder import RunFolder
from orchestrator.paper.analysis import Analysis, Chosen, Cost, Shape, Task
from orchestrator.paper.store import Store, key_of, rows_by_id
from trainer.errors import BadInput, EnvironmentProblem


@dataclass(frozen=True)
class PlannedTask:
    """One task, with what it costs and whether it is done."""

    task: Task
    key: str
    """Its name in the cache."""
    cost: Cost
    is_kept: bool

    @property
    def name(self) -> str:
        """`geometry L2-e2e-c0.5-s0`."""
        return f"{self.task.analysis} {self.task.key}"


@dataclass(frozen=True)
class Planned:
    """One analysis."""

    analysis: Analysis
    tasks: tuple[PlannedTask, ...] = ()
    wanted: bool = True
    """Whether it is to be computed; else it is only shown where all of it is kept."""
    left_out: str = ""
    """Why it cannot be done; empty where it can."""
    notes: tuple[str, ...] = field(default=())

    @property
    def missing(self) -> list[PlannedTask]:
        return [one for one in self.tasks if not one.is_kept]

    @property
    def is_shown(self) -> bool:
        """Whether it will be part of the page."""
        return self.wanted or (bool(self.tasks) and not self.missing)


def plan(
    analyses: Iterable[Analysis], chosen: Chosen, shape: Shape, folder: RunFolder, store: Store,
    *, only: Sequence[str] = (),
) -> list[Planned]:  # fmt: skip
    """Every analysis, in their order; those of `only` are wanted, or all that lack nothing."""
    return [
        _planned(analysis, chosen, shape, folder, store, wanted=not only or analysis.id in only, named=bool(only))
        for analysis in analyses
    ]


def chosen_analyses(analyses: Sequence[Analysis], only: Sequence[str]) -> list[str]:
    """The ids that `--only` names, commas split. Raises BadInput for one that there is not."""
    wanted = [name.strip() for text in only for name in text.split(",") if name.strip()]
    known = [analysis.id for analysis in analyses]
    if unknown := [name for name in wanted if name not in known]:
        raise BadInput(f"--only {unknown[0]}: no such analysis; expected some of {', '.join(known)}")
    if only and not wanted:
        raise BadInput(f"--only names no analysis; expected some of {', '.join(known)}")
    return list(dict.fromkeys(wanted))


def settings_of(analyses: Sequence[Analysis], texts: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """`--set geometry.n_resamples=100` by analysis and option.

    Raises BadInput for an option that there is not, or a value of another type than its default.
    """
    known = {(analysis.id, option.name): option for analysis in analyses for option in analysis.options}
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        analysis, _, option = name.strip().partition(".")
        meant = known.get((analysis, option))
        if not equals or meant is None:
            there = ", ".join(f"{one}.{name}" for one, name in known) or "none"
            raise BadInput(
                f"--set {text}: expected ANALYSIS.OPTION=VALUE with one of these options: {there} (see --list)"
            )
        found.setdefault(analysis, {})[option] = _value(text, value.strip(), meant.default)
    return found


def _value(text: str, value: str, default: Any) -> Any:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[value.lower()]
        return type(default)(value.replace("_", "") if isinstance(default, int | float) else value)
    except (KeyError, ValueError):
        raise BadInput(f"--set {text}: expected {kinds[type(default)]}, such as {default}") from None


def _planned(
    analysis: Analysis, chosen: Chosen, shape: Shape, folder: RunFolder, store: Store, *, wanted: bool, named: bool
) -> Planned:
    rows = rows_by_id(chosen.done)
    try:
        missing = analysis.missing()
        tasks = analysis.tasks(chosen)
        found: list[PlannedTask] = []
        for task in tasks:
            key = key_of(task, analysis, rows, folder)
            found.append(PlannedTask(task, key, analysis.cost(task, shape), store.has(task, key)))
        left = [one.task for one in found if not one.is_kept]
        if missing is not None and wanted and left:
            return Planned(analysis, wanted=named, left_out=missing)
        notes = tuple(analysis.notes(left)) if left and wanted else ()
    except (BadInput, EnvironmentProblem) as problem:
        return Planned(analysis, wanted=wanted, left_out=str(problem))
    return Planned(analysis, tuple(found), wanted=wanted, notes=notes)
