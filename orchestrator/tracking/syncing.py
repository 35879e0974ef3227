"""`sync_run`: the copier run to its end over a whole run folder, for `orchestrator sync`. Prints nothing.

May run beside a launch: both look for runs before they make any, one at a time, and a point that both send MLflow has
once.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import yaml

from orchestrator.folder.clock import in_ms
from orchestrator.folder.lease import who_holds
from orchestrator.folder.records import Holder, SavedPlan, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.address import ENV, masked, resolve_tracking_uri, sqlite_path, whole_address
from orchestrator.tracking.audit import Audit, audit
from orchestrator.tracking.check import check_tracking
from orchestrator.tracking.copier import Copier
from orchestrator.tracking.publication import Publication, new_publication, read_publication
from orchestrator.tracking.store import Unreachable
from orchestrator.tracking.tally import Done
from orchestrator.tracking.tracked import Tracked
from orchestrator.tracking.trial_run import describe_plan
from trainer.errors import BadInput, EnvironmentProblem
from trainer.models import describe_model

SAY_EVERY_S = 5.0
_TRIES = 3
"""Passes, where runs turn out to have been deleted."""


@dataclass(frozen=True)
class Synced:
    """What was done."""

    address: str
    """Without its password."""
    n_runs: int
    done: Done
    audit: Audit | None
    holder: Holder | None
    """Who runs the sweep meanwhile."""

    @property
    def lines(self) -> list[str]:
        """In words."""
        lines = [f"MLflow at {self.address}: the sweep's run and {self.n_runs:,} runs of trials"]
        if (audit := self.audit) is not None:
            lines.append(f"  compared {audit.n_points:,} points: {audit.n_missing:,} were missing")
            lines += [
                f"  made again, since it had points that the run folder has not: {name}" for name in audit.removed
            ]
            lines += [f"  has points that the run folder has not, left until the sweep ends: {n}" for n in audit.left]
        lines += [f"  {line}" for line in self.done.lines] or ["  nothing to do: it has everything"]
        if self.holder is not None:
            lines.append(f"  the sweep runs ({self.holder}): what comes now its launch sends")
        return lines


def sync_run(folder: RunFolder, tracking_uri: str | None, *, check: bool, say: Callable[[str], None]) -> Synced:
    """Raises BadInput for a folder that is no run, EnvironmentProblem where MLflow does not take everything."""
    plan = folder.plan()
    if plan is None:
        raise BadInput(f"{folder.path} has no plan.json: expected a run folder")
    name, uri = _name_and_address(folder, plan, tracking_uri)
    check_tracking(uri)
    holder = who_holds(folder)
    progress = _Progress(say)
    trials = describe_plan(plan, d_model=_d_model(folder, plan))
    trials = [trial for trial in trials if _has_a_place(folder, plan, trial.trial_id)]
    sweep = Tracked(folder, uri, folder.path.absolute().parent, sweep_name=name, sweep_id=plan.sweep_id, trials=trials)
    copier = Copier(sweep, tell=lambda _, text: say(text), progress=progress)
    copier.run.publication = _publication(folder) if holder is None else None
    copier.open()
    audited = audit(copier, folder, uri=uri, live=holder is not None, progress=progress) if check else None
    _copy(copier, live=holder is not None)
    if holder is None and (behind := copier.behind()) is not None:
        raise EnvironmentProblem(f"MLflow at {masked(uri)} has not got {behind}. What it has got stays; run this again")
    return Synced(masked(uri), len(copier.trials), copier.done, audited, holder)


def _copy(copier: Copier, *, live: bool) -> None:
    for left in reversed(range(_TRIES)):
        try:
            copier.copy(ended=not live)
            if live:
                copier.copy()  # what was there at the first look is sent at the second
            return
        except Unreachable:
            if copier.is_open or not left:  # else a run was deleted in between
                raise


def _name_and_address(folder: RunFolder, plan: SavedPlan, tracking_uri: str | None) -> tuple[str, str]:
    """The sweep's name, and where its MLflow is: as asked for, else as the next launch would, else as the last did."""
    try:
        tree = yaml.safe_load(folder.sweep() or "")
    except yaml.YAMLError as problem:
        raise BadInput(f"{folder.path / 'sweep.yaml'} is no YAML file: {problem}") from problem
    tree = tree if isinstance(tree, dict) else {}
    tracking = tree.get("tracking")
    chosen = tracking_uri or (tracking.get("uri") if isinstance(tracking, dict) else None)
    chosen = None if chosen in (None, "default") else str(chosen)
    runs = folder.mlflow_runs()
    if chosen is None and not os.environ.get(ENV, "").strip() and runs is not None:
        path = sqlite_path(runs.tracking_uri)
        chosen = runs.tracking_uri if path is None or path.exists() else None  # else the folder was moved
    whole = chosen and whole_address(chosen, environ=os.environ)
    uri = resolve_tracking_uri(whole, runs=folder.path.absolute().parent, environ=os.environ)
    return str(tree.get("name") or plan.sweep_id.rpartition("-")[0] or plan.sweep_id), uri


def _has_a_place(folder: RunFolder, plan: SavedPlan, trial_id: str) -> bool:
    """Whether the sweep asks for that trial, or did and has something of it."""
    return trial_id in plan.wanted or folder.journal(trial_id).exists() or folder.result(trial_id).exists()


def _d_model(folder: RunFolder, plan: SavedPlan) -> int | None:
    """The width of the model, as far as it can be told from here."""
    for trial_id in plan.trials:
        try:
            row = folder.row(trial_id)
        except BadInput:
            continue
        if row is not None and row.facts is not None:
            return row.facts.d_model
    try:
        return describe_model(next(iter(plan.trials.values())).model).d_model
    except (StopIteration, BadInput, EnvironmentProblem):
        return None


def _publication(folder: RunFolder) -> Publication:
    """What the sweep's run shall show: as its launch wanted it, else as far as its status and files tell."""
    status, before = folder.status(), read_publication(folder)
    state = SweepState.COMPLETE if status is not None and status.state is SweepState.COMPLETE else SweepState.STOPPED
    if before is not None and before.state is state:
        return before
    if status is None:
        return Publication(state=state, time_ms=0)
    numbers = {"n_trials": status.n_trials, "n_done": status.n_done, "n_failed": status.n_failed}
    paths = [folder.frontier, *(folder.frontier.with_suffix(suffix) for suffix in (".png", ".svg")), folder.report]
    return new_publication(
        folder,
        state,
        time_ms=in_ms(status.updated_at),
        metrics={name: float(number) for name, number in numbers.items()},
        files=[path for path in (*paths, folder.path / "sweep.yaml") if path.exists()],
    )


class _Progress:
    """Says where it is, once it takes longer."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._said_s = say, time.monotonic()

    def __call__(self, text: str) -> None:
        if time.monotonic() - self._said_s >= SAY_EVERY_S:
            self._say(text)
            self._said_s = time.monotonic()
