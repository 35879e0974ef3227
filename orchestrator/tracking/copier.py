"""Brings MLflow to what the run folder says, one pass at a time. Raises what goes wrong, and can be called again.

The run folder is the spool: nothing is kept here but places in it. Whatever is cut off where, the next pass, or that
of another process, sends the rest; what arrives twice MLflow drops. `mirror.py` has the thread that does it for a
launch, `orchestrator/commands/sync.py` the command.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.folder.records import MLflowRuns
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.address import artifact_root, masked
from orchestrator.tracking.cursor import Cursor, read_cursor, write_cursor
from orchestrator.tracking.histories import has_others
from orchestrator.tracking.pages import make_pages
from orchestrator.tracking.points import send_ending
from orchestrator.tracking.publication import SWEEP_STATUS, Publication, missing_parts, send_part
from orchestrator.tracking.store import Unreachable, answers_explained, create_store
from orchestrator.tracking.sweep_runs import Found, complete_children, experiment, find_runs, make_parent, one_at_a_time
from orchestrator.tracking.tally import Behind, Done
from orchestrator.tracking.trial_copy import LISTS, Stamp, TrialCopy, Way
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
        folder: RunFolder,
        *,
        uri: str,
        runs_root: Path,
        sweep_name: str,
        sweep_id: str,
        trials: Sequence[TrialRun],
        tell: Tell = silent,
        progress: Callable[[str], None] = silent,
    ) -> None:
        """Touches nothing yet. `progress` hears often what is being done."""
        self.done = Done()
        self.deadline_s = float("inf")
        """On the monotonic clock: a pass that comes by it raises OutOfTime."""
        self.publication: Publication | None = None
        """For the sweep's own run; without one that is RUNNING."""
        self._folder, self._uri, self._name, self._sweep_id = folder, uri, sweep_name, sweep_id
        self._artifact_root = artifact_root(uri, runs=runs_root)
        self._tell, self._progress = tell, progress
        cursor = read_cursor(folder)
        self._cursor = cursor
        self._published, self._parent, self._parent_status = cursor.published, cursor.parent_run_id, ""
        self._experiment = ""
        self.trials = {trial.trial_id: TrialCopy(folder, trial, cursor.trials.get(trial.trial_id)) for trial in trials}
        self._client: MlflowClient | None = None
        self._warned = set[str]()
        self._file_trouble = ""
        self._saved_s, self._unsaved = time.monotonic(), False

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
            self._experiment = experiment(client, self._name, artifact_root=self._artifact_root)
            found = find_runs(client, self._experiment, self._sweep_id)
            for run_id in found.doubles:
                client.delete_run(run_id)
                self.done.doubles_removed += 1
            self._take_parent(client, found)
            self._take_children(client, found)
        self._note_runs()
        make_pages(
            client,
            self._folder,
            uri=self._uri,
            experiment_id=self._experiment,
            parent_run_id=self._parent,
            sweep_id=self._sweep_id,
            warn=self._warn,
        )
        self._client = client

    def reopen(self) -> None:
        """Look for the runs again at the next pass."""
        self._client = None

    def add(self, trials: Sequence[TrialRun]) -> None:
        """Trials that a search has asked for since; those that are known already stay as they are."""
        new = [trial for trial in trials if trial.trial_id not in self.trials]
        self.trials |= {
            trial.trial_id: TrialCopy(self._folder, trial, self._cursor.trials.get(trial.trial_id)) for trial in new
        }
        if new:
            self.reopen()

    def forget_lost_files(self) -> None:
        """Look which files are in MLflow, so that the others are sent again. Raises what MLflow raises."""
        there = {file.path for file in self.client.list_artifacts(self._parent)}
        self._published = {name: sent for name, sent in self._published.items() if not name or Path(name).name in there}
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
        sizes, stamps = self._look()
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
                self._copy_publication()
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
                self._unsaved = True
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
        sizes, stamps = self._look()
        missing = [trial.missing(sizes.get(id_, 0), stamps.get(id_)) for id_, trial in self.trials.items()]
        n_trials = sum(1 for n_lines, ending in missing if n_lines or ending)
        files = bool(self._file_trouble) or not self._is_published()
        if self.is_open and not n_trials and not files:
            return None
        return Behind(
            n_lines=sum(n_lines for n_lines, _ in missing),
            n_endings=sum(ending for _, ending in missing),
            n_trials=n_trials,
            files=files,
            reason=self._file_trouble or reason,
        )

    # Runs.
    def _take_parent(self, client: "MlflowClient", found: Found) -> None:
        if found.parent is None:
            run_id, self._parent_status = make_parent(client, self._experiment, self._sweep_id), "RUNNING"
            self.done.runs_made += 1
        else:
            run_id, self._parent_status = found.parent.info.run_id, found.parent.info.status
        if run_id != self._parent:
            self._parent, self._published, self._unsaved = run_id, {}, True
        if self.publication is None and self._parent_status != "RUNNING":
            client.update_run(run_id, status="RUNNING")
            self._parent_status = "RUNNING"

    def _take_children(self, client: "MlflowClient", found: Found) -> None:
        children = complete_children(
            client,
            self._uri,
            experiment_id=self._experiment,
            parent_run_id=self._parent,
            sweep_id=self._sweep_id,
            trials=[trial.about for trial in self.trials.values()],
            found=found.children,
        )
        for n, child in enumerate(children, start=1):
            self.trials[child.trial_id].take(child)
            self.done.runs_made += child.was_made
            self.done.runs_completed += child.was_completed
            self._unsaved = True
            self._progress(f"runs: {n} of {len(self.trials)}")
            if time.monotonic() - self._saved_s >= SAVE_EVERY_S:
                self._note_runs()
                self._saved_s = time.monotonic()
            self._check_time()

    def _note_runs(self) -> None:
        """`runs.json`; runs of trials that the sweep has no longer stay in it."""
        before = self._folder.mlflow_runs()
        kept = before.trials if before is not None and before.parent_run_id == self._parent else {}
        noted = MLflowRuns(
            tracking_uri=masked(self._uri),
            experiment_id=self._experiment,
            parent_run_id=self._parent,
            trials=kept | {id_: trial.run_id for id_, trial in self.trials.items() if trial.sent is not None},
        )
        if noted != before:
            self._folder.write_mlflow_runs(noted)

    def _refused(self, trial: TrialCopy, problem: Exception) -> None:
        """A run that was deleted is made again; any other refusal is told, and tried again much later."""
        from mlflow.exceptions import MlflowException

        try:
            is_deleted = self.client.get_run(trial.run_id).info.lifecycle_stage != "active"
        except MlflowException as gone:
            if gone.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            is_deleted = True
        if is_deleted:
            self.reopen()
            raise Unreachable(f"the MLflow run of {trial.about.run_name} was deleted; it is made again") from problem
        trial.refused_until_s = time.monotonic() + REFUSED_FOR_S
        self._warn(f"MLflow refuses what it is sent of {trial.about.run_name}: {masked(str(problem))[:300]}")

    # The sweep's own run.
    def _copy_publication(self) -> None:
        publication = self.publication
        if publication is None:
            return
        status = SWEEP_STATUS[publication.state]
        if self._parent_status != status:
            if status == "RUNNING":
                self.client.update_run(self._parent, status=status)
            else:
                send_ending(self.client, self._parent, status, time_ms=publication.time_ms)
            self._parent_status = status
            self.done.endings += 1
        for name, content in missing_parts(self._folder, publication, self._published).items():
            if self._put(lambda name=name: send_part(self.client, self._parent, self._folder, publication, name)):
                self._published = {**self._published, name: content}
                self.done.files += 1
                self._unsaved = True

    def _is_published(self) -> bool:
        publication = self.publication
        return publication is None or (
            self._parent_status == SWEEP_STATUS[publication.state]
            and not missing_parts(self._folder, publication, self._published)
        )

    def _put(self, send: Callable[[], object]) -> bool:
        """Send a file. One that cannot be sent holds up nothing else: files may go elsewhere than points."""
        try:
            send()
        except Exception as problem:
            self._file_trouble = (masked(str(problem)).splitlines() or [type(problem).__name__])[0][:300]
            self._warn(f"a file cannot be put into MLflow: {self._file_trouble}")
            return False
        return True

    # Bookkeeping.
    def _look(self) -> tuple[Mapping[str, int], Mapping[str, Stamp]]:
        """Bytes of each journal, and what changes when a row is written, by trial."""
        journals, rows = _stats(self._folder.path / "journal", ".jsonl"), _stats(self._folder.path / "results", ".json")
        stamps = {id_: (stat.st_mtime_ns, stat.st_size, stat.st_ino) for id_, stat in rows.items()}
        return {id_: stat.st_size for id_, stat in journals.items()}, stamps

    def _acknowledged(self) -> None:
        self._unsaved = True
        if time.monotonic() - self._saved_s >= SAVE_EVERY_S:
            self._save()
        self._check_time()

    def _save(self) -> None:
        """Write the cursor, if there is anything new. Raises nothing: it only saves time."""
        if not self._unsaved:
            return
        sent = {id_: trial.sent for id_, trial in self.trials.items() if trial.sent is not None}
        cursor = Cursor(trials=self._cursor.trials | sent, published=dict(self._published), parent_run_id=self._parent)
        try:
            write_cursor(self._folder, cursor)
            self._unsaved = False
        except EnvironmentProblem as problem:
            self._warn(f"what MLflow has got cannot be noted: {problem}")
        self._saved_s = time.monotonic()

    def _check_time(self) -> None:
        if time.monotonic() > self.deadline_s:
            raise OutOfTime

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._tell("warning", text)


def _stats(folder: Path, suffix: str) -> dict[str, os.stat_result]:
    """Of the files with that suffix, by name without it."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name.removesuffix(suffix): entry.stat() for entry in entries if entry.name.endswith(suffix)}
    except FileNotFoundError:
        return {}
