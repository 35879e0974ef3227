"""A small sweep in a run folder, trained as fast as a test likes, and what MLflow should have of it."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator import tracking
from orchestrator.folder.clock import in_ms
from orchestrator.folder.records import CurvePoint, RowStatus, SavedPlan, SweepState, SweepStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.copier import Copier
from orchestrator.tracking.mirror import Mirror
from tests.orchestrator.rows import NOON, a_config, a_row

MlflowClient = Any
T0 = in_ms(NOON)
"""Rows end two minutes later."""
STATUSES = {RowStatus.DONE: "FINISHED", RowStatus.FAILED: "FAILED", RowStatus.STOPPED: "KILLED"}
LISTS = {"downstream_mse_by_block": [1.0, 2.0, 3.5]}

Key = tuple[str, str, int, int]


class ASweep:
    """Three trials of one pack; they train in step."""

    def __init__(self, runs: Path, name: str = "quickstart", *, n_trials: int = 3) -> None:
        self.runs, self.name, self.sweep_id = runs, name, f"{name}-1a2b3c4d"
        self.folder = RunFolder.of_sweep(runs, self.sweep_id)
        kinds = ("local", "e2e", "e2e_downstream")
        self.configs = [a_config(loss=kinds[n % 3], coeff=0.5 + n, layer=3) for n in range(n_trials)]
        self.ids = [config.trial_id for config in self.configs]
        self.step = 0
        self.said: list[tuple[str, str]] = []
        """What people were told."""

    @property
    def plan(self) -> SavedPlan:
        return SavedPlan(
            sweep_id=self.sweep_id,
            trials=dict(zip(self.ids, self.configs, strict=True)),
            run_names={config.trial_id: config.run_name for config in self.configs},
            packs={"p001": self.ids},
        )

    @property
    def trials(self) -> list[tracking.TrialRun]:
        return tracking.describe_plan(self.plan, d_model=64)

    def save(self) -> None:
        """What a launch leaves behind besides results."""
        self.folder.write_plan(self.plan)
        self.folder.write_sweep(f"name: {self.name}\n")
        status = SweepStatus(
            sweep_id=self.sweep_id,
            state=SweepState.COMPLETE,
            n_trials=3,
            started_at=NOON,
            updated_at=datetime(2026, 11, 22, 13, tzinfo=UTC),
        )
        self.folder.write_status(status)

    def train(self, n_steps: int = 5, *, only: Sequence[str] | None = None, late_ms: int = 0) -> None:
        """So many more points of each curve; at every other step an evaluation too."""
        for n, trial_id in enumerate(self.ids if only is None else only):
            points: list[CurvePoint] = []
            for step in range(self.step, self.step + n_steps):
                time_ms = T0 + step + late_ms
                points.append(
                    _point(step, time_ms, {"train/loss": 1 / (step + 1) + n, "train/l0": None, "n_alive": 7.0})
                )
                if step % 2:
                    points.append(_point(step, time_ms, {"eval/ce_loss_increase": 0.1 * n + step}))
            self.folder.add_curve_points(trial_id, points)
        self.step += n_steps

    def end(self, trial_id: str, status: RowStatus = RowStatus.DONE, error: str | None = None) -> None:
        config = self.configs[self.ids.index(trial_id)]
        lists = LISTS if status is RowStatus.DONE else {}
        self.folder.write_row(a_row(config, status=status, error=error, **lists))

    def end_all(self) -> None:
        """Done, failed, stopped."""
        first, second, third = self.ids[:3]
        self.end(first)
        self.end(second, RowStatus.FAILED, "diverged at step 5: the loss is nan, see http://u:geheim@host/x")
        self.end(third, RowStatus.STOPPED, "stopped at step 5")

    def tell(self, level: str, text: str) -> None:
        self.said.append((level, text))

    def mirror(self, uri: str, *, poll_s: float = 0.05) -> Mirror:
        return Mirror(self.tracked(uri), tell=self.tell, poll_s=poll_s)

    def copier(self, uri: str) -> Copier:
        return Copier(self.tracked(uri), tell=self.tell)

    def tracked(self, uri: str) -> tracking.Tracked:
        return tracking.Tracked(
            self.folder, uri, self.runs, sweep_name=self.name, sweep_id=self.sweep_id, trials=self.trials
        )

    def points(self, trial_id: str) -> list[Key]:
        """Every point that MLflow should have of a trial, from the run folder's own readers."""
        found = [
            (name, _text(value), point.step, point.time_ms)
            for point in self.folder.curve(trial_id)
            for name, value in point.metrics.items()
        ]
        row = self.folder.row(trial_id)
        if row is not None:
            numbers = {name: value for name, value in row.metrics.items() if not isinstance(value, list)}
            found += [(f"final/{name}", _text(value), 0, in_ms(row.finished_at)) for name, value in numbers.items()]
        return sorted(found)


def assert_equal(client: MlflowClient, sweep: ASweep, *, ended: bool = True) -> None:
    """MLflow has what the run folder has: each run once, each point once, and nothing besides."""
    experiment = client.get_experiment_by_name(sweep.name)
    runs = client.search_runs([experiment.experiment_id], f"tags.sweep_id = '{sweep.sweep_id}'", max_results=1000)
    children = {run.data.tags["trial_id"]: run for run in runs if "trial_id" in run.data.tags}
    [parent] = [run for run in runs if "trial_id" not in run.data.tags]
    assert len(runs) == 1 + len(sweep.ids)
    assert set(children) == set(sweep.ids)
    for trial in sweep.trials:
        run = children[trial.trial_id]
        assert history(client, run.info.run_id) == sweep.points(trial.trial_id)
        assert run.data.params == trial.params
        tags = {**trial.tags, "sweep_id": sweep.sweep_id, "mlflow.parentRunId": parent.info.run_id}
        assert tags.items() <= run.data.tags.items()
        row = sweep.folder.row(trial.trial_id)
        if row is not None:
            assert (run.info.status, run.info.end_time) == (STATUSES[row.status], in_ms(row.finished_at))
        if row is not None and row.status is RowStatus.DONE:
            assert lists_of(client, run.info.run_id) == LISTS
    noted = sweep.folder.mlflow_runs()
    assert noted is not None
    assert noted.trials == {id_: run.info.run_id for id_, run in children.items()}
    assert parent.info.status == ("FINISHED" if ended else "RUNNING")


def history(client: MlflowClient, run_id: str) -> list[Key]:
    """Every point of every curve of a run, sorted; values as text so that NaN equals NaN."""
    keys = client.get_run(run_id).data.metrics
    points = [point for key in keys for point in client.get_metric_history(run_id, key)]
    return sorted((point.key, repr(point.value), point.step, point.timestamp) for point in points)


def lists_of(client: MlflowClient, run_id: str) -> object:
    return json.loads(Path(client.download_artifacts(run_id, "lists.json")).read_text())


def publish(mirror: Mirror, sweep: ASweep) -> None:
    sweep.folder.frontier.write_bytes(b"PAR1")
    mirror.publish(SweepState.COMPLETE, metrics={"n_done": 1.0}, files=[sweep.folder.frontier])


def _point(step: int, time_ms: int, metrics: dict[str, float | None]) -> CurvePoint:
    return CurvePoint(step=step, tokens=step * 64, time_ms=time_ms, metrics=metrics)


def _text(value: object) -> str:
    return repr(float(value)) if isinstance(value, float | int) and math.isfinite(value) else "nan"
