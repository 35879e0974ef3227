"""Brings MLflow to what the run folder says, one pass at a time. Raises what goes wrong, and can be called again.

The run folder is the spool: nothing is kept here but places in it. Whatever is cut off where, the next pass, or that
of another process, sends the rest; what arrives twice MLflow drops. `mirror.py` has the thread that does it for a
launch, `orchestrator/commands/sync.py` the command.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.folder.records import MLflowRuns
from orchestrator.tracking.address import artifact_root, masked
from orchestrator.tracking.cursor import Cursor, read_cursor, write_cursor
from orchestrator.tracking.histories import has_others
from orchestrator.tracking.pages import make_pages
from orchestrator.tracking.store import Unreachable, answers_explained, create_store
from orchestrator.tracking.sweep_copy import SweepCopy
from orchestrator.tracking.sweep_runs import (
    Found,
    complete_children,
    experiment,
    find_runs,
    is_deleted,
    note_runs,
    one_at_a_time,
)
from orchestrator.tracking.tally import Behind, Done
from orchestrator.tracking.tracked import Tracked
from orchestrator.tracking.trial_copy import LISTS, TrialCopy, Way, sizes_and_stamps
from orchestrator.tracking.trial_run import TrialRun
from trainer.errors import EnvironmentProblem

if TYPE_CHECKING:
    from mlflow import MlflowClient

Tell = Callable[[str, str], None]
"""Says something to people: a level ("info" or "warning") and a sentence."""
SAVE_EVERY_S = 2.0
"""How often the cursor and `runs.json` are written while much happens."""
REFUSED_FOR_S = 300.0
"""How long a run is left alone whose points MLflow refuses for good, as far as it says."""
_REFUSALS = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE"}
"""Answers about one run that will not change by asking again. (An overloaded server says BAD_REQUEST.)"""


class OutOfTime(Exception):
    """The deadline has passed in the middle of a pass."""


def silent(*_: str) -> None:
    """Tells nobody."""


class Copier:
    """One sweep's way into MLflow. For one thread."""

    def __init__(
        self,
        sweep: Tracked,
        *,
        tell: Tell = silent,
        progress: Callable[[str], None] = silent,
    ) -> None:
        """Touches nothing yet. `progress` hears often what is being done."""
        self.done = Done()
        self.deadline_s = float("inf")
        """On the monotonic clock: a pass that comes by it raises OutOfTime."""
        self._sweep, self._folder, self._uri = sweep, sweep.folder, sweep.uri
        self._tell, self._progress = tell, progress
        self._cursor = read_cursor(sweep.folder)
        self._experiment = ""
        self.trials = {trial.trial_id: self._copy_of(trial) for trial in sweep.trials}
        self.run = SweepCopy(sweep.folder, self._cursor.parent_run_id, self._cursor.published)
        """The sweep's own."""
        self._client: MlflowClient | None = None
        self._warned = set[str]()
        self._file_trouble = ""
        self._saved_s = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether all runs are there."""
        return self._client is not None

    @property
    def client(self) -> "MlflowClient":
        """Once it is open."""
        assert self._client is not None
        return self._client

    def open(self) -> None:
        """Finds or makes the experiment and the runs, and notes them in `runs.json` as they come.

        Raises EnvironmentProblem; runs that were made are found by the next call.
        """
        self._progress("opening MLflow")
        with answers_explained(self._uri), one_at_a_time(self._folder):
            client = create_store(self._uri)
            root = artifact_root(self._uri, runs=self._sweep.runs_root)
            self._experiment = experiment(client, self._sweep.sweep_name, artifact_root=root)
            found = find_runs(client, self._experiment, self._sweep.sweep_id)
            for run_id in found.doubles:
                client.delete_run(run_id)
                self.done.doubles_removed += 1
            self.run.take(client, self._experiment, self._sweep.sweep_id, found.parent)
            self.done.runs_made += found.parent is None
            self._take_children(client, found)
        self._note_runs()
        make_pages(
            client,
            self._folder,
            uri=self._uri,
            experiment_id=self._experiment,
            parent_run_id=self.run.run_id,
            sweep_id=self._sweep.sweep_id,
            warn=self._warn,
        )
        self._client = client

    def reopen(self) -> None:
        """Look for the runs again at the next pass."""
        self._client = None

    def add(self, trials: Sequence[TrialRun]) -> None:
        """Trials that a search has asked for since; those that are known already stay as they are."""
        new = [trial for trial in trials if trial.trial_id not in self.trials]
        self.trials |= {trial.trial_id: self._copy_of(trial) for trial in new}
        if new:
            self.reopen()

    def _copy_of(self, trial: TrialRun) -> TrialCopy:
        return TrialCopy(self._folder, trial, self._cursor.trials.get(trial.trial_id))

    def forget_lost_files(self) -> None:
        """Look which files are in MLflow, so that the others are sent again. Raises what MLflow raises."""
        self.run.forget_lost_files(self.client)
        for trial in self.trials.values():
            if trial.has_lists and all(file.path != LISTS for file in self.client.list_artifacts(trial.run_id)):
                trial.forget_lists()

    def copy(self, *, ended: bool = False) -> None:
        """Sends what is new. `ended`: nobody trains any more.

        Raises EnvironmentProblem where MLflow does not take it; a run that it refuses by itself holds up no other.
        """
        if self._client is None:
            self.open()
        self._pass(ended=ended)
        if ended and self._remade_doubtful():
            self.open()
            self._pass(ended=True)

    def _pass(self, *, ended: bool) -> None:
        from mlflow.exceptions import MlflowException

        self._file_trouble = ""
        way = Way(self.client, self.done, self._warn, self._put, self._acknowledged, ended)
        sizes, stamps = sizes_and_stamps(self._folder)
        try:
            with answers_explained(self._uri):
                for n, (trial_id, trial) in enumerate(self.trials.items(), start=1):
                    self._check_time()
                    self._progress(f"trials: {n} of {len(self.trials)}")
                    if time.monotonic() < trial.refused_until_s:
                        continue
                    try:
                        trial.copy(way, sizes.get(trial_id, 0), stamps.get(trial_id))
                    except MlflowException as problem:
                        if problem.error_code not in _REFUSALS:
                            raise
                        self._refused(trial, problem)
                self.run.copy(way)
        finally:
            self._save()

    def _remade_doubtful(self) -> bool:
        """Whether runs went to MLflow's trash that had points which the run folder has no longer.

        A point cannot be taken out of a run: points of a journal that was damaged were made again, with other times.
        """
        names = list[str]()
        with answers_explained(self._uri):
            for trial in [trial for trial in self.trials.values() if trial.is_doubtful]:
                self._check_time()
                if has_others(self.client, self._folder, trial.about.trial_id, trial.run_id):
                    self.client.delete_run(trial.run_id)
                    names.append(trial.about.run_name)
                else:
                    trial.believe()
        self._save()
        if names:
            what = f"{len(names)} runs" if len(names) > 1 else "the run"
            self._tell("info", f"{what} of {', '.join(names[:5])} had points that were made again since; made anew")
        return bool(names)

    def behind(self, reason: str = "") -> Behind | None:
        """What MLflow has not got; None if it has all. Sends nothing."""
        sizes, stamps = sizes_and_stamps(self._folder)
        missing = [trial.missing(sizes.get(id_, 0), stamps.get(id_)) for id_, trial in self.trials.items()]
        n_trials = sum(1 for n_lines, ending in missing if n_lines or ending)
        files = bool(self._file_trouble) or not self.run.is_complete
        if self.is_open and not n_trials and not files:
            return None
        return Behind(
            n_lines=sum(n_lines for n_lines, _ in missing),
            n_endings=sum(ending for _, ending in missing),
            n_trials=n_trials,
            files=files,
            reason=self._file_trouble or reason,
        )

    def _take_children(self, client: "MlflowClient", found: Found) -> None:
        children = complete_children(
            client,
            self._uri,
            experiment_id=self._experiment,
            parent_run_id=self.run.run_id,
            sweep_id=self._sweep.sweep_id,
            trials=[trial.about for trial in self.trials.values()],
            found=found.children,
        )
        for n, child in enumerate(children, start=1):
            self.trials[child.trial_id].take(child)
            self.done.runs_made += child.was_made
            self.done.runs_completed += child.was_completed
            self._progress(f"runs: {n} of {len(self.trials)}")
            if time.monotonic() - self._saved_s >= SAVE_EVERY_S:
                self._note_runs()
                self._saved_s = time.monotonic()
            self._check_time()

    def _note_runs(self) -> None:
        runs = {id_: trial.run_id for id_, trial in self.trials.items() if trial.sent is not None}
        note_runs(
            self._folder,
            MLflowRuns(
                tracking_uri=masked(self._uri),
                experiment_id=self._experiment,
                parent_run_id=self.run.run_id,
                trials=runs,
            ),
        )

    def _refused(self, trial: TrialCopy, problem: Exception) -> None:
        """A run that was deleted is made again; any other refusal is told, and tried again much later."""
        if is_deleted(self.client, trial.run_id):
            self.reopen()
            raise Unreachable(f"the MLflow run of {trial.about.run_name} was deleted; it is made again") from problem
        trial.refused_until_s = time.monotonic() + REFUSED_FOR_S
        self._warn(f"MLflow refuses what it is sent of {trial.about.run_name}: {masked(str(problem))[:300]}")

    def _put(self, send: Callable[[], object]) -> bool:
        """Send a file. One that cannot be sent holds up nothing else: files may go elsewhere than points."""
        try:
            send()
        except Exception as problem:
            self._file_trouble = (masked(str(problem)).splitlines() or [type(problem).__name__])[0][:300]
            self._warn(f"a file cannot be put into MLflow: {self._file_trouble}")
            return False
        return True

    def _acknowledged(self) -> None:
        if time.monotonic() - self._saved_s >= SAVE_EVERY_S:
            self._save()
        self._check_time()

    def _save(self) -> None:
        """Write the cursor, if there is anything new. Raises nothing: it only saves time."""
        sent = {id_: trial.sent for id_, trial in self.trials.items() if trial.sent is not None}
        trials, published = self._cursor.trials | sent, dict(self.run.published)
        cursor = Cursor(trials=trials, published=published, parent_run_id=self.run.run_id)
        self._saved_s = time.monotonic()
        if cursor == self._cursor:
            return
        try:
            write_cursor(self._folder, cursor)
            self._cursor = cursor
        except EnvironmentProblem as problem:
            self._warn(f"what MLflow has got cannot be noted: {problem}")

    def _check_time(self) -> None:
        if time.monotonic() > self.deadline_s:
            raise OutOfTime

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._tell("warning", text)
