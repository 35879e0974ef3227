"""The driver's side of MLflow: one experiment per sweep name, a parent run per sweep, a child run per trial.

Only the driver creates runs, and only after it looked for them by tag, so a second start finds what the first made.
Workers get run ids (`MLflowRuns`, which the run folder keeps) and never create anything.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.records import MLflowRuns, RowStatus, SweepState
from orchestrator.tracking.address import artifact_root, is_server, masked
from orchestrator.tracking.points import (
    MAX_PARAMS,
    Value,
    final_points,
    in_batches,
    points_of,
    send_ending,
    send_points,
)
from orchestrator.tracking.store import answers_explained, create_store
from orchestrator.tracking.trial_run import TrialRun
from trainer.errors import EnvironmentProblem

if TYPE_CHECKING:
    from mlflow.entities import Run

_PARENT_TAG = "mlflow.parentRunId"
_SWEEP_STATUS = {SweepState.RUNNING: "RUNNING", SweepState.COMPLETE: "FINISHED", SweepState.STOPPED: "KILLED"}


class Recorded(Protocol):
    """A line of the journal, such as `CurvePoint`."""

    @property
    def step(self) -> int: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, float | None]: ...


class Tracker:
    """Creates and finds runs, ends them, and sends journals again."""

    def __init__(self, uri: str, *, runs: Path) -> None:
        """Opens the store and makes its tables if it is new. Raises EnvironmentProblem if it does not answer."""
        self._uri = uri
        self._artifact_root = artifact_root(uri, runs=runs)
        self._client = create_store(uri)

    def start_sweep(self, name: str, sweep_id: str, trials: Sequence[TrialRun]) -> MLflowRuns:
        """Finds or creates the experiment `name`, the parent run `sweep_id` and a child run per trial.

        New child runs are SCHEDULED until their trial logs something. Raises EnvironmentProblem if the store stops
        answering; the next start goes on from the runs that were made.
        """
        with answers_explained(self._uri):
            experiment_id = self._experiment(name)
            parent, found = self._find(experiment_id, sweep_id)
            if parent is None:
                tags = {"sweep_id": sweep_id, "role": "sweep"}
                parent = self._client.create_run(experiment_id, run_name=sweep_id, tags=tags).info.run_id
            else:
                self._client.update_run(parent, status="RUNNING")

            def run_of(trial: TrialRun) -> str:
                tags = {**trial.tags, "sweep_id": sweep_id, "role": "trial", _PARENT_TAG: parent}
                return self._child(experiment_id, trial, tags, found.get(trial.trial_id))

            # A server answers in tens of milliseconds, mostly waiting; a SQLite file has one writer.
            pool = ThreadPoolExecutor(8 if is_server(self._uri) else 1)
            try:
                run_ids = list(pool.map(run_of, trials))
            finally:
                pool.shutdown(cancel_futures=True)
        by_trial = dict(zip((trial.trial_id for trial in trials), run_ids, strict=True))
        return MLflowRuns(
            tracking_uri=masked(self._uri), experiment_id=experiment_id, parent_run_id=parent, trials=by_trial
        )

    def replay(self, run_id: str, rows: Iterable[Recorded]) -> int:
        """Sends a trial's journal, whole or from any point on, and returns the number of points.

        Points that MLflow has already are not doubled. Raises EnvironmentProblem if the store does not answer.
        """
        n_points = 0
        with answers_explained(self._uri):
            points = (point for row in rows for point in points_of(row.step, row.time_ms, row.metrics))
            for batch in in_batches(points):
                send_points(self._client, run_id, batch)
                n_points += len(batch)
        return n_points

    def end_trial(
        self, run_id: str, status: RowStatus, *, time_ms: int, metrics: Mapping[str, Value], error: str = ""
    ) -> None:
        """Sends final metrics and how the trial ended, as `TrialLogger.finish` does; again makes no difference."""
        with answers_explained(self._uri):
            for batch in in_batches(final_points(time_ms, metrics)):
                send_points(self._client, run_id, batch)
            send_ending(self._client, run_id, status, time_ms=time_ms, error=error)

    def publish(
        self, runs: MLflowRuns, state: SweepState, *, metrics: Mapping[str, float], artifacts: Sequence[Path]
    ) -> EnvironmentProblem | None:
        """Sets the status of the parent run and puts numbers and files of the whole sweep on it.

        Stops at the first thing that does not work and returns it: a sweep that has its results does not fail here.
        """
        parent = runs.parent_run_id
        now_ms = time.time_ns() // 1_000_000
        try:
            with answers_explained(self._uri):
                if state is SweepState.RUNNING:
                    self._client.update_run(parent, status=_SWEEP_STATUS[state])
                else:
                    self._client.set_terminated(parent, _SWEEP_STATUS[state], end_time=now_ms)
                send_points(self._client, parent, points_of(0, now_ms, metrics))
                for path in artifacts:
                    self._client.log_artifact(parent, str(path))
        except EnvironmentProblem as problem:
            return problem
        return None

    def _experiment(self, name: str) -> str:
        """The id of the experiment, created if need be, with its files in our place."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return self._client.create_experiment(name, artifact_location=self._artifact_root)
            except MlflowException:
                # Another sweep of this name may have been faster.
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise EnvironmentProblem(
                f"the MLflow experiment {name!r} (id {found.experiment_id}) was deleted, which keeps its name taken; "
                f"restore it (mlflow experiments restore -x {found.experiment_id}) or give the sweep another name"
            )
        return str(found.experiment_id)

    def _find(self, experiment_id: str, sweep_id: str) -> "tuple[str | None, dict[str, Run]]":
        """The sweep's parent run and its child runs by trial, the oldest where there are two."""
        parent: str | None = None
        children: dict[str, Run] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [experiment_id],
                f"tags.sweep_id = '{sweep_id}'",
                order_by=["attributes.start_time ASC"],
                max_results=1000,
                page_token=token,
            )
            for run in page:
                trial_id = run.data.tags.get("trial_id")
                if trial_id is not None:
                    children.setdefault(trial_id, run)
                else:
                    parent = parent or run.info.run_id
            token = page.token
            if not token:
                return parent, children

    def _child(self, experiment_id: str, trial: TrialRun, tags: Mapping[str, str], found: "Run | None") -> str:
        """The run of a trial: made, or found and completed where an earlier start was cut off or packed otherwise."""
        if found is None:
            run_id = self._client.create_run(experiment_id, run_name=trial.run_name, tags=dict(tags)).info.run_id
            self._client.update_run(run_id, status="SCHEDULED")
            self._describe(run_id, trial.params, {})
            return run_id
        missing = {name: value for name, value in trial.params.items() if name not in found.data.params}
        changed = {name: value for name, value in tags.items() if found.data.tags.get(name) != value}
        self._describe(found.info.run_id, missing, changed)
        return found.info.run_id

    def _describe(self, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        for start in range(0, max(len(params), len(tags)), MAX_PARAMS):
            self._client.log_batch(
                run_id,
                params=[Param(*item) for item in list(params.items())[start : start + MAX_PARAMS]],
                tags=[RunTag(*item) for item in list(tags.items())[start : start + MAX_PARAMS]],
            )
