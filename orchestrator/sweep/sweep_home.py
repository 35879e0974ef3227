"""Which run folder a sweep belongs to, and what has changed since that folder was last run. Reads folders, writes none.

A sweep whose grid grew or shrank goes on in its folder. One whose trials mean something else than those in a folder of
the same name is refused until somebody says that this is wanted: often it is a slip of the pen.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.display.go_on import resume_command
from orchestrator.folder.clock import now
from orchestrator.folder.records import Event, RowStatus, SavedPlan
from orchestrator.folder.run_folder import RunFolder
from orchestrator.sweep.sweep_diff import Difference, differences, same_meaning
from orchestrator.sweep.sweep_file import Sweep, load_sweep
from trainer.errors import BadInput

MOST_LINES = 30


@dataclass(frozen=True)
class Other:
    """A run folder of the same name whose trials mean something else."""

    folder: RunFolder
    changes: tuple[Difference, ...]
    unreadable: str = ""
    """Why its sweep could not be read, and nobody knows what its trials mean."""


@dataclass(frozen=True)
class Home:
    """A sweep and its place."""

    sweep: Sweep
    """`known_as` the sweep of its folder."""
    folder: RunFolder
    changes: tuple[Difference, ...] = ()
    """Since the folder was last run; empty for a new one."""
    other: Other | None = None
    """Where the folder is a new one: the newest of the same name and of another meaning."""

    @property
    def is_new(self) -> bool:
        return not _is_run(self.folder.path)


@dataclass(frozen=True)
class Counts:
    """Trials of a folder against those that are wanted now."""

    kept: int
    kept_done: int
    added: int
    added_done: int
    """Trials that were removed once and come back."""
    removed: int
    removed_done: int


def find_home(sweep: Sweep, runs: Path, *, folder: Path | None = None) -> Home:
    """The folder of this sweep: `folder` where that is given, else its own, else one of its name that it only adds to
    or takes from, else a new one.

    Raises BadInput for a name that could lead elsewhere.
    """
    if folder is not None:
        return _at(sweep, RunFolder(folder))
    own = RunFolder.of_sweep(runs, sweep.sweep_id)
    if _is_run(own.path):
        return _at(sweep, own)
    other: Other | None = None
    for path in _of_name(sweep.name, runs):
        try:
            saved = load_sweep(path / "sweep.yaml")
        except BadInput as problem:
            other = other or Other(RunFolder(path), (), str(problem))
            continue
        if saved.name != sweep.name:
            continue
        if same_meaning(saved, sweep):
            return _at(sweep, RunFolder(path))
        other = other or Other(RunFolder(path), differences(saved, sweep))
    return Home(sweep, own, other=other)


def refuse_another_meaning(home: Home, trial_ids: Collection[str], *, allowed: bool) -> None:
    """Raises BadInput where the sweep would begin anew beside a folder of its name, and nobody said that it may."""
    if home.other is not None and not allowed:
        raise BadInput(another_meaning(home, trial_ids))


def another_meaning(home: Home, trial_ids: Collection[str]) -> str:
    """What differs from the folder of the same name, what that costs, and what to do. Empty where nothing does."""
    if home.other is None:
        return ""
    other = home.other.folder
    if home.other.unreadable:
        head = f"{other.path} has the same name, and what its trials mean cannot be told: {home.other.unreadable}"
        return f"{head}\nTo begin anew in {home.folder.path}, add --allow-changed"
    counts = count(other, trial_ids)
    n_there, n_done = counts.kept + counts.removed, counts.kept_done + counts.removed_done
    n_anew = counts.added + counts.kept
    lines = [
        f"{other.path} has the same name, and its trials mean something else:",
        *_shown(home.other.changes),
        f"none of its {n_there} trials ({n_done} done) would be kept: all {n_anew} would train anew",
        f"To train them in a folder of their own, {home.folder.path}, add --allow-changed.",
        f"To go on with what is there, undo the change, or: {resume_command(other.path)}",
    ]
    return "\n".join(lines)


def changes_text(home: Home, trial_ids: Collection[str]) -> str:
    """What is new since the folder was last run, and how many trials that touches. Empty where nothing is."""
    if not home.changes:
        return ""
    counts = count(home.folder, trial_ids)
    already = f" ({counts.added_done} done before)" if counts.added_done else ""
    text = f"trials: {counts.kept} kept ({counts.kept_done} done), {counts.added} added{already}"
    text += f", {counts.removed} removed"
    if counts.removed:
        text += (
            "; results of removed trials stay in the folder, and out of the frontier unless --include-removed is given"
        )
    return "\n".join([f"the sweep has changed since {home.folder.path} was last run:", *_shown(home.changes), text])


def changes_event(home: Home, trial_ids: Collection[str]) -> Event | None:
    """The same for screens and `events.jsonl`."""
    text = changes_text(home, trial_ids)
    fields = {"changes": [change.line for change in home.changes]}
    return Event(time=now(), level="warning", event="sweep_changed", message=text, fields=fields) if text else None  # pyright: ignore[reportArgumentType]


def count(folder: RunFolder, trial_ids: Collection[str]) -> Counts:
    """How many trials of the folder's plan are in `trial_ids`, how many come and go, and how many are done."""
    before, now_wanted = wanted(folder.plan()), set(trial_ids)
    done = {trial_id for trial_id in before | now_wanted if _is_done(folder, trial_id)}
    return Counts(
        kept=len(before & now_wanted),
        kept_done=len(done & before & now_wanted),
        added=len(now_wanted - before),
        added_done=len((done & now_wanted) - before),
        removed=len(before - now_wanted),
        removed_done=len(done - now_wanted),
    )


def wanted(plan: SavedPlan | None) -> set[str]:
    """The trials that the sweep asked for when it was last run. Those that were removed before are not among them."""
    return set() if plan is None else plan.wanted


def _at(sweep: Sweep, folder: RunFolder) -> Home:
    """At home in a folder that is there."""
    try:
        changes = differences(load_sweep(folder.path / "sweep.yaml"), sweep)
    except BadInput:  # an older or torn copy: trials tell for themselves what is done
        changes = ()
    plan = folder.plan()
    # Its id, and not its name: MLflow knows it by that, wherever it was copied to.
    return Home(replace(sweep, known_as=plan.sweep_id if plan is not None else ""), folder, changes)


def _of_name(name: str, runs: Path) -> Iterator[Path]:
    """Run folders whose name says that they are of this sweep, newest first."""
    pattern = re.compile(re.escape(name) + r"-[0-9a-f]{8}")
    found = [path for path in runs.glob(f"{name}-*") if pattern.fullmatch(path.name) and _is_run(path)]
    yield from sorted(found, key=_planned_at, reverse=True)


def _planned_at(path: Path) -> float:
    plan = path / "plan.json"
    return (plan if plan.exists() else path).stat().st_mtime


def _is_run(path: Path) -> bool:
    return RunFolder(path).is_run


def _is_done(folder: RunFolder, trial_id: str) -> bool:
    try:
        row = folder.row(trial_id)
    except BadInput:
        return False
    return row is not None and row.status is RowStatus.DONE


def _shown(changes: tuple[Difference, ...]) -> list[str]:
    lines = [f"  {change.line}" for change in changes]
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"  ... and {len(lines) - MOST_LINES} more"]
