"""The runs of a sweep: one experiment per sweep name, a parent run per sweep, a child run per trial.

Runs are made only after they were looked for by tag, by one process at a time (`one_at_a_time`), so nobody makes a
second one: not the next launch, and not `orchestrator sync` beside a launch.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock, Timeout

from orchestrator.folder.records import MLflowRuns
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.address import is_server
from orchestrator.tracking.points import MAX_PARAMS, Point
from orchestrator.tracking.store import Unreachable
from orchestrator.tracking.trial_run import TrialRun
from trainer.errors import EnvironmentProblem

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PARENT_TAG = "mlflow.parentRunId"


class Child(NamedTuple):
    """A trial's run, as it was when it was found or made."""

    trial_id: str
    run_id: str
    status: str
    end_ms: int | None
    latest: Mapping[str, Point]
    """The newest point of each curve; empty for a new run."""
    was_made: bool
    was_completed: bool
    """It lacked params or tags."""


class Found(NamedTuple):
    """What a search by tag gives."""

    parent: "Run | None"
    children: "Mapping[str, Run]"
    """By trial, the oldest of each."""
    doubles: Sequence[str]
    """Younger runs of a trial: made by a request that came to nothing as far as anybody knew."""


@contextmanager
def one_at_a_time(folder: RunFolder) -> Generator[None]:
    """Nobody else makes runs of this sweep while inside. Raises Unreachable where somebody does just now."""
    path = folder.mlflow / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=1):
            yield
    except Timeout:
        raise Unreachable(f"another process makes MLflow runs of this sweep just now ({path} is locked)") from None


def experiment(client: "MlflowClient", name: str, *, artifact_root: str | None) -> str:
    """The id of the experiment, made if need be, with its files in our place."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=artifact_root)
        except MlflowException:
            # Another sweep of this name may have been faster.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise EnvironmentProblem(
            f"the MLflow experiment {name!r} (id {found.experiment_id}) was deleted, which keeps its name taken; "
            f"restore it (mlflow experiments restore -x {found.experiment_id}) or give the sweep another name"
        )
    return str(found.experiment_id)


def find_runs(client: "MlflowClient", experiment_id: str, sweep_id: str) -> Found:
    """The runs of the sweep. Deleted ones are not found, so they are made again."""
    parent: Run | None = None
    children: dict[str, Run] = {}
    doubles: list[str] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id],
            f"tags.sweep_id = '{sweep_id}'",
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
            max_results=1000,
            page_token=token,
        )
        for run in page:
            trial_id = run.data.tags.get("trial_id")
            if trial_id is None:
                parent = parent or run
            elif trial_id not in children:
                children[trial_id] = run
            elif run.data.tags.get("role") == "trial":
                doubles.append(run.info.run_id)
        token = page.token
        if not token:
            return Found(parent, children, doubles)


def make_parent(client: "MlflowClient", experiment_id: str, sweep_id: str) -> str:
    tags = {"sweep_id": sweep_id, "role": "sweep"}
    return str(client.create_run(experiment_id, run_name=sweep_id, tags=tags).info.run_id)


def is_deleted(client: "MlflowClient", run_id: str) -> bool:
    """Whether the run is in MLflow's trash, or gone. Raises what else MLflow raises."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage != "active"
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return True


def complete_children(
    client: "MlflowClient",
    uri: str,
    *,
    experiment_id: str,
    parent_run_id: str,
    sweep_id: str,
    trials: Sequence[TrialRun],
    found: "Mapping[str, Run]",
) -> Iterator[Child]:
    """A run for each trial, as they are ready: found and completed, or made as SCHEDULED."""

    def child_of(trial: TrialRun) -> Child:
        tags = {**trial.tags, "sweep_id": sweep_id, "role": "trial", _PARENT_TAG: parent_run_id}
        run = found.get(trial.trial_id)
        return _made(client, experiment_id, trial, tags) if run is None else _completed(client, trial, tags, run)

    # A server answers in tens of milliseconds, mostly waiting; a SQLite file has one writer.
    pool = ThreadPoolExecutor(8 if is_server(uri) else 1)
    try:
        yield from pool.map(child_of, trials)
    finally:
        pool.shutdown(cancel_futures=True)


def note_runs(folder: RunFolder, runs: MLflowRuns) -> None:
    """`runs.json`; runs of trials that the sweep has no longer stay in it."""
    before = folder.mlflow_runs()
    kept = before.trials if before is not None and before.parent_run_id == runs.parent_run_id else {}
    noted = runs.model_copy(update={"trials": kept | runs.trials})
    if noted != before:
        folder.write_mlflow_runs(noted)


def _made(client: "MlflowClient", experiment_id: str, trial: TrialRun, tags: Mapping[str, str]) -> Child:
    run_id = client.create_run(experiment_id, run_name=trial.run_name, tags=dict(tags)).info.run_id
    client.update_run(run_id, status="SCHEDULED")
    _describe(client, run_id, trial.params, {})
    return Child(trial.trial_id, run_id, "SCHEDULED", None, {}, was_made=True, was_completed=False)


def _completed(client: "MlflowClient", trial: TrialRun, tags: Mapping[str, str], run: "Run") -> Child:
    """Where an earlier start was cut off, or packed otherwise."""
    missing = {name: value for name, value in trial.params.items() if name not in run.data.params}
    changed = {name: value for name, value in tags.items() if run.data.tags.get(name) != value}
    _describe(client, run.info.run_id, missing, changed)
    newest = {
        metric.key: Point(metric.key, metric.value, metric.step, metric.timestamp)
        for metric in getattr(run.data, "_metric_objs", [])  # `metrics` has values alone
    }
    info = run.info
    return Child(
        trial.trial_id,
        info.run_id,
        info.status,
        info.end_time,
        newest,
        was_made=False,
        was_completed=bool(missing or changed),
    )


def _describe(client: "MlflowClient", run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    from mlflow.entities import Param, RunTag

    for start in range(0, max(len(params), len(tags)), MAX_PARAMS):
        client.log_batch(
            run_id,
            params=[Param(*item) for item in list(params.items())[start : start + MAX_PARAMS]],
            tags=[RunTag(*item) for item in list(tags.items())[start : start + MAX_PARAMS]],
        )
